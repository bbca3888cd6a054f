// HttpStub: a loopback HTTP server of a few lines that can misbehave on purpose: cut answers short,
// ignore Range, change a file. For tests of the download.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace deepwell::service::testing {

struct StubFile {
  std::string content;
  std::string etag = "\"one\"";
  bool has_range = true;  // false: answers 200 with everything, whatever was asked
  std::size_t n_bytes_until_cut =
      0;             // 0: sends all; else closes the connection after so many body bytes
  int status = 200;  // anything else is sent with an empty body
};

/// One file, whatever the path. Thread-safe.
class HttpStub {
 public:
  HttpStub();
  ~HttpStub();
  HttpStub(const HttpStub&) = delete;
  HttpStub& operator=(const HttpStub&) = delete;

  std::string url(const std::string& path = "/model.gguf") const;
  void set(StubFile file);
  /// Answers by path; overrides set() where it returns true.
  void set_handler(std::function<bool(const std::string& path, StubFile& file)> handler);
  /// The Range headers seen so far ("" for a request without one), in order.
  std::vector<std::string> ranges() const;
  std::vector<std::string> paths() const;

 private:
  void serve();
  void answer(int connection);

  int listener_ = -1;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  StubFile file_;
  std::function<bool(const std::string&, StubFile&)> handler_;
  std::vector<std::string> ranges_;
  std::vector<std::string> paths_;
  std::atomic<bool> is_stopping_ = false;
  std::thread thread_;
};

}  // namespace deepwell::service::testing
