// See scan.hpp. Scalar codes of 4 bits: the query's weights rounded to bytes, times the codes as they are.
//
// Tried (20,000 vectors of 384 dimensions, v4, a busy core of a Zen 5, microseconds a query in a batch):
//   tables of 16 for each dimension (scan.cpp), without the time to make them    64 to 69
//   products with weights, four queries a pass                                   35 to 45; six 34, eight 43
//   codes asked for 4 KB ahead, 100,000 vectors one by one                       912 to 946 -> 478 to 575
#include "scan.hpp"

#include "nibbles.hpp"

#include <cmath>

namespace firth {
namespace {

constexpr float ZERO = 7.5f;         // the code of the centre
constexpr std::size_t TOGETHER = 4;  // rows whose float64 sums run side by side
constexpr std::size_t FITTING = 16;  // products of a code and a weight whose sum fits 16 bits

struct Halves {
    const ScanWanted &wanted;
    const uint8_t *packed;
    std::size_t m;
    const int8_t *weights;  // (q, m)

    const uint8_t *block(std::size_t row) const { return packed + row / SCAN_BLOCK * m * 16; }

#if defined(FIRTH_VBMI)
    template <std::size_t Q, std::size_t B>
    [[gnu::always_inline]] void add_up(std::size_t query, std::size_t row, __m512i *out) const {
        const uint8_t *at = block(row);
        const int8_t *asked = weights + query * m;
        __m512i sums[Q * B * 2];
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q * B * 2; ++i) sums[i] = _mm512_setzero_si512();
        for (std::size_t s = 0; s < m; s += 4) {
            Turned codes[B];
#pragma GCC unroll 16
            for (std::size_t b = 0; b < B; ++b) codes[b] = turned(at + b * m * 16 + s * 16);
#pragma GCC unroll 16
            for (std::size_t i = 0; i < Q; ++i)
#pragma GCC unroll 16
                for (std::size_t b = 0; b < B; ++b) {
                    __m512i *sum = sums + (i * B + b) * 2;
                    add_products(sum[0], codes[b].first, asked + i * m + s);
                    add_products(sum[1], codes[b].second, asked + i * m + s);
                }
        }
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q * B * 2; ++i) out[i] = sums[i];
    }

    // Four codes a vector times four weights; see scan.cpp on why not the intrinsic.
    static void add_products(__m512i &sums, __m512i codes, const int8_t *weights) {
        using Four = int8_t[4];
        asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sums) : "v"(codes), "m"(*reinterpret_cast<const Four *>(weights)));
    }
#else
    bool add_up(std::size_t query, std::size_t row, int32_t floor, int32_t out[SCAN_BLOCK]) const {
        const uint8_t *at = block(row);
        const int8_t *asked = weights + query * m;
        std::fill(out, out + SCAN_BLOCK, 0);
        for (std::size_t start = 0; start < m; start += FITTING) {
            int16_t some[SCAN_BLOCK] = {};
            for (std::size_t s = start; s < std::min(m, start + FITTING); ++s)
                for (std::size_t j = 0; j < 16; ++j) {
                    some[j] = static_cast<int16_t>(some[j] + (at[s * 16 + j] & 15) * asked[s]);
                    some[j + 16] = static_cast<int16_t>(some[j + 16] + (at[s * 16 + j] >> 4) * asked[s]);
                }
            for (std::size_t j = 0; j < SCAN_BLOCK; ++j) out[j] += some[j];
        }
        int32_t largest = out[0];
        for (std::size_t j = 1; j < SCAN_BLOCK; ++j) largest = std::max(largest, out[j]);
        return largest > floor;
    }
#endif
};

// The inner product of a query with what the codes stand for, in float64, in the order of the dimensions.
void score_exactly(const Halves &codes, const float *query, const float *centre, const float *step, std::size_t d,
                   const std::vector<uint64_t> &entries, double *scores) {
    for (std::size_t start = 0; start < entries.size(); start += TOGETHER) {
        const uint8_t *at[TOGETHER];
        int shift[TOGETHER];
        for (std::size_t j = 0; j < TOGETHER; ++j) {
            const std::size_t row = entries[std::min(start + j, entries.size() - 1)] & 0xFFFFFFFFu;
            at[j] = codes.block(row) + row % 16;
            shift[j] = row % SCAN_BLOCK < 16 ? 0 : 4;
        }
        double sum[TOGETHER] = {};
        for (std::size_t s = 0; s < d; ++s)
            for (std::size_t j = 0; j < TOGETHER; ++j) {
                const float value = centre[s] + step[s] * (static_cast<float>(at[j][s * 16] >> shift[j] & 15) - ZERO);
                sum[j] += static_cast<double>(query[s]) * value;
            }
        for (std::size_t j = 0; j < TOGETHER && start + j < entries.size(); ++j) scores[start + j] = sum[j];
    }
}

}  // namespace

void scan_halves(const ScanWanted &wanted, const uint8_t *packed, std::size_t m, const float *queries, std::size_t d,
                 const float *centre, const float *step, int64_t *ids, float *scores, int threads,
                 const std::atomic<bool> &stop) {
    std::vector<int8_t> weights(wanted.q * m);
    std::vector<float> exact_weights(d);
    for (std::size_t i = 0; i < wanted.q; ++i) {
        float largest = 0;
        for (std::size_t j = 0; j < d; ++j) {
            exact_weights[j] = queries[i * d + j] * step[j];
            largest = std::max(largest, std::fabs(exact_weights[j]));
        }
        const float scale = largest > 0 && std::isfinite(largest) ? 127.0f / largest : 0.0f;
        for (std::size_t j = 0; scale > 0 && j < d; ++j)
            weights[i * m + j] = static_cast<int8_t>(static_cast<int>(exact_weights[j] * scale + 128.5f) - 128);
    }
    const Halves codes{wanted, packed, m, weights.data()};
    const auto coarse = [&](std::size_t begin, std::size_t end, Shortlist *lists) {
        offer_rows(codes, begin, end, lists);
    };
    const auto exact = [&](std::size_t query, const std::vector<uint64_t> &entries, double *found) {
        score_exactly(codes, queries + query * d, centre, step, d, entries, found);
    };
    // A weight is rounded by up to a half, either way: that moves two rows by about sqrt(d) against each other.
    const auto slack = static_cast<uint32_t>(10 * std::sqrt(static_cast<double>(d)));
    scan(wanted, m / 2, slack, coarse, exact, ids, scores, threads, stop);
}

}  // namespace firth
