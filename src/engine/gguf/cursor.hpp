// Cursor: walks through bytes of unknown origin and never leaves them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/concat.hpp"
#include "base/result.hpp"

namespace deepwell::engine::gguf {

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t n_left() const { return bytes_.size() - position_; }

  /// A number of fixed size. `what` names it in the error; kDataLoss if the bytes end before it
  /// does.
  template <class T>
  requires std::is_arithmetic_v<T> Result<T> read(std::string_view what) {
    DW_ASSIGN(const std::span<const std::byte> source, take(sizeof(T), what));
    T value;
    std::memcpy(&value, source.data(), sizeof value);
    return value;
  }

  /// A 64-bit length, then so many bytes.
  Result<std::string_view> read_string(std::string_view what) {
    DW_ASSIGN(const std::uint64_t length, read<std::uint64_t>(what));
    return take_text(length, what);
  }

  Result<std::string_view> take_text(std::uint64_t n_bytes, std::string_view what) {
    DW_ASSIGN(const std::span<const std::byte> source, take(n_bytes, what));
    return std::string_view(reinterpret_cast<const char*>(source.data()), source.size());
  }

  Result<std::span<const std::byte>> take(std::uint64_t n_bytes, std::string_view what) {
    if (n_bytes > n_left()) {
      return data_loss(concat("the file ends inside ", what, ": ", n_bytes,
                              " bytes wanted at byte ", position_, ", ", n_left(),
                              " left; it is truncated or damaged"));
    }
    const auto taken = bytes_.subspan(position_, static_cast<std::size_t>(n_bytes));
    position_ += static_cast<std::size_t>(n_bytes);
    return taken;
  }

  /// What was passed since `from`.
  std::span<const std::byte> since(std::size_t from) const {
    return bytes_.subspan(from, position_ - from);
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

}  // namespace deepwell::engine::gguf
