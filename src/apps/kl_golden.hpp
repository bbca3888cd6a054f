// KlGolden: what a float32 reference says of a text, to measure an engine against. Format: docs/formats/kl-golden.md
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace deepwell::apps {

/// The reference's distribution after one position.
struct KlRecord {
  std::vector<std::int32_t> ids;  // [top_n] best first
  std::vector<float> logprobs;    // [top_n]
  float logsumexp = 0.0F;
};

struct KlGolden {
  std::uint32_t n_chunks = 0, len_chunk = 0, top_n = 0, n_vocab = 0;
  double mean_nll = 0.0;
  std::vector<std::vector<std::int32_t>> tokens;  // [n_chunks][len_chunk]
  std::vector<std::vector<KlRecord>> records;     // [n_chunks][len_chunk]

  /// Errors: kNotFound, kInvalidArgument (not such a file), kDataLoss (wrong length, ids out of range).
  static Result<KlGolden> open(const std::string& path);
};

/// How an engine's logits compare with the reference, over all positions seen so far.
class KlFigures {
 public:
  void add(const KlRecord& reference, std::span<const float> logits);
  /// One prediction inside a chunk: the engine's logits and the token that really came.
  void add_prediction(std::span<const float> logits, std::int32_t next);

  double mean_kl() const;
  double kl_quantile(double q) const;
  double top1() const;            // share of positions where the best id agrees
  double top1_at_margin() const;  // the same where the reference's margin is at least 0.05
  std::size_t n_at_margin() const { return n_at_margin_; }
  double mean_nll() const { return nll_ / static_cast<double>(n_predictions_); }
  std::size_t n_predictions() const { return n_predictions_; }

 private:
  std::vector<double> kl_;
  std::size_t n_top1_ = 0, n_at_margin_ = 0, n_top1_at_margin_ = 0;
  double nll_ = 0.0;
  std::size_t n_predictions_ = 0;
};

}  // namespace deepwell::apps
