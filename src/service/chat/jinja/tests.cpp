// Tests: what may follow `is`.
#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

template <bool (*kAsk)(const Value&)>
Result<bool> ask(Evaluator&, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {}, 0, "the test"));
  return kAsk(input);
}

bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_text(const Value& v) { return v.is_text(); }
bool is_number(const Value& v) { return v.is_number(); }
bool is_integer(const Value& v) { return v.is_int(); }
bool is_float(const Value& v) { return v.is_float(); }
bool is_boolean(const Value& v) { return v.is_bool(); }
bool is_true_value(const Value& v) { return v.is_bool() && v.as_bool(); }
bool is_false_value(const Value& v) { return v.is_bool() && !v.as_bool(); }
bool is_mapping(const Value& v) { return v.is_dict(); }
bool is_iterable(const Value& v) {
  return v.is_text() || v.is_dict() || v.is_sequence() || v.is_undefined();
}
bool is_sequence(const Value& v) {
  // jinja2 asks for len() and [...]: an undefined value has the first and, being asked for the second, too.
  return v.is_text() || v.is_dict() || v.is_undefined() ||
         (v.is_sequence() && v.as_sequence().can_index());
}
bool is_callable(const Value& v) { return v.is_callable() || v.is_undefined(); }
bool is_escaped(const Value&) { return false; }

template <bool kUpper>
bool has_case(const Value& v) {
  if (!v.is_text()) return false;
  bool has_letter = false;
  for (const char c : v.as_text().view()) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUpper ? is_lower_ascii(byte) : is_upper_ascii(byte)) return false;
    has_letter = has_letter || (kUpper ? is_upper_ascii(byte) : is_lower_ascii(byte));
  }
  return has_letter;
}

template <std::int64_t kRemainder>
Result<bool> parity_test(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const Value remainder,
            arithmetic(Op::kMod, input, Value::integer(2), evaluator.budget()));
  return equals(remainder, Value::integer(kRemainder), evaluator.budget());
}

Result<bool> divisibleby_test(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"num"}, 1, "divisibleby"));
  DW_ASSIGN(const Value remainder, arithmetic(Op::kMod, input, *bound[0], evaluator.budget()));
  return equals(remainder, Value::integer(0), evaluator.budget());
}

Result<bool> sameas_test(Evaluator&, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"other"}, 1, "sameas"));
  return input.is_same(*bound[0]);
}

Result<bool> in_test(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"seq"}, 1, "in"));
  return contains(*bound[0], input, evaluator);
}

template <bool kWanted>
Result<bool> equality_test(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"other"}, 1, "eq"));
  DW_ASSIGN(const bool is_equal, equals(input, *bound[0], evaluator.budget()));
  return is_equal == kWanted;
}

template <Op kOp>
Result<bool> order_test(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"other"}, 1, "comparison"));
  for (const Value* side : {&input, &*bound[0]}) {
    if (side->is_undefined()) return invalid_argument(std::string(side->undefined_what()));
  }
  DW_ASSIGN(const int order, compare(input, *bound[0], evaluator.budget()));
  return kOp == Op::kLt ? order < 0
                        : (kOp == Op::kLe ? order <= 0 : (kOp == Op::kGt ? order > 0 : order >= 0));
}

Result<bool> filter_test(Evaluator&, const Value& input, const Args&) {
  DW_ASSIGN(const Text name, text_argument(input, "filter"));
  for (const auto& table : {text_filters(), number_filters(), list_filters(), select_filters()}) {
    for (const Filter& filter : table) {
      if (filter.name == name.view()) return true;
    }
  }
  return false;
}

Result<bool> test_test(Evaluator&, const Value& input, const Args&) {
  DW_ASSIGN(const Text name, text_argument(input, "test"));
  for (const Test& test : tests()) {
    if (test.name == name.view()) return true;
  }
  return false;
}

constexpr Test kTests[] = {
    {"defined", ask<is_defined>},
    {"undefined", ask<is_undefined>},
    {"none", ask<is_none>},
    {"string", ask<is_text>},
    {"number", ask<is_number>},
    {"integer", ask<is_integer>},
    {"float", ask<is_float>},
    {"boolean", ask<is_boolean>},
    {"true", ask<is_true_value>},
    {"false", ask<is_false_value>},
    {"mapping", ask<is_mapping>},
    {"iterable", ask<is_iterable>},
    {"sequence", ask<is_sequence>},
    {"callable", ask<is_callable>},
    {"escaped", ask<is_escaped>},
    {"upper", ask<has_case<true>>},
    {"lower", ask<has_case<false>>},
    {"odd", parity_test<1>},
    {"even", parity_test<0>},
    {"divisibleby", divisibleby_test},
    {"sameas", sameas_test},
    {"in", in_test},
    {"eq", equality_test<true>},
    {"equalto", equality_test<true>},
    {"==", equality_test<true>},
    {"ne", equality_test<false>},
    {"!=", equality_test<false>},
    {"lt", order_test<Op::kLt>},
    {"lessthan", order_test<Op::kLt>},
    {"<", order_test<Op::kLt>},
    {"le", order_test<Op::kLe>},
    {"<=", order_test<Op::kLe>},
    {"gt", order_test<Op::kGt>},
    {"greaterthan", order_test<Op::kGt>},
    {">", order_test<Op::kGt>},
    {"ge", order_test<Op::kGe>},
    {">=", order_test<Op::kGe>},
    {"filter", filter_test},
    {"test", test_test},
};

}  // namespace

std::span<const Test> tests() { return kTests; }

}  // namespace deepwell::service::jinja
