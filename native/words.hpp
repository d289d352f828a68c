// Words out of bytes: splitting UTF-8 text, counting distinct words with several threads, and the id stream of a corpus.
//
// Versions tried on 17.8 M words of enwiki2015 (103 MB), 2 threads, seconds from the mapped file to ids in frequency order:
//   std::unordered_map<std::string, int>, two passes (count, then look up)                       2.9
//   open addressing, word in an arena, one pass with provisional ids that are renamed afterwards 0.42
//   words of up to 16 bytes inside the slot: no arena access for 99 % of tokens                  0.29
// Floor: the bytes take 4 ms at 30 GB/s; a word is one probe of a table of 8 MB, about 10 ns, so 0.09 s on two cores. A
// third of it is reached: finding where words end and writing and renaming their ids take the rest.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace firth {

// What each code point is to the splitter that knows Unicode; made in Python from unicodedata (kernels/words.py).
constexpr int32_t SEPARATOR = -1;
constexpr int32_t JOINER = -2;             // an apostrophe: belongs to the word between two letters, else separates
constexpr int32_t ALONE = 1 << 24;         // flag: a word of its own (Han, Hiragana)
constexpr int32_t CODE_POINT = ALONE - 1;  // mask: the lower-case form

constexpr int32_t SENTENCE_END = -1;  // in an id stream

// How bytes become words. kind 0: ASCII white space separates, lines are sentences. 1: Unicode words in lower case, lines
// are sentences. 2: lists of tokens that were joined by unit separators (0x1f), lists ended by record separators (0x1e).
class Splitter {
  public:
    Splitter(int kind, const int32_t *classes, std::size_t n_classes);

    uint8_t line_end() const { return kind == 2 ? 0x1e : '\n'; }
    bool separates(uint8_t byte) const { return space[byte]; }

    // Calls word(pointer, length) for each word of [begin, end) and line() at each end of line. The bytes must be valid.
    template <class Word, class Line> void split(const uint8_t *begin, const uint8_t *end, Word &&word, Line &&line) const {
        if (kind == 1)
            split_unicode(begin, end, word, line);
        else
            split_bytes(begin, end, word, line);
    }

  private:
    int kind;
    std::array<bool, 256> space{};
    std::vector<int32_t> classes;

    template <class Word, class Line>
    void split_bytes(const uint8_t *p, const uint8_t *end, Word &&word, Line &&line) const {
        const uint8_t stop = line_end();
        while (p < end) {
            if (space[*p]) {
                if (*p == stop) line();
                ++p;
                continue;
            }
            const uint8_t *start = p;
            while (p < end && !space[*p]) ++p;
            word(start, static_cast<std::size_t>(p - start));
        }
    }

    int32_t class_of(uint32_t point) const {
        return point < classes.size() ? classes[point] : static_cast<int32_t>(point);
    }

    // Decodes one code point of valid UTF-8 and moves p behind it.
    static uint32_t decode(const uint8_t *&p) {
        const uint32_t a = *p++;
        if (a < 0x80) return a;
        const uint32_t b = *p++ & 0x3f;
        if (a < 0xe0) return (a & 0x1f) << 6 | b;
        const uint32_t c = *p++ & 0x3f;
        if (a < 0xf0) return (a & 0x0f) << 12 | b << 6 | c;
        const uint32_t d = *p++ & 0x3f;
        return (a & 0x07) << 18 | b << 12 | c << 6 | d;
    }

    static void append(std::vector<uint8_t> &to, uint32_t point) {
        if (point < 0x80) {
            to.push_back(static_cast<uint8_t>(point));
        } else if (point < 0x800) {
            to.push_back(static_cast<uint8_t>(0xc0 | point >> 6));
            to.push_back(static_cast<uint8_t>(0x80 | (point & 0x3f)));
        } else if (point < 0x10000) {
            to.push_back(static_cast<uint8_t>(0xe0 | point >> 12));
            to.push_back(static_cast<uint8_t>(0x80 | (point >> 6 & 0x3f)));
            to.push_back(static_cast<uint8_t>(0x80 | (point & 0x3f)));
        } else {
            to.push_back(static_cast<uint8_t>(0xf0 | point >> 18));
            to.push_back(static_cast<uint8_t>(0x80 | (point >> 12 & 0x3f)));
            to.push_back(static_cast<uint8_t>(0x80 | (point >> 6 & 0x3f)));
            to.push_back(static_cast<uint8_t>(0x80 | (point & 0x3f)));
        }
    }

    template <class Word, class Line>
    void split_unicode(const uint8_t *p, const uint8_t *end, Word &&word, Line &&line) const {
        std::vector<uint8_t> token;
        auto finish = [&] {
            if (!token.empty()) word(token.data(), token.size());
            token.clear();
        };
        while (p < end) {
            const uint32_t point = decode(p);
            const int32_t kind_of = class_of(point);
            if (kind_of >= ALONE) {
                finish();
                append(token, static_cast<uint32_t>(kind_of & CODE_POINT));
                finish();
            } else if (kind_of >= 0) {
                append(token, static_cast<uint32_t>(kind_of));
            } else if (kind_of == JOINER && !token.empty() && p < end) {
                const uint8_t *ahead = p;
                const int32_t next = class_of(decode(ahead));
                if (next >= 0 && next < ALONE)
                    token.push_back('\'');
                else
                    finish();
            } else {
                finish();
                if (point == '\n') line();
            }
        }
        finish();
    }
};

// The first byte of [p, end) that does not continue valid UTF-8, or `end`.
const uint8_t *invalid_utf8(const uint8_t *p, const uint8_t *end);

// Distinct words and how often each was seen. Words of up to 16 bytes live inside their slot.
class WordTable {
  public:
    explicit WordTable(std::size_t expected = 0);

    // The id of a word, counted `times` more; new words get the next id.
    uint32_t count(const uint8_t *word, std::size_t length, uint64_t times = 1);
    // The id of a word, or -1.
    int32_t find(const uint8_t *word, std::size_t length) const;
    std::size_t size() const { return used; }

    // Calls each(id, bytes, count) for every word, in no useful order.
    template <class Each> void for_each(Each &&each) const {
        for (const Slot &slot : slots)
            if (slot.id != EMPTY) each(slot.id, text_of(slot), slot.count);
    }

  private:
    static constexpr uint32_t EMPTY = 0xffffffff;
    static constexpr std::size_t INLINE = 16;  // bytes
    struct Slot {
        uint64_t low, high;  // the word itself, or its hash and where it lies in the arena
        uint64_t count;
        uint32_t id, length;
    };
    struct Key {
        uint64_t low, high, hash;
    };

    std::vector<Slot> slots;
    std::string arena;
    std::size_t used = 0, mask;

    static Key key_of(const uint8_t *word, std::size_t length);
    static uint64_t hash_of(const Slot &slot);
    bool same(const Slot &slot, const Key &key, const uint8_t *word, std::size_t length) const;
    std::string_view text_of(const Slot &slot) const;
    void grow();
};

// Counts a corpus that arrives block by block and remembers it as provisional ids, in memory up to a budget and then in
// an unnamed temporary file; `finish` settles the vocabulary and `encode` writes the corpus in its ids.
class WordCounter {
  public:
    WordCounter(Splitter splitter, int threads, std::size_t budget, std::string folder);
    ~WordCounter();
    WordCounter(const WordCounter &) = delete;
    WordCounter &operator=(const WordCounter &) = delete;

    struct Added {
        std::size_t consumed;  // bytes; the rest belongs to the next block
        std::size_t invalid;   // offset of the first byte that is not UTF-8, or the size of the block
    };
    // Counts the whole lines of a block (all of it when `last`).
    Added add(const uint8_t *block, std::size_t n, bool last, const std::atomic<bool> &stop);

    // Orders words by falling count, then by their bytes; drops those below min_count and beyond max_words. Words of
    // `known` keep their places at the front whatever their counts.
    void finish(uint64_t min_count, std::size_t max_words, const std::vector<std::string_view> &known);
    // Ids and SENTENCE_END after each sentence that kept a word; returns how many were written (<= bound()).
    std::size_t encode(int32_t *out, int threads, const std::atomic<bool> &stop);
    std::size_t bound() const { return kept + lines + 1; }

    uint64_t tokens = 0;               // words read
    uint64_t kept = 0;                 // of these, in the vocabulary
    uint64_t highest = 0;              // how often the most frequent word was read
    std::size_t lines = 0, distinct = 0;
    std::vector<std::string> words;    // the vocabulary
    std::vector<int64_t> counts;

  private:
    struct Extent {  // what one part of a block became
        std::vector<int32_t> ids;
        std::size_t offset = 0, n = 0;  // in the temporary file, counted in ids, once it was written there
        int thread = 0;
        bool spilled = false;
    };
    Splitter splitter;
    std::vector<WordTable> tables;
    std::vector<Extent> extents;
    std::vector<std::vector<int32_t>> renamed;  // provisional id -> vocabulary id or -2, for each thread's table
    std::size_t budget, in_memory = 0, in_file = 0;
    std::string folder;
    int file = -1;

    std::vector<std::size_t> cut(const uint8_t *block, std::size_t n) const;
    void spill(Extent &extent);
};

}  // namespace firth
