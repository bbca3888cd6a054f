// Reading PEM files into gRPC's credentials.
#include "cluster/protocol/credentials.hpp"

#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

constexpr std::size_t kMaxPemBytes = 1 << 20;

struct Pem {
  std::string ca, cert, key;
};

Result<Pem> read_pem(const PeerTls& tls) {
  Pem pem;
  DW_ASSIGN(pem.ca, read_file(tls.ca_file, kMaxPemBytes));
  DW_ASSIGN(pem.cert, read_file(tls.cert_file, kMaxPemBytes));
  DW_ASSIGN(pem.key, read_file(tls.key_file, kMaxPemBytes));
  return pem;
}

}  // namespace

Result<std::shared_ptr<grpc::ServerCredentials>> server_credentials(const PeerTls* tls) {
  if (tls == nullptr) return grpc::InsecureServerCredentials();
  DW_ASSIGN(const Pem pem, read_pem(*tls));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = pem.ca;
  options.pem_key_cert_pairs.push_back({pem.key, pem.cert});
  return grpc::SslServerCredentials(options);
}

Result<std::shared_ptr<grpc::ChannelCredentials>> channel_credentials(const PeerTls* tls) {
  if (tls == nullptr) return grpc::InsecureChannelCredentials();
  DW_ASSIGN(const Pem pem, read_pem(*tls));
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = pem.ca;
  options.pem_private_key = pem.key;
  options.pem_cert_chain = pem.cert;
  return grpc::SslCredentials(options);
}

}  // namespace deepwell::cluster
