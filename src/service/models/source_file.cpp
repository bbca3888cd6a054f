// A model file that is already on this machine (or on a share): copied into the store.
#include <vector>

#include "base/concat.hpp"
#include "base/file.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {
namespace {

Result<Fetched> fetch_file(const ModelSource& source, const FetchContext& context) {
  DW_ASSIGN(const FileIdentity file, identify_file(source.location));
  if (file.is_directory) return invalid_argument(concat(source.location, " is a directory"));
  DW_TRY(check_disk_space(context.directory, file.n_bytes));
  DW_ASSIGN(FileReader reader, FileReader::open(source.location));
  DW_ASSIGN(FileWriter writer, FileWriter::open(context.partial_path, FileWriter::Mode::kTruncate));
  std::vector<char> buffer(1 << 20);
  Status copied;
  while (copied) {
    if (context.cancel.stop_requested()) copied = Error{Code::kCancelled, "interrupted"};
    Result<std::size_t> n = reader.read(buffer);
    if (!n) copied = n.error();
    if (!copied || *n == 0) break;
    copied = writer.write(std::string_view(buffer.data(), *n));
    context.progress(writer.n_bytes(), file.n_bytes);
  }
  if (!copied) {
    (void)remove_file(
        context.partial_path);  // a copy starts anew: nothing is gained by keeping a part
    return std::move(copied).error();
  }
  return Fetched{};
}

}  // namespace

extern const SourceFetcher kSource_file;
const SourceFetcher kSource_file = {SourceKind::kFile, false, fetch_file};

}  // namespace deepwell::service
