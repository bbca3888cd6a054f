// The numerics version: part of every model fingerprint.
#pragma once

#include <cstdint>

namespace deepwell::engine {

/// Bumped by every change after which some input gives other logits or another token (engine, sampler, grammar).
/// CHANGELOG.md says for each version what changed and why.
inline constexpr std::uint32_t kNumericsVersion = 1;

}  // namespace deepwell::engine
