// Counting words; see words.hpp for what was tried.
#include "words.hpp"

#include <fcntl.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <system_error>

#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t PART = 1 << 19;  // bytes one thread takes at a time: a few milliseconds of work
constexpr int32_t DROPPED = -2;

uint64_t mix(uint64_t a, uint64_t b) {
    const __uint128_t product = static_cast<__uint128_t>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// 64 odd-looking bits each, from the fractional digits of pi; any would do.
constexpr uint64_t SALT_LOW = 0x243f6a8885a308d3, SALT_HIGH = 0x13198a2e03707345;

uint64_t hash_inline(uint64_t low, uint64_t high, std::size_t length) {
    return mix(low ^ SALT_LOW, high ^ SALT_HIGH ^ length * 0x9e3779b97f4a7c15);
}

uint64_t hash_long(const uint8_t *word, std::size_t length) {
    uint64_t state = length;
    for (; length >= 16; word += 16, length -= 16) {
        uint64_t low, high;
        std::memcpy(&low, word, 8);
        std::memcpy(&high, word + 8, 8);
        state = mix(low ^ SALT_LOW ^ state, high ^ SALT_HIGH);
    }
    uint64_t tail[2] = {0, 0};
    std::memcpy(tail, word, length);
    return mix(tail[0] ^ SALT_LOW ^ state, tail[1] ^ SALT_HIGH);
}

}  // namespace

// --- splitting ----------------------------------------------------------------------------------------------------

Splitter::Splitter(int kind, const int32_t *classes, std::size_t n_classes)
    : kind(kind), classes(classes, classes + n_classes) {
    if (kind == 2) {
        space[0x1e] = space[0x1f] = true;
    } else {
        for (const char c : {' ', '\t', '\n', '\v', '\f', '\r'}) space[static_cast<uint8_t>(c)] = true;
    }
}

const uint8_t *invalid_utf8(const uint8_t *p, const uint8_t *end) {
    auto continues = [&](const uint8_t *at) { return at < end && (*at & 0xc0) == 0x80; };
    while (p < end) {
        uint64_t eight;
        while (end - p >= 8 && (std::memcpy(&eight, p, 8), (eight & 0x8080808080808080) == 0)) p += 8;
        if (p == end) break;
        const uint8_t a = *p;
        std::size_t more;
        if (a < 0x80)
            more = 0;
        else if (a >= 0xc2 && a < 0xe0)
            more = 1;
        else if ((a & 0xf0) == 0xe0)
            more = 2;
        else if (a >= 0xf0 && a < 0xf5)
            more = 3;
        else
            return p;
        for (std::size_t i = 1; i <= more; ++i)
            if (!continues(p + i)) return p;
        // Too-long forms, surrogates, and beyond U+10FFFF.
        if ((a == 0xe0 && p[1] < 0xa0) || (a == 0xed && p[1] > 0x9f) || (a == 0xf0 && p[1] < 0x90) ||
            (a == 0xf4 && p[1] > 0x8f))
            return p;
        p += more + 1;
    }
    return end;
}

// --- the table of distinct words ----------------------------------------------------------------------------------

WordTable::WordTable(std::size_t expected) {
    std::size_t room = 1 << 12;
    while (expected * 10 > room * 7) room *= 2;
    slots.assign(room, Slot{0, 0, 0, EMPTY, 0});
    mask = room - 1;
}

WordTable::Key WordTable::key_of(const uint8_t *word, std::size_t length) {
    if (length > INLINE) {
        const uint64_t hash = hash_long(word, length);
        return {hash, 0, hash};
    }
    uint64_t half[2] = {0, 0};
    if (length >= 8) {  // two overlapping loads stay inside the word
        std::memcpy(&half[0], word, 8);
        if (length > 8) {
            std::memcpy(&half[1], word + length - 8, 8);
            half[1] >>= 8 * (16 - length);
        }
    } else if (length >= 4) {
        uint32_t first, last;
        std::memcpy(&first, word, 4);
        std::memcpy(&last, word + length - 4, 4);
        half[0] = first | static_cast<uint64_t>(last) << 8 * (length - 4);
    } else if (length > 0) {
        half[0] = word[0] | static_cast<uint64_t>(word[length / 2]) << 8 * (length / 2) |
                  static_cast<uint64_t>(word[length - 1]) << 8 * (length - 1);
    }
    return {half[0], half[1], hash_inline(half[0], half[1], length)};
}

uint64_t WordTable::hash_of(const Slot &slot) {
    return slot.length > INLINE ? slot.low : hash_inline(slot.low, slot.high, slot.length);
}

bool WordTable::same(const Slot &slot, const Key &key, const uint8_t *word, std::size_t length) const {
    if (slot.low != key.low || slot.length != length) return false;
    if (length <= INLINE) return slot.high == key.high;
    return std::memcmp(arena.data() + slot.high, word, length) == 0;
}

std::string_view WordTable::text_of(const Slot &slot) const {
    if (slot.length > INLINE) return {arena.data() + slot.high, slot.length};
    return {reinterpret_cast<const char *>(&slot), slot.length};  // low and high come first and side by side
}

uint32_t WordTable::count(const uint8_t *word, std::size_t length, uint64_t times) {
    if (length >= EMPTY) throw std::length_error("a word of 4 GB");
    const Key key = key_of(word, length);
    std::size_t at = key.hash & mask;
    while (slots[at].id != EMPTY) {
        if (same(slots[at], key, word, length)) {
            slots[at].count += times;
            return slots[at].id;
        }
        at = (at + 1) & mask;
    }
    if (used >= EMPTY / 2) throw std::length_error("more than two thousand million distinct words");
    const uint32_t id = static_cast<uint32_t>(used++);
    slots[at] = {key.low, key.high, times, id, static_cast<uint32_t>(length)};
    if (length > INLINE) {
        slots[at].high = arena.size();
        arena.append(reinterpret_cast<const char *>(word), length);
    }
    if (used * 10 > slots.size() * 7) grow();
    return id;
}

int32_t WordTable::find(const uint8_t *word, std::size_t length) const {
    const Key key = key_of(word, length);
    for (std::size_t at = key.hash & mask; slots[at].id != EMPTY; at = (at + 1) & mask)
        if (same(slots[at], key, word, length)) return static_cast<int32_t>(slots[at].id);
    return -1;
}

void WordTable::grow() {
    std::vector<Slot> larger(slots.size() * 2, Slot{0, 0, 0, EMPTY, 0});
    mask = larger.size() - 1;
    for (const Slot &slot : slots) {
        if (slot.id == EMPTY) continue;
        std::size_t at = hash_of(slot) & mask;
        while (larger[at].id != EMPTY) at = (at + 1) & mask;
        larger[at] = slot;
    }
    slots.swap(larger);
}

// --- counting a corpus --------------------------------------------------------------------------------------------

WordCounter::WordCounter(Splitter splitter, int threads, std::size_t budget, std::string folder)
    : splitter(std::move(splitter)), tables(static_cast<std::size_t>(std::max(threads, 1))), budget(budget),
      folder(std::move(folder)) {}

WordCounter::~WordCounter() {
    if (file >= 0) close(file);
}

// Where the parts of a block end: at line ends, or at other separators where a line is longer than a part.
std::vector<std::size_t> WordCounter::cut(const uint8_t *block, std::size_t n) const {
    std::vector<std::size_t> ends;
    for (std::size_t start = 0; start < n;) {
        std::size_t end = std::min(n, start + PART);
        if (end < n) {
            const auto *line = static_cast<const uint8_t *>(std::memchr(block + end, splitter.line_end(), std::min(PART, n - end)));
            if (line != nullptr) {
                end = static_cast<std::size_t>(line - block) + 1;
            } else {
                while (end < n && !splitter.separates(block[end])) ++end;
            }
        }
        ends.push_back(end);
        start = end;
    }
    return ends;
}

WordCounter::Added WordCounter::add(const uint8_t *block, std::size_t n, bool last, const std::atomic<bool> &stop) {
    const std::size_t whole = n;
    if (!last) {  // keep the last line, or at least the last word, for the next block
        std::size_t end = n;
        while (end > 0 && block[end - 1] != splitter.line_end()) --end;
        if (end == 0)
            for (end = n; end > 0 && !splitter.separates(block[end - 1]);) --end;
        n = end;
    }
    const std::vector<std::size_t> ends = cut(block, n);
    const std::size_t before = extents.size();
    extents.resize(before + ends.size());
    std::atomic<std::size_t> invalid{whole}, new_lines{0}, new_tokens{0};
    std::mutex disk;
    parallel_for(ends.size(), 1, static_cast<int>(tables.size()), stop, [&](std::size_t i, std::size_t, int thread) {
        const uint8_t *begin = block + (i == 0 ? 0 : ends[i - 1]), *end = block + ends[i];
        const uint8_t *bad = invalid_utf8(begin, end);
        if (bad != end) {
            std::size_t at = static_cast<std::size_t>(bad - block), seen = invalid.load();
            while (at < seen && !invalid.compare_exchange_weak(seen, at)) {
            }
            return;
        }
        Extent &extent = extents[before + i];
        extent.thread = thread;
        extent.ids.reserve(static_cast<std::size_t>(end - begin) / 4 + 16);
        WordTable &table = tables[static_cast<std::size_t>(thread)];
        std::size_t found = 0;
        splitter.split(
            begin, end, [&](const uint8_t *word, std::size_t length) {
                extent.ids.push_back(static_cast<int32_t>(table.count(word, length)));
                ++found;
            },
            [&] {
                if (!extent.ids.empty() && extent.ids.back() == SENTENCE_END) return;
                extent.ids.push_back(SENTENCE_END);
            });
        extent.n = extent.ids.size();
        new_tokens += found;
        new_lines += extent.n - found;
        std::lock_guard lock(disk);
        in_memory += extent.ids.capacity() * sizeof(int32_t);
        if (in_memory > budget) spill(extent);
    });
    tokens += new_tokens;
    lines += new_lines;
    return {n, invalid};
}

void WordCounter::spill(Extent &extent) {
    if (file < 0) {
        std::string name = folder + "/firth-corpus-XXXXXX";
        file = mkstemp(name.data());
        if (file < 0) throw std::system_error(errno, std::generic_category(), folder);
        unlink(name.c_str());  // the file lives as long as it is open, and no longer
    }
    const char *bytes = reinterpret_cast<const char *>(extent.ids.data());
    std::size_t left = extent.n * sizeof(int32_t);
    auto at = static_cast<off_t>(in_file * sizeof(int32_t));
    while (left > 0) {
        const ssize_t written = pwrite(file, bytes, left, at);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) throw std::system_error(errno, std::generic_category(), folder);
        bytes += written, at += written, left -= static_cast<std::size_t>(written);
    }
    extent.offset = in_file;
    extent.spilled = true;
    in_file += extent.n;
    in_memory -= extent.ids.capacity() * sizeof(int32_t);
    std::vector<int32_t>().swap(extent.ids);
}

void WordCounter::finish(uint64_t min_count, std::size_t max_words, const std::vector<std::string_view> &known) {
    struct Entry {
        std::string_view text;
        uint64_t count;
        uint32_t id;
    };
    const bool single = tables.size() == 1;
    std::size_t most = 0;
    for (const WordTable &table : tables) most += table.size();
    // As large as it may become: words come out of a table in the order of their hashes, and filling a smaller table
    // in that order would pile them up in one place.
    WordTable merged(single ? 0 : most);
    for (std::size_t t = 0; !single && t < tables.size(); ++t)
        tables[t].for_each([&](uint32_t, std::string_view text, uint64_t count) {
            merged.count(reinterpret_cast<const uint8_t *>(text.data()), text.size(), count);
        });
    WordTable &all = single ? tables[0] : merged;
    distinct = all.size();

    std::vector<int32_t> final_id(distinct, DROPPED);
    std::vector<uint64_t> count_of(known.empty() ? 0 : distinct);
    highest = 0;
    all.for_each([&](uint32_t id, std::string_view, uint64_t count) {
        highest = std::max(highest, count);
        if (!known.empty()) count_of[id] = count;
    });
    words.clear(), counts.clear();
    for (const std::string_view word : known) {
        const int32_t id = all.find(reinterpret_cast<const uint8_t *>(word.data()), word.size());
        if (id >= 0) final_id[static_cast<std::size_t>(id)] = static_cast<int32_t>(words.size());
        words.emplace_back(word);
        counts.push_back(id < 0 ? 0 : static_cast<int64_t>(count_of[static_cast<std::size_t>(id)]));
    }
    std::vector<Entry> entries;
    all.for_each([&](uint32_t id, std::string_view text, uint64_t count) {
        if (count >= min_count && final_id[id] == DROPPED) entries.push_back({text, count, id});
    });
    auto first = [](const Entry &a, const Entry &b) { return a.count != b.count ? a.count > b.count : a.text < b.text; };
    const std::size_t room = max_words > words.size() ? max_words - words.size() : 0;
    if (max_words > 0 && entries.size() > room) {
        std::nth_element(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(room), entries.end(), first);
        entries.resize(room);
    }
    std::sort(entries.begin(), entries.end(), first);
    words.reserve(words.size() + entries.size());
    for (const Entry &entry : entries) {
        final_id[entry.id] = static_cast<int32_t>(words.size());
        words.emplace_back(entry.text);
        counts.push_back(static_cast<int64_t>(entry.count));
    }
    kept = std::accumulate(counts.begin(), counts.end(), uint64_t{0});
    renamed.assign(tables.size(), {});
    for (std::size_t t = 0; t < tables.size(); ++t) {
        renamed[t].resize(tables[t].size());
        if (single) renamed[t] = std::move(final_id);
        else tables[t].for_each([&](uint32_t id, std::string_view text, uint64_t) {
            const int32_t at = merged.find(reinterpret_cast<const uint8_t *>(text.data()), text.size());
            renamed[t][id] = final_id[static_cast<std::size_t>(at)];
        });
        tables[t] = WordTable();  // the corpus needs its memory now
    }
}

std::size_t WordCounter::encode(int32_t *out, int threads, const std::atomic<bool> &stop) {
    const int32_t *mapped = nullptr;
    if (in_file > 0) {
        void *at = mmap(nullptr, in_file * sizeof(int32_t), PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) throw std::system_error(errno, std::generic_category(), folder);
        mapped = static_cast<const int32_t *>(at);
    }
    // A sentence may go on from one extent to the next, so the ends are counted first and written second.
    struct Plan {
        std::size_t n = 0;         // ids and ends that it writes when no sentence is open where it begins
        bool closes = false;       // its first line ends before it has kept a word: one end more if a sentence is open
        bool opens = false;        // a sentence is open where it ends, if none was where it begins
        bool passes = false;       // it has neither a kept word nor an end of line
        bool open_before = false;  // settled below
        std::size_t start = 0;
    };
    std::vector<Plan> plans(extents.size());
    auto walk = [&](const Extent &extent, bool open, int32_t *to, Plan *plan) {
        const int32_t *id = extent.spilled ? mapped + extent.offset : extent.ids.data();
        const std::vector<int32_t> &name = renamed[static_cast<std::size_t>(extent.thread)];
        std::size_t n = 0;
        bool ended = false, kept_one = false;
        for (std::size_t i = 0; i < extent.n; ++i) {
            if (id[i] == SENTENCE_END) {
                if (plan && !ended && !kept_one) plan->closes = true;
                ended = true;
                if (!open) continue;
                if (to) to[n] = SENTENCE_END;
                ++n, open = false;
            } else if (const int32_t word = name[static_cast<std::size_t>(id[i])]; word >= 0) {
                if (to) to[n] = word;
                ++n, open = kept_one = true;
            }
        }
        if (plan) plan->n = n, plan->opens = open, plan->passes = !ended && !kept_one;
    };
    parallel_for(extents.size(), 1, threads, stop,
                 [&](std::size_t i, std::size_t, int) { walk(extents[i], false, nullptr, &plans[i]); });
    std::size_t total = 0;
    bool open = false;
    for (Plan &plan : plans) {
        plan.open_before = open;
        plan.start = total;
        total += plan.n + (open && plan.closes ? 1 : 0);
        if (!plan.passes) open = plan.opens;
    }
    parallel_for(extents.size(), 1, threads, stop, [&](std::size_t i, std::size_t, int) {
        walk(extents[i], plans[i].open_before, out + plans[i].start, nullptr);
        std::vector<int32_t>().swap(extents[i].ids);
    });
    if (mapped) munmap(const_cast<int32_t *>(mapped), in_file * sizeof(int32_t));
    if (open) out[total++] = SENTENCE_END;  // the last line had no end of its own
#if defined(__GLIBC__)
    malloc_trim(0);  // else the provisional ids' memory stays with the process while it trains
#endif
    return total;
}

}  // namespace firth
