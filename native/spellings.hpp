// Convolutions over symbols and their maxima, by sums of table rows.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firth {

// Words as symbols, padding last; f filters of one window.
struct Spellings {
    const std::int16_t *symbols;  // (n, width), each below v
    const float *table;           // (window, v, f): what a symbol at each place of the window adds
    const float *bias;            // (f,)
    std::size_t n, width, window, v, f;
    std::int16_t pad;
};

// best (n, f): largest sum over all windows plus bias, at least 0; places (n, f): where, or -1 where it is 0.
void spelling_maxima(const Spellings &s, float *best, std::int16_t *places, int threads, const std::atomic<bool> &stop);

// Adds to table (window, v, f) the gradient of best.
void spelling_gradient(const Spellings &s, const std::int16_t *places, const float *slopes, float *table, int threads,
                       const std::atomic<bool> &stop);

}  // namespace firth
