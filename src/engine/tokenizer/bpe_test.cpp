// BpeMerger against the definition: over and over, the best-ranked pair of neighbours, the leftmost
// of equals.
#include "engine/tokenizer/bpe.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace deepwell::engine {
namespace {

std::array<BpeMerger::ByteIds, 256> plain_bytes() {
  std::array<BpeMerger::ByteIds, 256> ids{};
  for (std::size_t byte = 0; byte < ids.size(); ++byte)
    ids[byte] = {{static_cast<TokenId>(byte), 0, 0}, 1};
  return ids;
}

std::vector<TokenId> merged(const BpeMerger& merger, std::string_view word) {
  BpeMerger::Scratch scratch;
  std::vector<TokenId> ids;
  merger.append(word, scratch, ids);
  return ids;
}

/// The definition, in quadratic time.
std::vector<TokenId> merged_slowly(const std::vector<BpeMerge>& merges, std::string_view word) {
  std::vector<TokenId> ids;
  for (const char c : word) ids.push_back(static_cast<std::uint8_t>(c));
  while (true) {
    std::size_t best_rank = merges.size();
    std::size_t best_at = 0;
    for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1])
          best_rank = rank, best_at = i;
      }
    }
    if (best_rank == merges.size()) return ids;
    ids[best_at] = merges[best_rank].merged;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST(BpeMerger, PrefersRankToPositionAndTheLeftmostOfEquals) {
  const std::vector<BpeMerge> merges = {
      {'b', 'c', 300}, {'a', 'b', 301}, {'a', 'a', 302}, {302, 'a', 303}};
  const BpeMerger merger(plain_bytes(), merges);
  EXPECT_EQ(merged(merger, "abc"), (std::vector<TokenId>{'a', 300}));
  EXPECT_EQ(merged(merger, "aaa"), (std::vector<TokenId>{303}));
  EXPECT_EQ(merged(merger, "aaaaa"), (std::vector<TokenId>{302, 303}));
  EXPECT_EQ(merged(merger, "x"), (std::vector<TokenId>{'x'}));
  EXPECT_EQ(merged(merger, ""), std::vector<TokenId>());
}

TEST(BpeMerger, AgreesWithTheDefinitionOnRandomMerges) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    std::vector<BpeMerge> merges;
    std::vector<std::string> spelling(256);
    std::vector<TokenId> tokens = {'a', 'b', 'c'};
    for (const TokenId id : tokens) spelling[static_cast<std::size_t>(id)] = static_cast<char>(id);
    // As in a real vocabulary, pairs of one spelling are one token.
    for (int i = 0; i < 25; ++i) {
      const TokenId left = tokens[random() % tokens.size()];
      const TokenId right = tokens[random() % tokens.size()];
      const std::string joined =
          spelling[static_cast<std::size_t>(left)] + spelling[static_cast<std::size_t>(right)];
      const auto known = std::find(spelling.begin(), spelling.end(), joined);
      const auto id = static_cast<TokenId>(known - spelling.begin());
      if (known == spelling.end()) {
        spelling.push_back(joined);
        tokens.push_back(id);
      }
      const auto is_same = [&](const BpeMerge& m) { return m.left == left && m.right == right; };
      if (std::none_of(merges.begin(), merges.end(), is_same)) merges.push_back({left, right, id});
    }
    const BpeMerger merger(plain_bytes(), merges);
    for (int i = 0; i < 20; ++i) {
      std::string word;
      const auto len = random() % 40;
      for (unsigned k = 0; k < len; ++k) word.push_back(static_cast<char>('a' + random() % 3));
      ASSERT_EQ(merged(merger, word), merged_slowly(merges, word)) << word;
    }
  }
}

TEST(PairTable, KeepsTheFirstValueOfAPair) {
  PairTable table(3);
  EXPECT_EQ(table.find(1, 2), PairTable::kNone);
  EXPECT_EQ(table.insert(1, 2, 7), 7U);
  EXPECT_EQ(table.insert(1, 2, 8), 7U);
  EXPECT_EQ(table.insert(2, 1, 9), 9U);
  EXPECT_EQ(table.find(1, 2), 7U);
  EXPECT_EQ(table.find(2, 1), 9U);
  EXPECT_EQ(table.find(0, 0), PairTable::kNone);
}

}  // namespace
}  // namespace deepwell::engine
