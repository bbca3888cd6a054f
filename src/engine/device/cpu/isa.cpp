// Detection of instruction sets. Compiled for the baseline, never with -m flags.
#include "engine/device/cpu/isa.hpp"

#include <cstdlib>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/concat.hpp"

namespace deepwell::engine {

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return "scalar";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvxVnni:
      return "avxvnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
  }
  return "scalar";
}

#if defined(__x86_64__)
namespace {
struct CpuidLeaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

/// All zero if the processor has no such leaf.
CpuidLeaf cpuid(unsigned leaf, unsigned subleaf = 0) {
  CpuidLeaf r;
  return __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx, &r.edx) != 0 ? r : CpuidLeaf();
}

/// ECX bit 29 of leaf 1: clang 14's __builtin_cpu_supports does not know the name.
bool has_f16c() { return (cpuid(1).ecx & (1U << 29)) != 0; }

/// EAX bit 4 of leaf 7, subleaf 1: nor this one.
bool has_avx_vnni() { return (cpuid(7, 1).eax & (1U << 4)) != 0; }

/// EDX bits 24 (AMX-TILE) and 25 (AMX-INT8) of leaf 7, and Linux lets this process use the tiles
/// (https://docs.kernel.org/arch/x86/xstate.html).
bool has_amx() {
  constexpr unsigned kTileAndInt8 = 3U << 24;
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return (cpuid(7).edx & kTileAndInt8) == kTileAndInt8 &&
         ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
}  // namespace
#endif

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas{Isa::kScalar};
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks the operating system (XGETBV) whether it saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()) {
    isas.push_back(Isa::kAvx2);
    if (has_avx_vnni()) isas.push_back(Isa::kAvxVnni);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni")) {
      isas.push_back(Isa::kAvx512);
      if (has_amx()) isas.push_back(Isa::kAmx);
    }
  }
#endif
  return isas;
}

Result<Isa> choose_isa() {
  const std::vector<Isa> supported = supported_isas();
  const char* forced = std::getenv("DEEPWELL_FORCE_ISA");
  if (forced == nullptr || *forced == '\0') {
    return supported.back();
  }
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512, Isa::kAmx}) {
    if (isa_name(isa) != forced) continue;
    for (const Isa have : supported) {
      if (have == isa) return isa;
    }
    return Error{Code::kFailedPrecondition, concat("DEEPWELL_FORCE_ISA=", forced,
                                                   ": this processor lacks it; the best it has is ",
                                                   isa_name(supported.back()))};
  }
  return invalid_argument(concat("DEEPWELL_FORCE_ISA=", forced,
                                 " is unknown; use scalar, avx2, avxvnni, avx512 or amx"));
}

}  // namespace deepwell::engine
