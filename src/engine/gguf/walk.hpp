// walk(): reads everything that a GgufFile offers, for fuzzing and for tests with damaged files.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/gguf/gguf.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine::gguf {

/// Asks for every key as every type, describes it, and reads every byte of every tensor and decodes
/// its first block. Returns some number that depends on what was read, so that no compiler drops
/// the reading.
inline std::uint64_t walk(const GgufFile& file) {
  std::uint64_t sum = file.version() + file.file_bytes();
  const auto count = [&sum](const auto& result) {
    sum += result.has_value() ? 1U : result.error().message.size();
  };
  for (const std::string& key : file.keys()) {
    count(file.get_uint(key));
    count(file.get_int(key));
    count(file.get_float(key));
    count(file.get_bool(key));
    count(file.get_string(key));
    count(file.get_strings(key));
    count(file.get_ints(key));
    count(file.get_floats(key));
    sum += file.describe(key).size();
  }
  std::vector<float> block;
  for (const GgufTensor& tensor : file.tensors()) {
    for (const std::byte byte : tensor.data) {
      sum += std::to_integer<std::uint64_t>(byte);
    }
    block.resize(block_shape(tensor.type).n_elements);
    decode_row(tensor.type, tensor.data.data(), block.size(), block.data());
    sum += tensor.n_elements() + (file.find_tensor(tensor.name) == &tensor ? 1U : 0U);
  }
  return sum;
}

}  // namespace deepwell::engine::gguf
