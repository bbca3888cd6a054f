// --kv-disk, and `deepwell kv-disk`: keys and values that are kept on disk.
#include "apps/kv_disk.hpp"

#include <charconv>
#include <optional>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "service/store/sqlite_blocks.hpp"

namespace deepwell::apps {

namespace {

constexpr std::uint64_t kLeastBytes = 64ULL << 20;

std::string directory_of_blocks(const Context& context) { return join_path(context.home, "kv"); }

struct KvDisk final : Command {
  bool shall_clear = false;
  std::string tenant;

  void declare(OptionTable& table) override {
    table.add_flag("--clear", &shall_clear, {"delete them", "删除这些内容"});
    table.add_text("--tenant", &tenant, "NAME", {"only those of this tenant", "仅限该租户的内容"});
  }

  Status run(const Context& context) override {
    const std::string directory = directory_of_blocks(context);
    std::optional<std::string> whose;
    if (!tenant.empty()) whose = tenant;
    DW_ASSIGN(const service::BlockUse use, shall_clear ? service::clear_blocks(directory, whose)
                                                       : service::look_at_blocks(directory, whose));
    return print_line(concat(shall_clear ? "deleted blocks=" : "blocks=", use.n_blocks,
                             " bytes=", use.n_bytes, " (", format_bytes(use.n_bytes), ")"));
  }
};

}  // namespace

Result<std::uint64_t> parse_bytes(const std::string& text) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [unit, failure] = std::from_chars(text.data(), end, number);
  constexpr std::string_view kUnits = "KMGT";
  const std::size_t power = unit == end ? 0 : kUnits.find(*unit) + 1;  // npos + 1 is 0
  const bool is_whole = unit == end || (power > 0 && unit + 1 == end);
  const int shift = static_cast<int>(10 * power);
  if (failure != std::errc() || !is_whole || (number << shift) >> shift != number) {
    return invalid_argument(
        concat("'", text, "' is no size: give a number with K, M, G or T, for example 8G"));
  }
  return number << shift;
}

void KvDiskOption::declare(OptionTable& table) {
  table.add_text(
      "--kv-disk", &size, "SIZE|off",
      {"keep keys and values of conversations on disk, encrypted, in at most so much (8G)",
       "在磁盘上加密保存对话的键值缓存，至多占用该空间（如 8G）"});
}

Result<std::uint64_t> KvDiskOption::max_bytes() const {
  if (size == "off" || size == "0") return std::uint64_t{0};
  const auto n_bytes = parse_bytes(size);
  if (!n_bytes) return invalid_argument(concat("--kv-disk: ", n_bytes.error().message));
  if (*n_bytes < kLeastBytes)
    return invalid_argument(
        concat("--kv-disk: ", size, " is too little; give at least 64M or off"));
  return *n_bytes;
}

Result<std::shared_ptr<engine::BlockStore>> KvDiskOption::open(const Context& context) const {
  DW_ASSIGN(const std::uint64_t n_bytes, max_bytes());
  if (n_bytes == 0) return std::shared_ptr<engine::BlockStore>();
  return service::open_sqlite_blocks(
      {.directory = directory_of_blocks(context), .max_bytes = n_bytes}, *context.log);
}

extern const CommandEntry kCommand_kv_disk;
const CommandEntry kCommand_kv_disk = make_command<KvDisk>(
    "kv-disk",
    {"show or delete keys and values that are kept on disk", "查看或删除磁盘上的键值缓存"});

}  // namespace deepwell::apps
