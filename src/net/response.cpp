// Whole responses and the text of server-sent events.
#include "net/response.hpp"

namespace deepwell::net {

namespace {

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out.append(name);
  if (!name.empty()) out.append(": ");
  for (const char c : value) {
    if (c != '\r' && c != '\n' && c != '\0') out.push_back(c);
  }
  out.push_back('\n');
}

// Calls `use` with each line; LF, CRLF and CR end one (as an event stream's parser sees it).
template <class Use>
void for_each_line(std::string_view text, Use use) {
  for (;;) {
    const auto end = text.find_first_of("\r\n");
    use(text.substr(0, end));
    if (end == std::string_view::npos) return;
    const bool is_crlf = text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
    text.remove_prefix(end + (is_crlf ? 2 : 1));
  }
}

}  // namespace

Response make_response(int status, std::string_view content_type, std::string body) {
  Response response;
  response.status = status;
  response.headers.add("Content-Type", std::string(content_type));
  response.body = std::move(body);
  return response;
}

Headers sse_headers() {
  Headers headers;
  headers.add("Content-Type", std::string(kEventStream));
  headers.add("Cache-Control", "no-cache");
  headers.add("X-Accel-Buffering", "no");  // nginx would hold the events back
  return headers;
}

std::string sse_event(std::string_view data, std::string_view event, std::string_view id) {
  std::string out;
  out.reserve(data.size() + event.size() + id.size() + 32);
  if (!event.empty()) append_field(out, "event", event);
  if (!id.empty()) append_field(out, "id", id);
  for_each_line(
      data, [&out](std::string_view line) { out.append("data: ").append(line).push_back('\n'); });
  out.push_back('\n');
  return out;
}

std::string sse_comment(std::string_view text) {
  std::string out = ": ";
  append_field(out, "", text);
  return out;
}

}  // namespace deepwell::net
