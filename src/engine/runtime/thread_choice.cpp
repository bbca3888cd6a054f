// Candidates, trials on a pool, and the file of lines that keeps what came out.
#include "engine/runtime/thread_choice.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <numeric>
#include <sstream>

#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"
#include "engine/device/cpu/compute_pool.hpp"
#include "engine/runtime/host_limits.hpp"

namespace deepwell::engine {

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kChunkWords = 128 * 1024;  // 1 MiB
constexpr int kRepetitions = 3;
constexpr double kGoodEnough = 0.95;
constexpr std::string_view kHeading = "deepwell threads 1";

/// Eight independent sums, so that the latency of addition does not bound the loop.
std::uint64_t sum_words(std::span<const std::uint64_t> words) {
  std::array<std::uint64_t, 8> sums{};
  for (std::size_t i = 0; i + 8 <= words.size(); i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  return std::accumulate(sums.begin(), sums.end(), std::uint64_t{0});
}

constexpr std::uint32_t kProductChunks = 256;
constexpr std::uint32_t kProductLength = 4096;
constexpr std::uint32_t kProductRounds = 32;

/// Products of values in the first cache, summed in 32 lanes.
float multiply_add(std::span<const float> a, std::span<const float> b) {
  std::array<float, 32> sums{};
  for (std::uint32_t round = 0; round < kProductRounds; ++round) {
    for (std::size_t i = 0; i + 32 <= a.size(); i += 32) {
      for (std::size_t j = 0; j < 32; ++j) sums[j] += a[i + j] * b[i + j];
    }
  }
  return std::accumulate(sums.begin(), sums.end(), 0.0F);
}

template <class Fn>
double best_seconds(ComputePool& pool, std::uint32_t n_chunks, Fn&& fn) {
  double best = INFINITY;
  for (int i = 0; i < kRepetitions; ++i) {
    const Clock::time_point start = Clock::now();
    pool.begin_step();
    pool.run(n_chunks, fn);
    pool.end_step();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

std::string text_of(const ThreadChoice& choice, const ThreadChoiceKey& key) {
  std::ostringstream out;
  out << kHeading << "\nprocessor " << key.processor << "\nusable " << key.n_usable_cpus
      << "\nversion " << key.version << "\ndate " << choice.date << "\n";
  for (const ThreadTrial& trial : choice.trials) {
    out << "trial " << trial.n_threads << " " << trial.read_gbps << " " << trial.product_gops
        << "\n";
  }
  return out.str();
}

bool is_sound(const ThreadTrial& trial, std::uint32_t n_most) {
  return trial.n_threads >= 1 && trial.n_threads <= n_most && std::isfinite(trial.read_gbps) &&
         std::isfinite(trial.product_gops) && trial.read_gbps > 0 && trial.product_gops > 0;
}

/// False if the text is of another key, or not ours.
bool read_text(const std::string& text, const ThreadChoiceKey& key, ThreadChoice& choice) {
  std::istringstream lines(text);
  const std::array<std::string, 4> expected = {
      std::string(kHeading), concat("processor ", key.processor),
      concat("usable ", key.n_usable_cpus), concat("version ", key.version)};
  std::string line;
  for (const std::string& wanted : expected) {
    if (!std::getline(lines, line) || line != wanted) return false;
  }
  if (!std::getline(lines, line) || !line.starts_with("date ")) return false;
  choice.date = line.substr(5);
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::string word;
    ThreadTrial trial;
    if (!(words >> word >> trial.n_threads >> trial.read_gbps >> trial.product_gops)) return false;
    if (word != "trial" || !is_sound(trial, key.n_usable_cpus)) return false;
    choice.trials.push_back(trial);
  }
  return !choice.trials.empty();
}

ThreadChoice by_rule(const ThreadChoiceKey& key, std::string why) {
  return {.n_threads = key.n_usable_cpus,
          .n_usable_cpus = key.n_usable_cpus,
          .why_not_measured = std::move(why)};
}

}  // namespace

std::vector<ThreadTrial> measure_threads(std::span<const std::uint32_t> numbers) {
  const std::uint64_t n_bytes =
      std::clamp<std::uint64_t>(available_memory_bytes() / 8, 16 << 20, 256 << 20);
  const auto n_chunks = static_cast<std::uint32_t>(n_bytes / (kChunkWords * sizeof(std::uint64_t)));
  const std::vector<std::uint64_t> words(n_chunks * kChunkWords, 1);
  const std::vector<float> a(kProductLength, 0.5F);
  const std::vector<float> b(kProductLength, 0.25F);
  // Results are kept, or the loops would be compiled away.
  std::vector<std::uint64_t> sums(n_chunks);
  std::vector<float> products(kProductChunks);
  std::vector<ThreadTrial> trials;
  for (const std::uint32_t n_threads : numbers) {
    ComputePool pool(n_threads);
    ThreadTrial trial{.n_threads = n_threads};
    const double read_s = best_seconds(pool, n_chunks, [&](std::uint32_t chunk, std::uint32_t) {
      sums[chunk] = sum_words(std::span(words).subspan(chunk * kChunkWords, kChunkWords));
    });
    const double product_s = best_seconds(
        pool, kProductChunks,
        [&](std::uint32_t chunk, std::uint32_t) { products[chunk] = multiply_add(a, b); });
    const bool is_right = std::count(sums.begin(), sums.end(), kChunkWords) == n_chunks &&
                          std::count(products.begin(), products.end(), products[0]) ==
                              static_cast<std::ptrdiff_t>(kProductChunks);
    trial.read_gbps = static_cast<double>(n_bytes) / read_s / 1e9;
    trial.product_gops = double{kProductChunks} * kProductLength * kProductRounds / product_s / 1e9;
    trial.is_disturbed = !is_right || pool.n_active() < n_threads || pool.n_part_time() > 0;
    trials.push_back(trial);
  }
  return trials;
}

std::vector<std::uint32_t> thread_candidates(std::uint32_t n_usable_cpus) {
  std::vector<std::uint32_t> numbers;
  for (std::uint32_t n = std::max(1U, n_usable_cpus); n >= 1; n /= 2) numbers.push_back(n);
  return numbers;
}

std::uint32_t best_of(const std::vector<ThreadTrial>& trials) {
  const auto worth = [](const ThreadTrial& t) { return std::sqrt(t.read_gbps * t.product_gops); };
  double best = 0.0;
  for (const ThreadTrial& trial : trials) best = std::max(best, worth(trial));
  std::uint32_t n_threads = UINT32_MAX;
  for (const ThreadTrial& trial : trials) {
    if (worth(trial) >= kGoodEnough * best) n_threads = std::min(n_threads, trial.n_threads);
  }
  return trials.empty() ? 1 : n_threads;
}

ThreadChoice choose_threads(const std::string& file, const ThreadChoiceKey& key,
                            const MeasureThreads& measure) {
  constexpr std::size_t kMaxBytes = 64 * 1024;
  if (key.n_usable_cpus == 1) return by_rule(key, "there is no other choice");
  ThreadChoice choice{.n_usable_cpus = key.n_usable_cpus};
  if (const auto text = read_file(file, kMaxBytes); text && read_text(*text, key, choice)) {
    choice.n_threads = best_of(choice.trials);
    choice.is_kept = true;
    return choice;
  }
  if (!measure) return by_rule(key, "not measured yet");
  // A measurement that cannot be kept would be repeated at every start.
  const Status writable = make_directories(directory_of(file));
  const Status kept = writable ? write_file_atomic(file, "") : writable;
  if (!kept) return by_rule(key, kept.error().message);
  choice.trials = measure(thread_candidates(key.n_usable_cpus));
  const bool is_disturbed =
      std::any_of(choice.trials.begin(), choice.trials.end(), [&](const ThreadTrial& trial) {
        return trial.is_disturbed || !is_sound(trial, key.n_usable_cpus);
      });
  if (is_disturbed || choice.trials.empty())
    return by_rule(key, "others used the processors while it was measured");
  choice.n_threads = best_of(choice.trials);
  choice.date = format_utc(wall_clock_s()).substr(0, 10);
  choice.is_kept = write_file_atomic(file, text_of(choice, key)).has_value();
  return choice;
}

std::string ThreadChoice::explain() const {
  std::string out = concat(n_threads, " of ", n_usable_cpus, " processors: ");
  if (!why_not_measured.empty()) return out + concat("all that may be used; ", why_not_measured);
  std::string reads, products;
  for (const ThreadTrial& trial : trials) {
    const std::string_view comma = reads.empty() ? "" : ", ";
    reads += concat(comma, format_fixed(trial.read_gbps, 1), reads.empty() ? " GB/s" : "", " with ",
                    trial.n_threads);
    products += concat(comma, format_fixed(trial.product_gops, 1), " with ", trial.n_threads);
  }
  return out + concat("decode reads ", reads, "; prefill multiplies ", products,
                      " (10^9/s, a plain loop); measured ", date);
}

}  // namespace deepwell::engine
