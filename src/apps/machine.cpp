// Reading /proc and /sys (proc(5), Documentation/ABI/stable/sysfs-devices-node).
#include "apps/machine.hpp"

#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/runtime/loaded_model.hpp"

namespace deepwell::apps {

namespace {

/// What follows `key` and a colon on its line, without blanks around it.
std::string value_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::size_t colon = line.find(':');
    if (!line.starts_with(key) || colon == line.npos) continue;
    const std::size_t start = line.find_first_not_of(" \t", colon + 1);
    return start == line.npos ? std::string() : std::string(line.substr(start));
  }
  return {};
}

std::string small_file(const std::string& path) {
  return read_file(path, 16 << 20).value_or(std::string());
}

/// "16326532 kB" of /proc/meminfo in bytes.
std::uint64_t memory_value(std::string_view meminfo, std::string_view key) {
  const std::string text = value_of(meminfo, key);
  std::uint64_t n_kib = 0;
  std::from_chars(text.data(), text.data() + text.size(), n_kib);
  return n_kib * 1024;
}

}  // namespace

Machine look_at_machine() {
  Machine machine;
  machine.processor = value_of(small_file("/proc/cpuinfo"), "model name");
  machine.n_cpus = static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  machine.n_usable_cpus = engine::n_usable_cpus();
  const Result<std::vector<std::string>> nodes = list_directory("/sys/devices/system/node");
  if (nodes) {
    const auto is_node = [](const std::string& name) {
      return name.size() > 4 && name.starts_with("node") && name[4] >= '0' && name[4] <= '9';
    };
    const auto n_nodes = std::count_if(nodes->begin(), nodes->end(), is_node);
    machine.n_numa_nodes = static_cast<std::uint32_t>(std::max<std::ptrdiff_t>(1, n_nodes));
  }
  const std::string meminfo = small_file("/proc/meminfo");
  machine.memory_bytes = memory_value(meminfo, "MemTotal");
  machine.available_bytes = memory_value(meminfo, "MemAvailable");
  machine.governor = small_file("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  while (!machine.governor.empty() && machine.governor.back() == '\n') machine.governor.pop_back();
  return machine;
}

}  // namespace deepwell::apps
