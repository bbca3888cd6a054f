// ExprParser: tokens to expressions, by jinja2's grammar and precedence.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "service/chat/jinja/ast.hpp"
#include "service/chat/jinja/lexer.hpp"

namespace deepwell::service::jinja {

/// How deep brackets, operators and blocks may nest in a template.
inline constexpr std::uint32_t kMaxNesting = 150;

/// The expressions as a list.
template <class... Exprs>
std::vector<ExprPtr> pack(Exprs... exprs) {
  std::vector<ExprPtr> items;
  (items.push_back(std::move(exprs)), ...);
  return items;
}

/// A cursor over tokens; never runs past the kEnd token.
class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(std::size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() {
    const Token& token = peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool is(TokenType type) const { return peek().type == type; }
  bool is_op(std::string_view op, std::size_t ahead = 0) const {
    return peek(ahead).type == TokenType::kOperator && peek(ahead).text == op;
  }
  bool is_name(std::string_view name, std::size_t ahead = 0) const {
    return peek(ahead).type == TokenType::kName && peek(ahead).text == name;
  }
  bool skip_op(std::string_view op) { return is_op(op) && (next(), true); }
  bool skip_name(std::string_view name) { return is_name(name) && (next(), true); }

  /// Whether a name occurs among the tokens from `begin` up to the current one.
  std::size_t position() const { return at_; }
  bool has_name_since(std::size_t begin, std::string_view name) const;

  Status expect_op(std::string_view op);
  Result<std::string> expect_any_name();
  /// "line N: unexpected 'x', expected ..."
  Error unexpected(std::string_view expected) const;

 private:
  std::vector<Token> tokens_;
  std::size_t at_ = 0;
};

class ExprParser {
 public:
  explicit ExprParser(TokenStream& tokens) : tokens_(tokens) {}

  Result<ExprPtr> parse_expression(bool with_if_else = true);
  /// One expression, or a tuple if commas follow; `end_name` ("in", "recursive") ends it as a closing bracket does.
  Result<ExprPtr> parse_tuple(bool with_if_else = true, std::string_view end_name = {},
                              bool has_brackets = false);
  /// `| name(...)` repeated, or `name(...) | name(...)` at the head of a filter block. `input` may be null.
  Result<ExprPtr> parse_filters(ExprPtr input, bool is_head = false);
  Result<Target> parse_target(bool with_namespace, std::string_view end_name = {});

 private:
  /// Counts how deep the parser is while it lives.
  class Nesting {
   public:
    explicit Nesting(ExprParser& parser) : parser_(parser) { ++parser_.nesting_; }
    ~Nesting() { --parser_.nesting_; }
    Nesting(const Nesting&) = delete;
    Nesting& operator=(const Nesting&) = delete;

    Status check() const;

   private:
    ExprParser& parser_;
  };

  using Rule = Result<ExprPtr> (ExprParser::*)();

  Result<ExprPtr> parse_if_else();
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> parse_compare();
  Result<ExprPtr> parse_sum();
  Result<ExprPtr> parse_concat();
  Result<ExprPtr> parse_product();
  Result<ExprPtr> parse_power();
  Result<ExprPtr> parse_unary(bool with_filter = true);
  Result<ExprPtr> parse_unary_with_filter() { return parse_unary(true); }
  Result<ExprPtr> parse_primary();
  Result<ExprPtr> parse_list();
  Result<ExprPtr> parse_dict();
  Result<ExprPtr> parse_postfix(ExprPtr node);
  Result<ExprPtr> parse_subscript(ExprPtr node);
  Result<ExprPtr> parse_slice(ExprPtr node, ExprPtr first);
  Result<ExprPtr> parse_filter_chain(ExprPtr node);
  Result<ExprPtr> parse_test(ExprPtr node);
  Result<ExprPtr> parse_call(ExprPtr node);
  Result<Arguments> parse_arguments();
  Status parse_argument(Arguments& arguments);
  Result<Target> parse_single_target(bool with_namespace);
  Result<ExprPtr> parse_arithmetic(Rule operand,
                                   std::initializer_list<std::pair<std::string_view, Op>> ops);
  bool is_tuple_end(std::string_view end_name) const;

  /// A node, unless it nests too deep.
  static Result<ExprPtr> make(ExprKind kind, std::uint32_t line, std::vector<ExprPtr> items,
                              Arguments arguments = {});

  TokenStream& tokens_;
  std::uint32_t nesting_ = 0;
};

}  // namespace deepwell::service::jinja
