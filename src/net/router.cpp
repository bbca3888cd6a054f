// A sorted table of patterns, matched segment by segment, and the chain of middleware around each
// answer.
#include "net/router.hpp"

#include <algorithm>
#include <set>

#include "base/concat.hpp"
#include "net/url.hpp"

namespace deepwell::net {

namespace {

// In order of precedence.
enum class SegmentKind { kLiteral, kParam, kRest };

struct Segment {
  SegmentKind kind = SegmentKind::kLiteral;
  std::string text;  // the literal, or the parameter's name

  friend auto operator<=>(const Segment&, const Segment&) = default;
};

Segment parse_segment(std::string_view text) {
  if (text.size() < 2 || text.front() != '{' || text.back() != '}') {
    DW_CHECK(text.find_first_of("{}") == std::string_view::npos,
             "a route pattern has a stray brace");
    return {SegmentKind::kLiteral, std::string(text)};
  }
  text = text.substr(1, text.size() - 2);
  const bool is_rest = text.ends_with("...");
  if (is_rest) text.remove_suffix(3);
  DW_CHECK(!text.empty(), "a route parameter has no name");
  return {is_rest ? SegmentKind::kRest : SegmentKind::kParam, std::string(text)};
}

std::vector<Segment> parse_pattern(std::string_view pattern) {
  DW_CHECK(pattern.starts_with('/'), "a route pattern must begin with /");
  std::vector<Segment> segments;
  pattern.remove_prefix(1);
  while (!pattern.empty()) {
    const auto slash = pattern.find('/');
    segments.push_back(parse_segment(pattern.substr(0, slash)));
    if (slash == std::string_view::npos) return segments;
    DW_CHECK(segments.back().kind != SegmentKind::kRest,
             "{name...} must be a pattern's last segment");
    pattern.remove_prefix(slash + 1);
    if (pattern.empty()) segments.push_back({});  // "/a/" is not "/a"
  }
  return segments;
}

using Params = std::vector<std::pair<std::string, std::string>>;

bool matches(const std::vector<Segment>& pattern, const std::vector<std::string>& path,
             Params& params) {
  params.clear();
  const bool has_rest = !pattern.empty() && pattern.back().kind == SegmentKind::kRest;
  if (has_rest ? path.size() < pattern.size() : path.size() != pattern.size()) return false;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const Segment& segment = pattern[i];
    if (segment.kind == SegmentKind::kLiteral) {
      if (segment.text != path[i]) return false;
    } else if (segment.kind == SegmentKind::kParam) {
      if (path[i].empty()) return false;
      params.emplace_back(segment.text, path[i]);
    } else {
      std::string rest = path[i];
      for (std::size_t j = i + 1; j < path.size(); ++j) rest.append("/").append(path[j]);
      params.emplace_back(segment.text, std::move(rest));
    }
  }
  return true;
}

// Whether two patterns match the same paths.
bool is_same_shape(const std::vector<Segment>& a, const std::vector<Segment>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Segment& x, const Segment& y) {
    return x.kind == y.kind && (x.kind != SegmentKind::kLiteral || x.text == y.text);
  });
}

Response plain_error(int status, std::string_view message) {
  return make_response(status, kTextPlain, concat(message, "\n"));
}

}  // namespace

struct Router::State {
  struct Entry {
    std::vector<Segment> segments;
    Route route;
  };
  std::vector<std::unique_ptr<Entry>> entries;  // most specific first; a Route's address is stable
  std::vector<Middleware> middleware;
  ErrorBody make_error = plain_error;
  // chain[i] runs middleware i and what follows; the last one answers. Built once: see
  // rebuild_chain().
  std::vector<Handler> chain;

  State() { rebuild_chain(); }
  void rebuild_chain();
  Task<void> answer_unrouted(Request& request, ResponseWriter& writer) const;
  std::set<std::string> allowed_methods(const std::vector<std::string>& path) const;
};

// Each element calls its middleware with the next element, so the vector must not move while
// requests run.
void Router::State::rebuild_chain() {
  chain.assign(middleware.size() + 1, Handler());
  chain.back() = [this](Request& request, ResponseWriter& writer) {
    return request.route == nullptr ? answer_unrouted(request, writer)
                                    : request.route->handler(request, writer);
  };
  for (std::size_t i = 0; i < middleware.size(); ++i) {
    chain[i] = [this, i](Request& request, ResponseWriter& writer) {
      return middleware[i](request, writer, chain[i + 1]);
    };
  }
}

std::set<std::string> Router::State::allowed_methods(const std::vector<std::string>& path) const {
  std::set<std::string> methods;
  Params ignored;
  for (const auto& entry : entries) {
    if (!matches(entry->segments, path, ignored)) continue;
    methods.insert(entry->route.method);
    if (entry->route.method == "GET") methods.insert("HEAD");
  }
  if (!methods.empty()) methods.insert("OPTIONS");
  return methods;
}

// What is answered without a route's handler.
Task<void> Router::State::answer_unrouted(Request& request, ResponseWriter& writer) const {
  Response response;
  const auto target = parse_target(request.target);
  if (!target) {
    response = make_error(400, target.error().message);
  } else {
    auto methods = allowed_methods(target->segments);
    const bool is_for_server = target->path == "*" && request.method == "OPTIONS";
    if (is_for_server) methods = {"GET", "HEAD", "OPTIONS", "POST"};
    std::string allow;
    for (const auto& method : methods) allow.append(allow.empty() ? "" : ", ").append(method);
    // Named as it was sent: decoded, a path may hold any bytes.
    const std::string path = request.target.substr(0, request.target.find('?'));
    if (methods.empty()) {
      response = make_error(404, concat("nothing is served at ", path));
    } else if (request.method == "OPTIONS") {
      response.status = 204;
    } else {
      response =
          make_error(405, concat(path, " does not serve ", request.method, ", only ", allow));
    }
    if (!allow.empty()) response.headers.set("Allow", allow);
  }
  co_await writer.send(std::move(response));
}

Router::Router() : state_(std::make_unique<State>()) {}
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

void Router::add(Route route) {
  DW_CHECK(!route.method.empty() && route.handler, "a route needs a method and a handler");
  auto entry = std::make_unique<State::Entry>();
  entry->segments = parse_pattern(route.pattern);
  entry->route = std::move(route);
  const auto is_before = [](const auto& a, const auto& b) { return a->segments < b->segments; };
  auto& entries = state_->entries;
  const auto place = std::upper_bound(entries.begin(), entries.end(), entry, is_before);
  for (const auto& other : entries) {
    DW_CHECK(other->route.method != entry->route.method ||
                 !is_same_shape(other->segments, entry->segments),
             "two routes have the same method and pattern");
  }
  entries.insert(place, std::move(entry));
}

void Router::add(std::string method, std::string pattern, Handler handler) {
  Route route;
  route.method = std::move(method);
  route.pattern = std::move(pattern);
  route.handler = std::move(handler);
  add(std::move(route));
}

void Router::use(Middleware middleware) {
  state_->middleware.push_back(std::move(middleware));
  state_->rebuild_chain();
}

void Router::on_error(ErrorBody make) { state_->make_error = std::move(make); }

Response Router::error_response(int status, std::string_view message) const {
  return state_->make_error(status, message);
}

Task<void> Router::dispatch(Request& request, ResponseWriter& writer) const {
  const auto target = parse_target(request.target);
  if (target) {
    request.path = target->path;
    request.query = target->query;
    const std::string_view method = request.method;
    // An own HEAD route wins over the GET route of the same path.
    for (const std::string_view wanted :
         {method, std::string_view(method == "HEAD" ? "GET" : "")}) {
      for (const auto& entry : state_->entries) {
        if (request.route != nullptr || entry->route.method != wanted) continue;
        Params params;
        if (!matches(entry->segments, target->segments, params)) continue;
        request.route = &entry->route;
        request.params = std::move(params);
        if (entry->route.max_body_bytes != 0) request.max_body_bytes = entry->route.max_body_bytes;
      }
    }
  } else {
    request.path = request.target;
  }
  return state_->chain.front()(request, writer);
}

}  // namespace deepwell::net
