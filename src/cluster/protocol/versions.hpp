// Which versions of the worker protocol may speak with each other: docs/formats/worker-protocol.md.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace deepwell::cluster {

/// What one program speaks.
struct ProtocolVersions {
  std::uint32_t oldest = 0;
  std::uint32_t newest = 0;
};

inline constexpr ProtocolVersions kOurVersions{.oldest = 1, .newest = 1};
static_assert(kOurVersions.oldest + 1 >= kOurVersions.newest, "neighbours only");

/// The version that holds between a worker and a front whose hello names `front`, which is the
/// front's newest; nothing if they are no neighbours. One newer than ours may follow: it speaks ours.
constexpr std::optional<std::uint32_t> agree(ProtocolVersions worker, std::uint32_t front) {
  if (front < worker.oldest || front > worker.newest + 1) return std::nullopt;
  return std::min(front, worker.newest);
}

/// Whether a front can go on with the version that a worker's hello names.
constexpr bool can_speak(ProtocolVersions front, std::uint32_t agreed) {
  return agreed >= front.oldest && agreed <= front.newest;
}

}  // namespace deepwell::cluster
