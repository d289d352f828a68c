// See scan.hpp. Codes of 8, 4 and 2 bits whose score is a weighted sum: the weights are rounded to bytes, and one
// integer product takes four sub-codes of a vector at a time.
//
// A block is 64 vectors, four sixteens of them. Four sub-codes are one step of it: sixteen g has its BITS-wide codes in
// line g · BITS / 8 of 64 bytes, above bit g · BITS % 8; byte 4 · v + t of a line is sub-code t of the v-th of the
// sixteen. So a step is shifted and masked once, for all the queries of a pass, and nothing has to be turned.
//
// Tried (100,000 vectors of 384 values of 4 bits, v4, best of many on a busy Zen 5, microseconds a query in a batch and
// one by one; read alone, 19 MB took 200):
//   blocks of 32 vectors turned by vpermb, four queries a pass (what it replaced)   165, 532
//   this layout, six queries a pass, weights read by each product                   132, 414
//   weights in registers, codes asked for ahead only for a lone query               108, 412
//   blocks that begin with a cache line                                             106, 358
//   chunks of codes that fit the first cache, not the second                        109, 378, not taken
//   a lone query's codes masked where they lie, not shifted; two chains of sums     105, 320
//   the same, two blocks side by side instead of two chains                         100, 359, not taken
//   codes asked for 8 KB ahead, not 4                                               105, 300
//   rows scored exactly four bytes at a time, and fewer of them                     100, 299
// Pages of 2 MB, asked for by name, changed nothing: NumPy asks for them already.
#include "scan.hpp"

#include "offers.hpp"
#include "simd.hpp"

#include <cmath>
#include <cstring>

namespace firth {
namespace {

constexpr std::size_t TOGETHER = 4;    // rows whose float64 sums run side by side
constexpr std::size_t LINE = 64;       // bytes
constexpr std::size_t SIXTEENS = 4;    // of vectors, in a block
constexpr std::size_t AHEAD = 8192;    // bytes of codes that are asked for before they are needed
constexpr int MOST_SHIFT = 8;          // of sums: finer weights than that add nothing
constexpr std::size_t STEP8 = 256, STEP4 = 128, STEP2 = 64;  // bytes of a step

using Weights = const int8_t *;

#if defined(__AVX512VNNI__)

using Reg = __m512i;
Reg load(const uint8_t *p) { return _mm512_loadu_si512(p); }
template <int SHIFT, int MASK> Reg cut(Reg v) {
    const Reg low = SHIFT ? _mm512_srli_epi16(v, SHIFT) : v;
    return MASK == 255 ? low : _mm512_and_si512(low, _mm512_set1_epi8(static_cast<char>(MASK)));
}
// Each four codes times their weights onto their sum; the intrinsic made GCC 12 copy every sum twice in each round.
using Spread = Reg;  // four weights, in every lane
template <int BITS> Spread spread(Weights four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    return _mm512_set1_epi32(all);
}
template <int BITS> [[gnu::always_inline]] inline void add_products(Reg &sums, Reg codes, const Spread &weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(codes), "v"(weights));
}

#elif defined(__SSE4_1__)

#if defined(__AVX2__)
using Reg = __m256i;
Reg load(const uint8_t *p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(p)); }
Reg wide(int32_t v) { return _mm256_set1_epi32(v); }
Reg madd(Reg a, Reg b) { return _mm256_madd_epi16(a, b); }
Reg maddubs(Reg a, Reg b) { return _mm256_maddubs_epi16(a, b); }
#else
using Reg = __m128i;
Reg load(const uint8_t *p) { return _mm_loadu_si128(reinterpret_cast<const __m128i *>(p)); }
Reg wide(int32_t v) { return _mm_set1_epi32(v); }
Reg madd(Reg a, Reg b) { return _mm_madd_epi16(a, b); }
Reg maddubs(Reg a, Reg b) { return _mm_maddubs_epi16(a, b); }
#endif
using Shorts = uint16_t __attribute__((vector_size(sizeof(Reg))));
using Ints = int32_t __attribute__((vector_size(sizeof(Reg))));

template <int SHIFT, int MASK> Reg cut(Reg v) {
    return (Reg)(((Shorts)v >> SHIFT) & static_cast<uint16_t>(MASK << 8 | MASK));
}
struct Spread {
    Reg even, odd;  // 16 bits each; below 8 bits all four in `even`, a byte each
};
template <int BITS> Spread spread(Weights four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    if constexpr (BITS < 8) return {wide(all), Reg{}};
    const auto pair = [four](int i) {
        return static_cast<int32_t>(uint16_t(four[i]) | uint32_t{uint16_t(four[i + 2])} << 16);
    };
    return {wide(pair(0)), wide(pair(1))};
}
template <int BITS> [[gnu::always_inline]] inline void add_products(Reg &sums, Reg codes, const Spread &weights) {
    if constexpr (BITS < 8) {  // two products of at most 15 · 127 fit 16 bits
        sums = (Reg)((Ints)sums + (Ints)madd(maddubs(codes, weights.even), wide(0x00010001)));
    } else {
        const auto even = (Ints)madd((Reg)((Shorts)codes & 0x00FF), weights.even);
        sums = (Reg)((Ints)sums + even + (Ints)madd((Reg)((Shorts)codes >> 8), weights.odd));
    }
}

#else

using Reg = uint8_t __attribute__((vector_size(16)));
using Shorts = uint16_t __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
Reg load(const uint8_t *p) {
    Reg v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
template <int SHIFT, int MASK> Reg cut(Reg v) { return (v >> SHIFT) & static_cast<uint8_t>(MASK); }
using Spread = Weights;
template <int BITS> Spread spread(Weights four) { return four; }
template <int BITS> void add_products(Reg &sums, Reg codes, Spread four) {
    Ints all = (Ints)sums;
    for (int i = 0; i < 4; ++i)
        for (int t = 0; t < 4; ++t) all[i] += codes[4 * i + t] * four[t];
    sums = (Reg)all;
}

#endif

constexpr std::size_t PIECES = LINE / sizeof(Reg);  // registers of a line

// By how much the sums of 8 bits are shifted before those of 4 are added, and both before those of 2.
struct Shifts {
    int after8 = 0, after4 = 0;
};

// What a scan is given, and its weights in bytes, the sub-codes that pad included.
struct Weighted {
    static constexpr std::size_t UNIT = LINE;  // 64 vectors
#if defined(__AVX512VNNI__)
    static constexpr std::size_t QUERIES = 6, ALONE = 1;  // 24 sums in registers
#else
    static constexpr std::size_t QUERIES = 2, ALONE = 1;
#endif
    const ScanWanted &wanted;
    const uint8_t *packed;
    ScanSections steps;  // of four sub-codes
    std::vector<int8_t> weights{};
    std::vector<Shifts> shifts{};

    std::size_t width() const { return steps.bytes * STEP8 + steps.nibbles * STEP4 + steps.crumbs * STEP2; }
    std::size_t sub_codes() const { return 4 * (steps.bytes + steps.nibbles + steps.crumbs); }
    const uint8_t *block(std::size_t row) const { return packed + row / UNIT * width(); }

#if defined(__AVX512VNNI__)
    // For one query the codes are masked where they lie, and the sums are shifted in the end; two chains of sums.
    template <int BITS>
    [[gnu::always_inline]] static void alone(const uint8_t *at, Weights asked, std::size_t count, Reg *sums) {
        constexpr std::size_t STEP = LINE / 2 * BITS;
        Reg own[2 * SIXTEENS];
#pragma GCC unroll 16
        for (auto &sum : own) sum = _mm512_setzero_si512();
        const auto step = [&](std::size_t s, Reg *to) __attribute__((always_inline)) {
            const Spread weights = spread<BITS>(asked + 4 * s);
            Reg line;
#pragma GCC unroll 16
            for (std::size_t g = 0; g < SIXTEENS; ++g) {
                if (g * BITS % 8 == 0) {
                    const uint8_t *from = at + s * STEP + g * BITS / 8 * LINE;
                    __builtin_prefetch(from + AHEAD);
                    line = load(from);
                }
                const Reg mask = _mm512_set1_epi8(static_cast<char>(((1 << BITS) - 1) << g * BITS % 8));
                add_products<BITS>(to[g], BITS == 8 ? line : _mm512_and_si512(line, mask), weights);
            }
        };
        std::size_t s = 0;
        for (; s + 2 <= count; s += 2) step(s, own), step(s + 1, own + SIXTEENS);
        if (s < count) step(s, own);
#pragma GCC unroll 16
        for (std::size_t g = 0; g < SIXTEENS; ++g) {
            const Reg both = _mm512_add_epi32(own[g], own[SIXTEENS + g]);
            sums[g] = _mm512_add_epi32(sums[g], _mm512_srai_epi32(both, g * BITS % 8));
        }
    }
#endif

    // The steps of one width.
    template <int BITS, std::size_t Q, std::size_t B>
    [[gnu::always_inline]] void section(const uint8_t *at, Weights asked, std::size_t count, std::size_t piece,
                                        Reg *sums) const {
#if defined(__AVX512VNNI__)
        if constexpr (Q == 1) return alone<BITS>(at, asked, count, sums);
#endif
        constexpr std::size_t STEP = LINE / 2 * BITS;
        const std::size_t apart = width(), between = sub_codes();
        for (std::size_t s = 0; s < count; ++s, at += STEP, asked += 4) {
#pragma GCC unroll 16
            for (std::size_t b = 0; b < B; ++b) {
                const uint8_t *from = at + b * apart + piece * sizeof(Reg);
#pragma GCC unroll 16
                for (std::size_t line = 0; Q == 1 && line < STEP / LINE; ++line)
                    __builtin_prefetch(from + line * LINE + AHEAD);
                const Reg codes[SIXTEENS] = {
                    cut<0, (1 << BITS) - 1>(load(from)),
                    cut<BITS % 8, (1 << BITS) - 1>(load(from + BITS / 8 * LINE)),
                    cut<2 * BITS % 8, (1 << BITS) - 1>(load(from + 2 * BITS / 8 * LINE)),
                    cut<3 * BITS % 8, (1 << BITS) - 1>(load(from + 3 * BITS / 8 * LINE)),
                };
#pragma GCC unroll 16
                for (std::size_t i = 0; i < Q; ++i) {
                    const Spread weights = spread<BITS>(asked + i * between);
#pragma GCC unroll 16
                    for (std::size_t g = 0; g < SIXTEENS; ++g)
                        add_products<BITS>(sums[(i * B + b) * SIXTEENS + g], codes[g], weights);
                }
            }
        }
    }

    template <std::size_t Q, std::size_t B>
    [[gnu::always_inline]] void shift(std::size_t query, int Shifts::*by, Reg *sums) const {
        using Whole = int32_t __attribute__((vector_size(sizeof(Reg))));
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q; ++i)
#pragma GCC unroll 16
            for (std::size_t j = i * B * SIXTEENS; j < (i + 1) * B * SIXTEENS; ++j)
                sums[j] = (Reg)((Whole)sums[j] >> shifts[query + i].*by);
    }

    template <std::size_t Q, std::size_t B>
    [[gnu::always_inline]] void add_up(std::size_t query, std::size_t row, Sums *out) const {
        const uint8_t *at = block(row), *nibbles = at + steps.bytes * STEP8, *crumbs = nibbles + steps.nibbles * STEP4;
        const Weights asked = weights.data() + query * sub_codes();
        for (std::size_t piece = 0; piece < PIECES; ++piece) {
            Reg sums[Q * B * SIXTEENS];
#pragma GCC unroll 32
            for (std::size_t i = 0; i < Q * B * SIXTEENS; ++i) sums[i] = Reg{};
            section<8, Q, B>(at, asked, steps.bytes, piece, sums);
            shift<Q, B>(query, &Shifts::after8, sums);
            section<4, Q, B>(nibbles, asked + 4 * steps.bytes, steps.nibbles, piece, sums);
            shift<Q, B>(query, &Shifts::after4, sums);
            section<2, Q, B>(crumbs, asked + 4 * (steps.bytes + steps.nibbles), steps.crumbs, piece, sums);
#pragma GCC unroll 32
            for (std::size_t i = 0; i < Q * B * SIXTEENS; ++i)
                std::memcpy(reinterpret_cast<uint8_t *>(out + i) + piece * sizeof(Reg), &sums[i], sizeof(Reg));
        }
    }
};

// The weights of each section, zeros where it is padded to whole steps: put(section, place, weight).
template <class Put>
void in_steps(const ScanSections &given, const ScanSections &steps, const float *weights, Put put) {
    const std::size_t counts[] = {given.bytes, 2 * given.nibbles, 4 * given.crumbs};
    const std::size_t places[] = {0, 4 * steps.bytes, 4 * (steps.bytes + steps.nibbles)};
    for (std::size_t s = 0; s < 3; ++s)
        for (std::size_t j = 0; j < counts[s]; ++j) put(s, places[s] + j, *weights++);
}

// A value of more bits has shorter steps and lighter weights: they are rounded at a finer scale, by powers of two.
Shifts round_weights(const ScanSections &given, const ScanSections &steps, const float *weights, int8_t *out) {
    float largest[3] = {};
    in_steps(given, steps, weights, [&](std::size_t s, std::size_t, float weight) {
        largest[s] = std::max(largest[s], std::fabs(weight));
    });
    largest[1] = std::max(largest[1], largest[0]);
    largest[2] = std::max(largest[2], largest[1]);
    float scale[3];
    scale[2] = largest[2] > 0 && std::isfinite(largest[2]) ? 127.0f / largest[2] : 0.0f;
    if (scale[2] == 0 || !std::isfinite(scale[2])) return {};  // every row is a candidate as good as the others
    int shift[2] = {};
    for (std::size_t s = 2; s-- > 0;) {
        scale[s] = scale[s + 1];
        while (shift[s] < MOST_SHIFT && 2 * scale[s] * largest[s] <= 127.0f) scale[s] *= 2, ++shift[s];
    }
    in_steps(given, steps, weights, [&](std::size_t s, std::size_t place, float weight) {
        out[place] = static_cast<int8_t>(static_cast<int>(weight * scale[s] + 128.5f) - 128);
    });
    return {shift[0], shift[1]};
}

// base + the weighted sub-codes of rows, in float64: four sums, of the first, second, third and fourth of each step.
class Exactly {
  public:
    Exactly(const Weighted &codes, const ScanSections &given, const float *weights)
        : codes_(codes), weights_(codes.sub_codes()) {
        in_steps(given, codes.steps, weights,
                 [&](std::size_t, std::size_t place, float weight) { weights_[place] = weight; });
    }

    void score(double base, const std::vector<uint64_t> &entries, double *scores) const {
        for (std::size_t start = 0; start < entries.size(); start += TOGETHER) {
            std::size_t rows[TOGETHER];
            for (std::size_t j = 0; j < TOGETHER; ++j)
                rows[j] = entries[std::min(start + j, entries.size() - 1)] & 0xFFFFFFFFu;
            Fours sums[TOGETHER] = {};
            const double *weights = weights_.data();
            std::size_t offset = 0;
            section<8>(rows, codes_.steps.bytes, offset, weights, sums);
            section<4>(rows, codes_.steps.nibbles, offset, weights, sums);
            section<2>(rows, codes_.steps.crumbs, offset, weights, sums);
            for (std::size_t j = 0; j < TOGETHER && start + j < entries.size(); ++j)
                scores[start + j] = base + ((sums[j][0] + sums[j][1]) + (sums[j][2] + sums[j][3]));
        }
    }

  private:
    using Fours = double __attribute__((vector_size(32)));
    using Values = int32_t __attribute__((vector_size(16)));

    static Values four_bytes(const uint8_t *at) {
#if defined(__SSE4_1__)
        int32_t all;
        std::memcpy(&all, at, 4);
        return (Values)_mm_cvtepu8_epi32(_mm_cvtsi32_si128(all));
#else
        return {at[0], at[1], at[2], at[3]};
#endif
    }

    template <int BITS>
    void section(const std::size_t rows[TOGETHER], std::size_t count, std::size_t &offset, const double *&weights,
                 Fours *sums) const {
        constexpr std::size_t STEP = LINE / 2 * BITS;
        const uint8_t *at[TOGETHER];
        int shift[TOGETHER];
        for (std::size_t j = 0; j < TOGETHER; ++j) {
            const std::size_t bit = rows[j] % LINE / 16 * BITS;
            at[j] = codes_.block(rows[j]) + offset + bit / 8 * LINE + rows[j] % 16 * 4;
            shift[j] = static_cast<int>(bit % 8);
        }
        for (std::size_t s = 0; s < count; ++s, weights += 4) {
            Fours four;
            std::memcpy(&four, weights, sizeof four);
            for (std::size_t j = 0; j < TOGETHER; ++j) {
                const Values codes = (four_bytes(at[j] + s * STEP) >> shift[j]) & ((1 << BITS) - 1);
                sums[j] += __builtin_convertvector(codes, Fours) * four;
            }
        }
        offset += count * STEP;
    }

    const Weighted &codes_;
    std::vector<double> weights_;
};

}  // namespace

ScanSections steps_of(const ScanSections &given) {
    return {(given.bytes + 3) / 4, (given.nibbles + 1) / 2, given.crumbs};
}

std::size_t block_width(const ScanSections &given) {
    const ScanSections steps = steps_of(given);
    return steps.bytes * STEP8 + steps.nibbles * STEP4 + steps.crumbs * STEP2;
}

void scan_weighted(const ScanWanted &wanted, const uint8_t *packed, const ScanSections &given, const float *weights,
                   const double *bases, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop) {
    const std::size_t m = given.bytes + 2 * given.nibbles + 4 * given.crumbs;
    Weighted codes{wanted, packed, steps_of(given)};
    codes.weights.resize(wanted.q * codes.sub_codes());
    codes.shifts.resize(wanted.q);
    for (std::size_t i = 0; i < wanted.q; ++i)
        codes.shifts[i] =
            round_weights(given, codes.steps, weights + i * m, codes.weights.data() + i * codes.sub_codes());
    const auto coarse = [&](std::size_t begin, std::size_t end, Shortlist *lists) {
        offer_rows(codes, begin, end, lists);
    };
    const auto exact = [&](std::size_t query, const std::vector<uint64_t> &entries, double *found) {
        Exactly(codes, given, weights + query * m).score(bases[query], entries, found);
    };
    // A weight is rounded by up to a half, either way, and two codes differ by about a third of their range: two rows
    // move against each other by some 13, 1.2 and 0.4 times the root of how many sub-codes of 8, 4 and 2 bits there are.
    double most = 0;
    for (const Shifts &by : codes.shifts)
        most = std::max(most, std::ldexp(170.0 * static_cast<double>(given.bytes), -2 * (by.after8 + by.after4)) +
                                  std::ldexp(3.0 * static_cast<double>(given.nibbles), -2 * by.after4));
    const auto slack = static_cast<uint32_t>(8 * std::sqrt(most + 0.7 * static_cast<double>(given.crumbs)) + 2);
    scan(wanted, codes.width() / Weighted::UNIT, slack, coarse, exact, ids, scores, threads, stop);
}

}  // namespace firth
