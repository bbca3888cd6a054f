// One function per tag; the tags are a table.
#include "service/chat/jinja/parser.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "base/concat.hpp"
#include "service/chat/jinja/expr_parser.hpp"

namespace deepwell::service::jinja {

namespace {

using EndTags = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)), exprs_(tokens_) {}

  Result<Body> run() {
    DW_ASSIGN(Body body, parse_body({}));
    if (!tokens_.is(TokenType::kEnd)) return tokens_.unexpected("the end of the template");
    return body;
  }

 private:
  using TagRule = Result<Stmt> (Parser::*)();
  struct Tag {
    std::string_view name;
    TagRule rule;
  };
  static const std::array<Tag, 12> kTags;

  /// Statements up to a block tag in `ends`, whose name is left as the current token; to the end of the template if
  /// there is none.
  Result<Body> parse_body(EndTags ends) {
    Body body;
    while (!tokens_.is(TokenType::kEnd)) {
      const std::uint32_t line = tokens_.peek().line;
      if (tokens_.is(TokenType::kData)) {
        body.push_back({line, Literal{Value::text(tokens_.next().text, Trust::kTemplate)}});
      } else if (tokens_.is(TokenType::kVariableBegin)) {
        tokens_.next();
        DW_ASSIGN(ExprPtr expr, exprs_.parse_tuple());
        if (!tokens_.is(TokenType::kVariableEnd)) return tokens_.unexpected("'}}'");
        tokens_.next();
        body.push_back({line, Output{std::move(expr)}});
      } else {
        tokens_.next();
        if (std::any_of(ends.begin(), ends.end(),
                        [&](std::string_view end) { return tokens_.is_name(end); }))
          return body;
        DW_ASSIGN(Stmt stmt, parse_tag());
        DW_TRY(expect_block_end());
        body.push_back(std::move(stmt));
      }
    }
    if (ends.size() > 0)
      return syntax_error(tokens_.peek().line,
                          concat("the template ends before {% ", *(ends.end() - 1), " %}"));
    return body;
  }

  /// The body of a tag: from the end of its opening tag to one of `ends`.
  Result<std::shared_ptr<Body>> parse_inner(EndTags ends) {
    tokens_.skip_op(":");
    DW_TRY(expect_block_end());
    if (++nesting_ > kMaxNesting)
      return syntax_error(tokens_.peek().line, concat("blocks nest deeper than ", kMaxNesting));
    DW_ASSIGN(Body body, parse_body(ends));
    --nesting_;
    return std::make_shared<Body>(std::move(body));
  }

  /// parse_inner, and past the end tag's name.
  Result<std::shared_ptr<Body>> parse_to(std::string_view end) {
    DW_ASSIGN(auto body, parse_inner({end}));
    tokens_.next();
    return body;
  }

  Status expect_block_end() {
    if (!tokens_.is(TokenType::kBlockEnd)) return tokens_.unexpected("'%}'");
    tokens_.next();
    return {};
  }

  Result<Stmt> parse_tag() {
    const std::uint32_t line = tokens_.peek().line;
    for (const Tag& tag : kTags) {
      if (!tokens_.is_name(tag.name)) continue;
      tokens_.next();
      DW_ASSIGN(Stmt stmt, (this->*tag.rule)());
      stmt.line = line;
      return stmt;
    }
    if (!tokens_.is(TokenType::kName)) return tokens_.unexpected("the name of a tag");
    return syntax_error(line, concat("unknown or misplaced tag '", tokens_.peek().text, "'"));
  }

  Result<Stmt> parse_if() {
    If node;
    DW_ASSIGN(ExprPtr condition, exprs_.parse_tuple(false));
    while (true) {
      DW_ASSIGN(auto body, parse_inner({"elif", "else", "endif"}));
      node.branches.push_back({std::move(condition), std::move(body)});
      if (!tokens_.skip_name("elif")) break;
      DW_ASSIGN(condition, exprs_.parse_tuple(false));
    }
    if (tokens_.next().text == "else") {
      DW_ASSIGN(auto body, parse_to("endif"));
      node.branches.push_back({nullptr, std::move(body)});
    }
    return Stmt{0, std::move(node)};
  }

  Result<Stmt> parse_for() {
    For node;
    DW_ASSIGN(node.target, exprs_.parse_target(false, "in"));
    if (!tokens_.skip_name("in")) return tokens_.unexpected("'in'");
    DW_ASSIGN(node.iterable, exprs_.parse_tuple(false, "recursive"));
    if (tokens_.skip_name("if")) {
      DW_ASSIGN(node.condition, exprs_.parse_expression());
    }
    if (tokens_.is_name("recursive"))
      return syntax_error(tokens_.peek().line, "recursive loops are not supported");
    ++n_loops_;
    DW_ASSIGN(node.body, parse_inner({"else", "endfor"}));
    --n_loops_;
    if (tokens_.next().text == "else") {
      DW_ASSIGN(node.otherwise, parse_to("endfor"));
    }
    return Stmt{0, std::move(node)};
  }

  Result<Stmt> parse_set() {
    DW_ASSIGN(Target target, exprs_.parse_target(true));
    if (tokens_.skip_op("=")) {
      DW_ASSIGN(ExprPtr value, exprs_.parse_tuple());
      return Stmt{0, Set{std::move(target), std::move(value)}};
    }
    SetBlock node{std::move(target), nullptr, nullptr};
    DW_ASSIGN(node.filter, exprs_.parse_filters(nullptr));
    DW_ASSIGN(node.body, parse_to("endset"));
    return Stmt{0, std::move(node)};
  }

  Result<std::vector<Parameter>> parse_signature() {
    std::vector<Parameter> parameters;
    DW_TRY(tokens_.expect_op("("));
    while (!tokens_.is_op(")")) {
      if (!parameters.empty()) DW_TRY(tokens_.expect_op(","));
      Parameter parameter;
      DW_ASSIGN(parameter.name, tokens_.expect_any_name());
      if (tokens_.skip_op("=")) {
        DW_ASSIGN(parameter.default_value, exprs_.parse_expression());
      } else if (!parameters.empty() && parameters.back().default_value) {
        return tokens_.unexpected("a default value, as for the parameter before");
      }
      parameters.push_back(std::move(parameter));
    }
    DW_TRY(tokens_.expect_op(")"));
    return parameters;
  }

  /// The body of a macro or a call block; remembers which of the implicit variables it mentions.
  Status parse_macro_body(Macro& macro, std::string_view end) {
    const std::size_t n_loops = std::exchange(n_loops_, 0);
    const std::size_t begin = tokens_.position();
    DW_ASSIGN(macro.body, parse_to(end));
    macro.use_varargs = tokens_.has_name_since(begin, "varargs");
    macro.use_kwargs = tokens_.has_name_since(begin, "kwargs");
    macro.use_caller = tokens_.has_name_since(begin, "caller");
    n_loops_ = n_loops;
    return {};
  }

  Result<Stmt> parse_macro() {
    auto macro = std::make_shared<Macro>();
    DW_ASSIGN(macro->name, tokens_.expect_any_name());
    DW_ASSIGN(macro->parameters, parse_signature());
    DW_TRY(parse_macro_body(*macro, "endmacro"));
    return Stmt{0, std::move(macro)};
  }

  Result<Stmt> parse_call() {
    auto caller = std::make_shared<Macro>();
    caller->name = "caller";
    if (tokens_.is_op("(")) {
      DW_ASSIGN(caller->parameters, parse_signature());
    }
    const Error expected = tokens_.unexpected("a call");
    DW_ASSIGN(ExprPtr call, exprs_.parse_expression());
    if (call->kind != ExprKind::kCall) return expected;
    DW_TRY(parse_macro_body(*caller, "endcall"));
    return Stmt{0, CallBlock{std::move(call), std::move(caller)}};
  }

  Result<Stmt> parse_filter() {
    FilterBlock node;
    DW_ASSIGN(node.filter, exprs_.parse_filters(nullptr, true));
    DW_ASSIGN(node.body, parse_to("endfilter"));
    return Stmt{0, std::move(node)};
  }

  Result<Stmt> parse_with() {
    With node;
    while (!tokens_.is(TokenType::kBlockEnd)) {
      if (!node.bindings.empty()) DW_TRY(tokens_.expect_op(","));
      DW_ASSIGN(Target target, exprs_.parse_target(false));
      DW_TRY(tokens_.expect_op("="));
      DW_ASSIGN(ExprPtr value, exprs_.parse_expression());
      node.bindings.emplace_back(std::move(target), std::move(value));
    }
    DW_ASSIGN(node.body, parse_to("endwith"));
    return Stmt{0, std::move(node)};
  }

  /// transformers marks what the model wrote with these tags; the text passes through.
  Result<Stmt> parse_generation() {
    With node;
    DW_ASSIGN(node.body, parse_to("endgeneration"));
    return Stmt{0, std::move(node)};
  }

  Result<Stmt> parse_print() {
    if (tokens_.is(TokenType::kBlockEnd)) return Stmt{0, Literal{Value::text(Text())}};
    DW_ASSIGN(ExprPtr expr, exprs_.parse_tuple());
    return Stmt{0, Output{std::move(expr)}};
  }

  Result<Stmt> parse_break() {
    if (n_loops_ == 0) return syntax_error(tokens_.peek().line, "'break' outside of a loop");
    return Stmt{0, Break{}};
  }

  Result<Stmt> parse_continue() {
    if (n_loops_ == 0) return syntax_error(tokens_.peek().line, "'continue' outside of a loop");
    return Stmt{0, Continue{}};
  }

  Result<Stmt> refuse_import() {
    return syntax_error(tokens_.peek().line, "a chat template cannot use other templates");
  }

  TokenStream tokens_;
  ExprParser exprs_;
  std::uint32_t nesting_ = 0;
  std::size_t n_loops_ = 0;
};

const std::array<Parser::Tag, 12> Parser::kTags = {{
    {"if", &Parser::parse_if},
    {"for", &Parser::parse_for},
    {"set", &Parser::parse_set},
    {"macro", &Parser::parse_macro},
    {"call", &Parser::parse_call},
    {"filter", &Parser::parse_filter},
    {"with", &Parser::parse_with},
    {"generation", &Parser::parse_generation},
    {"print", &Parser::parse_print},
    {"break", &Parser::parse_break},
    {"continue", &Parser::parse_continue},
    {"include", &Parser::refuse_import},
}};

}  // namespace

Result<Body> parse_template(std::string_view source) {
  DW_ASSIGN(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace deepwell::service::jinja
