// The choice of a number of threads, with measurements made up.
#include "engine/runtime/thread_choice.hpp"

#include <gtest/gtest.h>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::engine {
namespace {

class ThreadChoiceTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(make_directories(folder_)); }
  void TearDown() override { (void)remove_tree(folder_); }

  MeasureThreads measure_as(double second_half_gain) {
    return [this, second_half_gain](std::span<const std::uint32_t> numbers) {
      ++n_measured_;
      std::vector<ThreadTrial> trials;
      for (const std::uint32_t n : numbers) {
        const double rate = n <= 4 ? n : 4 + second_half_gain * (n - 4);
        trials.push_back({.n_threads = n, .read_gbps = 10 * rate, .product_gops = 3 * rate});
      }
      return trials;
    };
  }

  const std::string folder_ = concat(::testing::TempDir(), "/thread_choice_test");
  const std::string file_ = join_path(folder_, "home/threads");
  const ThreadChoiceKey key_{.processor = "Some CPU @ 2 GHz", .n_usable_cpus = 8, .version = "1.0"};
  int n_measured_ = 0;
};

TEST_F(ThreadChoiceTest, TriesHalvesDownToOne) {
  EXPECT_EQ((std::vector<std::uint32_t>{12, 6, 3, 1}), thread_candidates(12));
  EXPECT_EQ((std::vector<std::uint32_t>{1}), thread_candidates(1));
}

TEST_F(ThreadChoiceTest, TakesTheFewestThreadsThatAreAsGoodAsAny) {
  EXPECT_EQ(4U, choose_threads(file_, key_, measure_as(0.01)).n_threads);
  ASSERT_TRUE(remove_file(file_));
  EXPECT_EQ(8U, choose_threads(file_, key_, measure_as(0.9)).n_threads);
}

TEST_F(ThreadChoiceTest, MeasuresOnceAndKeepsIt) {
  const ThreadChoice first = choose_threads(file_, key_, measure_as(0.0));
  const ThreadChoice second = choose_threads(file_, key_, measure_as(1.0));
  EXPECT_EQ(1, n_measured_);
  EXPECT_TRUE(first.is_kept);
  EXPECT_EQ(4U, second.n_threads);
  EXPECT_EQ(first.explain(), second.explain());
  EXPECT_TRUE(first.explain().starts_with(
      "4 of 8 processors: decode reads 40.0 GB/s with 8, 40.0 with 4, 20.0 with 2, 10.0 with 1; "));
}

TEST_F(ThreadChoiceTest, MeasuresAgainForAnotherLimitOrVersion) {
  (void)choose_threads(file_, key_, measure_as(0.0));
  ThreadChoiceKey key = key_;
  key.n_usable_cpus = 2;
  EXPECT_EQ(2U, choose_threads(file_, key, measure_as(0.0)).n_threads);
  key.version = "1.1";
  (void)choose_threads(file_, key, measure_as(0.0));
  EXPECT_EQ(3, n_measured_);
}

TEST_F(ThreadChoiceTest, TakesAllProcessorsWhereItCannotMeasure) {
  const ThreadChoice no_home = choose_threads("/proc/no/home/threads", key_, measure_as(0.0));
  EXPECT_EQ(8U, no_home.n_threads);
  EXPECT_NE("", no_home.why_not_measured);
  EXPECT_EQ(8U, choose_threads(file_, key_, nullptr).n_threads);
  EXPECT_EQ(0, n_measured_);
  const auto disturbed = [](std::span<const std::uint32_t>) {
    return std::vector<ThreadTrial>{
        {.n_threads = 1, .read_gbps = 9, .product_gops = 9, .is_disturbed = true}};
  };
  EXPECT_EQ(8U, choose_threads(file_, key_, disturbed).n_threads);
  EXPECT_EQ(4U, choose_threads(file_, key_, measure_as(0.0)).n_threads);
}

TEST_F(ThreadChoiceTest, MeasuresAgainWhenTheFileIsBroken) {
  const std::string sound = concat("deepwell threads 1\nprocessor ", key_.processor,
                                   "\nusable 8\nversion 1.0\ndate 2026-01-02\n");
  for (const std::string_view trials :
       {"", "trial\n", "trial 0 1 1\n", "trial 9 1 1\n", "trial 4 nan 1\n", "trial 4 1\n"}) {
    ASSERT_TRUE(make_directories(directory_of(file_)));
    ASSERT_TRUE(write_file_atomic(file_, concat(sound, trials)));
    const int n_before = n_measured_;
    EXPECT_EQ(4U, choose_threads(file_, key_, measure_as(0.0)).n_threads) << trials;
    EXPECT_EQ(n_before + 1, n_measured_) << trials;
  }
}

TEST_F(ThreadChoiceTest, MeasuresForReal) {
  const std::vector<std::uint32_t> numbers = {2, 1};
  const std::vector<ThreadTrial> trials = measure_threads(numbers);
  ASSERT_EQ(2U, trials.size());
  for (const ThreadTrial& trial : trials) {
    EXPECT_GT(trial.read_gbps, 0.01);
    EXPECT_GT(trial.product_gops, 0.001);
  }
}

}  // namespace
}  // namespace deepwell::engine
