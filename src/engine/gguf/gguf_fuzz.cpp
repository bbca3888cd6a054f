// Fuzz target: any bytes are either refused or a file all of which can be read.
#include <cstdint>
#include <span>

#include "engine/gguf/gguf.hpp"
#include "engine/gguf/walk.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  using namespace deepwell::engine;
  if (const auto file = GgufFile::parse(std::as_bytes(std::span(data, n_bytes)))) {
    [[maybe_unused]] static volatile std::uint64_t sink = 0;
    sink = gguf::walk(**file);
  }
  return 0;
}
