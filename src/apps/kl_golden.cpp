// Reading KL goldens; the figures as the format's page defines them, in double precision.
#include "apps/kl_golden.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {

namespace {

constexpr std::size_t kHeaderBytes = 32;

double log_sum_exp(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - max);
  return max + std::log(sum);
}

template <class T>
T take(const char*& p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  p += sizeof value;
  return value;
}

}  // namespace

Result<KlGolden> KlGolden::open(const std::string& path) {
  DW_ASSIGN(const std::string bytes, read_file(path, std::size_t{1} << 30));
  if (bytes.size() < kHeaderBytes || bytes.compare(0, 4, "DWKL") != 0) {
    return invalid_argument(concat(path, " is not a KL golden (docs/formats/kl-golden.md)"));
  }
  const char* p = bytes.data() + 4;
  const auto version = take<std::uint32_t>(p);
  if (version != 1) return invalid_argument(concat(path, " has version ", version, ", expected 1"));
  KlGolden golden;
  golden.n_chunks = take<std::uint32_t>(p);
  golden.len_chunk = take<std::uint32_t>(p);
  golden.top_n = take<std::uint32_t>(p);
  golden.n_vocab = take<std::uint32_t>(p);
  golden.mean_nll = take<double>(p);
  const bool is_sane = golden.top_n >= 2 && golden.top_n <= 4096 && golden.len_chunk >= 2 &&
                       golden.len_chunk <= (1U << 20) && golden.n_chunks >= 1 &&
                       golden.n_chunks <= (1U << 20);
  const std::uint64_t record_bytes = 8ULL * golden.top_n + 4;
  const std::uint64_t expected =
      kHeaderBytes + std::uint64_t{golden.n_chunks} * golden.len_chunk * (4 + record_bytes);
  if (!is_sane || bytes.size() != expected) {
    return data_loss(
        concat(path, " has ", bytes.size(), " bytes where its header says ", expected));
  }
  for (std::uint32_t c = 0; c < golden.n_chunks; ++c) {
    auto& tokens = golden.tokens.emplace_back();
    auto& records = golden.records.emplace_back(golden.len_chunk);
    for (std::uint32_t t = 0; t < golden.len_chunk; ++t) tokens.push_back(take<std::int32_t>(p));
    for (KlRecord& record : records) {
      for (std::uint32_t i = 0; i < golden.top_n; ++i) record.ids.push_back(take<std::int32_t>(p));
      for (std::uint32_t i = 0; i < golden.top_n; ++i) record.logprobs.push_back(take<float>(p));
      record.logsumexp = take<float>(p);
    }
    const auto is_out = [&](std::int32_t id) {
      return id < 0 || static_cast<std::uint32_t>(id) >= golden.n_vocab;
    };
    const bool has_bad_record =
        std::any_of(records.begin(), records.end(), [&](const KlRecord& record) {
          return std::any_of(record.ids.begin(), record.ids.end(), is_out);
        });
    if (has_bad_record || std::any_of(tokens.begin(), tokens.end(), is_out)) {
      return data_loss(concat(path, " holds an id outside its vocabulary of ", golden.n_vocab));
    }
  }
  return golden;
}

void KlFigures::add(const KlRecord& reference, std::span<const float> logits) {
  const double log_sum = log_sum_exp(logits);
  double kl = 0.0, p_rest = 1.0, q_rest = 1.0;
  for (std::size_t i = 0; i < reference.ids.size(); ++i) {
    const double log_p = reference.logprobs[i];
    const double log_q =
        static_cast<double>(logits[static_cast<std::size_t>(reference.ids[i])]) - log_sum;
    kl += std::exp(log_p) * (log_p - log_q);
    p_rest -= std::exp(log_p);
    q_rest -= std::exp(log_q);
  }
  if (p_rest >= 1e-9) kl += p_rest * (std::log(p_rest) - std::log(std::max(q_rest, 1e-12)));
  kl_.push_back(kl);
  const bool agrees =
      std::max_element(logits.begin(), logits.end()) - logits.begin() == reference.ids[0];
  n_top1_ += agrees ? 1 : 0;
  if (std::exp(reference.logprobs[0]) - std::exp(reference.logprobs[1]) >= 0.05) {
    ++n_at_margin_;
    n_top1_at_margin_ += agrees ? 1 : 0;
  }
}

void KlFigures::add_prediction(std::span<const float> logits, std::int32_t next) {
  nll_ += log_sum_exp(logits) - static_cast<double>(logits[static_cast<std::size_t>(next)]);
  ++n_predictions_;
}

double KlFigures::mean_kl() const {
  double sum = 0.0;
  for (const double kl : kl_) sum += kl;
  return sum / static_cast<double>(kl_.size());
}

double KlFigures::kl_quantile(double q) const {
  std::vector<double> sorted = kl_;
  std::sort(sorted.begin(), sorted.end());
  return sorted[static_cast<std::size_t>(q * static_cast<double>(sorted.size() - 1))];
}

double KlFigures::top1() const {
  return static_cast<double>(n_top1_) / static_cast<double>(kl_.size());
}

double KlFigures::top1_at_margin() const {
  return n_at_margin_ == 0
             ? 1.0
             : static_cast<double>(n_top1_at_margin_) / static_cast<double>(n_at_margin_);
}

}  // namespace deepwell::apps
