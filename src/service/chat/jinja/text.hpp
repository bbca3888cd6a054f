// Text: a string that remembers which of its bytes the template wrote and which came from data.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace deepwell::service::jinja {

/// Whether control-token spellings in some bytes may become control tokens: true only for what the template (or
/// the operator) wrote, never for what a user, a tool or a document said.
enum class Trust : bool { kData = false, kTemplate = true };

/// Every operation keeps each byte's origin. Two Texts are equal if their bytes are: origin is no part of the value.
class Text {
 public:
  /// Bytes [end of the run before, end) of one origin. Neighbouring runs differ in origin.
  struct Run {
    std::size_t end = 0;
    Trust trust = Trust::kData;
  };

  Text() = default;
  Text(std::string bytes, Trust trust) : bytes_(std::move(bytes)) {
    if (!bytes_.empty()) runs_.push_back({bytes_.size(), trust});
  }

  std::string_view view() const { return bytes_; }
  std::size_t n_bytes() const { return bytes_.size(); }
  bool empty() const { return bytes_.empty(); }
  const std::vector<Run>& runs() const { return runs_; }

  void append(std::string_view bytes, Trust trust);
  void append(const Text& other) { append_slice(other, 0, other.n_bytes()); }
  /// Appends bytes [begin, end) of `other`.
  void append_slice(const Text& other, std::size_t begin, std::size_t end);
  Text slice(std::size_t begin, std::size_t end) const;
  Trust trust_at(std::size_t pos) const;

  /// The same origins over other bytes, one for one: for maps that keep every byte's place, such as ASCII case.
  template <class ByteMap>
  Text mapped(ByteMap map) const {
    Text out = *this;
    for (char& byte : out.bytes_) byte = map(byte);
    return out;
  }

 private:
  std::size_t run_index(std::size_t pos) const;

  std::string bytes_;
  std::vector<Run> runs_;
};

}  // namespace deepwell::service::jinja
