// A hostile template or conversation ends with an error that names the line: no hang, no crash, no full memory.
#include <gtest/gtest.h>

#include "base/concat.hpp"
#include "service/chat/jinja/json.hpp"
#include "service/chat/jinja/template.hpp"

namespace deepwell::service::jinja {
namespace {

std::string repeated(std::string_view part, std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += part;
  return out;
}

Result<Text> render(const std::string& source,
                    Limits limits = {.max_work = 2'000'000, .max_output_bytes = 1U << 22U},
                    const std::string& variables = "{}") {
  DW_ASSIGN(const Template parsed, Template::parse(source));
  DW_ASSIGN(const Value context, value_from_json(variables));
  return parsed.render(context, limits, std::tm{});
}

TEST(Limits, EndEndlessWork) {
  const char* const sources[] = {
      "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s ~ ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% "
      "endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(64) %}{% set ns.l = ns.l + ns.l %}{% "
      "endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "endfor %}{{ ns.l|tojson }}",
      "{% set ns = namespace(l=1, m=1) %}{% for i in range(40) %}{% set ns.l = [ns.l, ns.l] %}{% "
      "set ns.m = [ns.m, ns.m] %}{% endfor %}{{ ns.l == ns.m }}",
      "{% set ns = namespace(l=(1,)) %}{% for i in range(40) %}{% set ns.l = (ns.l, ns.l) %}{% "
      "endfor %}{{ {ns.l: 1} }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l] %}{% endfor "
      "%}",
      "{% set ns = namespace(l={}) %}{% for i in range(100000) %}{% set ns.l = {'k': ns.l} %}{% "
      "endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(100000) %}{% set ns.l = [ns.l.index] %}{% "
      "endfor %}",
      "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
      "{% macro f(n) %}{% for i in [1, 2] %}{{ f(n + 1) }}{% endfor %}{% endmacro %}{{ f(0) }}",
      "{% macro f() %}{{ caller() }}{% endmacro %}{% macro g() %}{% call f() %}{{ g() }}{% endcall "
      "%}{% endmacro %}{{ g() }}",
      "{{ 'x' * 10 ** 15 }}",
      "{{ [1] * 10 ** 15 }}",
      "{{ 'xxxx'|replace('x', 'y' * 2000000) }}",
      "{{ ['y' * 2000000] * 10 }}",
      "{{ (['y' * 1000000] * 100)|join }}",
      "{{ '-'.join(['y' * 1000000] * 100) }}",
      "{{ 'a'|indent(10 ** 12, true) }}",
      "{{ [1]|batch(10 ** 12, 0)|list }}",
      "{{ range(10 ** 9)|list }}",
      "{% for i in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' * 10 }}{% "
      "endfor %}",
      "{% set big = 'ab' * 1000000 %}{% for i in range(100000) %}{{ 'ba' * 500000 in big }}{% "
      "endfor %}",
      "{% set big = 'ab ' * 100000 %}{% for i in range(100000) %}{{ big.rsplit(none, 99999)|length "
      "}}{% endfor %}",
      "{% for i in range(100000) %}{% macro m() %}{% endmacro %}{% set n = namespace() %}{% set l "
      "= range(1000) %}{% endfor %}",
      "{% for i in range(10000) %}{{ range(10000)|sort|length }}{% endfor %}",
  };
  for (const char* const source : sources) {
    const Result<Text> text = render(source);
    ASSERT_FALSE(text) << source;
    EXPECT_EQ(text.error().code, Code::kResourceExhausted)
        << source << ": " << text.error().message;
    EXPECT_TRUE(text.error().message.starts_with("line 1: ")) << text.error().message;
  }
}

TEST(Limits, RefuseTemplatesThatNestTooDeep) {
  const std::size_t n = 50'000;
  const std::string sources[] = {
      "{{ " + repeated("(", n) + "1" + repeated(")", n) + " }}",
      "{{ " + repeated("[", n) + repeated("]", n) + " }}",
      "{{ " + repeated("{1:", n) + "1" + repeated("}", n) + " }}",
      "{{ " + repeated("not ", n) + "1 }}",
      "{{ " + repeated("-", n) + "1 }}",
      "{{ 1" + repeated(" + 1", n) + " }}",
      "{{ 1" + repeated(" and 1", n) + " }}",
      "{{ 1" + repeated(" ** 1", n) + " }}",
      "{{ x" + repeated(".a", n) + " }}",
      "{{ x" + repeated("[0]", n) + " }}",
      "{{ x" + repeated("|upper", n) + " }}",
      "{{ x" + repeated("()", n) + " }}",
      "{{ x" + repeated(" is eq x()", n) + " }}",
      "{{ " + repeated("f(", n) + " }}",
      "{{ " + repeated("1 if 1 else ", n) + "1 }}",
      repeated("{% if 1 %}", n),
      repeated("{% for x in y %}", n),
      repeated("{% macro f() %}", n),
      "{% for " + repeated("(", n) + " %}",
      "{% set x" + repeated("|upper", n) + " %}{% endset %}",
  };
  for (const std::string& source : sources) {
    const auto parsed = Template::parse(source);
    ASSERT_FALSE(parsed) << source.substr(0, 20);
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
  }
}

TEST(Limits, EndFiltersThatApplyEachOther) {
  const Result<Text> text = render("{{ 'a'|map(" + repeated("'map',", 5'000) + "'upper')|list }}",
                                   {.max_work = 100'000'000});
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::kResourceExhausted);
}

TEST(Limits, AllowWideTemplates) {
  const std::size_t n = 20'000;
  EXPECT_TRUE(render("{{ 1" + repeated(" ~ 1", n) + " }}"));
  EXPECT_TRUE(render("{{ [1" + repeated(", 1", n) + "]|length }}"));
  EXPECT_TRUE(render("{% if 0 %}" + repeated("{% elif 0 %}", n) + "{% endif %}"));
  EXPECT_TRUE(render(repeated("{{ 1 }}{# x #}", n)));
  EXPECT_TRUE(render("{{ " + repeated("'a' ", n) + " }}"));
}

TEST(Limits, RefuseJsonThatNestsTooDeep) {
  const auto value = value_from_json(repeated("[", 100'000) + repeated("]", 100'000));
  ASSERT_FALSE(value);
  EXPECT_EQ(value.error().code, Code::kInvalidArgument);
  EXPECT_TRUE(value_from_json(repeated("[", 90) + repeated("]", 90)));
  EXPECT_FALSE(value_from_json("{\"a\": }"));
  EXPECT_FALSE(value_from_json("[\"\xff\"]"));
}

TEST(Limits, LetALongConversationPass) {
  std::string messages;
  for (int i = 0; i < 20'000; ++i)
    messages += concat(i == 0 ? "" : ",", R"({"role":"user","content":"message )", i, "\"}");
  const std::string source =
      "{% for m in messages %}{{ '<' + m.role + '>' + m.content + '\\n' }}{% endfor %}";
  const Result<Text> text = render(source, {}, R"({"messages":[)" + messages + "]}");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_GT(text->n_bytes(), 380'000U);
}

TEST(Limits, NamespacesMayHoldThemselves) {
  const Result<Text> text = render(
      "{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = [ns] %}{{ ns.a.b[0].a is defined "
      "}}{{ ns == ns.a }}");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->view(), "TrueTrue");
}

TEST(Limits, MacrosAndLoopsMayOutliveTheirScope) {
  const Result<Text> text = render(
      "{% set ns = namespace() %}{% for i in [1, 2] %}{% macro m() %}m{{ i }}{% endmacro %}{% set "
      "ns.m = m %}{% set ns.l = loop %}"
      "{% set ns.c = loop.changed %}{% endfor %}{{ ns.m() }}{{ ns.l.index }}{{ ns.l.last }}");
  ASSERT_TRUE(text) << text.error().message;
  EXPECT_EQ(text->view(), "m22True");
}

TEST(Limits, ChainsOfLoopsAndMacrosComeApartWithoutRecursion) {
  const char* const sources[] = {
      "{% set ns = namespace(l=1) %}{% for i in range(50000) %}{% set keep = ns.l %}{% for x in "
      "[ns.l] %}"
      "{% set ns.l = loop %}{% endfor %}{% endfor %}ok",
      "{% set ns = namespace(l=1) %}{% for i in range(50000) %}{% set keep = ns.l %}"
      "{% macro m() %}{{ keep }}{% endmacro %}{% set ns.l = m %}{% endfor %}ok",
      "{% set ns = namespace(l=1) %}{% for i in range(50000) %}{% set new = namespace(l=ns.l) %}{% "
      "set ns.l = new %}"
      "{% endfor %}ok",
  };
  for (const char* const source : sources) {
    const Result<Text> text = render(source);
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(text->view(), "ok");
  }
}

TEST(Errors, NameTheLineOfWhatFailed) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\nb\n{{ x.y }}", "line 3: 'x' is undefined"},
      {"{% if 1 %}\n\n{{ 1 + 'a' }}{% endif %}",
       "line 3: can only concatenate str (not \"int\") to str"},
      {"{{ 'a\nb' }}\n{{ none.x.y }}", "line 3: None has no attribute 'x'"},
      {"{#\n\n#}\n{{ {}.a.b }}", "line 4: 'dict object' has no attribute 'a'"},
      {"{% for i in [1] %}\n{{ i|nope }}{% endfor %}", "line 2: no filter named 'nope'"},
      {"\n{{ nope() }}", "line 2: 'nope' is undefined"},
      {"\n{{ 1 / 0 }}", "line 2: division by zero"},
      {"\n\n{{ 'a' in none }}", "line 3: argument of type 'NoneType' is not iterable"},
      {"x\n{% set a, b = [1] %}", "line 2: cannot unpack 1 values into 2 names"},
      {"x\n{{ [].append(1) }}", "line 2: access to attribute 'append' of 'list' object is unsafe"},
  };
  for (const auto& [source, wanted] : cases) {
    const Result<Text> text = render(source);
    ASSERT_FALSE(text) << source;
    EXPECT_EQ(text.error().message, wanted);
    EXPECT_EQ(text.error().code, Code::kFailedPrecondition);
  }
  const auto unclosed = Template::parse("a\n{% if x %}\nb");
  ASSERT_FALSE(unclosed);
  EXPECT_EQ(unclosed.error().message, "line 3: the template ends before {% endif %}");
  const auto misspelt = Template::parse("\n{{ a b }}");
  ASSERT_FALSE(misspelt);
  EXPECT_EQ(misspelt.error().message, "line 2: unexpected 'b', expected '}}'");
}

TEST(Errors, KeepTheWordsOfARefusal) {
  const Result<Text> text = render("\n{{ raise_exception('No ' ~ 'way!') }}");
  ASSERT_FALSE(text);
  EXPECT_EQ(text.error().code, Code::kInvalidArgument);
  EXPECT_EQ(text.error().message, "No way!");
}

}  // namespace
}  // namespace deepwell::service::jinja
