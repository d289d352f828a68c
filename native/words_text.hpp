// Reading and writing word vectors as text, and word2vec's binary rows; plain arrays, faults as values.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace firth {

enum class TextFault : int { none, few, many, no_word, no_number, not_finite };
struct Faulty {
    std::size_t row;  // the first bad one, or how many there are
    TextFault fault;
};
constexpr std::size_t LONGEST_NUMBER = 24;  // characters of the shortest decimal that gives a float32 back, and some

std::size_t count_lines(const char *text, std::size_t n);
// Where each line begins, and n at the end.
void line_starts(const char *text, std::size_t n, int64_t *starts);
Faulty text_rows(const char *text, const int64_t *starts, std::size_t rows, std::size_t d, bool spaces, float *out,
                 int64_t *word_bytes, int threads, const std::atomic<bool> &stop);
// Rows of word, space, d float32. Returns how many were whole; `at` is where the next would begin.
std::size_t binary_rows(const char *bytes, std::size_t n, std::size_t start, std::size_t rows, std::size_t d, float *out,
                        int64_t *word_starts, int64_t *word_bytes, const std::atomic<bool> &stop, std::size_t &at);
// " number number … \n" after a word; `out` has room for d * (LONGEST_NUMBER + 1) + 1. Returns the bytes written.
std::size_t write_row(const float *row, std::size_t d, char *out);

}  // namespace firth
