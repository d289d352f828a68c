// Scans over codes: sums of table entries for sub-codes of 4 and of 8 bits, weighted sums for those of 8, 4 and 2 bits.
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

// How many bytes of a code hold one sub-code of 8 bits, two of 4 and four of 2, in this order, the lowest bits first.
struct ScanSections {
    std::size_t bytes, nibbles, crumbs;
};

// The bytes of a packed block of 64 vectors of such codes; scan_weighted.cpp tells what lies where.
constexpr std::size_t WEIGHTED_BLOCK = 64;
std::size_t block_width(const ScanSections &given);

// packed: blocks of 64 vectors. weights: (q, m), one a sub-code; a score is base + the sum of weight * sub-code.
void scan_weighted(const ScanWanted &wanted, const uint8_t *packed, const ScanSections &given, const float *weights,
                   const double *bases, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop);

// codes: (n, m), one byte each. tables: (q, m, 256).
void scan_tables(const ScanWanted &wanted, const uint8_t *codes, std::size_t m, const float *tables, int64_t *ids,
                 float *scores, int threads, const std::atomic<bool> &stop);

}  // namespace firth
