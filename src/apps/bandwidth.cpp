// Reading a large buffer as fast as a simple loop can.
#include "apps/bandwidth.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "engine/runtime/host_limits.hpp"

namespace deepwell::apps {

namespace {

/// Eight independent sums, so that latency of addition does not bound the loop.
std::uint64_t sum_words(const std::uint64_t* words, std::size_t n) {
  std::uint64_t sums[8] = {};
  for (std::size_t i = 0; i + 8 <= n; i += 8) {
    for (std::size_t j = 0; j < 8; ++j) sums[j] += words[i + j];
  }
  std::uint64_t total = 0;
  for (const std::uint64_t sum : sums) total += sum;
  return total;
}

}  // namespace

double measure_read_bandwidth_gbps(std::uint32_t n_threads) {
  const std::uint64_t n_bytes =
      std::clamp<std::uint64_t>(engine::available_memory_bytes() / 4, 16 << 20, 1 << 30);
  const std::size_t n_words = n_bytes / sizeof(std::uint64_t);
  const std::vector<std::uint64_t> words(n_words, 1);
  const std::size_t share = n_words / n_threads / 8 * 8;  // whole turns of the loop
  std::vector<std::uint64_t> sums(n_threads);
  double best = 0.0;
  for (int repetition = 0; repetition < 5; ++repetition) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> threads;
    for (std::uint32_t t = 0; t < n_threads; ++t) {
      threads.emplace_back([&, t] { sums[t] = sum_words(words.data() + t * share, share); });
    }
    for (std::thread& thread : threads) thread.join();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best,
                    static_cast<double>(share * n_threads * sizeof(std::uint64_t)) / seconds / 1e9);
  }
  // The sums must be used, or the loop would be compiled away.
  return std::count(sums.begin(), sums.end(), share) == static_cast<std::ptrdiff_t>(n_threads)
             ? best
             : 0.0;
}

}  // namespace deepwell::apps
