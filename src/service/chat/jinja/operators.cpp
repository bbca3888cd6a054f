// Arithmetic, membership and slices, by Python's rules.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

std::string_view symbol(Op op) {
  switch (op) {
    case Op::kAdd:
      return "+";
    case Op::kSub:
      return "-";
    case Op::kMul:
      return "*";
    case Op::kDiv:
      return "/";
    case Op::kFloorDiv:
      return "//";
    case Op::kMod:
      return "%";
    case Op::kPow:
      return "**";
    default:
      return "?";
  }
}

Error too_large() { return Error{Code::kOutOfRange, "an integer does not fit 64 bits"}; }

Result<Value> int_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) return invalid_argument("0.0 cannot be raised to a negative power");
    return Value::real(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  std::int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) return too_large();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) return too_large();
  }
  return Value::integer(result);
}

Result<Value> int_arithmetic(Op op, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if ((op == Op::kDiv || op == Op::kFloorDiv || op == Op::kMod) && b == 0)
    return invalid_argument("division by zero");
  switch (op) {
    case Op::kAdd:
      return __builtin_add_overflow(a, b, &result) ? Result<Value>(too_large())
                                                   : Value::integer(result);
    case Op::kSub:
      return __builtin_sub_overflow(a, b, &result) ? Result<Value>(too_large())
                                                   : Value::integer(result);
    case Op::kMul:
      return __builtin_mul_overflow(a, b, &result) ? Result<Value>(too_large())
                                                   : Value::integer(result);
    case Op::kDiv:
      return Value::real(static_cast<double>(a) / static_cast<double>(b));
    case Op::kFloorDiv:
      if (b == -1) return int_arithmetic(Op::kSub, 0, a);
      return Value::integer(a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0));
    case Op::kMod:
      if (b == -1) return Value::integer(0);
      return Value::integer(a % b + (a % b != 0 && (a < 0) != (b < 0) ? b : 0));
    case Op::kPow:
      return int_power(a, b);
    default:
      return internal_error("not an arithmetic operator");
  }
}

double python_mod(double a, double b) {
  const double remainder = std::fmod(a, b);
  if (remainder == 0.0) return std::copysign(0.0, b);
  return (remainder < 0) != (b < 0) ? remainder + b : remainder;
}

Result<Value> float_arithmetic(Op op, double a, double b) {
  if ((op == Op::kDiv || op == Op::kFloorDiv || op == Op::kMod) && b == 0.0)
    return invalid_argument("float division by zero");
  switch (op) {
    case Op::kAdd:
      return Value::real(a + b);
    case Op::kSub:
      return Value::real(a - b);
    case Op::kMul:
      return Value::real(a * b);
    case Op::kDiv:
      return Value::real(a / b);
    case Op::kFloorDiv:
      return Value::real(std::floor((a - python_mod(a, b)) / b + 0.5));
    case Op::kMod:
      return Value::real(python_mod(a, b));
    case Op::kPow: {
      if (a == 0.0 && b < 0.0) return invalid_argument("0.0 cannot be raised to a negative power");
      if (a < 0.0 && b != std::floor(b))
        return invalid_argument("a negative number to a fractional power is complex");
      const double power = std::pow(a, b);
      if (std::isinf(power) && std::isfinite(a) && std::isfinite(b))
        return Error{Code::kOutOfRange, "the power is too large for a float"};
      return Value::real(power);
    }
    default:
      return internal_error("not an arithmetic operator");
  }
}

bool is_list_or_tuple(const Value& value) {
  return value.is_sequence() && (value.as_sequence().kind == SequenceKind::kList ||
                                 value.as_sequence().kind == SequenceKind::kTuple);
}

Value like(const Sequence& sequence, std::vector<Value> items) {
  return sequence.kind == SequenceKind::kTuple ? Value::tuple(std::move(items))
                                               : Value::list(std::move(items));
}

Result<Value> repeat(const Value& value, std::int64_t count, Budget& budget) {
  const auto n = static_cast<std::size_t>(std::max<std::int64_t>(count, 0));
  if (value.is_text()) {
    const Text& text = value.as_text();
    if (text.n_bytes() > 0 && n > budget.limits().max_output_bytes / text.n_bytes())
      DW_TRY(budget.spend_bytes(budget.limits().max_output_bytes + 1));
    DW_TRY(budget.spend_bytes(n * text.n_bytes()));
    Text out;
    for (std::size_t i = 0; i < n && !text.empty(); ++i) out.append(text);
    return Value::text(std::move(out));
  }
  const Sequence& sequence = value.as_sequence();
  if (!sequence.items.empty() && n > budget.limits().max_work / sequence.items.size())
    DW_TRY(budget.spend(budget.limits().max_work));
  DW_TRY(budget.spend_items(n * sequence.items.size()));
  std::vector<Value> items;
  for (std::size_t i = 0; i < n && !sequence.items.empty(); ++i)
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  return like(sequence, std::move(items));
}

Result<Value> add_containers(const Value& a, const Value& b, Budget& budget) {
  if (a.is_text() && b.is_text()) {
    DW_TRY(budget.spend_bytes(a.as_text().n_bytes() + b.as_text().n_bytes()));
    Text text = a.as_text();
    text.append(b.as_text());
    return Value::text(std::move(text));
  }
  if (is_list_or_tuple(a) && is_list_or_tuple(b) && a.as_sequence().kind == b.as_sequence().kind) {
    DW_TRY(budget.spend_items(a.as_sequence().items.size() + b.as_sequence().items.size()));
    std::vector<Value> items = a.as_sequence().items;
    items.insert(items.end(), b.as_sequence().items.begin(), b.as_sequence().items.end());
    return like(a.as_sequence(), std::move(items));
  }
  if (a.is_text() || b.is_text()) {
    return invalid_argument(
        concat("can only concatenate str (not \"", type_name(a.is_text() ? b : a), "\") to str"));
  }
  return invalid_argument(
      concat("unsupported operand type(s) for +: '", type_name(a), "' and '", type_name(b), "'"));
}

/// The positions that Python's slice(first, last, step) picks out of n items.
struct SliceRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int64_t step = 1;
  std::size_t n_items = 0;
};

Result<SliceRange> slice_range(const Value& first, const Value& last, const Value& step,
                               std::size_t n) {
  for (const Value* bound : {&first, &last, &step}) {
    if (!bound->is_none() && !bound->is_integral())
      return invalid_argument("slice indices must be integers or None");
  }
  const auto length = static_cast<std::int64_t>(n);
  SliceRange range;
  range.step = step.is_none() ? 1 : step.as_int();
  if (range.step == 0) return invalid_argument("slice step cannot be zero");
  range.step = std::clamp<std::int64_t>(range.step, -(length + 1), length + 1);
  const std::int64_t lowest = range.step > 0 ? 0 : -1;
  const std::int64_t highest = range.step > 0 ? length : length - 1;
  const auto resolve = [&](const Value& bound, std::int64_t absent) {
    if (bound.is_none()) return absent;
    std::int64_t at = std::clamp(bound.as_int(), -length - 1, length + 1);
    if (at < 0) at += length;
    return std::clamp(at, lowest, highest);
  };
  range.first = resolve(first, range.step > 0 ? lowest : highest);
  range.last = resolve(last, range.step > 0 ? highest : lowest);
  const std::int64_t span = range.step > 0 ? range.last - range.first : range.first - range.last;
  const std::int64_t stride = std::abs(range.step);
  range.n_items = span > 0 ? static_cast<std::size_t>((span + stride - 1) / stride) : 0;
  return range;
}

Result<Value> slice_text(const Text& text, const Value& first, const Value& last, const Value& step,
                         Budget& budget) {
  DW_TRY(budget.spend_bytes(text.n_bytes()));
  std::vector<std::size_t> starts;
  for (std::size_t pos = 0; pos < text.n_bytes(); pos += code_point_at(text.view(), pos).n_bytes)
    starts.push_back(pos);
  starts.push_back(text.n_bytes());
  DW_ASSIGN(const SliceRange range, slice_range(first, last, step, starts.size() - 1));
  if (range.step == 1) {
    if (range.n_items == 0) return Value::text(Text());
    return Value::text(text.slice(starts[static_cast<std::size_t>(range.first)],
                                  starts[static_cast<std::size_t>(range.last)]));
  }
  DW_TRY(budget.spend_items(range.n_items));
  Text out;
  for (std::size_t i = 0; i < range.n_items; ++i) {
    const auto at =
        static_cast<std::size_t>(range.first + static_cast<std::int64_t>(i) * range.step);
    out.append_slice(text, starts[at], starts[at + 1]);
  }
  return Value::text(std::move(out));
}

}  // namespace

Result<Value> arithmetic(Op op, const Value& a, const Value& b, Budget& budget) {
  for (const Value* side : {&a, &b}) {
    const bool is_format = op == Op::kMod && a.is_text() && side == &b;
    if (side->is_undefined() && !is_format)
      return invalid_argument(std::string(side->undefined_what()));
  }
  if (a.is_integral() && b.is_integral()) return int_arithmetic(op, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return float_arithmetic(op, a.as_double(), b.as_double());
  if (op == Op::kAdd) return add_containers(a, b, budget);
  if (op == Op::kMul) {
    if ((a.is_text() || is_list_or_tuple(a)) && b.is_integral())
      return repeat(a, b.as_int(), budget);
    if ((b.is_text() || is_list_or_tuple(b)) && a.is_integral())
      return repeat(b, a.as_int(), budget);
  }
  if (op == Op::kMod && a.is_text()) {
    DW_ASSIGN(Text text, percent_format(a.as_text(), b, budget));
    return Value::text(std::move(text));
  }
  return invalid_argument(concat("unsupported operand type(s) for ", symbol(op), ": '",
                                 type_name(a), "' and '", type_name(b), "'"));
}

Result<bool> contains(const Value& container, const Value& item, Evaluator& evaluator) {
  Budget& budget = evaluator.budget();
  if (container.is_text()) {
    if (item.is_undefined()) return invalid_argument(std::string(item.undefined_what()));
    if (!item.is_text())
      return invalid_argument(
          concat("'in <string>' requires string as left operand, not ", type_name(item)));
    DW_TRY(budget.spend_search(container.as_text().n_bytes(), item.as_text().n_bytes()));
    return container.as_text().view().find(item.as_text().view()) != std::string_view::npos;
  }
  if (container.is_dict()) {
    DW_ASSIGN(const Value* found, container.as_dict().find(item, budget));
    return found != nullptr;
  }
  if (!container.is_sequence() && !container.is_undefined()) {
    return invalid_argument(
        concat("argument of type '", type_name(container), "' is not iterable"));
  }
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(container));
  for (const Value& candidate : items) {
    DW_ASSIGN(const bool is_equal, equals(candidate, item, budget));
    if (is_equal) return true;
  }
  return false;
}

Result<Value> slice(const Value& object, const Value& first, const Value& last, const Value& step,
                    Budget& budget) {
  if (object.is_text()) return slice_text(object.as_text(), first, last, step, budget);
  if (!object.is_sequence() || !object.as_sequence().can_index()) {
    return Value::undefined(concat("'", type_name(object), " object' cannot be sliced"));
  }
  const Sequence& sequence = object.as_sequence();
  DW_ASSIGN(const SliceRange range, slice_range(first, last, step, sequence.items.size()));
  DW_TRY(budget.spend_items(range.n_items));
  std::vector<Value> items;
  items.reserve(range.n_items);
  for (std::size_t i = 0; i < range.n_items; ++i) {
    items.push_back(sequence.items[static_cast<std::size_t>(
        range.first + static_cast<std::int64_t>(i) * range.step)]);
  }
  return like(sequence, std::move(items));
}

}  // namespace deepwell::service::jinja
