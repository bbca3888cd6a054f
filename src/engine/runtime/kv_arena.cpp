// The arena's header, and the order in which entries are written.
#include "engine/runtime/kv_arena.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/checksum.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint64_t kMagic = 0x414B'4C4C'4557'5044;  // "DPWELLKA" in memory
constexpr std::uint32_t kLayoutVersion = 1;              // of header, entries and blocks
constexpr std::uint64_t kPage = 4096;

/// At the start of the memory, in a page of its own.
struct Header {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint32_t n_blocks;
  std::uint64_t n_bytes;  // of all
  std::uint32_t n_layers, n_kv_heads, d_head, kv_type;
  char fingerprint[64];  // ends with zeros

  bool operator==(const Header&) const = default;
};
static_assert(sizeof(Header) <= kPage);

constexpr std::uint64_t round_up(std::uint64_t n) { return (n + kPage - 1) / kPage * kPage; }

struct Extent {
  std::uint64_t entries, payload, end;  // offsets in bytes
};

Extent extent_of(const KvShape& shape, std::uint32_t n_blocks) {
  const std::uint64_t payload = round_up(kPage + sizeof(KvBlockEntry) * std::uint64_t{n_blocks});
  return {kPage, payload, payload + kv_block_bytes(shape) * n_blocks};
}

Header header_of(const KvArenaKey& key, std::uint32_t n_blocks) {
  Header header{.magic = kMagic,
                .layout_version = kLayoutVersion,
                .n_blocks = n_blocks,
                .n_bytes = extent_of(key.shape, n_blocks).end,
                .n_layers = key.shape.n_layers,
                .n_kv_heads = key.shape.n_kv_heads,
                .d_head = key.shape.d_head,
                .kv_type = static_cast<std::uint32_t>(key.shape.type)};
  std::copy_n(key.fingerprint.begin(),
              std::min(key.fingerprint.size(), sizeof header.fingerprint - 1), header.fingerprint);
  return header;
}

/// Two processes that write one arena would each spoil what the other computes. The lock ends with the process, so a
/// successor of a dead one gets it at once.
Status lock_for_this_process(int fd) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  if (::fcntl(fd, F_SETLK, &lock) == 0) return {};
  if (errno != EAGAIN && errno != EACCES) return errno_error(errno, "lock", "the key/value arena");
  return Error{Code::kAborted, "another process still has the key/value arena"};
}

}  // namespace

std::uint32_t KvArena::find_blocks(int fd, const KvArenaKey& key) {
  Header header{};
  struct ::stat file {};
  if (fd < 0 || ::fstat(fd, &file) != 0) return 0;
  if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return 0;
  const bool is_ours = header == header_of(key, header.n_blocks) &&
                       static_cast<std::uint64_t>(file.st_size) == header.n_bytes;
  return is_ours ? header.n_blocks : 0;
}

Result<KvArena> KvArena::open(int fd, const KvArenaKey& key, std::uint32_t n_blocks) {
  const Extent extent = extent_of(key.shape, n_blocks);
  KvArena arena;
  arena.block_bytes_ = kv_block_bytes(key.shape);
  arena.n_blocks_ = n_blocks;
  bool is_adopted = false;
  if (fd >= 0) {
    DW_TRY(lock_for_this_process(fd));
    is_adopted = find_blocks(fd, key) == n_blocks;
    // To nothing first: that zeroes everything and gives the memory back.
    if (!is_adopted &&
        (::ftruncate(fd, 0) != 0 || ::ftruncate(fd, static_cast<off_t>(extent.end)) != 0)) {
      return errno_error(errno, "size", "the key/value arena");
    }
    DW_ASSIGN(arena.memory_, CpuMemory::map_shared(fd, 0, extent.end));
  } else {
    DW_ASSIGN(arena.memory_, CpuMemory::allocate(extent.end));
  }
  std::byte* const base = arena.memory_.data();
  arena.entries_ = reinterpret_cast<KvBlockEntry*>(base + extent.entries);
  arena.payload_ = base + extent.payload;
  if (!is_adopted) {
    const Header header = header_of(key, n_blocks);
    Header& place = *reinterpret_cast<Header*>(base);
    place = header;  // half of it is no header, and after it all entries are empty
  }
  return arena;
}

bool KvArena::is_whole(std::uint32_t block) const {
  return entries_[block].state.load(std::memory_order_acquire) == KvBlockEntry::kWhole;
}

void KvArena::forget(std::uint32_t block) {
  entries_[block].state.store(KvBlockEntry::kEmpty, std::memory_order_relaxed);
  // Nothing of the block may be overwritten before its entry has stopped vouching for it.
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

void KvArena::commit(std::uint32_t block, const BlockName& name, const BlockName& parent,
                     BlockIds ids) {
  KvBlockEntry& e = entries_[block];
  forget(block);
  e.checksum = checksum64(bytes_of(block), name.word());
  e.name = name;
  e.parent = parent;
  std::copy(ids.begin(), ids.end(), e.ids.begin());
  e.released_at.store(KvBlockEntry::kInUse, std::memory_order_relaxed);
  e.state.store(KvBlockEntry::kWhole, std::memory_order_release);
}

bool KvArena::holds(std::uint32_t block, const BlockName& name, const BlockName& parent,
                    BlockIds ids) const {
  const KvBlockEntry& e = entries_[block];
  return is_whole(block) && e.name == name && e.parent == parent &&
         std::equal(ids.begin(), ids.end(), e.ids.begin());
}

bool KvArena::has_right_bytes(std::uint32_t block) const {
  const KvBlockEntry& e = entries_[block];
  return checksum64(bytes_of(block), e.name.word()) == e.checksum;
}

void KvArena::set_released_at(std::uint32_t block, std::uint64_t count) {
  entries_[block].released_at.store(count, std::memory_order_relaxed);
}

}  // namespace deepwell::engine
