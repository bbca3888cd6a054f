// Which instruction set the CPU kernels use: found at run time, or forced by DEEPWELL_FORCE_ISA.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace deepwell::engine {

enum class Isa : std::uint8_t { kScalar, kAvx2, kAvxVnni, kAvx512, kAmx };

std::string_view isa_name(Isa isa);

/// What this processor and operating system can run, slowest first. Always holds kScalar. Asks Linux, once, for the
/// permission to use AMX's registers.
std::vector<Isa> supported_isas();

/// The best supported one, or the one that DEEPWELL_FORCE_ISA (scalar|avx2|avxvnni|avx512|amx) names.
/// Errors: kInvalidArgument (unknown name), kFailedPrecondition (this processor lacks it).
Result<Isa> choose_isa();

}  // namespace deepwell::engine
