// Lexer: template source to tokens, with the white-space control that chat templates are rendered with.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace deepwell::service::jinja {

enum class TokenType : std::uint8_t {
  kData,           // text between tags
  kVariableBegin,  // {{
  kVariableEnd,    // }}
  kBlockBegin,     // {%
  kBlockEnd,       // %}
  kName,
  kString,  // escapes resolved
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenType type = TokenType::kEnd;
  std::uint32_t line = 1;
  std::string text;  // a number without its underscores
};

/// Splits a template as jinja2 does with trim_blocks and lstrip_blocks on and keep_trailing_newline off; line ends
/// become "\n". Ends with a kEnd token. Error: kInvalidArgument, "line N: ...".
Result<std::vector<Token>> tokenize(std::string_view source);

/// A syntax error at a line, in the form that the lexer and the parser report.
Error syntax_error(std::uint32_t line, std::string_view what);

}  // namespace deepwell::service::jinja
