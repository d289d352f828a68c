// See scan.hpp. Codes of 4 bits: each sub-code's table of 16 numbers, rounded to bytes, lies in a register.
//
// v4: the four codes of a vector are turned to lie side by side, one vpermb looks up 64 codes in four tables at once, and
// vpdpbusd adds the four of a vector to its sum: nothing is left to add across a register, and what is turned serves
// several queries. v2, v3, NEON: a shuffle looks up 16 or 32 codes of one or two tables; bytes are summed in 16-bit
// halves that wrap: the sum of both halves less 256 times the odd ones leaves the even ones.
// Source: André et al. 2017, "Accelerated nearest neighbor search with Quick ADC", arXiv:1704.07355.
//
// Tried (20,000 vectors of 96 sub-codes, 10 neighbours, v4, a busy core of a Zen 5; microseconds a query, in a batch of
// 200 and one by one).
// With Python:
//   a second thread for Ctrl-C at each call                                    69, 370
//   none for scans of under some milliseconds                                  78, 83
//   sums compared in registers, not one by one                                 71, 68
//   lists cut by std::nth_element, not heaps; four float64 scores at a time    40, 68
//   vpermb and vpdpbusd, eight queries a pass, not a shuffle and 16-bit sums   28, 62
// Without Python:
//   the last of these                                                          24.6, 17.5
//   vpdpbusd written out, since GCC 12 copied each sum twice in each round     25.1, 17.2 (26.4 just before)
//   four queries a pass, not eight, whose sums do not fit beside the rest      the sums alone 13.1 -> 11.3 in a batch
//   a list started from the 36th best of the first 1,024 rows                  19.9, 16.4
//   lists cut by bisection over registers, not by std::nth_element             20.1, 17.7, not taken
//   codes asked for 4 KB ahead, 100,000 vectors one by one                     75 -> 58
#include "scan.hpp"

#include "bytes.hpp"
#include "shortlist.hpp"
#include "simd.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cmath>
#include <cstring>

// Every processor of level v4 has VBMI (cpu.cpp asks for it), and only this file is compiled for it.
#if defined(__AVX512VNNI__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512vbmi")
#define FIRTH_VBMI
#elif defined(__AVX512VBMI__)
#define FIRTH_VBMI
#endif
#include "offers.hpp"

namespace firth {
namespace {

constexpr std::size_t LARGEST_SUM = 0xFFFF;
constexpr std::size_t LARGEST_ENTRY = 0xFF;
constexpr std::size_t TOGETHER = 4;  // rows whose float64 sums run side by side

#if defined(FIRTH_VBMI)

constexpr std::size_t AHEAD = 4096;  // bytes of codes that are asked for before they are needed

struct Turn {
    alignas(64) uint8_t bytes[64];
    constexpr Turn() : bytes{} {
        for (std::size_t i = 0; i < 64; ++i) bytes[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);
    }
};
constexpr Turn TURN;  // 4 sub-codes of 16 vectors -> 16 vectors of 4 sub-codes

// The codes of 16 vectors, four sub-codes each, at `at`, and those of the 16 vectors after them.
struct Turned {
    __m512i first, second;
};
Turned turned(const uint8_t *at) {
    _mm_prefetch(reinterpret_cast<const char *>(at) + AHEAD, _MM_HINT_T0);
    const __m512i four = _mm512_permutexvar_epi8(_mm512_load_si512(TURN.bytes), _mm512_loadu_si512(at));
    return {_mm512_and_si512(four, _mm512_set1_epi8(15)),
            _mm512_and_si512(_mm512_srli_epi16(four, 4), _mm512_set1_epi8(15))};
}

#else

#if defined(__AVX512BW__)
constexpr std::size_t PARTS = 4;  // of 16 bytes, one table each
#elif defined(__AVX2__)
constexpr std::size_t PARTS = 2;
#else
constexpr std::size_t PARTS = 1;
#endif
using Halves8 = uint16_t __attribute__((vector_size(16)));
using Wide = uint8_t __attribute__((vector_size(16 * PARTS)));
using Halves = uint16_t __attribute__((vector_size(16 * PARTS)));

Wide load(const uint8_t *p) {
    Wide v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// Entry `at` (below 16) of each part's table.
Wide look_up(Wide table, Wide at) {
#if defined(__AVX512BW__)
    return (Wide)_mm512_shuffle_epi8((__m512i)table, (__m512i)at);
#elif defined(__AVX2__)
    return (Wide)_mm256_shuffle_epi8((__m256i)table, (__m256i)at);
#elif defined(__SSSE3__)
    return (Wide)_mm_shuffle_epi8((__m128i)table, (__m128i)at);
#elif defined(__aarch64__)
    return (Wide)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)at);
#else
    return __builtin_shuffle(table, at);
#endif
}

Halves8 over_parts(Halves v) {
    Halves8 part[PARTS];
    std::memcpy(part, &v, sizeof v);
    for (std::size_t i = 1; i < PARTS; ++i) part[0] += part[i];
    return part[0];
}

// The sums of 32 vectors, in four groups: those of even and of odd number below 16, and from 16 on.
void sums_of_block(const uint8_t *block, const uint8_t *table, std::size_t m, Halves8 out[4]) {
    Halves low = {}, low_odd = {}, high = {}, high_odd = {};
    for (std::size_t s = 0; s < m; s += PARTS) {
        const Wide codes = load(block + s * 16), entries = load(table + s * 16);
        const auto first = (Halves)look_up(entries, codes & 15);
        const auto second = (Halves)look_up(entries, (Wide)((Halves)codes >> 4) & 15);
        low += first, low_odd += first >> 8;
        high += second, high_odd += second >> 8;
    }
    out[0] = over_parts(low - (low_odd << 8)), out[1] = over_parts(low_odd);
    out[2] = over_parts(high - (high_odd << 8)), out[3] = over_parts(high_odd);
}

// Whether any of the 32 sums is above `most`.
bool any_above(const Halves8 sums[4], uint16_t most) {
    const auto above = (sums[0] > most) | (sums[1] > most) | (sums[2] > most) | (sums[3] > most);
    uint64_t halves[2];
    std::memcpy(halves, &above, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

#endif

struct Nibbles {
    static constexpr std::size_t UNIT = SCAN_BLOCK;
    static constexpr std::size_t QUERIES = 4;  // that share the turned codes
    static constexpr std::size_t ALONE = 2;
    const ScanWanted &wanted;
    const uint8_t *packed;
    std::size_t m;
    const uint8_t *rounded;  // (q, m, 16)

    const uint8_t *block(std::size_t row) const { return packed + row / SCAN_BLOCK * m * 16; }

#if defined(FIRTH_VBMI)
    template <std::size_t Q, std::size_t B>
    [[gnu::always_inline]] void add_up(std::size_t query, std::size_t row, Sums *out) const {
        const __m512i ones = _mm512_set1_epi8(1), which = _mm512_set1_epi32(0x30201000);  // of the four tables
        const std::size_t width = m * 16;
        const uint8_t *at = block(row), *tables = rounded + query * width;
        __m512i sums[Q * B * 2];
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q * B * 2; ++i) sums[i] = _mm512_setzero_si512();
        for (std::size_t s = 0; s < width; s += 64) {
            Turned codes[B];
#pragma GCC unroll 16
            for (std::size_t b = 0; b < B; ++b) {
                codes[b] = turned(at + b * width + s);
                codes[b].first = _mm512_or_si512(codes[b].first, which);
                codes[b].second = _mm512_or_si512(codes[b].second, which);
            }
#pragma GCC unroll 16
            for (std::size_t i = 0; i < Q; ++i) {
                const __m512i entries = _mm512_loadu_si512(tables + i * width + s);
#pragma GCC unroll 16
                for (std::size_t b = 0; b < B; ++b) {
                    __m512i *sum = sums + (i * B + b) * 2;
                    add_fours(sum[0], _mm512_permutexvar_epi8(codes[b].first, entries), ones);
                    add_fours(sum[1], _mm512_permutexvar_epi8(codes[b].second, entries), ones);
                }
            }
        }
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q * B * 2; ++i) out[i] = (Sums)sums[i];
    }

    // Each four bytes onto their sum; the intrinsic made GCC 12 copy every sum twice in each round.
    static void add_fours(__m512i &sums, __m512i bytes, __m512i ones) {
        asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(bytes), "v"(ones));
    }
#else
    // Whether any sum of the block is above the floor; then `out` holds the sums.
    bool add_up(std::size_t query, std::size_t row, int32_t floor, int32_t out[SCAN_BLOCK]) const {
        Halves8 sums[4];
        sums_of_block(block(row), rounded + query * m * 16, m, sums);
        if (floor >= 0 && !any_above(sums, static_cast<uint16_t>(floor))) return false;
        for (std::size_t j = 0; j < SCAN_BLOCK; ++j) out[j] = sums[j / 16 * 2 + j % 2][j % 16 / 2];
        return true;
    }
#endif
};

#if !defined(FIRTH_VBMI)
// The same as for other scans, but most blocks are done with before their sums are widened to 32 bits.
void offer_rows(const Nibbles &codes, std::size_t begin, std::size_t end, Shortlist *lists) {
    int32_t sums[SCAN_BLOCK];
    for (std::size_t i = 0; i < codes.wanted.q; ++i)
        for (std::size_t row = begin; row < end; row += SCAN_BLOCK) {
            if (!codes.add_up(i, row, floor_of(lists[i]), sums)) continue;
            for (std::size_t j = 0; j < SCAN_BLOCK && row + j < end; ++j)
                if (allowed(codes.wanted, row + j)) lists[i].offer(entry_of(sums[j], row + j));
        }
}
#endif

// The lowest and the highest of 16 numbers.
std::pair<float, float> ends_of(const float *entries) {
    float low[LANES], high[LANES];
    std::memcpy(low, entries, sizeof low);
    std::memcpy(high, entries, sizeof high);
    for (std::size_t width = LANES / 2; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) {
            low[i] = low[i] < low[i + width] ? low[i] : low[i + width];
            high[i] = high[i] > high[i + width] ? high[i] : high[i + width];
        }
    return {low[0], high[0]};
}

// Tables in bytes, all of one scale, so that no sum of m entries passes 16 bits.
void round_tables(const float *tables, std::size_t m, uint8_t *out) {
    std::vector<float> low(m);
    float widest = 0;
    for (std::size_t s = 0; s < m; ++s) {
        const auto [lowest, highest] = ends_of(tables + s * 16);
        low[s] = lowest;
        widest = std::max(widest, highest - lowest);
    }
    const auto most = static_cast<float>(std::min(LARGEST_ENTRY, LARGEST_SUM / std::max<std::size_t>(m, 1)));
    const float scale = widest > 0 && std::isfinite(widest) ? most / widest : 0;
    if (scale == 0) return;  // all alike, or beyond float32: every row is a candidate as good as the others
    for (std::size_t s = 0; s < m; ++s)
        for (std::size_t c = 0; c < 16; ++c) {
            const float value = (tables[s * 16 + c] - low[s]) * scale + 0.5f;
            out[s * 16 + c] = static_cast<uint8_t>(static_cast<int32_t>(value > 0 ? std::min(value, most) : 0.0f));
        }
}

// Sums of float32 entries in float64, in the order of the sub-codes.
void score_exactly(const Nibbles &codes, const float *table, const std::vector<uint64_t> &entries, double *scores) {
    for (std::size_t start = 0; start < entries.size(); start += TOGETHER) {
        const uint8_t *at[TOGETHER];
        int shift[TOGETHER];
        for (std::size_t j = 0; j < TOGETHER; ++j) {
            const std::size_t row = entries[std::min(start + j, entries.size() - 1)] & 0xFFFFFFFFu;
            at[j] = codes.block(row) + row % 16;
            shift[j] = row % SCAN_BLOCK < 16 ? 0 : 4;
        }
        double sum[TOGETHER] = {};
        for (std::size_t s = 0; s < codes.m; ++s)
            for (std::size_t j = 0; j < TOGETHER; ++j) sum[j] += table[s * 16 + (at[j][s * 16] >> shift[j] & 15)];
        for (std::size_t j = 0; j < TOGETHER && start + j < entries.size(); ++j) scores[start + j] = sum[j];
    }
}

}  // namespace

void scan_nibbles(const ScanWanted &wanted, const uint8_t *packed, std::size_t m, const float *tables, int64_t *ids,
                  float *scores, int threads, const std::atomic<bool> &stop) {
    std::vector<uint8_t> rounded(wanted.q * m * 16);
    for (std::size_t i = 0; i < wanted.q; ++i) round_tables(tables + i * m * 16, m, rounded.data() + i * m * 16);
    const Nibbles codes{wanted, packed, m, rounded.data()};
    const auto coarse = [&](std::size_t begin, std::size_t end, Shortlist *lists) {
        offer_rows(codes, begin, end, lists);
    };
    const auto exact = [&](std::size_t query, const std::vector<uint64_t> &entries, double *found) {
        score_exactly(codes, tables + query * m * 16, entries, found);
    };
    // An entry is rounded by up to a half, either way: that moves two rows by about sqrt(m) / 2 against each other.
    const auto slack = static_cast<uint32_t>(8 * std::sqrt(static_cast<double>(m)));
    scan(wanted, m / 2, slack, coarse, exact, ids, scores, threads, stop);
}

}  // namespace firth
