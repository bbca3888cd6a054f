// DW_TARGET_BEGIN / DW_TARGET_END: compile what lies between for an instruction set, without -m flags.
//
// With -mavx512f on a whole file, inline functions of shared headers would become weak symbols full of AVX-512 that
// the linker may keep for everybody. Includes must stand before the region.
#pragma once

#define DW_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define DW_TARGET_BEGIN(isa) \
  DW_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define DW_TARGET_END _Pragma("clang attribute pop")
#define DW_UNROLL _Pragma("clang loop unroll(full)")
#else
#define DW_TARGET_BEGIN(isa) _Pragma("GCC push_options") DW_PRAGMA(GCC target(isa))
#define DW_TARGET_END _Pragma("GCC pop_options")
#define DW_UNROLL _Pragma("GCC unroll 32")
#endif
