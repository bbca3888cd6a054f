// Going through this process's sockets (proc(5), FIONREAD in ioctl(2) and unix(7)).
#include "cluster/front/unread_bytes.hpp"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

namespace deepwell::cluster {

namespace {

constexpr std::string_view kUnix = "unix:";

union PeerName {
  ::sockaddr_storage storage;
  ::sockaddr any;
  ::sockaddr_un local;
  ::sockaddr_in v4;
  ::sockaddr_in6 v6;
};

bool is_connected_to(int fd, std::string_view address) {
  PeerName peer{};
  ::socklen_t length = sizeof peer;
  if (::getpeername(fd, &peer.any, &length) != 0) return false;
  if (address.starts_with(kUnix)) {
    const std::string_view path = address.substr(kUnix.size());
    return peer.any.sa_family == AF_UNIX && path == std::string_view(peer.local.sun_path);
  }
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return false;
  const auto port =
      static_cast<std::uint16_t>(std::atoi(std::string(address.substr(colon + 1)).c_str()));
  return (peer.any.sa_family == AF_INET && ntohs(peer.v4.sin_port) == port) ||
         (peer.any.sa_family == AF_INET6 && ntohs(peer.v6.sin6_port) == port);
}

}  // namespace

bool has_unread_bytes(const std::string& address) {
  const std::unique_ptr<::DIR, int (*)(::DIR*)> folder(::opendir("/proc/self/fd"), ::closedir);
  if (folder == nullptr) return false;
  while (const ::dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    const int fd = std::atoi(entry->d_name);
    int n_unread = 0;
    if (is_connected_to(fd, address) && ::ioctl(fd, FIONREAD, &n_unread) == 0 && n_unread > 0)
      return true;
  }
  return false;
}

}  // namespace deepwell::cluster
