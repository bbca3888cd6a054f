// PeerTls: how fronts and workers on a network prove who they are.
#pragma once

#include <string>

namespace deepwell::cluster {

/// PEM files of mutual TLS: both ends show a certificate of the same authority.
struct PeerTls {
  std::string ca_file;
  std::string cert_file;
  std::string key_file;
};

}  // namespace deepwell::cluster
