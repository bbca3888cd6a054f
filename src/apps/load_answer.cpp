// Chunks of a chat completion to an answer.
// Reference: https://platform.openai.com/docs/api-reference/chat/streaming
#include "apps/load_answer.hpp"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

#include "base/concat.hpp"

namespace deepwell::apps {

namespace {

using json = nlohmann::json;

constexpr std::string_view kContentKey = "\"content\":";
constexpr std::size_t kMaxShown = 80;
constexpr std::size_t kMaxChoices = 128;

std::string text_of(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// 0 if it is not there, or no count.
std::uint64_t count_of(const json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto found = object.find(key);
  return found != object.end() && found->is_number_unsigned() ? found->get<std::uint64_t>() : 0;
}

// One part of a cursor as docs/api/streams.md has it: "-", "17", "17!".
struct CursorPart {
  std::int64_t n_tok = -1;
  bool has_finished = false;

  auto operator<=>(const CursorPart&) const = default;
};

// False: not a cursor of that form, as other servers' ids are not.
bool parse_cursor(std::string_view text, std::vector<CursorPart>& parts, bool& has_usage) {
  has_usage = text.ends_with('u');
  if (has_usage) text.remove_suffix(1);
  for (std::string_view rest = text;;) {
    std::string_view part = rest.substr(0, rest.find('.'));
    const std::size_t n_part = part.size();
    CursorPart& parsed = parts.emplace_back();
    if (part != "-") {
      parsed.has_finished = part.ends_with('!');
      if (parsed.has_finished) part.remove_suffix(1);
      const char* end = part.data() + part.size();
      const auto number = std::from_chars(part.data(), end, parsed.n_tok);
      if (number.ec != std::errc() || number.ptr != end) return false;
    }
    if (n_part == rest.size()) return true;
    rest.remove_prefix(n_part + 1);
  }
}

// Where the JSON string that begins at `at` ends, its quotes included; npos if it has no end.
std::size_t end_of_string(std::string_view data, std::size_t at) {
  if (at >= data.size() || data[at] != '"') return std::string_view::npos;
  for (std::size_t i = at + 1; i < data.size(); ++i) {
    if (data[i] == '\\') {
      ++i;
    } else if (data[i] == '"') {
      return i + 1;
    }
  }
  return std::string_view::npos;
}

// The usage without what may differ between two runs of one request.
std::string comparable_usage(const std::string& usage) {
  json parsed = json::parse(usage, nullptr, false);
  if (parsed.is_object()) parsed.erase("prompt_tokens_details");
  return parsed.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string difference_of_texts(std::string_view what, std::string_view a, std::string_view b) {
  if (a == b) return {};
  const auto at = static_cast<std::size_t>(
      std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
  const auto show = [at](std::string_view text) {
    return at >= text.size() ? std::string("its end") : concat("'", text.substr(at, 16), "'");
  };
  return concat(what, " differs at byte ", at, " of ", a.size(), ": ", show(b), " instead of ",
                show(a));
}

}  // namespace

bool LoadAnswer::equals(const LoadAnswer& other) const { return difference(other).empty(); }

std::string LoadAnswer::difference(const LoadAnswer& other) const {
  if (choices.size() != other.choices.size()) {
    return concat(other.choices.size(), " choices instead of ", choices.size());
  }
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const LoadChoice& a = choices[i];
    const LoadChoice& b = other.choices[i];
    std::string found = difference_of_texts("reasoning", a.reasoning, b.reasoning);
    if (found.empty()) found = difference_of_texts("content", a.content, b.content);
    if (found.empty() && a.finish_reason != b.finish_reason) {
      found = concat("finish_reason '", b.finish_reason, "' instead of '", a.finish_reason, "'");
    }
    if (!found.empty()) return found;
  }
  if (usage == other.usage || comparable_usage(usage) == comparable_usage(other.usage)) return {};
  return concat("usage ", other.usage, " instead of ", usage);
}

// Each event must move the cursor on; an id of another form must at least be a new one.
bool AnswerReader::is_behind(std::string_view cursor) const {
  if (cursor_.empty()) return true;
  if (cursor == cursor_) return false;
  std::vector<CursorPart> before;
  std::vector<CursorPart> now;
  bool had_usage = false;
  bool has_usage = false;
  const bool are_cursors = parse_cursor(cursor_, before, had_usage) &&
                           parse_cursor(cursor, now, has_usage) && before.size() == now.size();
  if (!are_cursors) return true;
  if (had_usage && !has_usage) return false;
  return std::equal(before.begin(), before.end(), now.begin(),
                    [](const CursorPart& a, const CursorPart& b) { return a <= b; });
}

Result<AnswerReader::Kind> AnswerReader::take(const StreamEvent& event) {
  if (event.data == "[DONE]") {
    answer_.is_done = true;
    return Kind::kDone;
  }
  const bool is_error = event.type == "error";
  if (!event.id.empty() && !is_error) {
    if (!is_behind(event.id)) return Kind::kDuplicate;
    cursor_ = event.id;
  }
  if (!is_error && take_known_shape(event.data)) return Kind::kToken;
  return take_json(event.data, is_error);
}

bool AnswerReader::take_known_shape(std::string_view data) {
  if (before_text_.empty() || !data.starts_with(before_text_) || !data.ends_with(behind_text_) ||
      data.size() < before_text_.size() + behind_text_.size()) {
    return false;
  }
  const std::string_view text =
      data.substr(before_text_.size(), data.size() - before_text_.size() - behind_text_.size());
  if (end_of_string(text, 0) != text.size()) return false;
  if (text.find('\\') == std::string_view::npos) {
    answer_.choices[0].content += text.substr(1, text.size() - 2);
    return true;
  }
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_string()) return false;
  answer_.choices[0].content += parsed.get_ref<const std::string&>();
  return true;
}

Result<AnswerReader::Kind> AnswerReader::take_json(std::string_view data, bool is_error) {
  const json body = json::parse(data, nullptr, false);
  if (!body.is_object()) {
    return data_loss(concat("an event is no JSON object: '", data.substr(0, kMaxShown), "'"));
  }
  const auto error = body.find("error");
  if (is_error || (error != body.end() && !error->is_null())) {
    const json& fields = error != body.end() && error->is_object() ? *error : body;
    const auto resumable = fields.find("resumable");
    answer_.is_error_resumable =
        resumable != fields.end() && resumable->is_boolean() && resumable->get<bool>();
    answer_.error = concat(text_of(fields, "type"), " ", text_of(fields, "code"), ": ",
                           text_of(fields, "message"));
    return Kind::kError;
  }
  if (answer_.id.empty()) answer_.id = text_of(body, "id");
  const auto continued = body.find("continued");
  if (continued != body.end() && continued->is_boolean() && continued->get<bool>()) {
    answer_.is_continued = true;
  }
  const auto resumable = body.find("resumable");
  if (resumable != body.end() && resumable->is_boolean() && !resumable->get<bool>()) {
    answer_.is_resumable = false;
  }
  const auto usage = body.find("usage");
  if (usage != body.end() && usage->is_object()) {
    answer_.usage = usage->dump(-1, ' ', false, json::error_handler_t::replace);
    answer_.n_completion_tok = count_of(*usage, "completion_tokens");
    answer_.n_prompt_tok = count_of(*usage, "prompt_tokens");
    const auto details = usage->find("prompt_tokens_details");
    if (details != usage->end()) answer_.n_cached_tok = count_of(*details, "cached_tokens");
  }
  const auto choices = body.find("choices");
  if (choices == body.end() || !choices->is_array()) return Kind::kOther;
  bool has_text = false;
  for (const json& choice : *choices) {
    if (!choice.is_object()) continue;
    const std::size_t index = choice.value("index", json(0)).is_number_unsigned()
                                  ? choice.value("index", std::size_t{0})
                                  : 0;
    if (index >= kMaxChoices) return data_loss(concat("an event has a choice ", index));
    if (answer_.choices.size() <= index) answer_.choices.resize(index + 1);
    LoadChoice& into = answer_.choices[index];
    const std::string finish = text_of(choice, "finish_reason");
    if (!finish.empty()) into.finish_reason = finish;
    const auto delta = choice.find("delta");
    if (delta == choice.end() || !delta->is_object()) continue;
    const std::string content = text_of(*delta, "content");
    const std::string reasoning = text_of(*delta, "reasoning_content");
    into.content += content;
    into.reasoning += reasoning;
    has_text = has_text || !content.empty() || !reasoning.empty();
    const bool is_plain = choices->size() == 1 && index == 0 && delta->size() == 1 &&
                          !content.empty() && finish.empty() && answer_.usage.empty();
    if (is_plain) learn_shape(data);
  }
  return has_text ? Kind::kToken : Kind::kOther;
}

void AnswerReader::learn_shape(std::string_view data) {
  const std::size_t key = data.find(kContentKey);
  if (key == std::string_view::npos ||
      data.find(kContentKey, key + kContentKey.size()) != std::string_view::npos) {
    return;
  }
  const std::size_t begin = key + kContentKey.size();
  const std::size_t end = end_of_string(data, begin);
  if (end == std::string_view::npos) return;
  before_text_ = data.substr(0, begin);
  behind_text_ = data.substr(end);
}

}  // namespace deepwell::apps
