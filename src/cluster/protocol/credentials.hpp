// Credentials of the worker protocol: none on a Unix socket, mutual TLS on the network. Internal to
// cluster.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "base/result.hpp"
#include "cluster/protocol/peer_tls.hpp"

namespace deepwell::cluster {

/// Null: insecure, for a Unix socket in a directory of our own. Errors: kNotFound, kPermissionDenied
/// for a file.
Result<std::shared_ptr<grpc::ServerCredentials>> server_credentials(const PeerTls* tls);
Result<std::shared_ptr<grpc::ChannelCredentials>> channel_credentials(const PeerTls* tls);

}  // namespace deepwell::cluster
