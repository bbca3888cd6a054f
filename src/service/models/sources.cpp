// The list of ways to get a model file.
#include "service/models/sources.hpp"

#include <array>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::service {

extern const SourceFetcher kSource_huggingface;
extern const SourceFetcher kSource_modelscope;
extern const SourceFetcher kSource_url;
extern const SourceFetcher kSource_file;
extern const SourceFetcher kSource_packages;

const SourceFetcher& fetcher_of(SourceKind kind) {
  static constexpr std::array kFetchers = {&kSource_huggingface, &kSource_modelscope, &kSource_url,
                                           &kSource_file, &kSource_packages};
  for (const SourceFetcher* fetcher : kFetchers) {
    if (fetcher->kind == kind) return *fetcher;
  }
  check_failed(__FILE__, __LINE__, "fetcher", "a source kind without a fetcher");
}

Status check_disk_space(const std::string& directory, std::uint64_t n_bytes_needed) {
  constexpr std::uint64_t kSpare = 16 << 20;  // manifests, and not the very last block
  const Result<std::uint64_t> n_free = free_disk_bytes(directory);
  if (!n_free || *n_free >= n_bytes_needed + kSpare) return {};  // unknown: the write will tell
  return Error{Code::kResourceExhausted,
               concat("not enough disk space in ", directory, ": ",
                      format_bytes(n_bytes_needed + kSpare), " needed, ", format_bytes(*n_free),
                      " free; make room or choose another place with --home")};
}

}  // namespace deepwell::service
