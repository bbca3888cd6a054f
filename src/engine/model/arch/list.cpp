// The list of architectures.
#include "engine/model/arch/arch.hpp"

namespace deepwell::engine {

extern const Arch kArch_llama;
extern const Arch kArch_qwen2;

std::span<const Arch* const> architectures() {
  static constexpr const Arch* kAll[] = {
      &kArch_llama,
      &kArch_qwen2,
  };
  return kAll;
}

const Arch* find_architecture(std::string_view name) {
  for (const Arch* arch : architectures()) {
    if (arch->name == name) return arch;
  }
  return nullptr;
}

}  // namespace deepwell::engine
