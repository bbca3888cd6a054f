// A model file behind a URL: resumable download (RFC 9110 sections 13.1.5 and 14: Range, If-Range,
// Content-Range).
#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <thread>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "base/sha256.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {
namespace {

/// What was learned of the file when its first byte came; kept beside the partial file.
struct RemoteFile {
  std::string validator;      // ETag, else Last-Modified; empty: the download cannot be continued
  std::uint64_t n_bytes = 0;  // 0: unknown
};

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return number;
}

/// "bytes 100-199/1000" or "bytes */1000".
struct ContentRange {
  std::optional<std::uint64_t> first;
  std::uint64_t n_total = 0;  // 0: unknown
};

std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!text.starts_with("bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  ContentRange range;
  range.n_total = parse_number(text.substr(slash + 1)).value_or(0);
  range.first = parse_number(text.substr(0, std::min(text.find('-'), slash)));
  return range;
}

/// One file's download over as many requests as it takes.
class Download {
 public:
  Download(const std::string& url, const FetchContext& context)
      : url_(url), context_(context), client_(context.client) {
    const std::string stem = concat("download-", sha256_hex(url).substr(0, 16));
    part_path_ = join_path(context.directory, concat(stem, ".part"));
    memory_path_ = join_path(context.directory, concat(stem, ".txt"));
  }

  Status run() {
    constexpr int kMaxAttempts = 50;  // each of them must have brought the file further
    std::uint64_t n_best = part_bytes();
    Status got;
    for (int attempt = 0; attempt < kMaxAttempts; ++attempt) {
      got = request();
      if (got) return finish();
      const Code code = got.error().code;
      const bool is_passing =
          code == Code::kUnavailable || code == Code::kDataLoss || code == Code::kDeadlineExceeded;
      const bool is_further = part_bytes() > n_best;
      if (!is_passing || (!is_further && !is_restarted_)) break;
      n_best = std::max(n_best, part_bytes());
      is_restarted_ = false;
      if (context_.cancel.stop_requested()) break;
      context_.say(concat("  ", got.error().message, "; going on at ", format_bytes(part_bytes())));
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
    }
    const bool can_go_on =
        !remote_.validator.empty() && got.error().code != Code::kResourceExhausted;
    if (!can_go_on) forget();
    return got;
  }

 private:
  std::uint64_t part_bytes() const {
    const Result<FileIdentity> part = identify_file(part_path_);
    return part ? part->n_bytes : 0;
  }

  void forget() {
    writer_.reset();
    (void)remove_file(part_path_);
    (void)remove_file(memory_path_);
    remote_ = {};
  }

  /// The memory: URL, validator and length, a line each.
  void recall() {
    const Result<std::string> memory = read_file(memory_path_, 64 << 10);
    remote_ = {};
    if (memory && memory->starts_with(concat(url_, "\n"))) {
      const std::string_view rest = std::string_view(*memory).substr(url_.size() + 1);
      const std::size_t end = rest.find('\n');
      const std::size_t end_number = rest.find('\n', end == rest.npos ? end : end + 1);
      if (end != rest.npos && end_number != rest.npos) {
        remote_.validator = rest.substr(0, end);
        remote_.n_bytes = parse_number(rest.substr(end + 1, end_number - end - 1)).value_or(0);
      }
    }
    if (remote_.validator.empty()) forget();
  }

  Status request() {
    recall();
    const std::uint64_t n_have = part_bytes();
    net::Headers headers{{"Accept-Encoding", "identity"}};
    if (n_have > 0) {
      headers.add("Range", concat("bytes=", n_have, "-"));
      // A weak validator may not stand in If-Range; begin() compares it with the answer's.
      const bool is_strong = !remote_.validator.starts_with("W/");
      if (is_strong) headers.add("If-Range", remote_.validator);
    }
    is_begun_ = false;
    const auto on_body = [this](const net::ClientResponseHead& head, std::string_view chunk) {
      return receive(head, chunk);
    };
    Result<net::ClientResponse> response = client_.get(url_, headers, on_body, context_.cancel);
    if (writer_) DW_TRY(writer_->sync());
    writer_.reset();
    if (!response) return std::move(response).error();
    if (response->status == 416) return resolve_unsatisfied_range(response->headers);
    if (response->status != 200 && response->status != 206) return answer_error(response->status);
    if (!is_begun_) return data_loss(concat("the server sent an empty file for ", url_));
    if (remote_.n_bytes > 0 && part_bytes() != remote_.n_bytes) {
      return data_loss(
          concat("the file ended after ", part_bytes(), " of ", remote_.n_bytes, " bytes"));
    }
    return {};
  }

  Error answer_error(int status) const {
    Code code = Code::kUnavailable;
    if (status == 404 || status == 410) code = Code::kNotFound;
    if (status == 401 || status == 403) code = Code::kPermissionDenied;
    return {code, concat("the server answered ", status, " for ", url_)};
  }

  /// 416: we asked for bytes past the end. Fine if we have exactly all of them.
  Status resolve_unsatisfied_range(const net::Headers& headers) {
    const std::optional<ContentRange> range =
        parse_content_range(headers.get("Content-Range").value_or(""));
    if (range && range->n_total > 0 && range->n_total == part_bytes()) return {};
    return start_over("the server has another file than the one begun");
  }

  Status start_over(std::string_view why) {
    forget();
    is_restarted_ = true;
    return unavailable(std::string(why));
  }

  Status receive(const net::ClientResponseHead& head, std::string_view chunk) {
    if (head.status != 200 && head.status != 206) return {};
    if (!is_begun_) DW_TRY(begin(head));
    DW_TRY(writer_->write(chunk));
    context_.progress(writer_->n_bytes(), remote_.n_bytes);
    return {};
  }

  /// The first bytes of an answer: go on where the part ends, or start anew.
  Status begin(const net::ClientResponseHead& head) {
    RemoteFile now;
    const std::optional<std::string_view> etag = head.headers.get("ETag");
    now.validator = etag ? *etag : head.headers.get("Last-Modified").value_or("");
    bool is_continued = false;
    if (head.status == 206) {
      const std::optional<ContentRange> range =
          parse_content_range(head.headers.get("Content-Range").value_or(""));
      const bool is_the_same = range && range->first == part_bytes() &&
                               range->n_total == remote_.n_bytes &&
                               now.validator == remote_.validator;
      if (!is_the_same) return start_over("the file changed on the server");
      now.n_bytes = range->n_total;
      is_continued = true;
    } else {
      now.n_bytes = parse_number(head.headers.get("Content-Length").value_or("")).value_or(0);
    }
    const bool is_wrong_length =
        context_.n_bytes > 0 && now.n_bytes > 0 && now.n_bytes != context_.n_bytes;
    if (is_wrong_length) {
      return Error{Code::kFailedPrecondition,
                   concat("the server has a file of ", now.n_bytes, " bytes, the catalogue says ",
                          context_.n_bytes)};
    }
    const std::uint64_t n_have = is_continued ? part_bytes() : 0;
    DW_TRY(check_disk_space(context_.directory, now.n_bytes - std::min(now.n_bytes, n_have)));
    if (is_continued) context_.say(concat("  going on at ", format_bytes(n_have)));
    remote_ = now;
    DW_TRY(write_file_atomic(memory_path_,
                             concat(url_, "\n", remote_.validator, "\n", remote_.n_bytes, "\n")));
    DW_ASSIGN(writer_, FileWriter::open(part_path_, is_continued ? FileWriter::Mode::kAppend
                                                                 : FileWriter::Mode::kTruncate));
    is_begun_ = true;
    return {};
  }

  Status finish() {
    DW_TRY(rename_file(part_path_, context_.partial_path));
    return remove_file(memory_path_);
  }

  const std::string& url_;
  const FetchContext& context_;
  net::HttpClient client_;
  std::string part_path_;
  std::string memory_path_;
  RemoteFile remote_;
  std::optional<FileWriter> writer_;
  bool is_begun_ = false;
  bool is_restarted_ = false;
};

Result<Fetched> fetch_url(const ModelSource& source, const FetchContext& context) {
  DW_TRY(download(source.location, context));
  return Fetched{};
}

}  // namespace

Status download(const std::string& url, const FetchContext& context) {
  return Download(url, context).run();
}

extern const SourceFetcher kSource_url;
const SourceFetcher kSource_url = {SourceKind::kUrl, true, fetch_url};

}  // namespace deepwell::service
