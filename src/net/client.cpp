// One request at a time: connect (directly or by proxy), send, parse the answer, follow redirects.
#include "net/client.hpp"

#include <openssl/evp.h>

#include <array>

#include "base/concat.hpp"
#include "net/client_transport.hpp"
#include "net/message_parser.hpp"
#include "net/proxy.hpp"
#include "net/tls.hpp"
#include "net/url.hpp"

namespace deepwell::net {

namespace {

constexpr std::size_t kReadBytes = 64 * 1024;

SteadyTime now() { return std::chrono::steady_clock::now(); }

std::string basic_credentials(const std::string& userinfo) {
  std::string encoded((userinfo.size() + 2) / 3 * 4 + 1, '\0');
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                reinterpret_cast<const unsigned char*>(userinfo.data()),
                                static_cast<int>(userinfo.size()));
  encoded.resize(static_cast<std::size_t>(n));
  return concat("Basic ", encoded);
}

// A URL as messages show it: queries may hold signatures and keys.
std::string shown(const Url& url) {
  return concat(url.scheme, "://", url.authority(), url.target.substr(0, url.target.find('?')));
}

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

bool has_line_break(const Headers& headers) {
  for (const auto& [name, value] : headers) {
    if (concat(name, value).find_first_of("\r\n") != std::string::npos) return true;
  }
  return false;
}

// What is asked for; a redirect changes it.
struct Job {
  const ClientOptions& options;
  const CancelToken& cancel;
  const HttpClient::OnBody& on_body;
  std::string method;
  Url url;
  Headers headers;
  std::string_view body;
  ClientResponse response;
};

// One request of a chain of redirects: fills job.response.
class Exchange {
 public:
  explicit Exchange(Job& job) : job_(job) {}
  Status run();

 private:
  Status connect(ClientTransport& transport);
  Status ask_proxy_for_tunnel(ClientTransport& transport, SteadyTime deadline);
  std::string head() const;
  Status read_answer(ClientTransport& transport);
  Status take_body(const ResponseParser& parser, std::string_view chunk);

  Job& job_;
  std::optional<Url> proxy_;
  std::unique_ptr<boost::asio::ssl::context> tls_;
};

Status Exchange::run() {
  if (job_.options.use_proxy_environment) {
    DW_ASSIGN(proxy_, proxy_for(job_.url, read_environment));
  }
  if (job_.url.is_tls()) {
    DW_ASSIGN(tls_, make_client_tls(job_.options.ca_file));
  }
  ClientTransport transport(job_.cancel);
  DW_TRY(connect(transport));
  const std::string bytes = concat(head(), job_.body);
  DW_TRY(transport.write(bytes, now() + job_.options.read_timeout));
  return read_answer(transport);
}

Status Exchange::connect(ClientTransport& transport) {
  const auto deadline = now() + job_.options.connect_timeout;
  if (!proxy_) {
    DW_TRY(transport.connect(job_.url.host, job_.url.port, deadline));
  } else {
    if (Status status = transport.connect(proxy_->host, proxy_->port, deadline); !status) {
      return Error{status.error().code,
                   concat("the proxy of the environment: ", status.error().message)};
    }
    if (job_.url.is_tls()) DW_TRY(ask_proxy_for_tunnel(transport, deadline));
  }
  if (job_.url.is_tls()) return transport.start_tls(*tls_, job_.url.host, deadline);
  return {};
}

Status Exchange::ask_proxy_for_tunnel(ClientTransport& transport, SteadyTime deadline) {
  const bool is_v6 = job_.url.host.find(':') != std::string::npos;
  const std::string authority =
      concat(is_v6 ? "[" : "", job_.url.host, is_v6 ? "]" : "", ":", job_.url.port);
  std::string request = concat("CONNECT ", authority, " HTTP/1.1\r\nHost: ", authority, "\r\n");
  if (!proxy_->userinfo.empty()) {
    request.append(concat("Proxy-Authorization: ", basic_credentials(proxy_->userinfo), "\r\n"));
  }
  request.append("\r\n");
  DW_TRY(transport.write(request, deadline));
  // Byte by byte would be needed to be strict; a proxy sends nothing behind its answer before we
  // speak.
  ResponseParser parser([](std::string_view) { return Status(); }, true);
  std::string input;
  std::array<char, 4096> space;
  while (!parser.is_done()) {
    DW_ASSIGN(const auto n, transport.read(space, deadline));
    if (n == 0) return parser.finish_at_eof();
    input.append(space.data(), n);
    DW_ASSIGN(const auto n_used, parser.parse(input));
    input.erase(0, n_used);
  }
  if (parser.status / 100 == 2) return {};
  return unavailable(concat("the proxy ", proxy_->authority(), " refused a tunnel to ", authority,
                            ": status ", parser.status,
                            parser.status == 407 ? "; put name:password@ into the proxy URL" : ""));
}

std::string Exchange::head() const {
  const bool is_proxied = proxy_ && !job_.url.is_tls();
  std::string out =
      concat(job_.method, " ", is_proxied ? job_.url.text() : job_.url.target,
             " HTTP/1.1\r\nHost: ", job_.url.authority(), "\r\nConnection: close\r\n");
  const auto add_default = [&](std::string_view name, std::string_view value) {
    if (!job_.headers.contains(name)) out.append(concat(name, ": ", value, "\r\n"));
  };
  add_default("User-Agent", job_.options.user_agent.empty() ? "deepwell/" DEEPWELL_VERSION
                                                            : job_.options.user_agent);
  add_default("Accept", "*/*");
  add_default("Accept-Encoding", "identity");
  if (!job_.url.userinfo.empty())
    add_default("Authorization", basic_credentials(job_.url.userinfo));
  if (is_proxied && !proxy_->userinfo.empty()) {
    add_default("Proxy-Authorization", basic_credentials(proxy_->userinfo));
  }
  if (!job_.body.empty() || job_.method == "POST" || job_.method == "PUT")
    add_default("Content-Length", concat(job_.body.size()));
  for (const auto& [name, value] : job_.headers) out.append(concat(name, ": ", value, "\r\n"));
  out.append("\r\n");
  return out;
}

Status Exchange::take_body(const ResponseParser& parser, std::string_view chunk) {
  job_.response.n_body_bytes += chunk.size();
  if (is_redirect(parser.status) && parser.headers.contains("Location")) return {};
  const ClientResponseHead answer{parser.status, parser.headers};
  return job_.on_body(answer, chunk);
}

Status Exchange::read_answer(ClientTransport& transport) {
  std::optional<ResponseParser> parser;
  const auto take = [&](std::string_view chunk) { return take_body(*parser, chunk); };
  parser.emplace(take, job_.method == "HEAD");
  std::string input;
  std::string space(kReadBytes, '\0');
  bool is_ended = false;
  while (!parser->is_done() && !is_ended) {
    DW_ASSIGN(const auto n, transport.read(space, now() + job_.options.read_timeout));
    is_ended = n == 0;
    input.append(space.data(), n);
    while (!input.empty()) {
      DW_ASSIGN(const auto n_used, parser->parse(input));
      input.erase(0, n_used);
      const bool is_interim = parser->is_done() && parser->status / 100 == 1;
      if (is_interim) parser.emplace(take, job_.method == "HEAD");
      if (n_used == 0 || (parser->is_done() && !is_interim)) break;
    }
    const bool is_redirected = parser->is_header_done() && is_redirect(parser->status) &&
                               parser->headers.contains("Location");
    if (is_redirected) break;  // its body does not matter
  }
  if (is_ended) DW_TRY(parser->finish_at_eof());
  job_.response.status = parser->status;
  job_.response.headers = parser->headers;
  return {};
}

// Where a redirect leads, or why it must not be followed.
Status follow(Job& job, std::string_view location) {
  DW_ASSIGN(Url next, resolve_url(job.url, location));
  if (job.url.is_tls() && !next.is_tls()) {
    return Error{Code::kFailedPrecondition, concat("the server redirects from https to http (",
                                                   shown(next), "), which is not followed")};
  }
  if (next.host != job.url.host || next.port != job.url.port || next.scheme != job.url.scheme) {
    // Credentials are for the host they were given for.
    job.headers.remove("Authorization");
    job.headers.remove("Cookie");
  } else if (next.userinfo.empty()) {
    next.userinfo = job.url.userinfo;
  }
  const int status = job.response.status;
  if (status == 303 || ((status == 301 || status == 302) && job.method == "POST")) {
    if (job.method != "HEAD") job.method = "GET";
    job.body = {};
    job.headers.remove("Content-Type");
  }
  job.url = std::move(next);
  job.response = {};
  return {};
}

Result<ClientResponse> run_with_redirects(Job job) {
  const std::string first = concat(job.method, " ", shown(job.url));
  if (has_line_break(job.headers)) return invalid_argument("a request header holds a line break");
  for (unsigned n_redirects = 0;; ++n_redirects) {
    Status status = Exchange(job).run();
    const auto location = job.response.headers.get("Location");
    const bool is_redirected = status && is_redirect(job.response.status) && location;
    if (status && !is_redirected) {
      job.response.url = job.url.text();
      return std::move(job.response);
    }
    if (is_redirected && n_redirects >= job.options.n_redirects_max) {
      status = Error{Code::kFailedPrecondition,
                     concat("more than ", job.options.n_redirects_max, " redirects")};
    } else if (is_redirected) {
      const std::string copy(*location);
      status = follow(job, copy);
    }
    if (!status) return Error{status.error().code, concat(first, ": ", status.error().message)};
  }
}

}  // namespace

Result<ClientResponse> HttpClient::get(std::string_view url, const Headers& headers,
                                       const OnBody& on_body, CancelToken cancel) const {
  DW_ASSIGN(Url parsed, parse_url(url));
  return run_with_redirects(
      Job{options_, cancel, on_body, "GET", std::move(parsed), headers, {}, {}});
}

Result<HttpClient::Collected> HttpClient::request(std::string_view method, std::string_view url,
                                                  const Headers& headers, std::string_view body,
                                                  std::uint64_t max_bytes,
                                                  CancelToken cancel) const {
  DW_ASSIGN(Url parsed, parse_url(url));
  Collected collected;
  const OnBody collect = [&](const ClientResponseHead&, std::string_view chunk) -> Status {
    if (collected.body.size() + chunk.size() > max_bytes) {
      return Error{Code::kResourceExhausted,
                   concat("the answer is larger than ", max_bytes, " bytes")};
    }
    collected.body.append(chunk);
    return {};
  };
  DW_ASSIGN(
      collected.response,
      run_with_redirects(Job{
          options_, cancel, collect, std::string(method), std::move(parsed), headers, body, {}}));
  return collected;
}

}  // namespace deepwell::net
