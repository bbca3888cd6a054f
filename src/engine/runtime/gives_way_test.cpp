// A step full of one tenant's prompts is given up when another tenant comes for the first time, and nobody's tokens change.
#include <gtest/gtest.h>

#include <string>

#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t kLongTok = 480;
constexpr int kCrowd = 16;  // long prompts

/// By the scalar kernels its steps of 96 rows are so slow that a test can act in the middle of them.
std::unique_ptr<Engine> open_engine(std::optional<Isa> isa) {
  EngineOptions options;
  options.load.path = (kTinyGoldens / "llama-tied-gqa4-d64-q5_k-mix.gguf").string();
  options.load.isa = isa;
  options.load.n_threads = 1;
  options.load.n_ctx_tok = 512;
  options.load.n_max_rows = 96;
  options.name = "tiny";
  options.n_parallel = 4;
  options.n_mixed_budget_tok = 16;
  options.n_max_waiting = 10'000;
  auto engine = Engine::open(std::move(options), null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest request_of(const std::string& tenant, int number, std::uint32_t n_prompt) {
  GenerateRequest request;
  for (std::uint32_t t = 0; t < n_prompt; ++t)
    request.prompt.push_back(
        static_cast<TokenId>((t * 7 + static_cast<std::uint32_t>(number)) % 250));
  request.sampling = {.temperature = 0.9F, .seed = static_cast<std::uint64_t>(number)};
  request.max_tokens = 3;
  request.ignore_end = true;
  request.tenant = tenant;
  return request;
}

/// What sinks hear, in the order in which they hear it.
class Tape {
 public:
  void add(int who) {
    const std::lock_guard lock(mutex_);
    heard_.push_back(who);
    changed_.notify_all();
  }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return heard_.size();
  }
  void wait_beyond(std::size_t n) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, 60s, [&] { return heard_.size() > n; }));
  }
  int at(std::size_t i) const {
    const std::lock_guard lock(mutex_);
    return heard_.at(i);
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<int> heard_;
};

class TapedSink final : public GenerationSink {
 public:
  TapedSink(Tape& tape, int who) : tape_(tape), who_(who) {}
  void on_event(GenerationEvent event) override {
    tape_.add(who_);
    collector_.on_event(std::move(event));
  }
  Collector& collector() { return collector_; }

 private:
  Tape& tape_;
  int who_;
  Collector collector_;
};

struct Crowd {
  Crowd() {
    for (int i = 0; i < kCrowd; ++i) sinks.push_back(submit("many", i, kLongTok));
  }
  std::shared_ptr<TapedSink> submit(const std::string& tenant, int number, std::uint32_t n_prompt) {
    auto sink = std::make_shared<TapedSink>(tape, number);
    EXPECT_TRUE(engine->submit(request_of(tenant, number, n_prompt), sink));
    return sink;
  }
  Tape tape;
  std::vector<std::shared_ptr<TapedSink>> sinks;
  std::unique_ptr<Engine> engine =
      open_engine(Isa::kScalar);  // last: it tells the sinks of its end
};

TEST(GivesWay, ToANewTenantInTheMiddleOfAStep) {
  const auto alone = open_engine(std::nullopt);
  Crowd crowd;
  int n_at_once = 0;
  constexpr int kNewcomers = 12;
  for (int number = 100; number < 100 + kNewcomers; ++number) {
    crowd.tape.wait_beyond(crowd.tape.size());  // a step has just ended and the next begun
    std::this_thread::sleep_for(1ms);
    const std::size_t n_before = crowd.tape.size();
    const std::string tenant = std::to_string(number);
    const auto newcomer = crowd.submit(tenant, number, 20);
    crowd.tape.wait_beyond(n_before);
    n_at_once += crowd.tape.at(n_before) == number ? 1 : 0;
    newcomer->collector().wait_done();
    EXPECT_EQ(newcomer->collector().ids(),
              run_to_end(*alone, request_of(tenant, number, 20))->ids());
  }
  // Without giving way the step's owner is always heard first. Who comes in its last layer waits for its end, too: on a
  // loaded machine that may be many.
  EXPECT_GE(n_at_once, 2) << "of " << kNewcomers;
  for (int i = 0; i < kCrowd; ++i) {
    Collector& collector = crowd.sinks[static_cast<std::size_t>(i)]->collector();
    collector.wait_done();
    EXPECT_EQ(collector.ids(), run_to_end(*alone, request_of("many", i, kLongTok))->ids());
  }
}

}  // namespace
}  // namespace deepwell::engine
