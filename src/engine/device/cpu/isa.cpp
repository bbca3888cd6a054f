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
/// CPUID leaf 1, ECX bit 29: clang 14's __builtin_cpu_supports does not know the name.
bool has_f16c() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & (1U << 29)) != 0;
}

/// CPUID leaf 7, subleaf 1, EAX bit 4: clang 14's __builtin_cpu_supports does not know this name either.
bool has_avx_vnni() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & (1U << 4)) != 0;
}

/// CPUID leaf 7, EDX bits 24 (AMX-TILE) and 25 (AMX-INT8), and Linux lets this process use the tiles
/// (https://docs.kernel.org/arch/x86/xstate.html).
bool has_amx() {
  constexpr unsigned kTileAndInt8 = 3U << 24;
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  return (edx & kTileAndInt8) == kTileAndInt8 &&
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
