// Word vectors in text and in word2vec's binary format: numbers out of characters and back.
//
// Versions tried on 200,000 words of 100 dimensions (180 MB of text), one thread: Python's float() 24 s; std::from_chars
// for float 1.9 s; digits gathered in an integer and scaled by an exact power of ten, from_chars for the rest, 0.9 s.
#include "words_text.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "threads.hpp"

namespace firth {
namespace {

constexpr double POWERS[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};  // exact in float64

bool blank(char c) { return c == ' ' || c == '\t'; }

// A number that fills [p, end). Up to 15 digits and 10^±22 are exact in float64 (Clinger 1990); others go the long way.
bool number(const char *p, const char *end, float &value) {
    const char *start = p;
    const bool minus = p < end && *p == '-';
    if (p < end && (*p == '-' || *p == '+')) ++p;
    uint64_t digits = 0;
    int seen = 0, exponent = 0;
    for (; p < end && *p >= '0' && *p <= '9'; ++p, ++seen) digits = digits * 10 + static_cast<uint64_t>(*p - '0');
    if (p < end && *p == '.')
        for (++p; p < end && *p >= '0' && *p <= '9'; ++p, ++seen, --exponent)
            digits = digits * 10 + static_cast<uint64_t>(*p - '0');
    if (seen > 0 && p < end && (*p == 'e' || *p == 'E')) {
        int written = 0;
        const char *from = p + 1 < end && p[1] == '+' ? p + 2 : p + 1;
        const auto [stop, fault] = std::from_chars(from, end, written);
        if (fault != std::errc()) return false;
        p = stop;
        exponent += written;
    }
    if (seen > 0 && seen <= 15 && p == end && exponent >= -22 && exponent <= 22) {
        const double scaled = exponent < 0 ? static_cast<double>(digits) / POWERS[-exponent]
                                           : static_cast<double>(digits) * POWERS[exponent];
        value = static_cast<float>(minus ? -scaled : scaled);
        return true;
    }
    if (start < end && *start == '+') ++start;
    double wide = 0;
    const auto [stop, fault] = std::from_chars(start, end, wide);
    if (stop != end || (fault != std::errc() && fault != std::errc::result_out_of_range)) return false;
    if (fault == std::errc::result_out_of_range) wide = exponent > 0 ? HUGE_VAL : 0;
    value = static_cast<float>(wide);
    return true;
}

// One line: a word, then d numbers. With `spaces` the word is whatever stands before the last d fields.
TextFault text_row(const char *begin, const char *end, std::size_t d, bool spaces, float *out, int64_t *word_bytes) {
    if (end > begin && end[-1] == '\r') --end;
    while (end > begin && blank(end[-1])) --end;
    const char *p = begin;
    std::size_t fields = 0;
    for (const char *q = begin; q < end;) {
        while (q < end && blank(*q)) ++q;
        if (q < end) ++fields;
        while (q < end && !blank(*q)) ++q;
    }
    if (fields != d + 1 && !(spaces && fields > d + 1)) return fields < d + 1 ? TextFault::few : TextFault::many;
    if (blank(*p)) return TextFault::no_word;
    const char *word_end = p;
    for (std::size_t i = fields - d; i > 0; --i) {
        while (p < end && blank(*p)) ++p;
        while (p < end && !blank(*p)) ++p;
        word_end = p;
    }
    *word_bytes = word_end - begin;
    for (std::size_t j = 0; j < d; ++j) {
        while (p < end && blank(*p)) ++p;
        const char *start = p;
        while (p < end && !blank(*p)) ++p;
        if (!number(start, p, out[j])) return TextFault::no_number;
        if (!std::isfinite(out[j])) return TextFault::not_finite;
    }
    return TextFault::none;
}

}  // namespace

std::size_t count_lines(const char *text, std::size_t n) {
    const auto ends = static_cast<std::size_t>(std::count(text, text + n, '\n'));
    return ends + (n > 0 && text[n - 1] != '\n' ? 1 : 0);
}

void line_starts(const char *text, std::size_t n, int64_t *starts) {
    const char *p = text, *end = text + n;
    while (p < end) {
        *starts++ = p - text;
        const auto *line = static_cast<const char *>(std::memchr(p, '\n', static_cast<std::size_t>(end - p)));
        p = line ? line + 1 : end;
    }
    *starts = static_cast<int64_t>(n);
}

Faulty text_rows(const char *text, const int64_t *starts, std::size_t rows, std::size_t d, bool spaces, float *out,
                 int64_t *word_bytes, int threads, const std::atomic<bool> &stop) {
    std::atomic<std::size_t> first{rows};
    std::vector<TextFault> faults(rows, TextFault::none);
    parallel_for(rows, 256, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t i = begin; i < end; ++i) {
            const char *stop_at = text + starts[i + 1];
            if (stop_at > text + starts[i] && stop_at[-1] == '\n') --stop_at;
            faults[i] = text_row(text + starts[i], stop_at, d, spaces, out + i * d, word_bytes + i);
            if (faults[i] == TextFault::none) continue;
            std::size_t seen = first.load();
            while (i < seen && !first.compare_exchange_weak(seen, i)) {
            }
            return;
        }
    });
    const std::size_t row = first;
    return {row, row < rows ? faults[row] : TextFault::none};
}

std::size_t binary_rows(const char *bytes, std::size_t n, std::size_t start, std::size_t rows, std::size_t d, float *out,
                        int64_t *word_starts, int64_t *word_bytes, const std::atomic<bool> &stop, std::size_t &at) {
    at = start;
    for (std::size_t i = 0; i < rows; ++i) {
        if (i % 4096 == 0 && stop.load(std::memory_order_relaxed)) return i;
        while (at < n && bytes[at] == '\n') ++at;
        const auto *space = static_cast<const char *>(std::memchr(bytes + at, ' ', n - at));
        if (space == nullptr) return i;
        const auto behind = static_cast<std::size_t>(space - bytes) + 1;
        if (n - behind < d * sizeof(float)) return i;
        word_starts[i] = static_cast<int64_t>(at);
        word_bytes[i] = space - bytes - static_cast<int64_t>(at);
        std::memcpy(out + i * d, bytes + behind, d * sizeof(float));
        at = behind + d * sizeof(float);
    }
    return rows;
}

std::size_t write_row(const float *row, std::size_t d, char *out) {
    char *p = out;
    for (std::size_t j = 0; j < d; ++j) {
        *p++ = ' ';
        p = std::to_chars(p, p + LONGEST_NUMBER, row[j]).ptr;
    }
    *p++ = '\n';
    return static_cast<std::size_t>(p - out);
}

}  // namespace firth
