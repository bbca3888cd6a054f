// Writing incidents: one small text file each, with secrets masked.
#include "cluster/supervisor/incident.hpp"

#include <signal.h>
#include <string.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::cluster {

namespace {

bool names_a_secret(std::string_view option) {
  if (!option.starts_with("--")) return false;
  const auto ends = {"key", "token", "secret", "password"};
  return std::any_of(ends.begin(), ends.end(),
                     [option](std::string_view end) { return option.ends_with(end); });
}

// "2025-03-01T12-00-00.123Z": sorts by time, and has no colon (some file systems refuse it).
std::string file_time(std::int64_t wall_ms) {
  std::string text = format_utc(wall_ms / 1000);
  std::replace(text.begin(), text.end(), ':', '-');
  const std::string millis = concat(1000 + wall_ms % 1000);
  text.insert(text.size() - 1, concat(".", millis.substr(1)));
  return text;
}

std::string how_it_ended(const ExitStatus& status) {
  if (status.signal == 0) return concat("exit code ", status.exit_code);
  const char* const name = ::sigabbrev_np(status.signal);
  return concat("signal ", status.signal, name != nullptr ? concat(" (SIG", name, ")") : "");
}

std::string_view why(const Incident& incident) {
  if (!incident.reason.empty()) return incident.reason;
  if (incident.status.signal != SIGKILL) return "died by itself";
  return "killed from outside: by somebody's kill -9, or by the kernel because memory ran out (see "
         "dmesg)";
}

}  // namespace

std::vector<std::string> mask_secrets(const std::vector<std::string>& arguments) {
  std::vector<std::string> masked;
  bool is_value_secret = false;
  for (const std::string& argument : arguments) {
    const std::size_t equals = argument.find('=');
    const bool is_secret = names_a_secret(std::string_view(argument).substr(0, equals));
    if (is_value_secret)
      masked.emplace_back("***");
    else if (is_secret && equals != std::string::npos)
      masked.push_back(concat(argument.substr(0, equals), "=***"));
    else
      masked.push_back(argument);
    is_value_secret = !is_value_secret && is_secret && equals == std::string::npos;
  }
  return masked;
}

std::string format_incident(const Incident& incident, std::int64_t wall_ms) {
  std::string text = concat("time: ", format_utc(wall_ms / 1000), "\nversion: ", DEEPWELL_VERSION,
                            "\nchild: ", incident.child, "\nepoch: ", incident.epoch,
                            "\nended: ", how_it_ended(incident.status), "\nreason: ", why(incident),
                            "\nuptime_ms: ", incident.uptime.count(), "\nsuspects:");
  for (const std::uint64_t tag : incident.suspects) text += concat(" ", tag);
  text += "\narguments:";
  for (const std::string& argument : incident.arguments) text += concat(" ", argument);
  text += "\nlog:\n";
  for (const std::string& line : incident.log_tail) text += concat("  ", line, "\n");
  return text;
}

Result<std::string> write_incident(const std::string& directory, const Incident& incident,
                                   std::int64_t wall_ms) {
  DW_TRY(make_directories(directory, 0700));
  const std::string path = join_path(
      directory, concat(file_time(wall_ms), "-", incident.child, "-", incident.epoch, ".txt"));
  DW_ASSIGN(FileWriter writer, FileWriter::open(path, FileWriter::Mode::kTruncate));
  DW_TRY(writer.write(format_incident(incident, wall_ms)));
  DW_ASSIGN(const std::vector<std::string> names, list_directory(directory));  // sorted: by time
  for (std::size_t i = 0; i + kMaxIncidents < names.size(); ++i) {
    DW_TRY(remove_file(join_path(directory, names[i])));
  }
  return path;
}

}  // namespace deepwell::cluster
