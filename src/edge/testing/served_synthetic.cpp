// Starting and stopping the server of a test.
#include "edge/testing/served_synthetic.hpp"

#include <cstdlib>

#include "base/concat.hpp"

namespace deepwell::edge::testing {

using namespace std::chrono_literals;

ServedSynthetic::ServedSynthetic(cluster::SyntheticOptions synthetic, ServeOptions options)
    : generator_(std::move(synthetic)) {
  std::promise<Listening> listening;
  auto is_listening = listening.get_future();
  options.port = 0;
  options.on_listening = [&listening](const Listening& where) { listening.set_value(where); };
  options.wait_stop = [this](std::chrono::milliseconds) {
    std::this_thread::sleep_for(5ms);
    return stop_.load();
  };
  served_ = std::async(std::launch::async,
                       [this, options] { return serve(options, generator_, null_log()); });
  while (is_listening.wait_for(1ms) != std::future_status::ready) {
    if (served_.wait_for(0ms) == std::future_status::ready)
      return;  // failed to start: port() stays 0
  }
  listening_ = is_listening.get();
  port_ = static_cast<std::uint16_t>(
      std::atoi(listening_.url.substr(listening_.url.rfind(':') + 1).c_str()));
}

ServedSynthetic::~ServedSynthetic() {
  stop_ = StopRequest::kNow;
  generator_.set_stalled(false);
  served_.wait();
}

Reply ServedSynthetic::chat(const std::string& fields) const {
  return send(post_request("/v1/chat/completions", chat_body(fields)));
}

bool ServedSynthetic::wait_until_left(std::chrono::milliseconds limit) {
  return served_.wait_for(limit) == std::future_status::ready;
}

cluster::SyntheticOptions saying(std::string text, std::chrono::microseconds pace) {
  cluster::SyntheticOptions options;
  options.script = [text = std::move(text)](const engine::GenerateRequest&) { return text; };
  options.pace = pace;
  return options;
}

std::string chat_body(const std::string& fields) {
  return concat(R"({"model":"synthetic","messages":[{"role":"user","content":"hi"}])", fields, "}");
}

}  // namespace deepwell::edge::testing
