// Renders what jinja2 rendered, byte for byte: real chat templates (tests/golden/templates/expected.json) and a table
// of small templates (conformance.json).
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "service/chat/jinja/json.hpp"
#include "service/chat/jinja/template.hpp"

namespace deepwell::service::jinja {
namespace {

using Json = nlohmann::ordered_json;

const std::string kFolder = std::string(DEEPWELL_SOURCE_DIR) + "/tests/golden/templates/";

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

std::tm parse_time(const std::string& iso) {
  std::tm time{};
  EXPECT_NE(strptime(iso.c_str(), "%Y-%m-%dT%H:%M:%S", &time), nullptr);
  return time;
}

Result<Text> render(const std::string& source, const Json& context, const std::tm& now) {
  DW_ASSIGN(const Template parsed, Template::parse(source));
  DW_ASSIGN(const Value variables, value_from_json(context.is_null() ? "{}" : context.dump()));
  return parsed.render(variables, {}, now);
}

/// Compares with what jinja2 did: the text, the words of a refusal, or any other failure.
::testing::AssertionResult agrees(const Result<Text>& got, const Json& wanted) {
  const std::string words =
      got ? std::string(got->view())
          : std::string(code_name(got.error().code)) + ": " + got.error().message;
  if (wanted.contains("text")) {
    if (got && got->view() == wanted["text"].get<std::string>())
      return ::testing::AssertionSuccess();
  } else if (wanted.contains("refused")) {
    const std::string refusal = wanted["refused"].get<std::string>();
    if (!got && got.error().code == Code::kInvalidArgument && got.error().message == refusal)
      return ::testing::AssertionSuccess();
  } else if (!got) {
    return ::testing::AssertionSuccess();
  }
  return ::testing::AssertionFailure()
         << "wanted " << wanted.dump() << "\n  got " << Json(words).dump();
}

TEST(JinjaGolden, RendersRealTemplatesAsJinja2Does) {
  const Json golden = Json::parse(read_file(kFolder + "expected.json"));
  const std::tm now = parse_time(golden["now"]);
  std::map<std::string, std::set<std::string>> titles;
  for (const Json& wanted : golden["cases"]) {
    const std::string name = wanted["template"];
    const Json context = golden["contexts"][wanted["context"].get<std::size_t>()];
    Json outcome = wanted;
    for (const char* key : {"template", "title", "context"}) outcome.erase(key);
    EXPECT_TRUE(agrees(render(read_file(kFolder + "templates/" + name), context, now), outcome))
        << name << ": " << wanted["title"];
    titles[name].insert(wanted["title"].get<std::string>());
  }
  EXPECT_GE(titles.size(), 15U);
  for (const auto& [name, seen] : titles) EXPECT_GE(seen.size(), 12U) << name;
}

TEST(JinjaGolden, EvaluatesTheConformanceTableAsJinja2Does) {
  const Json golden = Json::parse(read_file(kFolder + "conformance.json"));
  const std::tm now = parse_time(golden["now"]);
  std::size_t n_cases = 0;
  for (const Json& wanted : golden["cases"]) {
    Json outcome = wanted;
    for (const char* key : {"group", "source", "context"}) outcome.erase(key);
    const Json context = wanted.contains("context") ? wanted["context"] : Json();
    EXPECT_TRUE(agrees(render(wanted["source"], context, now), outcome))
        << wanted["group"] << ": " << wanted["source"];
    ++n_cases;
  }
  EXPECT_GE(n_cases, 1000U);
}

}  // namespace
}  // namespace deepwell::service::jinja
