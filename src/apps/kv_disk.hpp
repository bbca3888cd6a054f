// The option --kv-disk: how much of the disk keys and values may take beyond memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "apps/command.hpp"
#include "base/options.hpp"
#include "engine/runtime/block_store.hpp"

namespace deepwell::apps {

struct KvDiskOption {
  std::string size = "off";

  void declare(OptionTable& table);
  /// Bytes; 0: off. Error: kInvalidArgument.
  Result<std::uint64_t> max_bytes() const;
  /// Null if it is off. The log of `context` must outlive the store. Error: kInvalidArgument.
  Result<std::shared_ptr<engine::BlockStore>> open(const Context& context) const;
};

/// "8G", "500M": a number of bytes, with a unit of 1024. Error: kInvalidArgument.
Result<std::uint64_t> parse_bytes(const std::string& text);

}  // namespace deepwell::apps
