// One token through the stages.
#include "service/dialogue/text_pipeline.hpp"

namespace deepwell::service {

TextPipeline::TextPipeline(const engine::Tokenizer& tokenizer, const AnswerPlan& plan)
    : decoder_(tokenizer), stop_(plan.stop) {
  if (plan.reasoning) splitter_.emplace(plan.is_thought_open, *plan.reasoning);
}

void TextPipeline::push(engine::TokenId id, std::string& reasoning, std::string& content) {
  push_text(decoder_.push(id), reasoning, content);
}

void TextPipeline::finish(std::string& reasoning, std::string& content) {
  push_text(decoder_.finish(), reasoning, content);
  if (splitter_) {
    const auto rest = splitter_->finish();
    reasoning += rest.reasoning;
    content += stop_.push(rest.content);
  }
  content += stop_.finish();
}

void TextPipeline::push_text(std::string_view text, std::string& reasoning, std::string& content) {
  if (!splitter_) {
    content += stop_.push(text);
    return;
  }
  const auto parts = splitter_->push(text);
  reasoning += parts.reasoning;
  content += stop_.push(parts.content);
}

}  // namespace deepwell::service
