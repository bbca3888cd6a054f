// Fuzzes the tokenizer: any bytes survive the round trip, and no text becomes a special token.
#include "base/check.hpp"
#include "engine/tokenizer/pretokenizer.hpp"
#include "engine/tokenizer/test_vocabulary.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t n_bytes) {
  using namespace deepwell::engine;
  static const auto tokenizers = [] {
    std::vector<std::unique_ptr<Tokenizer>> all;
    for (const auto& entry : pretokenizers())
      all.push_back(*Tokenizer::create(testing::tiny_vocabulary(entry.name)));
    return all;
  }();
  const std::string_view text(reinterpret_cast<const char*>(data), n_bytes);
  for (const auto& tokenizer : tokenizers) {
    const auto ids = tokenizer->encode(text);
    for (const TokenId id : ids)
      DW_CHECK(!tokenizer->is_control(id), "plain text became a control token");
    DW_CHECK(tokenizer->decode(ids) == text, "decode(encode(text)) differs");
    DW_CHECK(tokenizer->decode(tokenizer->encode_with_specials(text), true) == text,
             "with specials");
    const TextSpan spans[] = {{text.substr(0, n_bytes / 2), true},
                              {text.substr(n_bytes / 2), false}};
    DW_CHECK(tokenizer->decode(tokenizer->encode_spans(spans), true) == text, "in spans");
    StreamDecoder decoder(*tokenizer);
    for (const TokenId id : ids) decoder.push(id);
  }
  return 0;
}
