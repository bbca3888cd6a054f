// StepTimes: how long a step will take, learnt from those that were run.
#pragma once

#include <array>
#include <cstdint>

namespace deepwell::engine {

/// What a step has to do, as far as its time depends on it.
struct StepWork {
  std::uint32_t n_rows = 0;
  std::uint64_t n_keys = 0;  // read by attention: the sum over rows of their positions

  StepWork plus(std::uint32_t n_tok, std::uint32_t pos_begin) const {
    return {n_rows + n_tok,
            n_keys + std::uint64_t{n_tok} * pos_begin + std::uint64_t{n_tok} * n_tok / 2};
  }
};

/// time = a + b · rows + c · keys, by recursive least squares that forget (Haykin, "Adaptive Filter Theory", ch. 9): a
/// machine's speed changes with what else it does. The first step does not count: it reads weights from the disk and
/// compares their checksums. Results never depend on it, only who waits how long.
class StepTimes {
 public:
  void note(const StepWork& work, double seconds);
  /// Seconds; 0 before anything is known.
  double predict(const StepWork& work) const;
  /// The most tokens of a prompt, from pos_begin on, that fit into `seconds` beside `work`; at most n_max.
  std::uint32_t n_tok_within(double seconds, const StepWork& work, std::uint32_t pos_begin,
                             std::uint32_t n_max) const;
  bool is_known() const { return n_notes_ >= kFirstNotes; }

 private:
  static constexpr std::uint32_t kFirstNotes = 4;
  using Vector = std::array<double, 3>;
  static Vector features(const StepWork& work);

  Vector weights_{};
  std::array<Vector, 3> inverse_{{{1e3, 0, 0}, {0, 1e3, 0}, {0, 0, 1e3}}};
  std::uint32_t n_notes_ = 0;
};

}  // namespace deepwell::engine
