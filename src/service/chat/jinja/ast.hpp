// The tree that the parser makes of a template: plain data, walked by the evaluator.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

enum class ExprKind : std::uint8_t {
  kConstant,    // constant
  kName,        // name
  kList,        // items
  kTuple,       // items
  kDict,        // items: key, value, key, value, ...
  kAttribute,   // items[0] . name
  kItem,        // items[0] [ items[1] ]
  kSlice,       // items[0] [ items[1] : items[2] : items[3] ], absent ones null
  kCall,        // items[0] ( arguments )
  kFilter,      // items[0] | name ( arguments ); items[0] is null at the head of a filter block
  kTest,        // items[0] is name ( arguments )
  kNot,         // items[0]
  kNegate,      // items[0]
  kPlus,        // items[0]
  kArithmetic,  // items[0] op items[1]
  kConcat,      // items[0] ~ items[1] ~ ...
  kCompare,     // items[0] ops[0] items[1] ops[1] items[2] ...
  kAnd,         // items[0], items[1]
  kOr,          // items[0], items[1]
  kIfElse,      // items[0] if items[1] else items[2]; items[2] may be null
};

enum class Op : std::uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kFloorDiv,
  kMod,
  kPow,
  kEq,
  kNe,
  kLt,
  kLe,
  kGt,
  kGe,
  kIn,
  kNotIn,
};

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr more_positional;  // *expression
  ExprPtr more_named;       // **expression
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  std::uint32_t line = 0;
  std::uint32_t depth = 1;  // nesting below and including this node
  Op op = Op::kAdd;
  std::string name;
  Value constant;
  std::vector<ExprPtr> items;
  std::vector<Op> ops;
  Arguments arguments;
};

/// What `set` and `for` assign to: a name, an attribute of a namespace, or a tuple of those.
struct Target {
  std::string name;
  std::string attribute;      // of the namespace `name`, if not empty
  std::vector<Target> items;  // a tuple, if not empty
};

struct Stmt;
using Body = std::vector<Stmt>;

struct Parameter {
  std::string name;
  ExprPtr default_value;  // null if the parameter has none
};

struct Output {
  ExprPtr expr;
};
struct Literal {
  Value text;
};
struct If {
  struct Branch {
    ExprPtr condition;  // null for else
    std::shared_ptr<Body> body;
  };
  std::vector<Branch> branches;
};
struct For {
  Target target;
  ExprPtr iterable;
  ExprPtr condition;  // null if there is no `if`
  std::shared_ptr<Body> body;
  std::shared_ptr<Body> otherwise;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  ExprPtr filter;  // null if there is none
  std::shared_ptr<Body> body;
};
struct Macro {
  std::string name;
  std::vector<Parameter> parameters;
  std::shared_ptr<Body> body;
  bool use_varargs = false;  // the body mentions varargs / kwargs / caller
  bool use_kwargs = false;
  bool use_caller = false;
};
struct CallBlock {
  ExprPtr call;
  std::shared_ptr<Macro> caller;
};
struct FilterBlock {
  ExprPtr filter;
  std::shared_ptr<Body> body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>> bindings;
  std::shared_ptr<Body> body;
};
struct Break {};
struct Continue {};

struct Stmt {
  std::uint32_t line = 0;
  std::variant<Output, Literal, If, For, Set, SetBlock, std::shared_ptr<Macro>, CallBlock,
               FilterBlock, With, Break, Continue>
      node;
};

}  // namespace deepwell::service::jinja
