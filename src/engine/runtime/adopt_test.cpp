// A second engine on the memory of a first that died: few tokens are computed, the same ones come out.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <random>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/child_process.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

constexpr std::uint32_t kVerifyTok = 8;

class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("test", MFD_CLOEXEC)) {}
  ~MemoryFile() { ::close(fd_); }
  int fd() const { return fd_; }
  off_t n_bytes() const { return ::lseek(fd_, 0, SEEK_END); }

 private:
  int fd_;
};

EngineOptions options_of(int kv_fd, const char* model = "llama-tied-gqa2-d16-f16") {
  return {.load = {.path = (kTinyGoldens / (std::string(model) + ".gguf")).string(),
                   .n_threads = 2,
                   .n_ctx_tok = 256,
                   .kv_fd = kv_fd},
          .name = "tiny",
          .n_parallel = 4};
}

std::unique_ptr<Engine> open_engine(const EngineOptions& options) {
  auto engine = Engine::open(options, null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest request_of(int stream) {
  std::vector<TokenId> prompt;
  for (int t = 0; t < 37 + 9 * stream; ++t) prompt.push_back((t * 7 + stream * stream) % 250);
  const bool is_greedy = stream == 0;
  return {.prompt = prompt,
          .sampling = {.temperature = is_greedy ? 0.0F : 0.9F,
                       .repetition_penalty = is_greedy ? 1.0F : 1.2F,
                       .seed = static_cast<std::uint64_t>(stream)},
          .max_tokens = 150,
          .ignore_end = true,
          .tenant = stream == 2 ? "other" : "some"};
}
constexpr int kStreams = 4;

/// Ids that reached the readers, in memory that outlives them.
struct Told {
  struct Stream {
    std::atomic<std::uint32_t> n;
    std::array<TokenId, 256> ids;
    std::vector<TokenId> known() const { return {ids.begin(), ids.begin() + n.load()}; }
  };
  std::array<Stream, kStreams> streams;

  static Told* make() {
    return static_cast<Told*>(
        ::mmap(nullptr, sizeof(Told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  }
};

class TellingSink final : public GenerationSink {
 public:
  TellingSink(Told::Stream& stream, std::chrono::microseconds pace)
      : stream_(stream), pace_(pace) {}
  void on_event(GenerationEvent event) override {
    std::this_thread::sleep_for(pace_);
    for (const TokenId id : event.ids) {
      const std::uint32_t n = stream_.n.load();
      stream_.ids[n] = id;
      stream_.n.store(n + 1);
    }
    if (event.is_last()) is_done.store(true);
  }

  std::atomic<bool> is_done{false};

 private:
  Told::Stream& stream_;
  std::chrono::microseconds pace_;
};

GenerateRequest resumed(int stream, const Told& told) {
  GenerateRequest request = request_of(stream);
  request.generated = told.streams[static_cast<std::size_t>(stream)].known();
  request.n_verify_tok = kVerifyTok;
  return request;
}

/// Goes on with all streams until the process is killed, or to their ends.
void run_streams(int kv_fd, Told& told, std::chrono::microseconds pace = {}) {
  auto engine = open_engine(options_of(kv_fd));
  std::vector<std::shared_ptr<TellingSink>> sinks;
  for (int s = 0; s < kStreams; ++s) {
    sinks.push_back(std::make_shared<TellingSink>(told.streams[static_cast<std::size_t>(s)], pace));
    ASSERT_TRUE(engine->submit(resumed(s, told), sinks.back()));
  }
  for (const auto& sink : sinks) {
    while (!sink->is_done.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::vector<std::vector<TokenId>> undisturbed() {
  auto engine = open_engine(options_of(-1));
  std::vector<std::vector<TokenId>> answers;
  for (int s = 0; s < kStreams; ++s) answers.push_back(run_to_end(*engine, request_of(s))->ids());
  return answers;
}

TEST(AdoptedArena, SparesASuccessorAllButTheLastTokens) {
  const auto expected = undisturbed();
  MemoryFile file;
  Told* told = Told::make();
  const pid_t child =
      start_child([&] { run_streams(file.fd(), *told, std::chrono::microseconds(500)); });
  while (told->streams[1].n.load() < 60) std::this_thread::yield();
  ::kill(child, SIGKILL);
  EXPECT_TRUE(WIFSIGNALED(wait_child(child)));

  auto engine = open_engine(options_of(file.fd()));
  std::uint64_t n_computed = 0;
  for (int s = 0; s < kStreams; ++s) {
    ASSERT_LT(told->streams[static_cast<std::size_t>(s)].n.load(), 150U) << "killed too late";
    const auto sink = run_to_end(*engine, resumed(s, *told));
    EXPECT_EQ(expected[static_cast<std::size_t>(s)], sink->ids()) << s;
    EXPECT_EQ(0U, sink->n_mismatched_tok()) << s;
    EXPECT_EQ(request_of(s).prompt.size(), sink->n_cached_tok()) << s;
    EXPECT_LE(engine->status().n_prompt_tok - n_computed, 16U) << s;
    n_computed = engine->status().n_prompt_tok;
  }
  ::munmap(told, sizeof(Told));
}

TEST(AdoptedArena, SurvivesDeathAtAnyMoment) {
  const auto expected = undisturbed();
  MemoryFile file;
  std::mt19937 random(4);
  for (int round = 0; round < 12; ++round) {
    Told* told = Told::make();
    for (int death = 0; death < 5; ++death) {
      const pid_t child = start_child([&] { run_streams(file.fd(), *told); });
      std::this_thread::sleep_for(std::chrono::microseconds(3000 + random() % 6000));
      ::kill(child, SIGKILL);
      const int status = wait_child(child);
      EXPECT_TRUE(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) << status;
    }
    EXPECT_EQ(0, wait_child(start_child([&] { run_streams(file.fd(), *told); })));
    for (std::size_t s = 0; s < kStreams; ++s)
      EXPECT_EQ(expected[s], told->streams[s].known()) << "round " << round << ", stream " << s;
    ::munmap(told, sizeof(Told));
  }
}

/// Fills the arena in `file` with two streams, by an engine that ends in peace.
void fill(const MemoryFile& file) {
  auto engine = open_engine(options_of(file.fd()));
  for (const int s : {0, 1}) run_to_end(*engine, request_of(s));
}

void expect_right_answers(const MemoryFile& file, std::uint32_t n_cached_tok_at_most,
                          const char* model = "llama-tied-gqa2-d16-f16") {
  std::vector<std::vector<TokenId>> expected;
  {
    auto engine = open_engine(options_of(-1, model));
    for (const int s : {0, 1}) expected.push_back(run_to_end(*engine, request_of(s))->ids());
  }
  auto engine = open_engine(options_of(file.fd(), model));
  for (const std::size_t s : {0U, 1U}) {
    const auto sink = run_to_end(*engine, request_of(static_cast<int>(s)));
    EXPECT_EQ(expected[s], sink->ids());
    EXPECT_LE(sink->n_cached_tok(), n_cached_tok_at_most);
  }
}

TEST(AdoptedArena, KeepsWhatAnEndedEngineComputed) {
  MemoryFile file;
  fill(file);
  auto engine = open_engine(options_of(file.fd()));
  EXPECT_EQ(32U, run_to_end(*engine, request_of(0))->n_cached_tok());
}

TEST(AdoptedArena, RefusesBlocksWithAFlippedBit) {
  MemoryFile file;
  fill(file);
  auto* bytes = static_cast<std::byte*>(::mmap(nullptr, static_cast<std::size_t>(file.n_bytes()),
                                               PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0));
  std::string fingerprint = open_engine(options_of(-1))->describe().fingerprint;
  {
    LoadedModel model = load_or_die(options_of(-1).load);
    const HyperParams& hp = model.model->hyper;
    const KvShape shape{hp.n_layers, hp.n_kv_heads, hp.d_head, KvType::kF16};
    auto arena = KvArena::open(file.fd(), {.fingerprint = fingerprint, .shape = shape},
                               KvArena::find_blocks(file.fd(), {fingerprint, shape}));
    ASSERT_TRUE(arena);
    std::uint32_t n_whole = 0;
    for (std::uint32_t b = 0; b < arena->n_blocks(); ++b) {
      if (!arena->is_whole(b)) continue;
      ++n_whole;
      arena->blocks()[b * kv_block_bytes(shape) + b * 13 % kv_block_bytes(shape)] ^= std::byte{16};
    }
    EXPECT_GT(n_whole, 10U);
  }
  ::munmap(bytes, static_cast<std::size_t>(file.n_bytes()));
  expect_right_answers(file, 0);
}

TEST(AdoptedArena, StartsEmptyAfterAnotherModel) {
  MemoryFile file;
  fill(file);
  expect_right_answers(file, 0, "llama-linear-gqa4-d16-f16");
}

TEST(AdoptedArena, StartsEmptyWithAnotherTypeOfKeysAndValues) {
  MemoryFile file;
  fill(file);
  EngineOptions options = options_of(file.fd());
  options.load.kv_type = KvType::kQ8;
  std::string of_f16 = open_engine(options_of(-1))->describe().fingerprint;
  auto engine = open_engine(options);
  EXPECT_NE(of_f16, engine->describe().fingerprint);
  EXPECT_EQ(0U, run_to_end(*engine, request_of(0))->n_cached_tok());
}

TEST(AdoptedArena, StartsEmptyOverATruncatedFile) {
  MemoryFile file;
  fill(file);
  ASSERT_EQ(0, ::ftruncate(file.fd(), file.n_bytes() / 2));
  expect_right_answers(file, 0);
}

TEST(AdoptedArena, IsNotFooledByGarbage) {
  MemoryFile file;
  fill(file);
  const auto n_bytes = static_cast<std::size_t>(file.n_bytes());
  std::mt19937 random(8);
  // Behind the header; then all of it.
  for (const std::size_t begin : {4096U, 0U}) {
    auto* words = static_cast<std::uint32_t*>(
        ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0));
    for (std::size_t i = begin / 4; i < n_bytes / 4; ++i)
      words[i] = random() % 8 == 0 ? KvBlockEntry::kWhole : static_cast<std::uint32_t>(random());
    for (std::size_t b = 0; begin != 0 && b < 32; ++b) words[1024 + 32 * b] = KvBlockEntry::kWhole;
    ::munmap(words, n_bytes);
    expect_right_answers(file, 0);
  }
}

TEST(AdoptedArena, BelongsToOneProcess) {
  MemoryFile file;
  std::array<int, 2> pipe{};
  ASSERT_EQ(0, ::pipe(pipe.data()));
  const pid_t child = start_child([&] {
    auto engine = open_engine(options_of(file.fd()));
    EXPECT_EQ(1, ::write(pipe[1], "x", 1));
    ::pause();
  });
  char ready = 0;
  ASSERT_EQ(1, ::read(pipe[0], &ready, 1));
  struct Warnings final : Log {
    void write(LogLevel level, std::string_view) override {
      if (level == LogLevel::kWarn) has_warned.store(true);
    }
    std::atomic<bool> has_warned{false};
  } log;
  const auto second = Engine::open(options_of(file.fd()), log);
  ::kill(child, SIGKILL);
  wait_child(child);
  ASSERT_TRUE(second);  // it works, with an arena of its own
  EXPECT_TRUE(log.has_warned.load());
  EXPECT_TRUE(Engine::open(options_of(file.fd()), null_log()));
  ::close(pipe[0]);
  ::close(pipe[1]);
}

TEST(AdoptedArena, NeedsAFileThatCanBeSized) {
  const auto engine = Engine::open(options_of(12345), null_log());
  ASSERT_FALSE(engine);
  EXPECT_NE(std::string::npos, engine.error().message.find("arena")) << engine.error().message;
}

TEST(Engine, FindsTheEarlierTurnOfAConversation) {
  auto engine = open_engine(options_of(-1));
  GenerateRequest turn = request_of(0);
  turn.max_tokens = 40;
  const auto first = run_to_end(*engine, turn);
  EXPECT_EQ(0U, first->n_cached_tok());
  const auto ids = first->ids();
  turn.prompt.insert(turn.prompt.end(), ids.begin(), ids.end());
  turn.prompt.insert(turn.prompt.end(), {1, 2, 3});
  const auto cached = run_to_end(*engine, turn);
  EXPECT_EQ(64U, cached->n_cached_tok());  // 37 + 40 tokens, the last of which was never computed
  turn.tenant = "another";
  const auto alone = run_to_end(*engine, turn);
  EXPECT_EQ(0U, alone->n_cached_tok());
  EXPECT_EQ(alone->ids(), cached->ids());
}

}  // namespace
}  // namespace deepwell::engine
