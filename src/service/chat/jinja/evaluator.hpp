// Evaluator: one render of a parsed template. Statements in evaluator.cpp, expressions in eval_expr.cpp.
#pragma once

#include <cstdint>
#include <ctime>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "service/chat/jinja/ast.hpp"
#include "service/chat/jinja/budget.hpp"
#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

/// Variables of one block; a name that is not here is looked up in the parent.
struct Scope {
  std::vector<std::pair<std::string_view, Value>> variables;
  std::shared_ptr<Scope> parent;

  void set(std::string_view name, Value value);
};

/// A running `for`: what `loop` shows. Items pass the loop's `if` as they are asked for, as in jinja2.
struct Loop {
  std::vector<Value> source;
  std::size_t n_taken = 0;  // of source
  std::deque<Value> ahead;  // passed the condition, not yet current
  std::optional<Value> previous;
  std::optional<Value> current;
  std::optional<std::vector<Value>> last_changed;  // arguments of loop.changed()
  std::int64_t index0 = -1;
  const For* node = nullptr;
  std::shared_ptr<Scope> outer;

  /// Lets go of all values when the loop has ended: a variable that keeps the loop must not keep a chain of them.
  void finish();
};

class Evaluator {
 public:
  /// `now` is the local time that strftime_now prints. `context` must be a dict; its entries are the variables.
  Evaluator(const Limits& limits, const Value& context, const std::tm& now);
  ~Evaluator();
  Evaluator(const Evaluator&) = delete;
  Evaluator& operator=(const Evaluator&) = delete;

  /// Errors: kInvalidArgument with exactly the template's words for raise_exception(), kResourceExhausted for a limit,
  /// kFailedPrecondition for any other failure; the latter two start with "line N: ".
  Result<Text> render(const Body& body);

  // What filters, tests, methods and functions may use.
  Budget& budget() { return budget_; }
  const std::tm& now() const { return now_; }
  Result<Value> get_attribute(const Value& object, std::string_view name);
  Result<Value> get_item(const Value& object, const Value& key);
  Result<Value> call(const Value& callee, const Args& args);
  Result<Value> apply_filter(std::string_view name, const Value& input, const Args& args);
  Result<bool> apply_test(std::string_view name, const Value& input, const Args& args);
  /// The items of anything that `for` accepts; an iterator is used up.
  Result<std::vector<Value>> items_of(const Value& value);
  Result<std::size_t> length_of(const Value& value);
  Namespace* new_namespace();
  /// Marks an error as raised by the template itself, in its own words.
  Error refuse(std::string words);

 private:
  enum class Flow : std::uint8_t { kNext, kBreak, kContinue };

  /// Counts nested evaluations while it lives, so that no template can overflow the stack.
  class Descent {
   public:
    explicit Descent(Evaluator& evaluator) : evaluator_(evaluator) { ++evaluator_.depth_; }
    ~Descent() { --evaluator_.depth_; }
    Descent(const Descent&) = delete;
    Descent& operator=(const Descent&) = delete;

    Status check() const;

   private:
    Evaluator& evaluator_;
  };

  Result<Flow> exec(const Body& body);
  Result<Flow> exec_stmt(const Stmt& stmt);
  Result<Flow> exec_if(const If& node);
  Result<Flow> exec_for(const For& node);
  Result<Flow> exec_with(const With& node);
  Status exec_set_block(const SetBlock& node);
  Status exec_call_block(const CallBlock& node);
  Status exec_filter_block(const FilterBlock& node);
  Result<Text> exec_to_text(const Body& body);
  Status print(const Value& value);
  Status assign(const Target& target, const Value& value);
  Value make_macro(const std::shared_ptr<Macro>& macro);
  Result<Value> call_macro(const Macro& macro, const std::shared_ptr<Scope>& definition,
                           const Args& args);
  Status bind_parameters(const Macro& macro, const Args& args);
  Status bind_extras(const Macro& macro, const Args& args);

  /// The loop's next item that passes its condition; empty at the end.
  Result<std::optional<Value>> pull(Loop& loop);
  Result<Value> loop_attribute(const std::shared_ptr<Loop>& loop, std::string_view name);
  Result<Value> loop_length(Loop& loop);

  Result<Value> eval(const Expr& expr);
  Result<Value> eval_kind(const Expr& expr);
  Result<Value> eval_name(const Expr& expr);
  Result<Value> eval_dict(const Expr& expr);
  Result<Value> eval_slice(const Expr& expr);
  Result<Value> eval_call(const Expr& expr);
  Result<Value> eval_arithmetic(const Expr& expr);
  Result<Value> eval_concat(const Expr& expr);
  Result<Value> eval_compare(const Expr& expr);
  Result<Value> eval_sign(const Expr& expr);
  Result<Value> eval_filter(const Expr& expr, std::optional<Value> input);
  Result<Value> eval_test(const Expr& expr);
  Result<std::vector<Value>> eval_all(const std::vector<ExprPtr>& exprs);
  Result<Args> eval_arguments(const Arguments& arguments);

  Budget budget_;
  Value context_;  // keeps the names of the outermost scope alive
  std::tm now_;
  std::shared_ptr<Scope> scope_;
  Text* out_ = nullptr;
  std::deque<Namespace> namespaces_;
  // Macros and the scopes that they see own each other until the end.
  std::vector<std::shared_ptr<Scope>> captured_scopes_;
  std::size_t depth_ = 0;
  std::uint32_t error_line_ = 0;  // of the innermost failing node
  bool is_refused_ = false;
};

}  // namespace deepwell::service::jinja
