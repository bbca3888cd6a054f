// The cache without a model: a "computation" that leaves a mark of all tokens so far in each token's place.
#include "engine/runtime/prefix_cache.hpp"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <memory>
#include <random>

#include "base/checksum.hpp"
#include "engine/runtime/testing/memory_block_store.hpp"

namespace deepwell::engine {
namespace {

constexpr KvShape kShape{.n_layers = 1, .n_kv_heads = 1, .d_head = 16, .type = KvType::kF32};

class World {
 public:
  explicit World(std::uint32_t n_blocks, BlockSpill* spill = nullptr)
      : arena_(KvArena::open(-1, {.fingerprint = "f", .shape = kShape}, n_blocks).value()),
        blocks_(n_blocks),
        cache_(arena_, blocks_, "f", spill) {}

  std::unique_ptr<Sequence> admit(std::vector<TokenId> tokens, const std::string& tenant = "",
                                  std::uint32_t n_verify = 0) {
    auto s = std::make_unique<Sequence>();
    s->tokens = std::move(tokens);
    s->n_prompt = s->n_known = s->n_tokens();
    s->verify_begin = s->n_known - n_verify;
    s->request.tenant = tenant;
    const std::uint32_t n_blocks = (s->n_tokens() + kKvBlockTok - 1) / kKvBlockTok;
    if (!blocks_.can_take(n_blocks)) return nullptr;
    cache_.take_prefix(*s);
    cache_.take(n_blocks - static_cast<std::uint32_t>(s->blocks.size()), *s);
    return s;
  }
  void compute(Sequence& s, std::uint32_t n_tok) {
    for (std::uint32_t t = s.n_computed; t < s.n_computed + n_tok; ++t)
      std::memcpy(place_of(s, t), mark(s, t).data(), sizeof(std::uint64_t));
    s.n_computed += n_tok;
    cache_.commit(s);
  }
  void compute_all(Sequence& s) { compute(s, s.n_pending()); }
  /// What a reader of the computed tokens would see.
  bool is_right(Sequence& s) {
    for (std::uint32_t t = 0; t < s.n_computed; ++t) {
      if (std::memcmp(place_of(s, t), mark(s, t).data(), sizeof(std::uint64_t)) != 0) return false;
    }
    return true;
  }
  bool take_prefix(Sequence& s) { return cache_.take_prefix(s); }
  void spill(std::uint32_t n_copies) { cache_.spill(n_copies); }
  void spill_all() {
    for (; cache_.has_to_spill(); std::this_thread::yield()) cache_.spill(UINT32_MAX);
  }
  void release(std::unique_ptr<Sequence> s) { cache_.release(*s); }
  void flip_bit(std::uint32_t block) { place(block)[99] ^= std::byte{4}; }
  bool check_integrity() const { return cache_.check_integrity(); }
  std::uint32_t n_free() const { return blocks_.n_free(); }

 private:
  std::byte* place(std::uint32_t block) {
    return arena_.blocks().data() + block * kv_block_bytes(kShape);
  }
  std::byte* place_of(Sequence& s, std::uint32_t t) {
    return place(s.blocks[t / kKvBlockTok]) + 64 * (t % kKvBlockTok);
  }
  static std::array<std::byte, 8> mark(const Sequence& s, std::uint32_t t) {
    return std::bit_cast<std::array<std::byte, 8>>(
        checksum64(std::as_bytes(std::span(s.tokens).first(t + 1))));
  }

  KvArena arena_;
  BlockPool blocks_;
  PrefixCache cache_;
};

std::vector<TokenId> counting(std::uint32_t n, TokenId from = 0) {
  std::vector<TokenId> tokens(n);
  for (std::uint32_t t = 0; t < n; ++t) tokens[t] = from + static_cast<TokenId>(t);
  return tokens;
}

TEST(PrefixCache, FindsTheLeadingFullBlocksOfAFreedSequence) {
  World world(16);
  auto first = world.admit(counting(40));
  EXPECT_EQ(0U, first->n_computed);
  world.compute_all(*first);
  world.release(std::move(first));
  auto again = world.admit(counting(50));
  EXPECT_EQ(32U, again->n_computed);
  EXPECT_EQ(32U, again->n_cached);
  EXPECT_TRUE(world.is_right(*again));
  EXPECT_TRUE(world.check_integrity());
}

TEST(PrefixCache, LeavesTheRowsWhoseLogitsAreWanted) {
  World world(16);
  auto first = world.admit(counting(32));
  world.compute_all(*first);
  world.release(std::move(first));
  auto whole = world.admit(counting(32));
  EXPECT_EQ(31U, whole->n_computed);
  world.compute_all(*whole);
  world.release(std::move(whole));
  auto verified = world.admit(counting(32), "", 8);
  EXPECT_EQ(23U, verified->n_computed);
  EXPECT_EQ(2U, verified->n_named_blocks);
  world.compute_all(*verified);
  EXPECT_TRUE(world.is_right(*verified));
  EXPECT_TRUE(world.check_integrity());
}

TEST(PrefixCache, NeverSharesBetweenTenants) {
  World world(16);
  auto first = world.admit(counting(40), "a");
  world.compute_all(*first);
  world.release(std::move(first));
  EXPECT_EQ(0U, world.admit(counting(40), "b")->n_computed);
  EXPECT_EQ(32U, world.admit(counting(40), "a")->n_computed);
}

TEST(PrefixCache, LetsSequencesShareABlockWhileItIsInUse) {
  World world(16);
  auto first = world.admit(counting(40));
  world.compute_all(*first);
  auto second = world.admit(counting(40));
  EXPECT_EQ(32U, second->n_computed);
  EXPECT_EQ(first->blocks[1], second->blocks[1]);
  EXPECT_NE(first->blocks[2], second->blocks[2]);
  EXPECT_EQ(12U, world.n_free());
  world.compute_all(*second);
  world.release(std::move(first));
  EXPECT_TRUE(world.is_right(*second));
  auto third = world.admit(counting(40));
  EXPECT_EQ(32U, third->n_computed);
  world.release(std::move(second));
  EXPECT_TRUE(world.is_right(*third));
  world.release(std::move(third));
  EXPECT_EQ(16U, world.n_free());
  EXPECT_TRUE(world.check_integrity());
}

TEST(PrefixCache, SharesNoBlockIntoWhichRowsAreComputedAgain) {
  World world(16);
  auto first = world.admit(counting(32));
  world.compute_all(*first);
  auto second = world.admit(counting(32));  // its last row, 31, needs logits
  EXPECT_EQ(16U, second->n_computed);
  EXPECT_NE(first->blocks[1], second->blocks[1]);
  world.compute_all(*second);
  EXPECT_TRUE(world.is_right(*first));
  EXPECT_TRUE(world.is_right(*second));
}

TEST(PrefixCache, TakesWhatAnotherHasComputedMeanwhile) {
  World world(16);
  auto first = world.admit(counting(50));
  auto second = world.admit(counting(60));
  world.compute(*first, 32);
  world.take_prefix(*second);
  EXPECT_EQ(32U, second->n_computed);
  EXPECT_EQ(32U, second->n_cached);
  EXPECT_EQ(first->blocks[0], second->blocks[0]);
  world.compute(*second, 20);
  EXPECT_TRUE(world.is_right(*second));
  world.release(std::move(first));
  world.release(std::move(second));
  EXPECT_EQ(16U, world.n_free());
  EXPECT_TRUE(world.check_integrity());
}

TEST(PrefixCache, ForgetsABlockWithWrongBytes) {
  World world(16);
  auto first = world.admit(counting(64));
  world.compute_all(*first);
  const std::uint32_t damaged = first->blocks[2];
  world.release(std::move(first));
  world.flip_bit(damaged);
  auto again = world.admit(counting(64));
  EXPECT_EQ(32U, again->n_computed);
  EXPECT_TRUE(world.check_integrity());
  world.compute_all(*again);
  world.release(std::move(again));
  EXPECT_EQ(63U, world.admit(counting(64))->n_computed);
}

TEST(PrefixCache, FindsNoBlockThatSomebodyTookForSomethingElse) {
  World world(4);
  auto first = world.admit(counting(64));
  world.compute_all(*first);
  world.release(std::move(first));
  auto other = world.admit(counting(32, 1000));  // takes two blocks, writes none yet
  // The tail went first: the end of a chain is of no use without its beginning.
  auto again = world.admit(counting(32));
  ASSERT_NE(nullptr, again);
  EXPECT_EQ(31U, again->n_computed);
  world.compute_all(*other);
  EXPECT_TRUE(world.is_right(*again));
  EXPECT_TRUE(world.check_integrity());
}

TEST(PrefixCache, ReusesTheLongestFreeFirst) {
  World world(6);
  auto old = world.admit(counting(32));
  world.compute_all(*old);
  auto young = world.admit(counting(32, 100));
  world.compute_all(*young);
  world.release(std::move(old));
  world.release(std::move(young));
  auto other = world.admit(counting(64, 200));  // two blocks were never used, two are the old one's
  world.compute_all(*other);
  EXPECT_EQ(31U, world.admit(counting(32, 100))->n_computed);
  EXPECT_TRUE(world.check_integrity());
}

struct RandomUse {
  std::uint64_t n_cached = 0;
};

/// Sequences come, are computed in pieces and go. Whatever one has must be what it would have computed.
void use_at_random(World& world, int n_steps, RandomUse& use) {
  std::mt19937 random(9);
  std::vector<std::unique_ptr<Sequence>> running;
  for (int i = 0; i < n_steps; ++i) {
    const unsigned what = random() % 4;
    if (what == 0 && running.size() < 8) {
      // Few different beginnings, so that there are hits.
      std::vector<TokenId> tokens = counting(1 + static_cast<std::uint32_t>(random() % 120),
                                             static_cast<TokenId>(random() % 3));
      if (random() % 2 == 0) tokens[random() % tokens.size()] = 7;
      auto s = world.admit(tokens, random() % 8 == 0 ? "other" : "");
      if (s == nullptr) continue;
      use.n_cached += s->n_cached;
      ASSERT_TRUE(world.is_right(*s));
      running.push_back(std::move(s));
    } else if (!running.empty()) {
      const std::size_t at = random() % running.size();
      Sequence& s = *running[at];
      if (what == 1 || s.n_pending() == 0) {
        ASSERT_TRUE(world.is_right(s));
        world.release(std::move(running[at]));
        running.erase(running.begin() + static_cast<std::ptrdiff_t>(at));
      } else {
        bool is_coming = s.n_computed == s.n_named_blocks * kKvBlockTok;
        while (is_coming && random() % 1000 > 0) {
          is_coming = world.take_prefix(s);
          std::this_thread::yield();
        }
        ASSERT_TRUE(world.is_right(s));
        if (s.n_pending() > 0)
          world.compute(s, 1 + static_cast<std::uint32_t>(random()) % s.n_pending());
      }
    }
    if (i % 16 == 0) {
      ASSERT_TRUE(world.check_integrity());
    }
    world.spill(static_cast<std::uint32_t>(random() % 3));
    if (i % 64 == 0) world.spill_all();
  }
}

TEST(PrefixCache, IsRightOverRandomUse) {
  World world(40);
  RandomUse use;
  use_at_random(world, 20'000, use);
  EXPECT_GT(use.n_cached, 10'000U);
}

TEST(PrefixCache, IsRightOverRandomUseOfAStore) {
  auto store = std::make_shared<MemoryBlockStore>();
  BlockSpill spill(store,
                   {.fingerprint = "f",
                    .block_bytes = kv_block_bytes(kShape),
                    .max_copy_bytes = 8 * kv_block_bytes(kShape)},
                   null_log());
  World world(24, &spill);
  RandomUse use;
  use_at_random(world, 20'000, use);
  EXPECT_GT(spill.counters().n_loaded, 100U);
  EXPECT_EQ(0U, spill.counters().n_refused);
}

TEST(PrefixCache, FillsBlocksOfItsOwnFromAStore) {
  auto store = std::make_shared<MemoryBlockStore>();
  const BlockSpillOptions options{.fingerprint = "f", .block_bytes = kv_block_bytes(kShape)};
  {
    BlockSpill spill(store, options, null_log());
    World world(16, &spill);
    auto first = world.admit(counting(70));
    world.compute_all(*first);
    world.spill(UINT32_MAX);
    world.release(std::move(first));
  }
  EXPECT_EQ(4U, store->n_blocks());
  BlockSpill spill(store, options, null_log());
  World world(16, &spill);
  auto again = world.admit(counting(70));
  EXPECT_EQ(0U, again->n_computed);
  while (world.take_prefix(*again)) std::this_thread::yield();
  EXPECT_EQ(64U, again->n_computed);
  EXPECT_EQ(64U, again->n_cached);
  EXPECT_TRUE(world.is_right(*again));
  // Whoever comes now finds them in memory.
  EXPECT_EQ(64U, world.admit(counting(70))->n_computed);
  EXPECT_EQ(4U, spill.counters().n_loaded);
  EXPECT_TRUE(world.check_integrity());
  // Another tenant's are none of its business.
  auto foreign = world.admit(counting(70), "other");
  EXPECT_FALSE(world.take_prefix(*foreign));
}

}  // namespace
}  // namespace deepwell::engine
