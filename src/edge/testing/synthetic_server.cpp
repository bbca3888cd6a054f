// The whole server over the synthetic generator, for functional tests without a model. It prints its URL.
//   deepwell_synthetic_server [--thoughts] [--pace-us N] [--fail-at N] [--n-slots N] [--n-queue N]
//                             [--port N] [--api-key K]
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "cluster/synthetic/byte_tokenizer.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"
#include "edge/serve.hpp"
#include "edge/stop_signals.hpp"

namespace {

using namespace deepwell;

class StderrLog final : public Log {
 public:
  void write(LogLevel level, std::string_view line) override {
    if (level == LogLevel::kDebug) return;
    std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  }
};

}  // namespace

int main(int argc, char** argv) {
  edge::StopSignals signals;
  cluster::SyntheticOptions synthetic;
  edge::ServeOptions options;
  options.port = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--thoughts") {
      synthetic.chat_template = cluster::byte_chat_template(true);
      synthetic.script = [](const engine::GenerateRequest&) {
        return std::string("let me see, 让我想想</think>\n\nThe answer is 42 🙂");
      };
      continue;
    }
    if (++i == argc) return 2;
    const int number = std::atoi(argv[i]);
    if (flag == "--pace-us") synthetic.pace = std::chrono::microseconds(number);
    if (flag == "--port") options.port = static_cast<std::uint16_t>(number);
    if (flag == "--n-slots") synthetic.n_slots = static_cast<std::uint32_t>(number);
    if (flag == "--n-queue") synthetic.n_queue = static_cast<std::uint32_t>(number);
    if (flag == "--fail-at") synthetic.fail_at = static_cast<std::uint32_t>(number);
    if (flag == "--api-key") options.keys.api_key = argv[i];
  }
  StderrLog log;
  cluster::SyntheticGenerator generator(std::move(synthetic));
  options.on_listening = [](const edge::Listening& listening) {
    std::printf("%s\n", listening.url.c_str());
    std::fflush(stdout);
  };
  options.wait_stop = [&signals](std::chrono::milliseconds limit) { return signals.wait(limit); };
  const Status served = edge::serve(options, generator, log);
  if (!served) std::fprintf(stderr, "%s\n", served.error().message.c_str());
  return served ? 0 : 1;
}
