// Template: a parsed Jinja template; the interpreter's front door.
//
//   auto greeting = Template::parse("Hello {{ name }}!");
//   auto text = greeting->render(*value_from_json(R"({"name": "Ada"})"), {}, now);
//   // text->view() == "Hello Ada!"; the bytes "Ada" have Trust::kData, the others Trust::kTemplate
//
// The language is jinja2's, as transformers sets it up for chat templates: trim_blocks, lstrip_blocks, loop controls,
// {% generation %}, its own tojson, raise_exception, strftime_now, in an immutable sandbox. Left out: import, include,
// extends, block, autoescape, recursive loops, integers beyond 64 bits, and case mapping of letters outside ASCII.
#pragma once

#include <ctime>
#include <memory>
#include <string_view>

#include "base/result.hpp"
#include "service/chat/jinja/ast.hpp"
#include "service/chat/jinja/budget.hpp"
#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

/// Immutable and thread-safe once parsed; copies share the tree.
class Template {
 public:
  /// Error: kInvalidArgument, "line N: what is wrong".
  static Result<Template> parse(std::string_view source);

  /// Renders with the variables of the dict `context`. `now` is the local time that strftime_now() prints.
  /// Errors: kInvalidArgument with exactly the template's words for raise_exception(); kResourceExhausted for a limit
  /// and kFailedPrecondition for any other failure, both "line N: what failed".
  Result<Text> render(const Value& context, const Limits& limits, const std::tm& now) const;

 private:
  explicit Template(Body body) : body_(std::make_shared<const Body>(std::move(body))) {}

  std::shared_ptr<const Body> body_;  // owners: this template's copies
};

}  // namespace deepwell::service::jinja
