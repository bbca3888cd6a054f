// Recursive descent; each function is one level of precedence, loosest first.
#include "service/chat/jinja/expr_parser.hpp"

#include <algorithm>
#include <utility>

#include "base/concat.hpp"

namespace deepwell::service::jinja {

namespace {

void deepen(Expr& node, const ExprPtr& child) {
  if (child) node.depth = std::max(node.depth, child->depth + 1);
}

void deepen(Expr& node, const Arguments& arguments) {
  for (const ExprPtr& value : arguments.positional) deepen(node, value);
  for (const auto& [name, value] : arguments.named) deepen(node, value);
  deepen(node, arguments.more_positional);
  deepen(node, arguments.more_named);
}

}  // namespace

bool TokenStream::has_name_since(std::size_t begin, std::string_view name) const {
  return std::any_of(tokens_.begin() + static_cast<std::ptrdiff_t>(begin),
                     tokens_.begin() + static_cast<std::ptrdiff_t>(at_), [&](const Token& token) {
                       return token.type == TokenType::kName && token.text == name;
                     });
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
      case TokenType::kEnd:
        return "the end of the template";
      case TokenType::kVariableEnd:
        return "'}}'";
      case TokenType::kBlockEnd:
        return "'%}'";
      case TokenType::kVariableBegin:
        return "'{{'";
      case TokenType::kBlockBegin:
        return "'{%'";
      default:
        return concat("'", token.text.substr(0, 40), "'");
    }
  };
  return syntax_error(token.line, concat("unexpected ", found(), ", expected ", expected));
}

Status ExprParser::Nesting::check() const {
  if (parser_.nesting_ <= kMaxNesting) return {};
  return syntax_error(parser_.tokens_.peek().line,
                      concat("expressions nest deeper than ", kMaxNesting));
}

Result<ExprPtr> ExprParser::make(ExprKind kind, std::uint32_t line, std::vector<ExprPtr> items,
                                 Arguments arguments) {
  auto node = std::make_unique<Expr>();
  node->kind = kind;
  node->line = line;
  for (const ExprPtr& item : items) deepen(*node, item);
  deepen(*node, arguments);
  node->items = std::move(items);
  node->arguments = std::move(arguments);
  if (node->depth <= kMaxNesting) return node;
  return syntax_error(line, concat("expressions nest deeper than ", kMaxNesting));
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
  static constexpr std::pair<std::string_view, Op> kOps[] = {{"==", Op::kEq}, {"!=", Op::kNe},
                                                             {"<", Op::kLt},  {"<=", Op::kLe},
                                                             {">", Op::kGt},  {">=", Op::kGe}};
  const std::uint32_t line = tokens_.peek().line;
  DW_ASSIGN(ExprPtr first, parse_sum());
  std::vector<Op> ops;
  std::vector<ExprPtr> operands = pack(std::move(first));
  while (true) {
    const auto* const op = std::find_if(std::begin(kOps), std::end(kOps), [&](const auto& entry) {
      return tokens_.is_op(entry.first);
    });
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

Result<ExprPtr> ExprParser::parse_arithmetic(
    Rule operand, std::initializer_list<std::pair<std::string_view, Op>> ops) {
  DW_ASSIGN(ExprPtr left, (this->*operand)());
  while (true) {
    const auto* const op = std::find_if(
        ops.begin(), ops.end(), [&](const auto& entry) { return tokens_.is_op(entry.first); });
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
  return parse_arithmetic(
      &ExprParser::parse_power,
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

}  // namespace deepwell::service::jinja
