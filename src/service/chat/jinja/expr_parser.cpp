// Recursive descent; each function is one level of precedence, loosest first.
#include "service/chat/jinja/expr_parser.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

#include "base/concat.hpp"

namespace deepwell::service::jinja {

/// Counts how deep the parser is while it lives.
struct ExprParser::Nesting {
  explicit Nesting(ExprParser& parser) : parser_(parser) { ++parser_.nesting_; }
  ~Nesting() { --parser_.nesting_; }
  Nesting(const Nesting&) = delete;
  Nesting& operator=(const Nesting&) = delete;

  Status check() const {
    if (parser_.nesting_ <= kMaxNesting) return {};
    return syntax_error(parser_.tokens_.peek().line, concat("expressions nest deeper than ", kMaxNesting));
  }

 private:
  ExprParser& parser_;
};

namespace {

std::vector<ExprPtr> pack(ExprPtr a) {
  std::vector<ExprPtr> items;
  items.push_back(std::move(a));
  return items;
}

std::vector<ExprPtr> pack(ExprPtr a, ExprPtr b) {
  std::vector<ExprPtr> items = pack(std::move(a));
  items.push_back(std::move(b));
  return items;
}

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
    base = mark == 'x' || mark == 'X' ? 16 : (mark == 'o' || mark == 'O' ? 8 : (mark == 'b' || mark == 'B' ? 2 : 10));
    if (base != 10) digits.remove_prefix(2);
  }
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
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
  return e != std::string_view::npos && digits[e + 1] == '-' ? 0.0 : std::numeric_limits<double>::infinity();
}

void deepen(Expr& node, const ExprPtr& child) {
  if (child) node.depth = std::max(node.depth, child->depth + 1);
}

void deepen(Expr& node, const Arguments& arguments) {
  for (const ExprPtr& value : arguments.positional) deepen(node, value);
  for (const auto& [name, value] : arguments.named) deepen(node, value);
  deepen(node, arguments.more_positional);
  deepen(node, arguments.more_named);
}

Status check_depth(const Expr& node) {
  if (node.depth <= kMaxNesting) return {};
  return syntax_error(node.line, concat("expressions nest deeper than ", kMaxNesting));
}

}  // namespace

bool TokenStream::has_name_since(std::size_t begin, std::string_view name) const {
  return std::any_of(tokens_.begin() + static_cast<std::ptrdiff_t>(begin), tokens_.begin() + static_cast<std::ptrdiff_t>(at_),
                     [&](const Token& token) { return token.type == TokenType::kName && token.text == name; });
}

Status TokenStream::expect_op(std::string_view op) {
  if (skip_op(op)) return {};
  return unexpected(concat("'", op, "'"));
}

Result<std::string> TokenStream::expect_any_name() {
  if (!is(TokenType::kName)) return unexpected("a name");
  return next().text;
}

Error TokenStream::unexpected(std::string_view expected) const {
  const Token& token = peek();
  const auto found = [&]() -> std::string {
    switch (token.type) {
      case TokenType::kEnd: return "the end of the template";
      case TokenType::kVariableEnd: return "'}}'";
      case TokenType::kBlockEnd: return "'%}'";
      case TokenType::kVariableBegin: return "'{{'";
      case TokenType::kBlockBegin: return "'{%'";
      default: return concat("'", token.text.substr(0, 40), "'");
    }
  };
  return syntax_error(token.line, concat("unexpected ", found(), ", expected ", expected));
}

Result<ExprPtr> ExprParser::make(ExprKind kind, std::uint32_t line, std::vector<ExprPtr> items) const {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  for (const ExprPtr& item : items) deepen(*node, item);
  node->items = std::move(items);
  DW_TRY(check_depth(*node));
  return node;
}

Result<ExprPtr> ExprParser::parse_expression(bool with_if_else) {
  const Nesting nesting(*this);
  DW_TRY(nesting.check());
  return with_if_else ? parse_if_else() : parse_or();
}

Result<ExprPtr> ExprParser::parse_if_else() {
  const Nesting nesting(*this);
  DW_TRY(nesting.check());
  DW_ASSIGN(ExprPtr node, parse_or());
  while (tokens_.is_name("if")) {
    const std::uint32_t line = tokens_.next().line;
    DW_ASSIGN(ExprPtr condition, parse_or());
    std::vector<ExprPtr> items = pack(std::move(node), std::move(condition));
    if (tokens_.skip_name("else")) {
      DW_ASSIGN(ExprPtr otherwise, parse_if_else());
      items.push_back(std::move(otherwise));
    } else {
      items.push_back(nullptr);
    }
    DW_ASSIGN(node, make(ExprKind::kIfElse, line, std::move(items)));
  }
  return node;
}

Result<ExprPtr> ExprParser::parse_or() {
  DW_ASSIGN(ExprPtr left, parse_and());
  while (tokens_.is_name("or")) {
    const std::uint32_t line = tokens_.next().line;
    DW_ASSIGN(ExprPtr right, parse_and());
    DW_ASSIGN(left, make(ExprKind::kOr, line, pack(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_and() {
  DW_ASSIGN(ExprPtr left, parse_not());
  while (tokens_.is_name("and")) {
    const std::uint32_t line = tokens_.next().line;
    DW_ASSIGN(ExprPtr right, parse_not());
    DW_ASSIGN(left, make(ExprKind::kAnd, line, pack(std::move(left), std::move(right))));
  }
  return left;
}

Result<ExprPtr> ExprParser::parse_not() {
  if (!tokens_.is_name("not")) return parse_compare();
  const Nesting nesting(*this);
  DW_TRY(nesting.check());
  const std::uint32_t line = tokens_.next().line;
  DW_ASSIGN(ExprPtr operand, parse_not());
  return make(ExprKind::kNot, line, pack(std::move(operand)));
}

Result<ExprPtr> ExprParser::parse_compare() {
  static constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::kEq}, {"!=", Op::kNe}, {"<", Op::kLt},
                                                             {"<=", Op::kLe}, {">", Op::kGt},  {">=", Op::kGe}};
  const std::uint32_t line = tokens_.peek().line;
  DW_ASSIGN(ExprPtr first, parse_sum());
  std::vector<Op> ops;
  std::vector<ExprPtr> operands = pack(std::move(first));
  while (true) {
    const auto* const op = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& entry) { return tokens_.is_op(entry.first); });
    if (op != std::end(kOps)) {
      ops.push_back(op->second);
    } else if (tokens_.is_name("in")) {
      ops.push_back(Op::kIn);
    } else if (tokens_.is_name("not") && tokens_.is_name("in", 1)) {
      tokens_.next();
      ops.push_back(Op::kNotIn);
    } else {
      break;
    }
    tokens_.next();
    DW_ASSIGN(ExprPtr operand, parse_sum());
    operands.push_back(std::move(operand));
  }
  if (ops.empty()) return std::move(operands.front());
  DW_ASSIGN(ExprPtr node, make(ExprKind::kCompare, line, std::move(operands)));
  node->ops = std::move(ops);
  return node;
}

Result<ExprPtr> ExprParser::parse_arithmetic(Rule operand, std::initializer_list<std::pair<std::string_view, Op>> ops) {
  DW_ASSIGN(ExprPtr left, (this->*operand)());
  while (true) {
    const auto* const op = std::find_if(ops.begin(), ops.end(), [&](const auto& entry) { return tokens_.is_op(entry.first); });
    if (op == ops.end()) return left;
    const std::uint32_t line = tokens_.next().line;
    DW_ASSIGN(ExprPtr right, (this->*operand)());
    DW_ASSIGN(left, make(ExprKind::kArithmetic, line, pack(std::move(left), std::move(right))));
    left->op = op->second;
  }
}

Result<ExprPtr> ExprParser::parse_sum() {
  return parse_arithmetic(&ExprParser::parse_concat, {{"+", Op::kAdd}, {"-", Op::kSub}});
}

Result<ExprPtr> ExprParser::parse_concat() {
  const std::uint32_t line = tokens_.peek().line;
  DW_ASSIGN(ExprPtr first, parse_product());
  if (!tokens_.is_op("~")) return first;
  std::vector<ExprPtr> items = pack(std::move(first));
  while (tokens_.skip_op("~")) {
    DW_ASSIGN(ExprPtr item, parse_product());
    items.push_back(std::move(item));
  }
  return make(ExprKind::kConcat, line, std::move(items));
}

Result<ExprPtr> ExprParser::parse_product() {
  return parse_arithmetic(&ExprParser::parse_power,
                          {{"*", Op::kMul}, {"/", Op::kDiv}, {"//", Op::kFloorDiv}, {"%", Op::kMod}});
}

Result<ExprPtr> ExprParser::parse_power() {
  return parse_arithmetic(&ExprParser::parse_unary_with_filter, {{"**", Op::kPow}});
}

Result<ExprPtr> ExprParser::parse_unary(bool with_filter) {
  const Nesting nesting(*this);
  DW_TRY(nesting.check());
  const std::uint32_t line = tokens_.peek().line;
  ExprPtr node;
  if (tokens_.is_op("-") || tokens_.is_op("+")) {
    const ExprKind kind = tokens_.next().text == "-" ? ExprKind::kNegate : ExprKind::kPlus;
    DW_ASSIGN(ExprPtr operand, parse_unary(false));
    DW_ASSIGN(node, make(kind, line, pack(std::move(operand))));
  } else {
    DW_ASSIGN(node, parse_primary());
  }
  DW_ASSIGN(node, parse_postfix(std::move(node)));
  if (!with_filter) return node;
  return parse_filter_chain(std::move(node));
}

Result<ExprPtr> ExprParser::parse_primary() {
  const Token token = tokens_.peek();
  switch (token.type) {
    case TokenType::kName: {
      tokens_.next();
      if (token.text == "true" || token.text == "True") return constant(token.line, Value::boolean(true));
      if (token.text == "false" || token.text == "False") return constant(token.line, Value::boolean(false));
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
      if (!value) return syntax_error(token.line, concat("the integer ", token.text, " does not fit 64 bits"));
      return constant(token.line, std::move(*value));
    }
    case TokenType::kFloat:
      tokens_.next();
      return constant(token.line, Value::real(parse_float(token.text)));
    default: break;
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
  return tokens_.is(TokenType::kVariableEnd) || tokens_.is(TokenType::kBlockEnd) || tokens_.is_op(")") ||
         (!end_name.empty() && tokens_.is_name(end_name));
}

Result<ExprPtr> ExprParser::parse_tuple(bool with_if_else, std::string_view end_name, bool has_brackets) {
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
  DW_ASSIGN(ExprPtr call, make(ExprKind::kCall, line, pack(std::move(node))));
  deepen(*call, arguments);
  call->arguments = std::move(arguments);
  DW_TRY(check_depth(*call));
  return call;
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
    if (arguments.more_positional || arguments.more_named || !arguments.named.empty()) return misplaced;
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
    DW_ASSIGN(node, make(ExprKind::kFilter, line, pack(std::move(node))));
    node->name = std::move(name);
    deepen(*node, arguments);
    node->arguments = std::move(arguments);
    DW_TRY(check_depth(*node));
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
  const bool is_value = tokens_.is(TokenType::kName) || tokens_.is(TokenType::kString) || tokens_.is(TokenType::kInteger) ||
                        tokens_.is(TokenType::kFloat) || tokens_.is_op("[") || tokens_.is_op("{");
  const bool is_word = tokens_.is_name("else") || tokens_.is_name("or") || tokens_.is_name("and");
  if (tokens_.is_op("(")) {
    DW_ASSIGN(arguments, parse_arguments());
  } else if (is_value && !is_word) {
    if (tokens_.is_name("is")) return tokens_.unexpected("no second test after a test");
    DW_ASSIGN(ExprPtr operand, parse_primary());
    DW_ASSIGN(operand, parse_postfix(std::move(operand)));
    arguments.positional.push_back(std::move(operand));
  }
  DW_ASSIGN(ExprPtr test, make(ExprKind::kTest, line, pack(std::move(node))));
  test->name = std::move(name);
  deepen(*test, arguments);
  test->arguments = std::move(arguments);
  DW_TRY(check_depth(*test));
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
  static constexpr std::string_view kReserved[] = {"true", "false", "none", "True", "False", "None"};
  if (!tokens_.is(TokenType::kName) || std::find(std::begin(kReserved), std::end(kReserved), tokens_.peek().text) != std::end(kReserved)) {
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
