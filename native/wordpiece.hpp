// Greedy longest-match-first WordPiece over ASCII words; see src/firth/kernels/wordpiece.py for the rules.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace firth {

struct WordRules {
    int32_t unknown;       // id of a word that cannot be made of entries
    std::size_t longest;   // bytes; a longer word is unknown without looking
    bool lower;            // whether A-Z are read as a-z
    const uint8_t *aside;  // 256 flags: bytes that set the segment they stand in aside
};

class WordPiece {
  public:
    // Entry i is entries[offsets[i]..offsets[i + 1]), "##" before those that go on inside a word; an empty one is a gap.
    WordPiece(const uint8_t *entries, const int64_t *offsets, std::size_t v, const WordRules &rules);

    // Text i is text[offsets[i]..offsets[i + 1]). Writes at most one item a byte: its id, or -1 for a segment that was
    // set aside, and its first and one-past-last byte; rows[i] is where text i's items begin. Returns how many.
    std::size_t split(const uint8_t *text, const int64_t *offsets, std::size_t n, int32_t *ids, int32_t *spans,
                      int64_t *rows) const;

  private:
    struct Edge {
        uint32_t key;  // node * 256 + byte, 0 = none: node 0 has no edge by byte 0
        uint32_t child;
    };
    struct Items {
        int32_t *ids, *spans;
        std::size_t count = 0;
        void add(int32_t id, std::size_t begin, std::size_t end) {
            ids[count] = id;
            spans[2 * count] = static_cast<int32_t>(begin);
            spans[2 * count + 1] = static_cast<int32_t>(end);
            ++count;
        }
    };

    uint32_t child(uint32_t node, uint8_t byte) const;
    void add(Edge edge);
    void resize(std::size_t slots);
    void word(const uint8_t *text, std::size_t begin, std::size_t end, Items &items) const;

    std::array<uint8_t, 256> kind_{}, lower_{};
    int32_t unknown_;
    std::size_t longest_;
    std::vector<Edge> edges_;       // open addressing, at most 5/8 full
    std::vector<int32_t> accepts_;  // by node: the entry that ends there, or -1
    std::size_t mask_ = 0;
};

}  // namespace firth
