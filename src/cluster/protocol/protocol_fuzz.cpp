// Any bytes as a message of the worker protocol, on either side: refused or carried out, never a crash.
#include <cstddef>
#include <cstdint>

#include "cluster/protocol/convert.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  using namespace deepwell::cluster;
  if (n_bytes == 0) return 0;
  const int n = static_cast<int>(n_bytes - 1);
  if (proto::FrontFrame frame; data[0] == 'f' && frame.ParseFromArray(data + 1, n)) {
    for (auto& command : *frame.mutable_commands()) {
      (void)read_submit(*command.mutable_submit());
    }
  }
  if (proto::WorkerFrame frame; data[0] == 'w' && frame.ParseFromArray(data + 1, n)) {
    (void)read_load(frame.load());
    for (const auto& event : frame.events()) (void)read_event(event);
  }
  if (proto::ModelInfo model; data[0] == 'm' && model.ParseFromArray(data + 1, n)) {
    (void)read_model(std::move(model));
  }
  return 0;
}
