// Everything generic, in order of use. Included inside each ISA's namespace and target region; before it each ISA
// includes panel.inl and panel_vector.inl, or a multiply_panel() of its own.

#include "engine/device/cpu/generic/rows.inl"

#include "engine/device/cpu/generic/gemm.inl"

#include "engine/device/cpu/generic/attention.inl"

#include "engine/device/cpu/generic/table.inl"
