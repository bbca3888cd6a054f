// Parser: template source to statements.
#pragma once

#include <string_view>

#include "base/result.hpp"
#include "service/chat/jinja/ast.hpp"

namespace deepwell::service::jinja {

/// Error: kInvalidArgument with "line N: ..." for anything that is not a template of the supported language.
Result<Body> parse_template(std::string_view source);

}  // namespace deepwell::service::jinja
