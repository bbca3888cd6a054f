// Guessing ahead, as commands are told.
#include "apps/draft_options.hpp"

#include "apps/model_path.hpp"

namespace deepwell::apps {

void DraftOptions::declare(OptionTable& table) {
  table.add_text("-md,--draft-model,--model-draft", &model, "NAME|FILE",
                 {"a smaller model of the same vocabulary that guesses ahead, which changes no "
                  "answer",
                  "词表相同的小模型，用于预测后续词元，不改变任何回答"});
  table.add_integer(
      "--draft-max", &n_max_tok, 0, 64, "N",
      {"tokens guessed at once, by the draft model or from what an answer repeats; 0: none",
       "一次最多预测的词元数（由草稿模型或根据已出现内容）；0 表示关闭"});
  table.add_flag(
      "--draft-adaptive", &is_adaptive,
      {"let the draft model guess only as far as that pays", "仅在确有收益时才让草稿模型预测"});
}

Status DraftOptions::check(const Context& context, const std::string& path) const {
  if (model.empty()) return {};
  DW_ASSIGN(const std::string draft_path, model_path(context, model));
  DW_ASSIGN(const auto file, engine::GgufFile::open(path));
  DW_ASSIGN(const auto draft, engine::GgufFile::open(draft_path));
  return engine::check_draft_pair(*file, *draft);
}

Status DraftOptions::apply(const Context& context, engine::EngineOptions& options) const {
  options.n_max_draft_tok = n_max_tok;
  if (model.empty() || n_max_tok == 0) return {};
  DW_ASSIGN(options.draft_model.path, model_path(context, model));
  options.draft_model.is_adaptive = is_adaptive;
  if (options.load.image_directory.empty()) return {};
  DW_ASSIGN(options.draft_model.content_sha256, model_sha256(context, options.draft_model.path));
  return {};
}

}  // namespace deepwell::apps
