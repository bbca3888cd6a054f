// Everything generic, in order of use. Included inside each ISA's namespace and target region.

#include "engine/device/cpu/generic/rows.inl"

#include "engine/device/cpu/generic/gemm.inl"

#include "engine/device/cpu/generic/attention.inl"

#include "engine/device/cpu/generic/table.inl"
