// Contexts over OpenSSL 3.
#include "net/tls.hpp"

#include <openssl/ssl.h>

#include "base/concat.hpp"

namespace deepwell::net {

namespace ssl = boost::asio::ssl;
using boost::system::error_code;

Result<std::unique_ptr<ssl::context>> make_server_tls(const TlsOptions& options) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_server);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_3_VERSION);
  error_code error;
  context->use_certificate_chain_file(options.cert_file, error);
  if (error) {
    return invalid_argument(concat("cannot use the TLS certificate ", options.cert_file, ": ",
                                   error.message(), "; a PEM file with the whole chain is needed"));
  }
  context->use_private_key_file(options.key_file, ssl::context::pem, error);
  if (error) {
    return invalid_argument(concat("cannot use the TLS key ", options.key_file, ": ",
                                   error.message(),
                                   "; the PEM key that belongs to the certificate is needed"));
  }
  return context;
}

Result<std::unique_ptr<ssl::context>> make_client_tls(const std::string& ca_file) {
  auto context = std::make_unique<ssl::context>(ssl::context::tls_client);
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  context->set_verify_mode(ssl::verify_peer);
  error_code error;
  if (ca_file.empty()) {
    context->set_default_verify_paths(error);  // honours SSL_CERT_FILE and SSL_CERT_DIR
  } else {
    context->load_verify_file(ca_file, error);
  }
  if (error) {
    return invalid_argument(concat("cannot read the trusted certificates of ",
                                   ca_file.empty() ? "the system" : ca_file, ": ",
                                   error.message()));
  }
  return context;
}

}  // namespace deepwell::net
