// Fuzzes the control line: any bytes are refused or understood, and what is understood survives a round trip.
#include "base/check.hpp"
#include "cluster/control/control.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  using namespace deepwell::cluster;
  const auto message =
      parse_control(std::string_view(reinterpret_cast<const char*>(data), n_bytes));
  if (!message) return 0;
  const auto again = parse_control(format_control(*message));
  DW_CHECK(again.has_value() && *again == *message, "a control line changes in a round trip");
  return 0;
}
