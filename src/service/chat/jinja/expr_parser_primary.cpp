// The tightest rules of the grammar: literals, attributes, calls, filters, tests, targets.
#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "base/concat.hpp"
#include "service/chat/jinja/expr_parser.hpp"

namespace deepwell::service::jinja {

namespace {

ExprPtr constant(std::uint32_t line, Value value) {
  auto expr = std::make_unique<Expr>();
  expr->line = line;
  expr->constant = std::move(value);
  return expr;
}

std::optional<Value> parse_integer(std::string_view digits) {
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char mark = digits[1];
    base = mark == 'x' || mark == 'X'
               ? 16
               : (mark == 'o' || mark == 'O' ? 8 : (mark == 'b' || mark == 'B' ? 2 : 10));
    if (base != 10) digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return Value::integer(value);
}

double parse_float(std::string_view digits) {
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  (void)end;
  if (error != std::errc::result_out_of_range) return value;
  // Python reads 1e999 as inf and 1e-999 as 0.
  const std::size_t e = digits.find_first_of("eE");
  return e != std::string_view::npos && digits[e + 1] == '-'
             ? 0.0
             : std::numeric_limits<double>::infinity();
}

}  // namespace

Result<ExprPtr> ExprParser::parse_primary() {
  const Token token = tokens_.peek();
  switch (token.type) {
    case TokenType::kName: {
      tokens_.next();
      if (token.text == "true" || token.text == "True")
        return constant(token.line, Value::boolean(true));
      if (token.text == "false" || token.text == "False")
        return constant(token.line, Value::boolean(false));
      if (token.text == "none" || token.text == "None") return constant(token.line, Value::none());
      DW_ASSIGN(ExprPtr node, make(ExprKind::kName, token.line, {}));
      node->name = token.text;
      return node;
    }
    case TokenType::kString: {
      std::string text;
      while (tokens_.is(TokenType::kString)) text += tokens_.next().text;
      return constant(token.line, Value::text(std::move(text), Trust::kTemplate));
    }
    case TokenType::kInteger: {
      tokens_.next();
      auto value = parse_integer(token.text);
      if (!value)
        return syntax_error(token.line,
                            concat("the integer ", token.text, " does not fit 64 bits"));
      return constant(token.line, std::move(*value));
    }
    case TokenType::kFloat:
      tokens_.next();
      return constant(token.line, Value::real(parse_float(token.text)));
    default:
      break;
  }
  if (tokens_.skip_op("(")) {
    DW_ASSIGN(ExprPtr node, parse_tuple(true, {}, true));
    DW_TRY(tokens_.expect_op(")"));
    return node;
  }
  if (tokens_.is_op("[")) return parse_list();
  if (tokens_.is_op("{")) return parse_dict();
  return tokens_.unexpected("an expression");
}

bool ExprParser::is_tuple_end(std::string_view end_name) const {
  return tokens_.is(TokenType::kVariableEnd) || tokens_.is(TokenType::kBlockEnd) ||
         tokens_.is_op(")") || (!end_name.empty() && tokens_.is_name(end_name));
}

Result<ExprPtr> ExprParser::parse_tuple(bool with_if_else, std::string_view end_name,
                                        bool has_brackets) {
  const std::uint32_t line = tokens_.peek().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) DW_TRY(tokens_.expect_op(","));
    if (is_tuple_end(end_name)) break;
    DW_ASSIGN(ExprPtr item, parse_expression(with_if_else));
    items.push_back(std::move(item));
    if (!tokens_.is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple && !items.empty()) return std::move(items.front());
  if (!is_tuple && !has_brackets) return tokens_.unexpected("an expression");
  return make(ExprKind::kTuple, line, std::move(items));
}

Result<ExprPtr> ExprParser::parse_list() {
  const std::uint32_t line = tokens_.next().line;
  std::vector<ExprPtr> items;
  while (!tokens_.is_op("]")) {
    if (!items.empty()) DW_TRY(tokens_.expect_op(","));
    if (tokens_.is_op("]")) break;
    DW_ASSIGN(ExprPtr item, parse_expression());
    items.push_back(std::move(item));
  }
  DW_TRY(tokens_.expect_op("]"));
  return make(ExprKind::kList, line, std::move(items));
}

Result<ExprPtr> ExprParser::parse_dict() {
  const std::uint32_t line = tokens_.next().line;
  std::vector<ExprPtr> items;
  while (!tokens_.is_op("}")) {
    if (!items.empty()) DW_TRY(tokens_.expect_op(","));
    if (tokens_.is_op("}")) break;
    DW_ASSIGN(ExprPtr key, parse_expression());
    DW_TRY(tokens_.expect_op(":"));
    DW_ASSIGN(ExprPtr value, parse_expression());
    items.push_back(std::move(key));
    items.push_back(std::move(value));
  }
  DW_TRY(tokens_.expect_op("}"));
  return make(ExprKind::kDict, line, std::move(items));
}

Result<ExprPtr> ExprParser::parse_postfix(ExprPtr node) {
  while (true) {
    if (tokens_.is_op(".") || tokens_.is_op("[")) {
      DW_ASSIGN(node, parse_subscript(std::move(node)));
    } else if (tokens_.is_op("(")) {
      DW_ASSIGN(node, parse_call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> ExprParser::parse_filter_chain(ExprPtr node) {
  while (true) {
    if (tokens_.is_op("|")) {
      DW_ASSIGN(node, parse_filters(std::move(node)));
    } else if (tokens_.is_name("is")) {
      DW_ASSIGN(node, parse_test(std::move(node)));
    } else if (tokens_.is_op("(")) {
      DW_ASSIGN(node, parse_call(std::move(node)));
    } else {
      return node;
    }
  }
}

Result<ExprPtr> ExprParser::parse_subscript(ExprPtr node) {
  const std::uint32_t line = tokens_.peek().line;
  if (tokens_.next().text == ".") {
    if (tokens_.is(TokenType::kName)) {
      DW_ASSIGN(ExprPtr attribute, make(ExprKind::kAttribute, line, pack(std::move(node))));
      attribute->name = tokens_.next().text;
      return attribute;
    }
    if (!tokens_.is(TokenType::kInteger)) return tokens_.unexpected("a name or a number");
    DW_ASSIGN(ExprPtr index, parse_primary());
    return make(ExprKind::kItem, line, pack(std::move(node), std::move(index)));
  }
  ExprPtr first;
  if (!tokens_.is_op(":")) {
    DW_ASSIGN(first, parse_expression());
  }
  if (tokens_.is_op(":")) return parse_slice(std::move(node), std::move(first));
  if (tokens_.is_op(",")) {
    std::vector<ExprPtr> items = pack(std::move(first));
    while (tokens_.skip_op(",")) {
      DW_ASSIGN(ExprPtr item, parse_expression());
      items.push_back(std::move(item));
    }
    DW_ASSIGN(first, make(ExprKind::kTuple, line, std::move(items)));
  }
  DW_TRY(tokens_.expect_op("]"));
  return make(ExprKind::kItem, line, pack(std::move(node), std::move(first)));
}

Result<ExprPtr> ExprParser::parse_slice(ExprPtr node, ExprPtr first) {
  const std::uint32_t line = tokens_.next().line;
  std::vector<ExprPtr> items = pack(std::move(node), std::move(first));
  items.resize(4);
  if (!tokens_.is_op(":") && !tokens_.is_op("]")) {
    DW_ASSIGN(items[2], parse_expression());
  }
  if (tokens_.skip_op(":") && !tokens_.is_op("]")) {
    DW_ASSIGN(items[3], parse_expression());
  }
  DW_TRY(tokens_.expect_op("]"));
  return make(ExprKind::kSlice, line, std::move(items));
}

Result<ExprPtr> ExprParser::parse_call(ExprPtr node) {
  const std::uint32_t line = tokens_.peek().line;
  DW_ASSIGN(Arguments arguments, parse_arguments());
  return make(ExprKind::kCall, line, pack(std::move(node)), std::move(arguments));
}

Result<Arguments> ExprParser::parse_arguments() {
  DW_TRY(tokens_.expect_op("("));
  Arguments arguments;
  bool is_first = true;
  while (!tokens_.is_op(")")) {
    if (!is_first) DW_TRY(tokens_.expect_op(","));
    is_first = false;
    if (tokens_.is_op(")")) break;
    DW_TRY(parse_argument(arguments));
  }
  DW_TRY(tokens_.expect_op(")"));
  return arguments;
}

Status ExprParser::parse_argument(Arguments& arguments) {
  const Error misplaced = syntax_error(tokens_.peek().line, "invalid order of arguments in a call");
  if (tokens_.skip_op("*")) {
    if (arguments.more_positional || arguments.more_named) return misplaced;
    DW_ASSIGN(arguments.more_positional, parse_expression());
  } else if (tokens_.skip_op("**")) {
    if (arguments.more_named) return misplaced;
    DW_ASSIGN(arguments.more_named, parse_expression());
  } else if (tokens_.is(TokenType::kName) && tokens_.is_op("=", 1)) {
    if (arguments.more_named) return misplaced;
    std::string name = tokens_.next().text;
    tokens_.next();
    DW_ASSIGN(ExprPtr value, parse_expression());
    arguments.named.emplace_back(std::move(name), std::move(value));
  } else {
    if (arguments.more_positional || arguments.more_named || !arguments.named.empty())
      return misplaced;
    DW_ASSIGN(ExprPtr value, parse_expression());
    arguments.positional.push_back(std::move(value));
  }
  return {};
}

Result<ExprPtr> ExprParser::parse_filters(ExprPtr input, bool is_head) {
  ExprPtr node = std::move(input);
  while (is_head || tokens_.is_op("|")) {
    if (!is_head) tokens_.next();
    is_head = false;
    const std::uint32_t line = tokens_.peek().line;
    DW_ASSIGN(std::string name, tokens_.expect_any_name());
    while (tokens_.skip_op(".")) {
      DW_ASSIGN(const std::string part, tokens_.expect_any_name());
      name += "." + part;
    }
    Arguments arguments;
    if (tokens_.is_op("(")) {
      DW_ASSIGN(arguments, parse_arguments());
    }
    DW_ASSIGN(node, make(ExprKind::kFilter, line, pack(std::move(node)), std::move(arguments)));
    node->name = std::move(name);
  }
  return node;
}

Result<ExprPtr> ExprParser::parse_test(ExprPtr node) {
  const std::uint32_t line = tokens_.next().line;
  const bool is_negated = tokens_.skip_name("not");
  DW_ASSIGN(std::string name, tokens_.expect_any_name());
  while (tokens_.skip_op(".")) {
    DW_ASSIGN(const std::string part, tokens_.expect_any_name());
    name += "." + part;
  }
  Arguments arguments;
  const bool is_value = tokens_.is(TokenType::kName) || tokens_.is(TokenType::kString) ||
                        tokens_.is(TokenType::kInteger) || tokens_.is(TokenType::kFloat) ||
                        tokens_.is_op("[") || tokens_.is_op("{");
  const bool is_word = tokens_.is_name("else") || tokens_.is_name("or") || tokens_.is_name("and");
  if (tokens_.is_op("(")) {
    DW_ASSIGN(arguments, parse_arguments());
  } else if (is_value && !is_word) {
    if (tokens_.is_name("is")) return tokens_.unexpected("no second test after a test");
    DW_ASSIGN(ExprPtr operand, parse_primary());
    DW_ASSIGN(operand, parse_postfix(std::move(operand)));
    arguments.positional.push_back(std::move(operand));
  }
  DW_ASSIGN(ExprPtr test, make(ExprKind::kTest, line, pack(std::move(node)), std::move(arguments)));
  test->name = std::move(name);
  if (!is_negated) return test;
  return make(ExprKind::kNot, line, pack(std::move(test)));
}

Result<Target> ExprParser::parse_target(bool with_namespace, std::string_view end_name) {
  std::vector<Target> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) DW_TRY(tokens_.expect_op(","));
    if (!items.empty() && (is_tuple_end(end_name) || tokens_.is_op("="))) break;
    DW_ASSIGN(Target item, parse_single_target(with_namespace));
    items.push_back(std::move(item));
    if (!tokens_.is_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return std::move(items.front());
  Target tuple;
  tuple.items = std::move(items);
  return tuple;
}

Result<Target> ExprParser::parse_single_target(bool with_namespace) {
  const Nesting nesting(*this);
  DW_TRY(nesting.check());
  if (tokens_.skip_op("(")) {
    DW_ASSIGN(Target inner, parse_target(with_namespace));
    DW_TRY(tokens_.expect_op(")"));
    return inner;
  }
  static constexpr std::string_view kReserved[] = {"true", "false", "none",
                                                   "True", "False", "None"};
  if (!tokens_.is(TokenType::kName) || std::find(std::begin(kReserved), std::end(kReserved),
                                                 tokens_.peek().text) != std::end(kReserved)) {
    return tokens_.unexpected("a name to assign to");
  }
  Target target;
  target.name = tokens_.next().text;
  if (with_namespace && tokens_.skip_op(".")) {
    DW_ASSIGN(target.attribute, tokens_.expect_any_name());
  }
  return target;
}

}  // namespace deepwell::service::jinja
