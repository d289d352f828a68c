// What the scans of integer sums share: blocks of vectors pass by, and rows with large sums are offered to the lists.
//
// Codes is the scan: `wanted`, UNIT (vectors of a block), QUERIES (that share what is unpacked of a block), ALONE (blocks
// whose sums run side by side where there is one query), and add_up<Q, B>(query, row, out), which writes the sums of B
// blocks from `row` on for Q queries: (Q, B, UNIT / 16) registers of 16 vectors.
//
// Tried: see scan.cpp and scan_weighted.cpp.
#pragma once

#include "bytes.hpp"
#include "shortlist.hpp"

#include <cstring>

namespace firth {

using Sums = int32_t __attribute__((vector_size(64)));  // of 16 vectors

constexpr int64_t LARGEST = 0x7FFFFFFF;
constexpr std::size_t FIRST = 1024;  // rows that an empty list is started with

inline uint64_t entry_of(int32_t sum, std::size_t row) { return static_cast<uint64_t>(LARGEST - sum) << 32 | row; }

// Sums above it are of use to the list; rows come in order, so one that only equals the worst comes too late.
inline int32_t floor_of(const Shortlist &list) {
    return static_cast<int32_t>(LARGEST - static_cast<int64_t>(std::min(list.worst() >> 32, uint64_t{0xFFFFFFFF})));
}

// One bit for each of 16 sums, whether it is above the floor.
[[gnu::always_inline]] inline uint64_t above(const Sums &sums, int32_t floor) {
#if defined(__AVX512F__)
    return _mm512_cmpgt_epi32_mask((__m512i)sums, _mm512_set1_epi32(floor));
#elif defined(__SSE4_1__)
    const auto *four = reinterpret_cast<const __m128i *>(&sums);
    uint64_t bits = 0;
    for (int i = 0; i < 4; ++i) {
        const __m128i more = _mm_cmpgt_epi32(_mm_load_si128(four + i), _mm_set1_epi32(floor));
        bits |= static_cast<uint64_t>(_mm_movemask_ps(_mm_castsi128_ps(more))) << (4 * i);
    }
    return bits;
#else
    uint64_t bits = 0;
    for (int i = 0; i < 16; ++i) bits |= uint64_t{sums[i] > floor} << i;
    return bits;
#endif
}

// Offers those rows of a block whose bit is set.
template <class Codes>
[[gnu::noinline]] void offer_some(const Codes &codes, const Sums *sums, uint64_t bits, std::size_t row, std::size_t end,
                                  Shortlist &list) {
    int32_t each[Codes::UNIT];
    std::memcpy(each, sums, sizeof each);
    for (; bits; bits &= bits - 1) {
        const auto j = static_cast<std::size_t>(__builtin_ctzll(bits));
        if (row + j < end && allowed(codes.wanted, row + j)) list.offer(entry_of(each[j], row + j));
    }
}

// Offers the rows of blocks to the lists of `Q` queries, `B` blocks at a time.
template <std::size_t Q, std::size_t B, class Codes>
void pass(const Codes &codes, std::size_t query, std::size_t begin, std::size_t end, Shortlist *lists) {
    constexpr std::size_t REGISTERS_OF = Codes::UNIT / 16;
    std::size_t row = begin;
    for (; row + (B - 1) * Codes::UNIT < end; row += B * Codes::UNIT) {
        Sums sums[Q * B * REGISTERS_OF];
        codes.template add_up<Q, B>(query, row, sums);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q; ++i) {
            const int32_t floor = floor_of(lists[query + i]);
#pragma GCC unroll 16
            for (std::size_t b = 0; b < B; ++b) {
                const Sums *of = sums + (i * B + b) * REGISTERS_OF;
                uint64_t bits = 0;
#pragma GCC unroll 16
                for (std::size_t r = 0; r < REGISTERS_OF; ++r) bits |= above(of[r], floor) << (16 * r);
                if (bits) [[unlikely]]
                    offer_some(codes, of, bits, row + b * Codes::UNIT, end, lists[query + i]);
            }
        }
    }
    if constexpr (B > 1)
        if (row < end) pass<Q, 1>(codes, query, row, end, lists);
}

// The first rows of an empty list: the sum that enough of them reach is known before the first one is offered.
template <class Codes> void start(const Codes &codes, std::size_t query, std::size_t begin, Shortlist &list) {
    alignas(64) int32_t sums[FIRST];
    for (std::size_t j = 0; j < FIRST; j += Codes::ALONE * Codes::UNIT)
        codes.template add_up<1, Codes::ALONE>(query, begin + j, reinterpret_cast<Sums *>(sums + j));
    constexpr int32_t NEVER = -LARGEST - 1;
    for (std::size_t j = 0; codes.wanted.allow && j < FIRST; ++j)
        if (!codes.wanted.allow[begin + j]) sums[j] = NEVER;
    int64_t floor = NEVER + 1, beyond = LARGEST;  // enough sums are at least `floor`, or all count; too few `beyond`
    while (beyond - floor > 1) {
        const auto middle = static_cast<int32_t>((floor + beyond) >> 1);
        int32_t count = 0;
        for (std::size_t j = 0; j < FIRST; ++j) count += sums[j] >= middle;
        (static_cast<std::size_t>(count) >= list.most() ? floor : beyond) = middle;
    }
    for (std::size_t j = 0; j < FIRST; ++j)
        if (sums[j] >= floor) list.offer(entry_of(sums[j], begin + j));
}

// Offers the rows of a chunk to the lists of all queries.
template <class Codes>
void offer_rows(const Codes &codes, std::size_t begin, std::size_t end, Shortlist *lists) {
    const std::size_t q = codes.wanted.q;
    if (q && lists[0].empty() && begin + FIRST <= end) {
        for (std::size_t i = 0; i < q; ++i) start(codes, i, begin, lists[i]);
        begin += FIRST;
    }
    std::size_t i = 0;
    for (; i + Codes::QUERIES <= q; i += Codes::QUERIES) pass<Codes::QUERIES, 1>(codes, i, begin, end, lists);
    for (; i + 2 <= q; i += 2) pass<2, 1>(codes, i, begin, end, lists);
    for (; i < q; ++i) pass<1, Codes::ALONE>(codes, i, begin, end, lists);
}

}  // namespace firth
