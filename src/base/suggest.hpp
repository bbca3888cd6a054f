// The "did you mean" of unknown commands, flags, variables, keys and model names.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace deepwell {

/// Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; bytes, O(|a|·|b|).
std::size_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word` if it is near enough to be a slip of the fingers, else empty.
/// A candidate that starts with a word of three bytes or more counts as near. Ties go to the first.
std::string_view nearest(std::string_view word, std::span<const std::string> candidates);

/// ", did you mean 'x'?" or nothing: the tail of a message about an unknown word.
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

}  // namespace deepwell
