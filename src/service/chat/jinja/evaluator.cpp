// Statements: output, scopes, loops, macros.
#include "service/chat/jinja/evaluator.hpp"

#include <algorithm>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"

namespace deepwell::service::jinja {

void Scope::set(std::string_view name, Value value) {
  for (auto& [known, old] : variables) {
    if (known == name) {
      old = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

void Loop::finish() {
  source.clear();
  n_taken = 0;
  ahead.clear();
  previous.reset();
  current.reset();
  last_changed.reset();
  outer.reset();
}

Status Evaluator::Descent::check() const {
  const std::size_t max_depth = evaluator_.budget_.limits().max_depth;
  if (evaluator_.depth_ <= max_depth) return {};
  return Error{Code::kResourceExhausted,
               concat("the template nests deeper than ", max_depth, " evaluations")};
}

Evaluator::Evaluator(const Limits& limits, const Value& context, const std::tm& now)
    : budget_(limits), context_(context), now_(now), scope_(std::make_shared<Scope>()) {
  for (const auto& [key, value] : context_.as_dict().entries()) {
    if (key.is_text()) scope_->variables.emplace_back(key.as_text().view(), value);
  }
}

Evaluator::~Evaluator() {
  for (const auto& scope : captured_scopes_) scope->variables.clear();
  for (Namespace& space : namespaces_) space.attributes.clear();
}

Result<Text> Evaluator::render(const Body& body) {
  Text out;
  out_ = &out;
  Result<Flow> flow = exec(body);
  out_ = nullptr;
  if (flow) return out;
  Error error = std::move(flow).error();
  if (is_refused_) return error;
  if (error.code != Code::kResourceExhausted) error.code = Code::kFailedPrecondition;
  error.message = concat("line ", error_line_, ": ", error.message);
  return error;
}

Error Evaluator::refuse(std::string words) {
  is_refused_ = true;
  return invalid_argument(std::move(words));
}

Namespace* Evaluator::new_namespace() { return &namespaces_.emplace_back(); }

Result<Evaluator::Flow> Evaluator::exec(const Body& body) {
  for (const Stmt& stmt : body) {
    DW_ASSIGN(const Flow flow, exec_stmt(stmt));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::exec_stmt(const Stmt& stmt) {
  const Descent descent(*this);
  const auto done = [](Status status) -> Result<Flow> {
    if (!status) return std::move(status).error();
    return Flow::kNext;
  };
  const auto run = [&]() -> Result<Flow> {
    DW_TRY(descent.check());
    DW_TRY(budget_.spend(1));
    if (const auto* output = std::get_if<Output>(&stmt.node)) {
      DW_ASSIGN(const Value value, eval(*output->expr));
      return done(print(value));
    }
    if (const auto* literal = std::get_if<Literal>(&stmt.node)) return done(print(literal->text));
    if (const auto* node = std::get_if<If>(&stmt.node)) return exec_if(*node);
    if (const auto* node = std::get_if<For>(&stmt.node)) return exec_for(*node);
    if (const auto* node = std::get_if<Set>(&stmt.node)) {
      DW_ASSIGN(const Value value, eval(*node->value));
      return done(assign(node->target, value));
    }
    if (const auto* node = std::get_if<SetBlock>(&stmt.node)) return done(exec_set_block(*node));
    if (const auto* node = std::get_if<std::shared_ptr<Macro>>(&stmt.node)) {
      scope_->set((*node)->name, make_macro(*node));
      return Flow::kNext;
    }
    if (const auto* node = std::get_if<CallBlock>(&stmt.node)) return done(exec_call_block(*node));
    if (const auto* node = std::get_if<FilterBlock>(&stmt.node))
      return done(exec_filter_block(*node));
    if (const auto* node = std::get_if<With>(&stmt.node)) return exec_with(*node);
    return std::holds_alternative<Break>(stmt.node) ? Flow::kBreak : Flow::kContinue;
  };
  Result<Flow> flow = run();
  if (!flow && error_line_ == 0) error_line_ = stmt.line;
  return flow;
}

Status Evaluator::print(const Value& value) {
  DW_ASSIGN(const Text text, to_text(value, budget_));
  DW_TRY(budget_.spend_bytes(text.n_bytes()));
  if (out_->n_bytes() + text.n_bytes() > budget_.limits().max_output_bytes)
    return budget_.spend_bytes(budget_.limits().max_output_bytes + 1);
  out_->append(text);
  return {};
}

Result<Evaluator::Flow> Evaluator::exec_if(const If& node) {
  for (const If::Branch& branch : node.branches) {
    if (branch.condition) {
      DW_ASSIGN(const Value condition, eval(*branch.condition));
      if (!is_true(condition)) continue;
    }
    return exec(*branch.body);
  }
  return Flow::kNext;
}

Result<Evaluator::Flow> Evaluator::exec_for(const For& node) {
  DW_ASSIGN(const Value iterable, eval(*node.iterable));
  auto loop = std::make_shared<Loop>();
  DW_ASSIGN(loop->source, items_of(iterable));
  loop->node = &node;
  const std::shared_ptr<Scope> outer = scope_;
  loop->outer = outer;
  // Some pass came to the end of the body: only then is there no `else`, as in jinja2.
  bool is_completed = false;
  const auto run = [&]() -> Status {
    while (true) {
      DW_TRY(budget_.spend(1));
      if (loop->ahead.empty()) {
        DW_ASSIGN(auto item, pull(*loop));
        if (!item) return {};
        loop->ahead.push_back(std::move(*item));
      }
      loop->previous = std::move(loop->current);
      loop->current = std::move(loop->ahead.front());
      loop->ahead.pop_front();
      ++loop->index0;
      scope_ = std::make_shared<Scope>();
      scope_->parent = outer;
      DW_TRY(assign(node.target, *loop->current));
      scope_->set("loop", Value::loop(loop));
      DW_ASSIGN(const Flow flow, exec(*node.body));
      if (flow == Flow::kBreak) return {};
      is_completed = is_completed || flow == Flow::kNext;
    }
  };
  Status status = run();
  loop->finish();
  if (status && !is_completed && node.otherwise) {
    scope_ = std::make_shared<Scope>();
    scope_->parent = outer;
    Result<Flow> flow = exec(*node.otherwise);
    scope_ = outer;
    return flow;
  }
  scope_ = outer;
  if (!status) return std::move(status).error();
  return Flow::kNext;
}

Result<std::optional<Value>> Evaluator::pull(Loop& loop) {
  while (loop.n_taken < loop.source.size()) {
    DW_TRY(budget_.spend(1));
    const Value item = loop.source[loop.n_taken++];
    if (!loop.node->condition) return std::optional<Value>(item);
    const std::shared_ptr<Scope> caller = std::exchange(scope_, std::make_shared<Scope>());
    scope_->parent = loop.outer;
    Result<Value> verdict = Value();
    if (Status assigned = assign(loop.node->target, item); assigned) {
      verdict = eval(*loop.node->condition);
    } else {
      verdict = std::move(assigned).error();
    }
    scope_ = caller;
    if (!verdict) return std::move(verdict).error();
    if (is_true(*verdict)) return std::optional<Value>(item);
  }
  return std::optional<Value>();
}

Result<Value> Evaluator::loop_length(Loop& loop) {
  while (true) {
    DW_ASSIGN(auto item, pull(loop));
    if (!item) break;
    loop.ahead.push_back(std::move(*item));
  }
  return Value::integer(loop.index0 + 1 + static_cast<std::int64_t>(loop.ahead.size()));
}

Result<Value> Evaluator::loop_attribute(const std::shared_ptr<Loop>& loop, std::string_view name) {
  const std::int64_t index0 = loop->index0;
  if (name == "index") return Value::integer(index0 + 1);
  if (name == "index0") return Value::integer(index0);
  if (name == "first") return Value::boolean(index0 == 0);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem")
    return loop->previous ? *loop->previous : Value::undefined("there is no previous item");
  if (name == "last" || name == "nextitem") {
    if (loop->ahead.empty()) {
      DW_ASSIGN(auto item, pull(*loop));
      if (item) loop->ahead.push_back(std::move(*item));
    }
    if (name == "last") return Value::boolean(loop->ahead.empty());
    return loop->ahead.empty() ? Value::undefined("there is no next item") : loop->ahead.front();
  }
  if (name == "length" || name == "revindex" || name == "revindex0") {
    DW_ASSIGN(const Value length, loop_length(*loop));
    if (name == "length") return length;
    return Value::integer(length.as_int() - index0 - (name == "revindex0" ? 1 : 0));
  }
  if (name == "cycle") {
    return Value::callable(
        {"cycle",
         [index0](Evaluator&, const Args& args) -> Result<Value> {
           if (args.positional.empty()) return invalid_argument("no items for cycling given");
           return args.positional[static_cast<std::size_t>(index0) % args.positional.size()];
         },
         {}});
  }
  if (name == "changed") {
    return Value::callable(
        {"changed",
         [weak = std::weak_ptr<Loop>(loop)](Evaluator& evaluator,
                                            const Args& args) -> Result<Value> {
           const std::shared_ptr<Loop> self = weak.lock();
           if (!self) return invalid_argument("loop.changed() is called after its loop");
           const Value now = Value::list(args.positional);
           DW_ASSIGN(const bool is_equal,
                     equals(now, Value::list(self->last_changed.value_or(std::vector<Value>())),
                            evaluator.budget()));
           const bool is_changed = !self->last_changed || !is_equal;
           self->last_changed = args.positional;
           return Value::boolean(is_changed);
         },
         {}});
  }
  return Value::undefined(concat("'loop' has no attribute '", name, "'"));
}

Result<Evaluator::Flow> Evaluator::exec_with(const With& node) {
  DW_TRY(budget_.spend_items(node.bindings.size()));
  std::vector<Value> values;
  for (const auto& [target, expr] : node.bindings) {
    DW_ASSIGN(Value value, eval(*expr));
    values.push_back(std::move(value));
  }
  const std::shared_ptr<Scope> outer = scope_;
  scope_ = std::make_shared<Scope>();
  scope_->parent = outer;
  const auto run = [&]() -> Result<Flow> {
    for (std::size_t i = 0; i < values.size(); ++i)
      DW_TRY(assign(node.bindings[i].first, values[i]));
    return exec(*node.body);
  };
  Result<Flow> flow = run();
  scope_ = outer;
  return flow;
}

Result<Text> Evaluator::exec_to_text(const Body& body) {
  Text text;
  Text* const out = std::exchange(out_, &text);
  const std::shared_ptr<Scope> outer = scope_;
  scope_ = std::make_shared<Scope>();
  scope_->parent = outer;
  Result<Flow> flow = exec(body);
  scope_ = outer;
  out_ = out;
  if (!flow) return std::move(flow).error();
  return text;
}

Status Evaluator::exec_set_block(const SetBlock& node) {
  DW_ASSIGN(Text text, exec_to_text(*node.body));
  Value value = Value::text(std::move(text));
  if (node.filter) {
    DW_ASSIGN(value, eval_filter(*node.filter, value));
  }
  return assign(node.target, value);
}

Status Evaluator::exec_filter_block(const FilterBlock& node) {
  DW_ASSIGN(Text text, exec_to_text(*node.body));
  DW_ASSIGN(const Value value, eval_filter(*node.filter, Value::text(std::move(text))));
  return print(value);
}

Status Evaluator::exec_call_block(const CallBlock& node) {
  DW_ASSIGN(const Value callee, eval(*node.call->items[0]));
  DW_ASSIGN(Args args, eval_arguments(node.call->arguments));
  args.named.emplace_back("caller", make_macro(node.caller));
  DW_ASSIGN(const Value value, call(callee, args));
  return print(value);
}

Status Evaluator::assign(const Target& target, const Value& value) {
  if (value.depth() > kMaxValueDepth) {
    return Error{Code::kResourceExhausted,
                 concat("a value nests deeper than ", kMaxValueDepth, " levels")};
  }
  if (!target.items.empty()) {
    DW_ASSIGN(const std::vector<Value> values, items_of(value));
    if (values.size() != target.items.size()) {
      return invalid_argument(
          concat("cannot unpack ", values.size(), " values into ", target.items.size(), " names"));
    }
    for (std::size_t i = 0; i < values.size(); ++i) DW_TRY(assign(target.items[i], values[i]));
    return {};
  }
  if (target.attribute.empty()) {
    scope_->set(target.name, value);
    return budget_.spend(scope_->variables.size() / 16);
  }
  Expr name;
  name.kind = ExprKind::kName;
  name.name = target.name;
  DW_ASSIGN(const Value space, eval_name(name));
  if (!space.is_namespace())
    return invalid_argument("cannot assign attribute on non-namespace object");
  space.as_namespace().attributes[target.attribute] = value;
  return {};
}

Value Evaluator::make_macro(const std::shared_ptr<Macro>& macro) {
  if (captured_scopes_.empty() || captured_scopes_.back() != scope_)
    captured_scopes_.push_back(scope_);
  Callable callable;
  callable.name = macro->name;
  callable.call = [macro, definition = scope_](Evaluator& evaluator, const Args& args) {
    return evaluator.call_macro(*macro, definition, args);
  };
  callable.attributes.emplace("name", Value::text(macro->name, Trust::kTemplate));
  return Value::callable(std::move(callable));
}

Result<Value> Evaluator::call_macro(const Macro& macro, const std::shared_ptr<Scope>& definition,
                                    const Args& args) {
  const Descent descent(*this);
  DW_TRY(descent.check());
  const std::shared_ptr<Scope> caller_scope = std::exchange(scope_, std::make_shared<Scope>());
  scope_->parent = definition;
  Status bound = bind_parameters(macro, args);
  Result<Text> text = bound ? exec_to_text(*macro.body) : Result<Text>(std::move(bound).error());
  scope_ = caller_scope;
  if (!text) return std::move(text).error();
  return Value::text(std::move(text).value());
}

Status Evaluator::bind_parameters(const Macro& macro, const Args& args) {
  for (std::size_t i = 0; i < macro.parameters.size(); ++i) {
    const Parameter& parameter = macro.parameters[i];
    const auto named = std::find_if(args.named.begin(), args.named.end(),
                                    [&](const auto& arg) { return arg.first == parameter.name; });
    Target target;
    target.name = parameter.name;
    Value value;
    if (i < args.positional.size()) {
      if (named != args.named.end())
        return invalid_argument(
            concat("macro '", macro.name, "' got two values for '", parameter.name, "'"));
      value = args.positional[i];
    } else if (named != args.named.end()) {
      value = named->second;
    } else if (parameter.default_value) {
      DW_ASSIGN(value, eval(*parameter.default_value));
    } else {
      value = Value::undefined(concat("parameter '", parameter.name, "' was not provided"));
    }
    if (value.depth() > kMaxValueDepth) return assign(target, value);
    scope_->set(parameter.name, std::move(value));
  }
  return bind_extras(macro, args);
}

Status Evaluator::bind_extras(const Macro& macro, const Args& args) {
  std::vector<Value> varargs;
  for (std::size_t i = macro.parameters.size(); i < args.positional.size(); ++i)
    varargs.push_back(args.positional[i]);
  if (!varargs.empty() && !macro.use_varargs) {
    return invalid_argument(concat("macro '", macro.name, "' takes not more than ",
                                   macro.parameters.size(), " argument(s)"));
  }
  if (macro.use_varargs) scope_->set("varargs", Value::tuple(std::move(varargs)));
  Dict kwargs;
  const auto is_parameter = [&](std::string_view name) {
    return std::any_of(macro.parameters.begin(), macro.parameters.end(),
                       [&](const Parameter& parameter) { return parameter.name == name; });
  };
  if (macro.use_caller && !is_parameter("caller"))
    scope_->set("caller", Value::undefined("no caller defined"));
  for (const auto& [name, value] : args.named) {
    if (is_parameter(name)) continue;
    if (name == "caller" && macro.use_caller) {
      scope_->set("caller", value);
    } else if (macro.use_kwargs) {
      kwargs.set(name, value, Trust::kTemplate);
    } else {
      return invalid_argument(
          concat("macro '", macro.name, "' takes no keyword argument '", name, "'"));
    }
  }
  if (macro.use_kwargs) scope_->set("kwargs", Value::dict(std::move(kwargs)));
  return {};
}

Result<Value> Evaluator::call(const Value& callee, const Args& args) {
  const Descent descent(*this);
  DW_TRY(descent.check());
  if (callee.is_undefined()) return invalid_argument(std::string(callee.undefined_what()));
  if (!callee.is_callable())
    return invalid_argument(concat("'", type_name(callee), "' object is not callable"));
  const Value keep_alive = callee;
  return keep_alive.as_callable().call(*this, args);
}

Result<std::vector<Value>> Evaluator::items_of(const Value& value) {
  std::vector<Value> items;
  if (value.is_undefined()) return items;
  if (value.is_sequence()) {
    const Sequence& sequence = value.as_sequence();
    DW_TRY(budget_.spend_items(sequence.items.size()));
    const auto begin = sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.n_taken);
    items.assign(begin, sequence.items.end());
    if (sequence.kind == SequenceKind::kIterator) sequence.n_taken = sequence.items.size();
    return items;
  }
  if (value.is_dict()) {
    DW_TRY(budget_.spend_items(value.as_dict().entries().size()));
    for (const auto& [key, item] : value.as_dict().entries()) items.push_back(key);
    return items;
  }
  if (value.is_text()) return split_characters(value.as_text(), budget_);
  return invalid_argument(concat("'", type_name(value), "' object is not iterable"));
}

}  // namespace deepwell::service::jinja
