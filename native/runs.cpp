// A TREC run file, straight from its bytes to the ranks of the judged documents.
//
// Versions tried on 10,000 queries x 100 lines (50 MB), one thread:
//   dictionaries of dictionaries, ranks counted in NumPy                         1.0 s with the parsing of lines
//   one hash table of all judged pairs, a sort a query to find repeats           0.21 s (a third is cache misses)
//   this: judged documents of a query side by side, repeats by a small table     0.10 s, of which the numbers 0.01 s
// A rank is one more than the documents that beat it: larger float32 score, or the same and a larger id by bytes.
#include "runs.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <string_view>
#include <vector>

namespace firth {
namespace {

constexpr std::size_t COLUMNS = 6;
constexpr std::size_t LINES_A_LOOK = 1 << 14;  // between two looks at `stop`: a few milliseconds
constexpr std::size_t SHORT_LINE = 24;        // bytes; a file of shorter lines makes its rows grow as they come
constexpr std::ptrdiff_t FEW = 16;  // judged documents of a query that are looked through one by one
constexpr std::size_t NONE = ~std::size_t{0};

uint64_t hash_of(std::string_view name, uint64_t seed) {
    uint64_t h = seed ^ (name.size() * 0x9e3779b97f4a7c15ULL);
    const char *p = name.data();
    std::size_t left = name.size();
    for (; left >= 8; left -= 8, p += 8) {
        uint64_t word;
        std::memcpy(&word, p, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    std::memcpy(&tail, p, left);
    h = (h ^ tail) * 0xc4ceb9fe1a85ec53ULL;
    return h ^ (h >> 29);
}

// Names to their numbers, open addressing, at most half full.
class Names {
  public:
    explicit Names(std::size_t n) {
        while (size_ < 2 * n + 2) size_ *= 2;
        slots_.assign(size_, Slot{0, NONE});
    }
    // The number of the name with this hash for which `same(number)` is true; else NONE.
    template <class Same> std::size_t find(uint64_t hash, Same &&same) const {
        for (std::size_t i = hash & (size_ - 1); slots_[i].number != NONE; i = (i + 1) & (size_ - 1))
            if (slots_[i].hash == hash && same(slots_[i].number)) return slots_[i].number;
        return NONE;
    }
    void add(uint64_t hash, std::size_t number) {
        std::size_t i = hash & (size_ - 1);
        while (slots_[i].number != NONE) i = (i + 1) & (size_ - 1);
        slots_[i] = Slot{hash, number};
    }

  private:
    struct Slot {
        uint64_t hash;
        std::size_t number;
    };
    std::size_t size_ = 16;
    std::vector<Slot> slots_;
};

struct Line {
    std::string_view field[COLUMNS];
    std::size_t count = 0;
};

struct Ranked {
    float score;
    uint32_t hash;       // of the document's name, its upper half
    std::size_t offset;  // of the document's name in the text
};

// Lines begin to end of one query that stand together in the file.
struct Segment {
    std::size_t query, begin, end;
};

// A judged document: those of one query stand together, by hash.
struct Wanted {
    uint64_t hash;
    std::size_t pair;
};

// Fields between blanks; those after the sixth are counted and not kept.
Line split(const char *p, const char *end) {
    Line line;
    while (p < end) {
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) ++p;
        const char *start = p;
        while (p < end && *p != ' ' && *p != '\t' && *p != '\r') ++p;
        if (p == start) break;
        if (line.count < COLUMNS) line.field[line.count] = {start, static_cast<std::size_t>(p - start)};
        ++line.count;
    }
    return line;
}

RunFault number(std::string_view field, float &score) {
    if (!field.empty() && field[0] == '+') field.remove_prefix(1);
    double value = 0;
    const auto [rest, error] = std::from_chars(field.data(), field.data() + field.size(), value);
    if (rest != field.data() + field.size()) return RunFault::number;
    // Out of range with a negative exponent is too small for a double, which is a zero; all else is too large.
    if (error == std::errc::result_out_of_range)
        value = field.find("e-") == field.npos && field.find("E-") == field.npos ? HUGE_VAL : 0;
    score = static_cast<float>(value);
    return std::isfinite(score) ? RunFault::none : RunFault::infinite;
}

std::string_view name(const char *joined, const int64_t *ends, std::size_t i) {
    const std::size_t start = i ? static_cast<std::size_t>(ends[i - 1]) : 0;
    return {joined + start, static_cast<std::size_t>(ends[i]) - start};
}

std::string_view name_at(const char *text, std::size_t offset) {
    const char *p = text + offset;
    while (*p != ' ' && *p != '\t') ++p;  // four more fields follow on the line
    return {text + offset, static_cast<std::size_t>(p - text) - offset};
}

// The byte of a line that ranks a document which its query ranked before, or NONE. The segments are of one query.
std::size_t twice(const char *text, const std::vector<Ranked> &rows, const Segment *from, const Segment *to,
                  std::vector<std::size_t> &table) {
    std::size_t count = 0, size = 16;
    for (const Segment *s = from; s != to; ++s) count += s->end - s->begin;
    while (size < 2 * count) size *= 2;
    table.assign(size, NONE);
    for (const Segment *s = from; s != to; ++s)
        for (std::size_t row = s->begin; row < s->end; ++row) {
            std::size_t i = rows[row].hash & (size - 1);
            for (; table[i] != NONE; i = (i + 1) & (size - 1))
                if (rows[table[i]].hash == rows[row].hash &&
                    name_at(text, rows[table[i]].offset) == name_at(text, rows[row].offset))
                    return rows[row].offset;
            table[i] = row;
        }
    return NONE;
}

// One reading of the file: which lines belong to the judged queries, and the scores of the judged documents.
class Reading {
  public:
    Reading(const char *text, const RunJudged &judged) : text_(text), judged_(judged), queries_(judged.q) {
        for (std::size_t i = 0; i < judged.q; ++i) queries_.add(hash_of(query_name(i), 0), i);
        wanted_.resize(judged.h);
        first_.assign(judged.q + 1, 0);
        for (std::size_t i = 0; i < judged.h; ++i) {
            wanted_[i] = {hash_of(document(i), 0), i};
            ++first_[static_cast<std::size_t>(judged.pair_query[i]) + 1];
        }
        for (std::size_t i = 0; i < judged.q; ++i) {
            first_[i + 1] += first_[i];
            std::sort(wanted_.begin() + static_cast<std::ptrdiff_t>(first_[i]),
                      wanted_.begin() + static_cast<std::ptrdiff_t>(first_[i + 1]),
                      [](const Wanted &a, const Wanted &b) { return a.hash < b.hash; });
        }
        score.assign(judged.h, 0);
        found.assign(judged.h, false);
    }

    std::string_view document(std::size_t i) const { return name(judged_.documents, judged_.document_ends, i); }

    RunFault line(const char *start, const char *end) {
        const Line line = split(start, end);
        if (line.count == 0) return RunFault::none;
        if (line.count != COLUMNS) return RunFault::columns;
        float value;
        if (const RunFault fault = number(line.field[4], value); fault != RunFault::none) return fault;
        if (line.field[0] != last_) {
            last_ = line.field[0];
            query_ = queries_.find(hash_of(last_, 0), [&](std::size_t i) { return query_name(i) == last_; });
            if (query_ != NONE) segments.push_back({query_, rows.size(), rows.size()});
        }
        if (query_ == NONE) return RunFault::none;
        const std::string_view id = line.field[2];
        const uint64_t hash = hash_of(id, 0);
        rows.push_back({value, static_cast<uint32_t>(hash >> 32), static_cast<std::size_t>(id.data() - text_)});
        segments.back().end = rows.size();
        const Wanted *w = wanted_.data() + first_[query_], *stop = wanted_.data() + first_[query_ + 1];
        if (stop - w > FEW) w = std::lower_bound(w, stop, hash, [](const Wanted &a, uint64_t h) { return a.hash < h; });
        for (; w < stop && w->hash <= hash; ++w)
            if (w->hash == hash && document(w->pair) == id) {
                score[w->pair] = value;
                found[w->pair] = true;
            }
        return RunFault::none;
    }

    std::vector<Ranked> rows;
    std::vector<Segment> segments;
    std::vector<float> score;  // of the judged pairs that were found
    std::vector<bool> found;

  private:
    std::string_view query_name(std::size_t i) const { return name(judged_.queries, judged_.query_ends, i); }

    const char *text_;
    const RunJudged &judged_;
    Names queries_;
    std::vector<Wanted> wanted_;
    std::vector<std::size_t> first_;  // of each query's documents in wanted_
    std::string_view last_;
    std::size_t query_ = NONE;
};

}  // namespace

RunResult run_ranks(const char *text, std::size_t bytes, const RunJudged &judged, int64_t *rank, int64_t *ranked,
                    const std::atomic<bool> &stop) {
    Reading reading(text, judged);
    reading.rows.reserve(bytes / SHORT_LINE);  // address space only: pages that are not written cost nothing
    std::size_t lines = 0;
    for (std::size_t at = 0; at < bytes;) {
        if (lines++ % LINES_A_LOOK == 0 && stop.load(std::memory_order_relaxed)) return {};
        const void *newline = std::memchr(text + at, '\n', bytes - at);
        const std::size_t end = newline ? static_cast<std::size_t>(static_cast<const char *>(newline) - text) : bytes;
        if (const RunFault fault = reading.line(text + at, text + end); fault != RunFault::none) return {fault, at};
        at = end + 1;
    }
    auto &segments = reading.segments;
    std::stable_sort(segments.begin(), segments.end(),
                     [](const Segment &a, const Segment &b) { return a.query < b.query; });
    std::vector<std::size_t> table;
    std::fill(rank, rank + judged.h, 0);
    std::fill(ranked, ranked + judged.q, 0);
    std::size_t pair = 0;
    for (const Segment *from = segments.data(), *last = from + segments.size(); from != last;) {
        if (stop.load(std::memory_order_relaxed)) return {};
        const Segment *to = from;
        for (; to != last && to->query == from->query; ++to)
            ranked[from->query] += static_cast<int64_t>(to->end - to->begin);
        if (const std::size_t second = twice(text, reading.rows, from, to, table); second != NONE)
            return {RunFault::twice, second};
        while (pair < judged.h && static_cast<std::size_t>(judged.pair_query[pair]) < from->query) ++pair;
        for (; pair < judged.h && static_cast<std::size_t>(judged.pair_query[pair]) == from->query; ++pair) {
            if (!reading.found[pair]) continue;
            const float score = reading.score[pair];
            int64_t above = 0;
            for (const Segment *s = from; s != to; ++s)
                for (std::size_t row = s->begin; row < s->end; ++row) {
                    const Ranked &other = reading.rows[row];
                    above += other.score > score ||
                             (other.score == score && name_at(text, other.offset) > reading.document(pair));
                }
            rank[pair] = above + 1;
        }
        from = to;
    }
    return {};
}

}  // namespace firth
