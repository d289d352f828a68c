// Scans over codes: sums of table entries for codes of 4 and of 8 bits, inner products for one byte a dimension.
//
// A scan is coarse first (integers, or float32 sums) and keeps k + a few rows; these are scored again in float64 in a
// fixed order, so that answers do not depend on the CPU level or on the number of threads.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firth {

constexpr std::size_t SCAN_BLOCK = 32;  // vectors whose 4-bit codes lie together

struct ScanWanted {
    std::size_t q, n, k;
    const uint8_t *allow;  // one byte a vector, 0 = may not appear; or none
};

// packed: blocks of 32 vectors; for each of m sub-codes 16 bytes, byte j = the code of vector j, and that of vector
// j + 16 in its high half. m is a multiple of 4. tables: (q, m, 16); a vector's score is the sum of its m entries.
void scan_nibbles(const ScanWanted &wanted, const uint8_t *packed, std::size_t m, const float *tables, int64_t *ids,
                  float *scores, int threads, const std::atomic<bool> &stop);

// packed as above, a value is centre + step * (code - 7.5); the score is its inner product with the query (q, d), d <= m.
void scan_halves(const ScanWanted &wanted, const uint8_t *packed, std::size_t m, const float *queries, std::size_t d,
                 const float *centre, const float *step, int64_t *ids, float *scores, int threads,
                 const std::atomic<bool> &stop);

// codes: (n, m), one byte each. tables: (q, m, 256).
void scan_tables(const ScanWanted &wanted, const uint8_t *codes, std::size_t m, const float *tables, int64_t *ids,
                 float *scores, int threads, const std::atomic<bool> &stop);

// codes: (n, d), a value is centre + step * (code - 128); the score is its inner product with the query (q, d).
void scan_scalar(const ScanWanted &wanted, const uint8_t *codes, std::size_t d, const float *queries,
                 const float *centre, const float *step, int64_t *ids, float *scores, int threads,
                 const std::atomic<bool> &stop);

}  // namespace firth
