// Which slabs stay, which pass through the window, and that nothing ever waits for ever.
#include "engine/device/cpu/weight_stream.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <string>

namespace deepwell::engine {
namespace {

constexpr std::uint64_t kSlab = 8 << 10;
constexpr std::uint64_t kSlabs = 40;

/// A file of its own, on the disk of the working directory; mapped.
class StreamedFile {
 public:
  StreamedFile() : path_("weight-stream-XXXXXX") {
    fd_ = ::mkstemp(path_.data());
    EXPECT_GE(fd_, 0);
    ::unlink(path_.c_str());
    const std::string slab(kSlab, 'x');
    for (std::uint64_t i = 0; i < kSlabs; ++i)
      EXPECT_EQ(static_cast<ssize_t>(kSlab), ::write(fd_, slab.data(), kSlab));
    EXPECT_EQ(0, ::fdatasync(fd_));  // pages that are not on disk cannot be dropped
    auto memory = CpuMemory::map_shared(fd_, 0, kSlab * kSlabs, CpuMemory::Access::kRead);
    EXPECT_TRUE(memory);
    memory_ = std::move(*memory);
    // A fault reads megabytes around it otherwise, and the file is no larger.
    ::madvise(memory_.data(), memory_.n_bytes(), MADV_RANDOM);
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  }
  ~StreamedFile() { ::close(fd_); }

  WeightStreamOptions options() {
    return {.fd = fd_,
            .bytes = &memory_,
            .first_used = 10 * kSlab + 100,
            .n_together_bytes = kSlab,
            .slab_bytes = kSlab,
            .budget_bytes = [this] { return n_budget_slabs.load() * kSlab; },
            .log = &null_log()};
  }
  /// Uses the file as a step does.
  void run_step(WeightStream& stream, bool has_outputs) {
    stream.begin_step(has_outputs);
    use(stream, 10 * kSlab + 100, kSlabs * kSlab);
    if (has_outputs) use(stream, 4096, 10 * kSlab + 100);
  }
  /// Pieces smaller than slabs, which end anywhere.
  void use(WeightStream& stream, std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t at = begin; at < end;) {
      at = std::min(end, at + kSlab / 3 * 2);
      stream.await(at);
      EXPECT_EQ(std::byte{'x'}, memory_.data()[at - 1]);
      stream.release(at);
    }
  }
  /// Of the file, in memory.
  std::uint64_t n_resident_slabs() const {
    std::vector<unsigned char> pages(kSlab * kSlabs / 4096);
    EXPECT_EQ(0, ::mincore(const_cast<std::byte*>(memory_.data()), kSlab * kSlabs, pages.data()));
    std::uint64_t n = 0;
    for (const unsigned char page : pages) n += page & 1U;
    return n * 4096 / kSlab;
  }

  /// A file system of memory does not.
  bool can_drop() const { return n_resident_slabs() == 0; }

  std::atomic<std::uint64_t> n_budget_slabs{16};

 private:
  std::string path_;
  int fd_ = -1;
  CpuMemory memory_;
};

TEST(WeightStream, ServesStepsWithAndWithoutOutputsWhateverTheBudget) {
  for (const std::uint64_t n_budget : {0U, 5U, 16U, 30U, 100U}) {
    StreamedFile file;
    file.n_budget_slabs = n_budget;
    WeightStream stream(file.options());
    for (const bool has_outputs : {true, true, false, false, true, false, true})
      file.run_step(stream, has_outputs);
    EXPECT_LE(stream.n_kept_bytes(), kSlabs * kSlab);
  }
}

TEST(WeightStream, HasReadWhatItWasAskedToWaitFor) {
  StreamedFile file;
  WeightStream stream(file.options());
  stream.begin_step(true);
  stream.await(12 * kSlab);
  EXPECT_TRUE(stream.has_read(11 * kSlab));
  EXPECT_TRUE(stream.has_read(12 * kSlab));
  EXPECT_FALSE(stream.has_read(5 * kSlab));  // used last
}

TEST(WeightStream, KeepsAPartAndLetsGoOfTheRest) {
  StreamedFile file;
  if (!file.can_drop()) GTEST_SKIP() << "the working directory is memory";
  WeightStream stream(file.options());
  for (int step = 0; step < 4; ++step) file.run_step(stream, true);
  EXPECT_EQ(8 * kSlab, stream.n_kept_bytes());  // half; the rest is its window
  stream.begin_step(true);
  stream.await(11 * kSlab);
  // 8 + 8, the slab where a step begins and ends, and what the kernel does not let go of at once.
  EXPECT_LE(file.n_resident_slabs(), 24U);
}

TEST(WeightStream, KeepsLessWhenMemoryIsWantedElsewhere) {
  StreamedFile file;
  if (!file.can_drop()) GTEST_SKIP() << "the working directory is memory";
  file.n_budget_slabs = 100;
  WeightStream stream(file.options());
  for (int step = 0; step < 3; ++step) file.run_step(stream, true);
  EXPECT_EQ(kSlabs * kSlab, stream.n_kept_bytes());
  EXPECT_EQ(kSlabs, file.n_resident_slabs());
  file.n_budget_slabs = 8;
  std::this_thread::sleep_for(std::chrono::milliseconds(150));  // it asks now and then
  for (int step = 0; step < 3; ++step) file.run_step(stream, true);
  EXPECT_EQ(4 * kSlab, stream.n_kept_bytes());
  EXPECT_LE(file.n_resident_slabs(), 16U);
}

TEST(WeightStream, GoesOnAfterAStepThatWasAbandonedOrSkippedSomething) {
  StreamedFile file;
  WeightStream stream(file.options());
  for (int round = 0; round < 5; ++round) {
    stream.begin_step(true);
    file.use(stream, 12 * kSlab, 20 * kSlab);  // begins late, ends early
    file.run_step(stream, round % 2 == 0);
  }
}

TEST(WeightStream, DoesNotWaitForMoreThanItsWindow) {
  StreamedFile file;
  file.n_budget_slabs = 0;
  WeightStream stream(file.options());
  stream.begin_step(true);
  stream.await(kSlabs * kSlab);  // nothing was released: it must give up
  EXPECT_FALSE(stream.has_read(kSlabs * kSlab));
  file.use(stream, 10 * kSlab + 100, kSlabs * kSlab);
}

}  // namespace
}  // namespace deepwell::engine
