// Ties parser and evaluator together.
#include "service/chat/jinja/template.hpp"

#include "service/chat/jinja/evaluator.hpp"
#include "service/chat/jinja/parser.hpp"

namespace deepwell::service::jinja {

Result<Template> Template::parse(std::string_view source) {
  DW_ASSIGN(Body body, parse_template(source));
  return Template(std::move(body));
}

Result<Text> Template::render(const Value& context, const Limits& limits,
                              const std::tm& now) const {
  DW_CHECK(context.is_dict(), "a template is rendered with a dict of variables");
  return Evaluator(limits, context, now).render(*body_);
}

}  // namespace deepwell::service::jinja
