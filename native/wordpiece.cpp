// WordPiece over a byte trie whose edges lie in one hash table: a probe a byte.
//
// Tried, CPU nanoseconds a token of SciFact abstracts on one core of Zen 5 (benchmarks/bench_tokenize.py):
//   tokenizers 0.23, encode_batch_fast                         1,150
//   trie, table sized by the vocabulary's bytes (4 MB)            66
//   the same with a table of whole words asked first              58    not worth its lines beside the next
//   trie, table grown to be at most 5/8 full (1 MB, fits L2)      57    this file
#include "wordpiece.hpp"

#include <stdexcept>

namespace firth {
namespace {

enum Kind : uint8_t { LETTER, SPACE, MARK, ASIDE };
constexpr uint32_t START = 0, INSIDE = 1, NOWHERE = UINT32_MAX;
constexpr uint32_t MOST_NODES = 1u << 24;  // a node's number and a byte share 32 bits

bool is_mark(int c) { return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) || (c >= 123 && c <= 126); }

}  // namespace

WordPiece::WordPiece(const uint8_t *entries, const int64_t *offsets, std::size_t v, const WordRules &rules)
    : unknown_(rules.unknown), longest_(rules.longest), accepts_(2, -1) {
    for (int c = 0; c < 256; ++c) {
        const bool space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
        const bool control = c < 32 || c >= 127;
        kind_[c] = space ? SPACE : control || rules.aside[c] ? ASIDE : is_mark(c) ? MARK : LETTER;
        lower_[c] = static_cast<uint8_t>(rules.lower && c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    resize(1024);
    for (std::size_t i = 0; i < v; ++i) {
        const uint8_t *entry = entries + offsets[i], *end = entries + offsets[i + 1];
        const bool inside = end - entry > 2 && entry[0] == '#' && entry[1] == '#';
        uint32_t node = inside ? INSIDE : START;
        for (entry += inside ? 2 : 0; entry < end; ++entry) {
            uint32_t next = child(node, *entry);
            if (next == NOWHERE) {
                next = static_cast<uint32_t>(accepts_.size());
                if (next >= MOST_NODES) throw std::length_error("vocabulary: more than 16 million prefixes");
                accepts_.push_back(-1);
                if (8 * accepts_.size() > 5 * edges_.size()) resize(2 * edges_.size());
                add({node << 8 | *entry, next});
            }
            node = next;
        }
        if (node > INSIDE) accepts_[node] = static_cast<int32_t>(i);
    }
}

std::size_t WordPiece::split(const uint8_t *text, const int64_t *offsets, std::size_t n, int32_t *ids, int32_t *spans,
                             int64_t *rows) const {
    Items items{ids, spans};
    for (std::size_t i = 0; i < n; ++i) {
        rows[i] = static_cast<int64_t>(items.count);
        const auto end = static_cast<std::size_t>(offsets[i + 1]);
        for (auto at = static_cast<std::size_t>(offsets[i]); at < end;) {
            if (kind_[text[at]] == SPACE) {
                ++at;
                continue;
            }
            const std::size_t begin = at;
            bool aside = false;
            for (; at < end && kind_[text[at]] != SPACE; ++at) aside |= kind_[text[at]] == ASIDE;
            if (aside) {
                items.add(-1, begin, at);
                continue;
            }
            for (std::size_t from = begin; from < at;) {
                std::size_t to = from + 1;
                if (kind_[text[from]] == LETTER)
                    while (to < at && kind_[text[to]] == LETTER) ++to;
                word(text, from, to, items);
                from = to;
            }
        }
    }
    rows[n] = static_cast<int64_t>(items.count);
    return items.count;
}

void WordPiece::word(const uint8_t *text, std::size_t begin, std::size_t end, Items &items) const {
    const std::size_t before = items.count;
    if (end - begin > longest_) return items.add(unknown_, begin, end);
    uint32_t root = START;
    for (std::size_t from = begin; from < end; root = INSIDE) {
        int32_t best = -1;
        std::size_t to = from;
        uint32_t node = root;
        for (std::size_t at = from; at < end; ++at) {
            node = child(node, lower_[text[at]]);
            if (node == NOWHERE) break;
            if (accepts_[node] >= 0) {
                best = accepts_[node];
                to = at + 1;
            }
        }
        if (best < 0) {
            items.count = before;
            return items.add(unknown_, begin, end);
        }
        items.add(best, from, to);
        from = to;
    }
}

uint32_t WordPiece::child(uint32_t node, uint8_t byte) const {
    const uint32_t key = node << 8 | byte;
    for (std::size_t slot = (key * 0x9E3779B1u) & mask_;; slot = (slot + 1) & mask_) {
        if (edges_[slot].key == key) return edges_[slot].child;
        if (edges_[slot].key == 0) return NOWHERE;
    }
}

void WordPiece::add(Edge edge) {
    std::size_t slot = (edge.key * 0x9E3779B1u) & mask_;
    while (edges_[slot].key != 0) slot = (slot + 1) & mask_;
    edges_[slot] = edge;
}

void WordPiece::resize(std::size_t slots) {
    std::vector<Edge> old(slots, Edge{0, 0});
    old.swap(edges_);
    mask_ = slots - 1;
    for (const Edge &edge : old)
        if (edge.key != 0) add(edge);
}

}  // namespace firth
