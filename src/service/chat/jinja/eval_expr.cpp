// Expressions: names, attributes, items, calls, operators, filters, tests.
#include <algorithm>

#include "base/concat.hpp"
#include "service/chat/jinja/evaluator.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

template <class Entry>
const Entry* find_entry(std::span<const Entry> table, std::string_view name) {
  const auto it = std::find_if(table.begin(), table.end(),
                               [&](const Entry& entry) { return entry.name == name; });
  return it == table.end() ? nullptr : &*it;
}

/// How messages call an object: "'dict object'", "None".
std::string object_name(const Value& object) {
  return object.is_none() ? "None" : concat("'", type_name(object), " object'");
}

std::span<const Method> methods_of(const Value& object) {
  if (object.is_text()) return text_methods();
  if (object.is_dict()) return dict_methods();
  const bool is_list = object.is_sequence() && object.as_sequence().can_index();
  return is_list ? list_methods() : std::span<const Method>();
}

/// A method bound to its object; empty if the type has none of that name.
std::optional<Value> bound_method(const Value& object, std::string_view name) {
  if (is_unsafe_method(object, name)) {
    return Value::undefined(
        concat("access to attribute '", name, "' of '", type_name(object), "' object is unsafe"));
  }
  const Method* method = find_entry(methods_of(object), name);
  if (method == nullptr) return std::nullopt;
  Callable callable;
  callable.name = std::string(name);
  callable.call = [object, call = method->call](Evaluator& evaluator, const Args& args) {
    return call(evaluator, object, args);
  };
  callable.depth = object.depth() + 1;
  return Value::callable(std::move(callable));
}

/// The item at a Python index, negative ones from the end; null if out of range.
const Value* item_at(const Sequence& sequence, std::int64_t index) {
  const auto n_items = static_cast<std::int64_t>(sequence.items.size());
  if (index < 0) index += n_items;
  return index < 0 || index >= n_items ? nullptr : &sequence.items[static_cast<std::size_t>(index)];
}

/// What a groupby pair calls its two items.
std::optional<Value> group_attribute(const Value& object, std::string_view name) {
  if (!object.is_sequence() || object.as_sequence().label != "group") return std::nullopt;
  if (name == "grouper") return object.as_sequence().items[0];
  if (name == "list") return object.as_sequence().items[1];
  return std::nullopt;
}

}  // namespace

Result<Value> Evaluator::get_attribute(const Value& object, std::string_view name) {
  if (object.is_undefined()) return invalid_argument(std::string(object.undefined_what()));
  if (object.is_namespace()) {
    const auto& attributes = object.as_namespace().attributes;
    if (const auto it = attributes.find(std::string(name)); it != attributes.end())
      return it->second;
  }
  if (object.is_loop()) return loop_attribute(object.as_loop(), name);
  if (object.is_callable()) {
    const auto& attributes = object.as_callable().attributes;
    if (const auto it = attributes.find(std::string(name)); it != attributes.end())
      return it->second;
  }
  if (auto part = group_attribute(object, name)) return std::move(*part);
  if (auto method = bound_method(object, name)) return std::move(*method);
  if (object.is_dict()) {
    if (const Value* value = object.as_dict().find(name)) return *value;
  }
  return Value::undefined(concat(object_name(object), " has no attribute '", name, "'"));
}

Result<Value> Evaluator::get_item(const Value& object, const Value& key) {
  if (object.is_undefined()) return invalid_argument(std::string(object.undefined_what()));
  if (object.is_dict()) {
    const Result<const Value*> found = object.as_dict().find(key, budget_);
    if (!found && found.error().code == Code::kResourceExhausted) return found.error();
    if (found && *found != nullptr) return **found;
    if (key.is_text()) {
      if (auto method = bound_method(object, key.as_text().view())) return std::move(*method);
    }
  } else if (key.is_integral() && object.is_sequence() && object.as_sequence().can_index()) {
    if (const Value* item = item_at(object.as_sequence(), key.as_int())) return *item;
  } else if (key.is_integral() && object.is_text()) {
    const Text& text = object.as_text();
    DW_TRY(budget_.spend_bytes(text.n_bytes()));
    const auto n_characters = static_cast<std::int64_t>(n_code_points(text.view()));
    const std::int64_t index = key.as_int() < 0 ? key.as_int() + n_characters : key.as_int();
    if (index >= 0 && index < n_characters) {
      const std::size_t begin = byte_position(text.view(), static_cast<std::size_t>(index));
      return Value::text(text.slice(begin, begin + code_point_at(text.view(), begin).n_bytes));
    }
  } else if (key.is_text()) {
    return get_attribute(object, key.as_text().view());
  }
  Text spelled;
  DW_TRY(append_repr(spelled, key, budget_));
  if (key.is_text())
    return Value::undefined(concat(object_name(object), " has no attribute ", spelled.view()));
  return Value::undefined(concat(type_name(object), " object has no element ", spelled.view()));
}

Result<Value> Evaluator::apply_filter(std::string_view name, const Value& input, const Args& args) {
  // Filters apply filters (map), so this nests without an expression around it.
  const Descent descent(*this);
  DW_TRY(descent.check());
  DW_TRY(budget_.spend(1));
  for (const auto& table : {text_filters(), number_filters(), list_filters(), select_filters()}) {
    if (const Filter* filter = find_entry(table, name)) return filter->apply(*this, input, args);
  }
  return invalid_argument(concat("no filter named '", name, "'"));
}

Result<bool> Evaluator::apply_test(std::string_view name, const Value& input, const Args& args) {
  DW_TRY(budget_.spend(1));
  if (const Test* test = find_entry(tests(), name)) return test->apply(*this, input, args);
  return invalid_argument(concat("no test named '", name, "'"));
}

Result<std::size_t> Evaluator::length_of(const Value& value) {
  if (value.is_undefined()) return std::size_t{0};
  if (value.is_dict()) return value.as_dict().entries().size();
  if (value.is_sequence() && value.as_sequence().kind != SequenceKind::kIterator)
    return value.as_sequence().items.size();
  if (value.is_text()) {
    DW_TRY(budget_.spend_bytes(value.as_text().n_bytes()));
    return n_code_points(value.as_text().view());
  }
  return invalid_argument(concat("object of type '", type_name(value), "' has no len()"));
}

Result<Value> Evaluator::eval(const Expr& expr) {
  if (expr.kind == ExprKind::kConstant) return expr.constant;
  const Descent descent(*this);
  const auto run = [&]() -> Result<Value> {
    DW_TRY(descent.check());
    DW_TRY(budget_.spend(1));
    return eval_kind(expr);
  };
  Result<Value> value = run();
  if (!value && error_line_ == 0) error_line_ = expr.line;
  return value;
}

Result<Value> Evaluator::eval_kind(const Expr& expr) {
  switch (expr.kind) {
    case ExprKind::kConstant:
      return expr.constant;
    case ExprKind::kName:
      return eval_name(expr);
    case ExprKind::kList:
    case ExprKind::kTuple: {
      DW_ASSIGN(std::vector<Value> items, eval_all(expr.items));
      return expr.kind == ExprKind::kList ? Value::list(std::move(items))
                                          : Value::tuple(std::move(items));
    }
    case ExprKind::kDict:
      return eval_dict(expr);
    case ExprKind::kAttribute: {
      DW_ASSIGN(const Value object, eval(*expr.items[0]));
      return get_attribute(object, expr.name);
    }
    case ExprKind::kItem: {
      DW_ASSIGN(const Value object, eval(*expr.items[0]));
      DW_ASSIGN(const Value key, eval(*expr.items[1]));
      return get_item(object, key);
    }
    case ExprKind::kSlice:
      return eval_slice(expr);
    case ExprKind::kCall:
      return eval_call(expr);
    case ExprKind::kFilter:
      return eval_filter(expr, std::nullopt);
    case ExprKind::kTest:
      return eval_test(expr);
    case ExprKind::kNot: {
      DW_ASSIGN(const Value operand, eval(*expr.items[0]));
      return Value::boolean(!is_true(operand));
    }
    case ExprKind::kNegate:
    case ExprKind::kPlus:
      return eval_sign(expr);
    case ExprKind::kArithmetic:
      return eval_arithmetic(expr);
    case ExprKind::kConcat:
      return eval_concat(expr);
    case ExprKind::kCompare:
      return eval_compare(expr);
    case ExprKind::kAnd:
    case ExprKind::kOr: {
      DW_ASSIGN(Value left, eval(*expr.items[0]));
      if (is_true(left) == (expr.kind == ExprKind::kOr)) return left;
      return eval(*expr.items[1]);
    }
    case ExprKind::kIfElse: {
      DW_ASSIGN(const Value condition, eval(*expr.items[1]));
      if (is_true(condition)) return eval(*expr.items[0]);
      if (expr.items[2]) return eval(*expr.items[2]);
      return Value::undefined(
          "the inline if-expression evaluated to false and no else section was defined");
    }
  }
  return internal_error("unknown kind of expression");
}

Result<Value> Evaluator::eval_name(const Expr& expr) {
  std::size_t n_scanned = 0;
  for (const Scope* scope = scope_.get(); scope != nullptr; scope = scope->parent.get()) {
    for (const auto& [name, value] : scope->variables) {
      ++n_scanned;
      if (name == expr.name) {
        DW_TRY(budget_.spend(n_scanned / 16));
        return value;
      }
    }
  }
  DW_TRY(budget_.spend(n_scanned / 16));
  if (const Function* function = find_entry(functions(), expr.name)) {
    const auto call = function->call;
    return Value::callable(
        {std::string(function->name),
         [call](Evaluator& evaluator, const Args& args) { return call(evaluator, args); },
         {}});
  }
  return Value::undefined(concat("'", expr.name, "' is undefined"));
}

Result<std::vector<Value>> Evaluator::eval_all(const std::vector<ExprPtr>& exprs) {
  DW_TRY(budget_.spend_items(exprs.size()));
  std::vector<Value> values;
  values.reserve(exprs.size());
  for (const ExprPtr& expr : exprs) {
    DW_ASSIGN(Value value, eval(*expr));
    values.push_back(std::move(value));
  }
  return values;
}

Result<Value> Evaluator::eval_dict(const Expr& expr) {
  DW_ASSIGN(const std::vector<Value> parts, eval_all(expr.items));
  Dict dict;
  for (std::size_t i = 0; i + 1 < parts.size(); i += 2)
    DW_TRY(dict.set(parts[i], parts[i + 1], budget_));
  return Value::dict(std::move(dict));
}

Result<Value> Evaluator::eval_slice(const Expr& expr) {
  DW_ASSIGN(const Value object, eval(*expr.items[0]));
  if (object.is_undefined()) return invalid_argument(std::string(object.undefined_what()));
  Value bounds[3] = {Value::none(), Value::none(), Value::none()};
  for (std::size_t i = 0; i < 3; ++i) {
    if (!expr.items[i + 1]) continue;
    DW_ASSIGN(bounds[i], eval(*expr.items[i + 1]));
  }
  return slice(object, bounds[0], bounds[1], bounds[2], budget_);
}

Result<Args> Evaluator::eval_arguments(const Arguments& arguments) {
  Args args;
  DW_ASSIGN(args.positional, eval_all(arguments.positional));
  for (const auto& [name, expr] : arguments.named) {
    DW_ASSIGN(Value value, eval(*expr));
    args.named.emplace_back(name, std::move(value));
  }
  if (arguments.more_positional) {
    DW_ASSIGN(const Value more, eval(*arguments.more_positional));
    DW_ASSIGN(const std::vector<Value> items, items_of(more));
    args.positional.insert(args.positional.end(), items.begin(), items.end());
  }
  if (arguments.more_named) {
    DW_ASSIGN(const Value more, eval(*arguments.more_named));
    if (!more.is_dict()) return invalid_argument("the argument after ** must be a mapping");
    DW_TRY(budget_.spend_items(more.as_dict().entries().size()));
    for (const auto& [key, value] : more.as_dict().entries()) {
      if (!key.is_text()) return invalid_argument("keywords must be strings");
      args.named.emplace_back(std::string(key.as_text().view()), value);
    }
  }
  return args;
}

Result<Value> Evaluator::eval_call(const Expr& expr) {
  DW_ASSIGN(const Value callee, eval(*expr.items[0]));
  DW_ASSIGN(const Args args, eval_arguments(expr.arguments));
  return call(callee, args);
}

Result<Value> Evaluator::eval_filter(const Expr& expr, std::optional<Value> input) {
  Value value;
  if (expr.items[0]) {
    // In a filter block only the innermost filter of a chain has no operand: the block's text goes there.
    if (input && expr.items[0]->kind == ExprKind::kFilter) {
      DW_ASSIGN(value, eval_filter(*expr.items[0], std::move(input)));
    } else {
      DW_ASSIGN(value, eval(*expr.items[0]));
    }
  } else if (input) {
    value = std::move(*input);
  }
  DW_ASSIGN(const Args args, eval_arguments(expr.arguments));
  return apply_filter(expr.name, value, args);
}

Result<Value> Evaluator::eval_test(const Expr& expr) {
  DW_ASSIGN(const Value value, eval(*expr.items[0]));
  DW_ASSIGN(const Args args, eval_arguments(expr.arguments));
  DW_ASSIGN(const bool verdict, apply_test(expr.name, value, args));
  return Value::boolean(verdict);
}

Result<Value> Evaluator::eval_sign(const Expr& expr) {
  DW_ASSIGN(const Value operand, eval(*expr.items[0]));
  if (operand.is_undefined()) return invalid_argument(std::string(operand.undefined_what()));
  if (!operand.is_number())
    return invalid_argument(concat("bad operand type for unary sign: '", type_name(operand), "'"));
  if (expr.kind == ExprKind::kPlus)
    return operand.is_float() ? operand : Value::integer(operand.as_int());
  if (operand.is_float()) return Value::real(-operand.as_double());
  return arithmetic(Op::kSub, Value::integer(0), operand, budget_);
}

Result<Value> Evaluator::eval_arithmetic(const Expr& expr) {
  DW_ASSIGN(const Value left, eval(*expr.items[0]));
  DW_ASSIGN(const Value right, eval(*expr.items[1]));
  return arithmetic(expr.op, left, right, budget_);
}

Result<Value> Evaluator::eval_concat(const Expr& expr) {
  DW_ASSIGN(const std::vector<Value> parts, eval_all(expr.items));
  Text text;
  for (const Value& part : parts) {
    DW_ASSIGN(const Text spelled, to_text(part, budget_));
    DW_TRY(budget_.spend_bytes(spelled.n_bytes()));
    text.append(spelled);
  }
  DW_TRY(budget_.spend_bytes(text.n_bytes()));
  return Value::text(std::move(text));
}

Result<Value> Evaluator::eval_compare(const Expr& expr) {
  DW_ASSIGN(Value left, eval(*expr.items[0]));
  bool verdict = true;
  for (std::size_t i = 0; i < expr.ops.size() && verdict; ++i) {
    DW_ASSIGN(Value right, eval(*expr.items[i + 1]));
    const Op op = expr.ops[i];
    if (op == Op::kIn || op == Op::kNotIn) {
      DW_ASSIGN(const bool is_in, contains(right, left, *this));
      verdict = is_in == (op == Op::kIn);
    } else if (op == Op::kEq || op == Op::kNe) {
      DW_ASSIGN(const bool is_equal, equals(left, right, budget_));
      verdict = is_equal == (op == Op::kEq);
    } else {
      for (const Value* side : {&left, &right}) {
        if (side->is_undefined()) return invalid_argument(std::string(side->undefined_what()));
      }
      DW_ASSIGN(const int order, compare(left, right, budget_));
      verdict = op == Op::kLt
                    ? order < 0
                    : (op == Op::kLe ? order <= 0 : (op == Op::kGt ? order > 0 : order >= 0));
    }
    left = std::move(right);
  }
  return Value::boolean(verdict);
}

}  // namespace deepwell::service::jinja
