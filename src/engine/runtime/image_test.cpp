// Packed weights in a memory file: packed once, by whoever comes first and lives.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/memory_plan.hpp"
#include "engine/runtime/testing/child_process.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

constexpr const char* kModel = "qwen2-tied-gqa4-d64-k-mix";
constexpr const char* kOther = "llama-tied-gqa2-d16-f16";

class ImageFile {
 public:
  ImageFile() : fd_(::memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING)) {}
  ~ImageFile() { ::close(fd_); }
  int fd() const { return fd_; }
  /// From now on nobody can pack into it.
  void seal() const {
    ASSERT_EQ(0, ::fcntl(fd_, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK));
  }

 private:
  int fd_;
};

LoadOptions options_of(int image_fd, const char* model = kModel) {
  return {.path = (kTinyGoldens / (std::string(model) + ".gguf")).string(),
          .n_threads = 1,
          .image_fd = image_fd};
}

std::vector<float> logits_of(LoadedModel& model) {
  std::vector<std::uint32_t> blocks;
  model.blocks.take(1, blocks);
  StepBatch batch;
  const std::vector<TokenId> tokens{5, 6, 7, 200};
  batch.add(tokens, 0, blocks, Outputs::kLast);
  model.forward(batch);
  model.blocks.release(blocks);
  const auto logits = model.logits(0);
  return {logits.begin(), logits.end()};
}

std::vector<float> expected_logits(const char* model = kModel) {
  LoadedModel alone = load_or_die(options_of(-1, model));
  return logits_of(alone);
}

void expect_right(LoadedModel& model, const char* name = kModel) {
  EXPECT_EQ(expected_logits(name), logits_of(model));
}

/// A log that knows whether it was warned.
struct Warnings final : Log {
  void write(LogLevel level, std::string_view) override {
    if (level == LogLevel::kWarn) has_any.store(true);
  }
  std::atomic<bool> has_any{false};
};

/// Loads, and expects what the model computes to be right. Whether it warned on the way.
bool warns_and_is_right(LoadOptions options, const char* name = kModel) {
  Warnings log;
  options.log = &log;
  LoadedModel model = load_or_die(options);
  expect_right(model, name);
  return log.has_any.load();
}

class Pipe {
 public:
  Pipe() { EXPECT_EQ(0, ::pipe(ends_)); }
  ~Pipe() {
    ::close(ends_[0]);
    ::close(ends_[1]);
  }
  void tell() const { EXPECT_EQ(1, ::write(ends_[1], "x", 1)); }
  void wait() const {
    char c = 0;
    EXPECT_EQ(1, ::read(ends_[0], &c, 1));
  }

 private:
  int ends_[2] = {-1, -1};
};

TEST(WeightsImage, SparesASuccessorThePacking) {
  ImageFile file;
  EXPECT_EQ(0, wait_child(start_child([&] {
              LoadedModel first = load_or_die(options_of(file.fd()));
              expect_right(first);
            })));
  file.seal();
  EXPECT_FALSE(warns_and_is_right(options_of(file.fd())));
}

TEST(WeightsImage, IsPackedAnewAfterAPackerThatDiedHalfWay) {
  ImageFile file;
  for (const double fraction : {0.0, 0.3, 0.9, 1.0}) {
    EXPECT_TRUE(WIFSIGNALED(wait_child(start_child([&] {
      LoadOptions options = options_of(file.fd());
      options.on_progress = [fraction](double done) {
        if (done >= fraction) ::kill(::getpid(), SIGKILL);
      };
      load_or_die(options);
    }))));
    LoadedModel next = load_or_die(options_of(file.fd()));
    expect_right(next);
    ASSERT_EQ(0, ::ftruncate(file.fd(), 8192));  // damaged for the next round
  }
}

TEST(WeightsImage, IsPackedByOneWhileOthersWait) {
  ImageFile file;
  Pipe is_packing;
  const pid_t packer = start_child([&] {
    LoadOptions options = options_of(file.fd());
    options.on_progress = [&, has_told = false](double) mutable {
      if (!std::exchange(has_told, true)) is_packing.tell();
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    };
    LoadedModel model = load_or_die(options);
    expect_right(model);
  });
  is_packing.wait();
  std::vector<pid_t> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.push_back(
        start_child([&] { EXPECT_FALSE(warns_and_is_right(options_of(file.fd()))); }));
  }
  EXPECT_EQ(0, wait_child(packer));
  for (const pid_t child : waiting) EXPECT_EQ(0, wait_child(child));
}

TEST(WeightsImage, IsNotTakenFromWhoReadsIt) {
  ImageFile file;
  Pipe is_loaded, may_end;
  const pid_t reader = start_child([&] {
    LoadedModel model = load_or_die(options_of(file.fd()));
    is_loaded.tell();
    may_end.wait();
    expect_right(model);
  });
  is_loaded.wait();
  EXPECT_TRUE(warns_and_is_right(options_of(file.fd(), kOther), kOther));
  may_end.tell();
  EXPECT_EQ(0, wait_child(reader));
  // Nobody reads it any more: it is the other's now.
  EXPECT_FALSE(warns_and_is_right(options_of(file.fd(), kOther), kOther));
}

TEST(WeightsImage, WithAnotherWeightIsNotUsed) {
  ImageFile file;
  wait_child(start_child([&] { load_or_die(options_of(file.fd())); }));
  const off_t n_bytes = ::lseek(file.fd(), 0, SEEK_END);
  std::vector<std::byte> bytes(static_cast<std::size_t>(n_bytes));
  ASSERT_EQ(n_bytes, ::pread(file.fd(), bytes.data(), bytes.size(), 0));
  // Whatever is not zero in the last page is the last weight's only checksum, behind its label.
  std::size_t last = bytes.size() - 1;
  while (bytes[last] == std::byte{0}) --last;
  last -= 2 * sizeof(std::uint64_t);
  const std::byte flipped = bytes[last] ^ std::byte{1};
  ASSERT_EQ(1, ::pwrite(file.fd(), &flipped, 1, static_cast<off_t>(last)));
  EXPECT_TRUE(warns_and_is_right(options_of(file.fd())));
}

/// A directory of its own, for images on disk.
class ImageDirectory {
 public:
  ImageDirectory() : path_(std::filesystem::current_path() / "deepwell-image-XXXXXX") {
    EXPECT_NE(nullptr, ::mkdtemp(path_.data()));
  }
  ~ImageDirectory() { std::filesystem::remove_all(path_); }
  LoadOptions options(Log* log = nullptr) const {
    LoadOptions options = options_of(-1);
    options.image_directory = path_;
    options.content_sha256 = "5eed";
    options.log = log;
    return options;
  }
  std::string file() const { return path_ + "/5eed.packed"; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST(WeightsImage, OnDiskSparesTheNextStartThePacking) {
  ImageDirectory directory;
  Warnings log;
  {
    LoadedModel first = load_or_die(directory.options(&log));
    expect_right(first);
  }
  const auto written = std::filesystem::last_write_time(directory.file());
  for (int i = 0; i < 2; ++i) {
    LoadedModel next = load_or_die(directory.options(&log));
    expect_right(next);
  }
  EXPECT_EQ(written, std::filesystem::last_write_time(directory.file()));
  EXPECT_FALSE(log.has_any.load());
}

/// Flips a bit of the file's byte.
void damage(int fd, off_t at) {
  char byte = 0;
  ASSERT_EQ(1, ::pread(fd, &byte, 1, at));
  byte = static_cast<char>(byte ^ 4);
  ASSERT_EQ(1, ::pwrite(fd, &byte, 1, at));
}

std::string content_of(int fd) {
  std::string content(static_cast<std::size_t>(::lseek(fd, 0, SEEK_END)), '\0');
  EXPECT_EQ(static_cast<ssize_t>(content.size()), ::pread(fd, content.data(), content.size(), 0));
  return content;
}

TEST(WeightsImage, IsRepairedBeforeADamagedByteIsUsed) {
  ImageDirectory directory;
  Warnings log;
  { LoadedModel first = load_or_die(directory.options(&log)); }
  const int fd = ::open(directory.file().c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  const std::string whole = content_of(fd);
  std::size_t last_sum = whole.size() - 1;
  while (whole[last_sum] == 0) --last_sum;
  // In the tied embedding, in the last layer's last matrix, in its checksum.
  const auto end = static_cast<off_t>(last_sum);
  for (const off_t at : {off_t{4096 + 100}, end - 200, end}) {
    damage(fd, at);
    ASSERT_FALSE(log.has_any.load());
    {
      LoadedModel second = load_or_die(directory.options(&log));
      EXPECT_FALSE(log.has_any.load()) << "no start waits for it";
      expect_right(second);
      EXPECT_TRUE(log.has_any.exchange(false));
      EXPECT_TRUE(whole == content_of(fd)) << "damage at " << at;
      damage(fd, at);  // after its first use it is this process's memory as any other
      damage(fd, at);
    }
    EXPECT_FALSE(warns_and_is_right(directory.options()));
  }
  ::close(fd);
}

TEST(WeightsImage, ThatIsDamagedAndCannotBeWrittenGivesItsWeightToMemory) {
  ImageFile file;
  EXPECT_EQ(0, wait_child(start_child([&] { load_or_die(options_of(file.fd())); })));
  damage(file.fd(), 4096 + 100);
  file.seal();
  EXPECT_TRUE(warns_and_is_right(options_of(file.fd())));
}

TEST(WeightsImage, OnDiskIsDoneWithoutWhereThereIsNoRoomOrNoDirectory) {
  ImageDirectory directory;
  EXPECT_EQ(0, wait_child(start_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const ::rlimit limit{.rlim_cur = 100'000, .rlim_max = 100'000};
              ASSERT_EQ(0, ::setrlimit(RLIMIT_FSIZE, &limit));
              EXPECT_TRUE(warns_and_is_right(directory.options()));
            })));
  EXPECT_FALSE(std::filesystem::exists(directory.file()));
  LoadOptions options = directory.options();
  options.image_directory += "/nowhere";
  EXPECT_TRUE(warns_and_is_right(options));
}

TEST(WeightsImage, OnDiskIsNamedByAGivenHashOnly) {
  ImageDirectory directory;
  ImageFile file;
  LoadOptions options = options_of(file.fd());
  options.image_directory = directory.path();
  LoadedModel model = load_or_die(options);
  expect_right(model);
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(WeightsImage, LargerThanMemoryGivesTheSameLogits) {
  ImageDirectory directory;
  for (const char* name : {kModel, kOther, "qwen2-untied-gqa4-d64-iq4_xs-mix"}) {
    Warnings log;
    LoadOptions options = directory.options(&log);
    options.path = (kTinyGoldens / (std::string(name) + ".gguf")).string();
    options.content_sha256 = name;
    LoadedModel alone = load_or_die(options);
    for (const std::uint32_t n_threads : {1U, 2U}) {
      for (const bool is_first_start : {true, false}) {
        if (is_first_start) std::filesystem::remove(directory.path() + "/" + name + ".packed");
        options.n_threads = n_threads;
        const auto n_asked = std::make_shared<std::atomic<int>>(0);
        // The plan sees less than the weights and the work need; then there is nothing left, or all of it.
        const std::uint64_t n_later = is_first_start ? 0 : MemoryPlan::kWorkingBytes;
        options.available_bytes = [n_asked, n_later, n_weights = alone.device->weight_bytes()] {
          return n_asked->fetch_add(1) == 0 ? MemoryPlan::kWorkingBytes + n_weights / 2 : n_later;
        };
        options.stream_slab_bytes = 16 << 10;
        options.n_ctx_tok = 16;
        LoadedModel streamed = load_or_die(options);
        if (!streamed.image_file.is_on_disk) GTEST_SKIP() << "the working directory is memory";
        EXPECT_TRUE(streamed.is_streaming);
        EXPECT_TRUE(log.has_any.exchange(false)) << "it says so";
        for (int step = 0; step < 3; ++step) EXPECT_EQ(logits_of(alone), logits_of(streamed));
        EXPECT_FALSE(log.has_any.load());
      }
    }
  }
}

TEST(WeightsImage, LargerThanMemoryIsRepairedInItsFirstStep) {
  ImageDirectory directory;
  Warnings log;
  LoadOptions options = directory.options(&log);
  std::uint64_t n_weights = 0;
  { n_weights = load_or_die(options).device->weight_bytes(); }
  const int fd = ::open(directory.file().c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  const std::string whole = content_of(fd);
  for (off_t at = 4096 + 100; at < static_cast<off_t>(whole.size()); at += 50'000) damage(fd, at);
  const auto n_asked = std::make_shared<std::atomic<int>>(0);
  options.available_bytes = [n_asked, n_weights] {
    return n_asked->fetch_add(1) == 0 ? MemoryPlan::kWorkingBytes + n_weights / 2 : 0;
  };
  options.stream_slab_bytes = 16 << 10;
  options.n_ctx_tok = 16;
  LoadedModel streamed = load_or_die(options);
  if (!streamed.image_file.is_on_disk) GTEST_SKIP() << "the working directory is memory";
  expect_right(streamed);
  log.has_any = false;
  expect_right(streamed);
  EXPECT_FALSE(log.has_any.load());
  ::close(fd);
}

TEST(WeightsImage, LargerThanMemoryIsRefusedWhereThereIsNoDiskForIt) {
  LoadOptions options = options_of(-1);
  options.available_bytes = [] { return std::uint64_t{100'000}; };
  const auto model = LoadedModel::load(options);
  ASSERT_FALSE(model);
  EXPECT_EQ(Code::kResourceExhausted, model.error().code);
  EXPECT_NE(std::string::npos, model.error().message.find("--packed-image auto"))
      << model.error().message;
}

TEST(WeightsImage, NeedsAMemoryFile) {
  const auto model = LoadedModel::load(options_of(12345));
  ASSERT_FALSE(model);
  EXPECT_NE(std::string::npos, model.error().message.find("weights image"))
      << model.error().message;
}

}  // namespace
}  // namespace deepwell::engine
