// Exact search: every row against every query, in tiles that stay in cache, then float64 scores of the best few.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firth {

struct FlatWanted {
    const float *queries, *rows;
    std::size_t q, n, d, k;
    const int64_t *only;  // `chosen` row numbers to look at, ascending, or none for all
    std::size_t chosen;
    bool euclid;    // score is -|q - x|², else the inner product
    float longest;  // of the rows' lengths, for the bound on rounding
};

// ids (q, k) row numbers, -1 pads; scores (q, k), -inf pads; best first, ties by row number.
void flat_search(const FlatWanted &wanted, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop);

// The same for many queries over all rows by inner product, where it is faster; flat_search asks it.
bool flat_batch_fits(const FlatWanted &wanted);
void flat_batch(const FlatWanted &wanted, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop);

}  // namespace firth
