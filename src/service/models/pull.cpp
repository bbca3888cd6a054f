// Pulling: lock, sources in order, verify, rename, manifest.
#include "service/models/pull.hpp"

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "service/models/sources.hpp"

namespace deepwell::service {

namespace {

/// One pull, from the lock on.
class Pull {
 public:
  Pull(const ModelStore& store, const CatalogueEntry& entry, const PullOptions& options)
      : store_(store),
        entry_(entry),
        options_(options),
        directory_(store.directory_of_model(entry.name)) {}

  Result<StoredModel> run() {
    if (!options_.is_forced) {
      Result<StoredModel> here = store_.find(entry_.name);
      DW_ASSIGN(const bool is_up_to_date, is_current(here));
      if (is_up_to_date) {
        say("up to date");
        return here;
      }
    }
    say("pulling manifest");
    const std::string work = join_path(directory_, "incoming");
    DW_TRY(make_directories(work));
    const std::string partial = join_path(work, "whole");
    Result<StoredModel> got = try_sources(work, partial);
    if (!got) {
      remove_empty_directories(work);
      return got;
    }
    StoredModel model = std::move(*got);
    say("writing manifest");
    DW_TRY(rename_file(partial, model.path));
    DW_TRY(store_.commit(model));
    (void)remember_hash(store_.home(), model.path, model.sha256);
    DW_TRY(remove_tree(work));
    say("success");
    return model;
  }

 private:
  void say(std::string_view line) const {
    if (options_.say) options_.say(line);
  }

  /// Whether what is here is what the entry means. Error: kAlreadyExists if it came from somewhere
  /// else and there is no checksum to tell.
  Result<bool> is_current(const Result<StoredModel>& here) const {
    if (!here) return false;
    if (!entry_.sha256.empty()) return here->sha256 == entry_.sha256;
    const ModelSource& source = entry_.sources.front();
    if (here->source != source.label()) {
      return Error{Code::kAlreadyExists,
                   concat("a model named '", entry_.name, "' is here already, from ", here->source,
                          "; give this one another --name, or replace it with --force")};
    }
    if (source.kind != SourceKind::kFile) return true;
    DW_ASSIGN(const std::string sha256, content_hash(store_.home(), source.location));
    return sha256 == here->sha256;
  }

  /// A pull that leaves nothing to go on from leaves no trace either.
  void remove_empty_directories(const std::string& work) const {
    for (const std::string& path : {work, directory_}) {
      const Result<std::vector<std::string>> names = list_directory(path);
      if (names && names->empty()) (void)remove_tree(path);
    }
  }

  Result<StoredModel> try_sources(const std::string& work, const std::string& partial) {
    std::string reasons;
    Error last = not_found("no source");
    for (const ModelSource& source : entry_.sources) {
      Result<StoredModel> got = try_source(source, work, partial);
      if (got) return got;
      last = got.error();
      // Neither helps with the next source: the user left, or the disk is full whoever sends the
      // bytes.
      if (last.code == Code::kCancelled || last.code == Code::kResourceExhausted) return last;
      const std::string reason = concat(source.label(), ": ", last.message);
      say(concat("  ", reason));
      reasons += concat("\n  ", reason);
    }
    last.message = concat("could not pull '", entry_.name, "' from any of its sources:", reasons);
    return last;
  }

  Result<StoredModel> try_source(const ModelSource& source, const std::string& work,
                                 const std::string& partial) {
    const SourceFetcher& fetcher = fetcher_of(source.kind);
    if (options_.is_offline && fetcher.needs_network) {
      return Error{Code::kUnavailable, "not tried: --offline"};
    }
    const std::string label = source.label();
    FetchContext context;
    context.directory = work;
    context.partial_path = partial;
    context.n_bytes = entry_.n_bytes;
    context.sha256 = entry_.sha256;
    context.progress = [&](std::uint64_t n_done, std::uint64_t n_total) {
      show(label, n_done, n_total);
    };
    context.say = [this](std::string_view line) { say(line); };
    context.get_env = options_.get_env;
    context.client = options_.client;
    context.cancel = options_.cancel;
    DW_ASSIGN(const Fetched fetched, fetcher.fetch(source, context));
    Result<StoredModel> model = verify(source, fetched, partial);
    if (!model && model.error().code != Code::kCancelled) {
      // Whatever it was made from is no better: kept wheels would only be joined to the same again.
      (void)remove_tree(work);
      DW_TRY(make_directories(work));
    }
    return model;
  }

  Result<StoredModel> verify(const ModelSource& source, const Fetched& fetched,
                             const std::string& partial) {
    DW_ASSIGN(const std::string sha256, hash_file(
                                            partial,
                                            [this](std::uint64_t n_done, std::uint64_t n_total) {
                                              show("verifying sha256 digest", n_done, n_total);
                                            },
                                            options_.cancel));
    DW_ASSIGN(const FileIdentity file, identify_file(partial));
    const std::string& expected = entry_.sha256.empty() ? fetched.published_sha256 : entry_.sha256;
    if (!expected.empty() && sha256 != expected) {
      return data_loss(concat("wrong checksum: the file has sha256 ", sha256, ", expected ",
                              expected, "; it was thrown away"));
    }
    StoredModel model;
    model.verified = !entry_.sha256.empty()              ? Verified::kCatalogue
                     : !fetched.published_sha256.empty() ? Verified::kPublisher
                                                         : Verified::kFirstUse;
    if (model.verified == Verified::kFirstUse && source.kind != SourceKind::kFile) {
      say(concat("  the catalogue has no checksum for this file; recorded sha256 ", sha256,
                 " and trust it from now on"));
    }
    model.name = entry_.name;
    model.path = store_.file_of_model(entry_.name);
    model.n_bytes = file.n_bytes;
    model.sha256 = sha256;
    model.source = source.label();
    model.license = entry_.license;
    model.parameters = entry_.parameters;
    model.quantization = entry_.quantization;
    model.pulled_at_s = wall_clock_s();
    return model;
  }

  void show(std::string_view label, std::uint64_t n_done, std::uint64_t n_total) const {
    if (options_.progress) options_.progress(label, n_done, n_total);
  }

  const ModelStore& store_;
  const CatalogueEntry& entry_;
  const PullOptions& options_;
  std::string directory_;
};

}  // namespace

Result<StoredModel> pull(const ModelStore& store, const CatalogueEntry& entry,
                         const PullOptions& options) {
  DW_ASSIGN(const FileLock held, store.lock(entry.name));
  return Pull(store, entry, options).run();
}

}  // namespace deepwell::service
