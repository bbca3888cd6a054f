// Fuzz target: any bytes as a template, optionally followed by a NUL and its variables as JSON, give a text or an
// error within small limits, and printing what was parsed never aborts, hangs or overflows the stack.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "service/chat/jinja/json.hpp"
#include "service/chat/jinja/template.hpp"

namespace jinja = deepwell::service::jinja;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  const std::string_view input(reinterpret_cast<const char*>(data), n_bytes);
  const std::size_t nul = input.find('\0');
  const std::string_view json = nul == std::string_view::npos
                                    ? R"({"messages": [{"role": "user", "content": "hé"}],
    "tools": [{"function": {"name": "f"}}], "add_generation_prompt": true, "bos_token": "<s>", "x": [1, 2.5, null]})"
                                    : input.substr(nul + 1);
  const auto parsed = jinja::Template::parse(input.substr(0, nul));
  const auto variables = jinja::value_from_json(json);
  if (!parsed || !variables || !variables->is_dict()) return 0;
  std::tm now{};
  now.tm_mday = 1;
  const auto text =
      parsed->render(*variables, {.max_work = 100'000, .max_output_bytes = 1U << 20U}, now);
  if (text && !text->runs().empty() && text->runs().back().end != text->n_bytes()) __builtin_trap();
  return 0;
}
