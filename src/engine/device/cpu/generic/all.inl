// Everything generic, in order of use. Included inside each ISA's namespace and target region; before it each ISA
// includes panel.inl, and then panel_vector.inl, between which it may define multiply_panel_tiles().

#include "engine/device/cpu/generic/rows.inl"

#include "engine/device/cpu/generic/gemm.inl"

#include "engine/device/cpu/generic/attention.inl"

#include "engine/device/cpu/generic/table.inl"
