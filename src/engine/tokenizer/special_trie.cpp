// A byte trie whose edges live in one hash table.
#include "engine/tokenizer/special_trie.hpp"

namespace deepwell::engine {
namespace {

constexpr TokenId kNoToken = -1;

}  // namespace

SpecialTrie::SpecialTrie(const std::vector<std::pair<std::string_view, TokenId>>& spellings)
    : id_of_node_{kNoToken} {
  std::size_t n_bytes = 0;
  for (const auto& [spelling, id] : spellings) n_bytes += spelling.size();
  child_ = PairTable(n_bytes);
  for (const auto& [spelling, id] : spellings) {
    std::uint32_t node = 0;
    for (const char c : spelling) {
      const auto n_nodes = static_cast<std::uint32_t>(id_of_node_.size());
      node = child_.insert(node, static_cast<std::uint8_t>(c), n_nodes);
      if (node == n_nodes) id_of_node_.push_back(kNoToken);
    }
    if (node != 0 && id_of_node_[node] == kNoToken) id_of_node_[node] = id;
  }
}

SpecialTrie::Match SpecialTrie::find(std::string_view text, std::size_t from) const {
  if (id_of_node_.size() > 1) {
    for (std::size_t begin = from; begin < text.size(); ++begin) {
      if (const Match match = longest_at(text, begin); match.n_bytes > 0) return match;
    }
  }
  return {text.size(), 0, kNoToken};
}

SpecialTrie::Match SpecialTrie::longest_at(std::string_view text, std::size_t begin) const {
  Match match{begin, 0, kNoToken};
  std::uint32_t node = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    node = child_.find(node, static_cast<std::uint8_t>(text[i]));
    if (node == PairTable::kNone) break;
    if (id_of_node_[node] != kNoToken) match = {begin, i + 1 - begin, id_of_node_[node]};
  }
  return match;
}

}  // namespace deepwell::engine
