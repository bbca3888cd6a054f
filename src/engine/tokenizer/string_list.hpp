// StringList: many short strings in one piece of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.hpp"

namespace deepwell::engine {

/// A vocabulary's hundreds of thousands of strings, at four bytes each beside their characters. All together have
/// kMaxBytes at most; views are valid until the list changes.
class StringList {
 public:
  static constexpr std::size_t kMaxBytes = std::numeric_limits<std::uint32_t>::max();

  class Iterator {
   public:
    using iterator_category = std::input_iterator_tag;
    using value_type = std::string_view;
    using difference_type = std::ptrdiff_t;
    using pointer = void;
    using reference = std::string_view;

    Iterator() = default;
    Iterator(const StringList* list, std::size_t i) : list_(list), i_(i) {}
    std::string_view operator*() const { return (*list_)[i_]; }
    Iterator& operator++() {
      ++i_;
      return *this;
    }
    Iterator operator++(int) {
      const Iterator before = *this;
      ++i_;
      return before;
    }
    bool operator==(const Iterator&) const = default;

   private:
    const StringList* list_ = nullptr;
    std::size_t i_ = 0;
  };

  std::size_t size() const { return ends_.size(); }
  bool empty() const { return ends_.empty(); }
  std::size_t n_bytes() const { return characters_.size(); }
  std::string_view operator[](std::size_t i) const {
    const std::size_t begin = i == 0 ? 0 : ends_[i - 1];
    return std::string_view(characters_).substr(begin, ends_[i] - begin);
  }
  Iterator begin() const { return {this, 0}; }
  Iterator end() const { return {this, size()}; }
  bool operator==(const StringList&) const = default;

  /// Room for so many strings, and so many characters of all.
  void reserve(std::size_t n_strings, std::size_t n_bytes) {
    ends_.reserve(n_strings);
    characters_.reserve(n_bytes);
  }
  void push_back(std::string_view string) {
    DW_CHECK(string.size() <= kMaxBytes - characters_.size(), "the caller minds kMaxBytes");
    characters_ += string;
    ends_.push_back(static_cast<std::uint32_t>(characters_.size()));
  }
  void pop_back() {
    characters_.resize(characters_.size() - (*this)[size() - 1].size());
    ends_.pop_back();
  }

 private:
  std::string characters_;
  std::vector<std::uint32_t> ends_;  // string i ends before characters_[ends_[i]]
};

}  // namespace deepwell::engine
