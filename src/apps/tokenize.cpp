// `deepwell tokenize`: the token ids of a text, and what each stands for.
#include "apps/command.hpp"
#include "apps/model_path.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/tokenizer/vocabulary_gguf.hpp"

namespace deepwell::apps {
namespace {

using engine::TokenId;

struct Tokenize final : Command {
  std::string model;
  std::string file;
  std::vector<std::string> words;
  bool has_specials = false, is_json = false;

  void declare(OptionTable& table) override {
    table.add_text("-m,--model", &model, "NAME|FILE",
                   {"model: a name or a GGUF file", "模型：名称或 GGUF 文件"});
    table.add_rest("TEXT", &words, {"text to cut into tokens", "要切分的文本"});
    table.add_text("-f,--file", &file, "FILE", {"read the text from a file", "从文件读取文本"});
    table.add_flag(
        "--special", &has_specials,
        {"control tokens count, for example <|im_start|>", "识别控制词元，如 <|im_start|>"});
    table.add_flag("--json", &is_json, {"print the ids as a JSON list", "以 JSON 数组输出编号"});
  }

  Status run(const Context& context) override {
    if (model.empty()) return invalid_argument("no model given; use -m NAME or -m FILE.gguf");
    if (words.empty() == file.empty()) return invalid_argument("give either a TEXT or --file FILE");
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
    if (!file.empty()) {
      DW_ASSIGN(text, read_file(file, std::size_t{1} << 30));
    }
    DW_ASSIGN(const std::string path, model_path(context, model));
    DW_ASSIGN(const auto gguf, engine::GgufFile::open(path));
    DW_ASSIGN(auto vocabulary, engine::read_vocabulary(*gguf));
    DW_ASSIGN(const auto tokenizer, engine::Tokenizer::create(std::move(vocabulary)));
    const std::vector<TokenId> ids =
        has_specials ? tokenizer->encode_with_specials(text) : tokenizer->encode(text);
    if (!is_json) return print_table(*tokenizer, ids);
    std::string out;
    for (const TokenId id : ids) out += concat(out.empty() ? "" : ",", id);
    return print_line(concat("[", out, "]"));
  }

  static Status print_table(const engine::Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
    for (const TokenId id : ids) {
      std::string spelling;
      for (const char byte : tokenizer.token_bytes(id, true)) {
        if (byte == '\n') {
          spelling += "\\n";
        } else if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7F) {
          spelling += '?';
        } else {
          spelling += byte;
        }
      }
      DW_TRY(print_line(concat(id, "\t'", spelling, "'")));
    }
    return print_line(concat(ids.size(), " tokens"));
  }
};

}  // namespace

extern const CommandEntry kCommand_tokenize;
const CommandEntry kCommand_tokenize =
    make_command<Tokenize>("tokenize", {"show the tokens of a text", "显示文本的词元"});

}  // namespace deepwell::apps
