// TLS contexts: the server's from its certificate, the client's from the trusted authorities.
// Internal to net.
#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "net/server.hpp"

namespace deepwell::net {

/// TLS 1.3 only. Errors name the file and say what is wrong with it.
Result<std::unique_ptr<boost::asio::ssl::context>> make_server_tls(const TlsOptions& options);

/// TLS 1.2 or later, peers verified. `ca_file` empty: SSL_CERT_FILE / SSL_CERT_DIR, else the
/// system's bundle.
Result<std::unique_ptr<boost::asio::ssl::context>> make_client_tls(const std::string& ca_file);

}  // namespace deepwell::net
