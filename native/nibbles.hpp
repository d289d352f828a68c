// What the scans over packed codes of 4 bits share: blocks of 32 vectors pass by, and rows with large sums are offered.
//
// Codes is the scan: add_up gives the integer sums of some blocks for some queries. At level v4 the four codes of a
// vector are turned to lie side by side, so that one vpdpbusd adds all four to the vector's sum of 32 bits: nothing is
// left to add across a register, and what is turned serves several queries.
#pragma once

#include "bytes.hpp"
#include "shortlist.hpp"

#include <cstring>

// Every processor of level v4 has VBMI (cpu.cpp asks for it), and only the files that include this are compiled for it.
#if defined(__AVX512VNNI__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512vbmi")
#define FIRTH_VBMI
#elif defined(__AVX512VBMI__)
#define FIRTH_VBMI
#endif

namespace firth {

constexpr int64_t LARGEST = 0x7FFFFFFF;

inline uint64_t entry_of(int32_t sum, std::size_t row) { return static_cast<uint64_t>(LARGEST - sum) << 32 | row; }

// Sums above it are of use to the list; rows come in order, so one that only equals the worst comes too late.
inline int32_t floor_of(const Shortlist &list) {
    return static_cast<int32_t>(LARGEST - static_cast<int64_t>(std::min(list.worst() >> 32, uint64_t{0xFFFFFFFF})));
}

#if defined(FIRTH_VBMI)

constexpr std::size_t QUERIES = 4;       // that share the turned codes
constexpr std::size_t BLOCKS_ALONE = 2;  // of 32 vectors, whose sums run side by side where there is one query
constexpr std::size_t FIRST = 1024;      // rows that an empty list is started with
constexpr std::size_t AHEAD = 4096;      // bytes of codes that are asked for before they are needed

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
inline Turned turned(const uint8_t *at) {
    _mm_prefetch(reinterpret_cast<const char *>(at) + AHEAD, _MM_HINT_T0);
    const __m512i four = _mm512_permutexvar_epi8(_mm512_load_si512(TURN.bytes), _mm512_loadu_si512(at));
    return {_mm512_and_si512(four, _mm512_set1_epi8(15)),
            _mm512_and_si512(_mm512_srli_epi16(four, 4), _mm512_set1_epi8(15))};
}

// Offers those of 32 rows whose bit is set.
template <class Codes>
[[gnu::noinline]] void offer_some(const Codes &codes, __m512i first, __m512i second, uint32_t above, std::size_t row,
                                  std::size_t end, Shortlist &list) {
    alignas(64) int32_t sums[SCAN_BLOCK];
    _mm512_store_si512(sums, first);
    _mm512_store_si512(sums + 16, second);
    for (; above; above &= above - 1) {
        const auto j = static_cast<std::size_t>(__builtin_ctz(above));
        if (row + j < end && allowed(codes.wanted, row + j))
            list.offer(entry_of(sums[j], row + j));
    }
}

// Offers the rows of blocks to the lists of `Q` queries, `B` blocks at a time.
template <std::size_t Q, std::size_t B, class Codes>
void pass(const Codes &codes, std::size_t query, std::size_t begin, std::size_t end, Shortlist *lists) {
    std::size_t row = begin;
    for (; row + (B - 1) * SCAN_BLOCK < end; row += B * SCAN_BLOCK) {
        __m512i sums[Q * B * 2];
        codes.template add_up<Q, B>(query, row, sums);
#pragma GCC unroll 16
        for (std::size_t i = 0; i < Q; ++i) {
            Shortlist &list = lists[query + i];
            const __m512i floor = _mm512_set1_epi32(floor_of(list));
#pragma GCC unroll 16
            for (std::size_t b = 0; b < B; ++b) {
                const __m512i *sum = sums + (i * B + b) * 2;
                const uint32_t above =
                    _mm512_cmpgt_epi32_mask(sum[0], floor) | uint32_t{_mm512_cmpgt_epi32_mask(sum[1], floor)} << 16;
                if (above) [[unlikely]]
                    offer_some(codes, sum[0], sum[1], above, row + b * SCAN_BLOCK, end, list);
            }
        }
    }
    if constexpr (B > 1)
        if (row < end) pass<Q, 1>(codes, query, row, end, lists);
}

// The first rows of an empty list: the sum that enough of them reach is known before the first one is offered.
template <class Codes> void start(const Codes &codes, std::size_t query, std::size_t begin, Shortlist &list) {
    alignas(64) int32_t sums[FIRST];
    for (std::size_t j = 0; j < FIRST; j += BLOCKS_ALONE * SCAN_BLOCK)
        codes.template add_up<1, BLOCKS_ALONE>(query, begin + j, reinterpret_cast<__m512i *>(sums + j));
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
    for (; i + QUERIES <= q; i += QUERIES) pass<QUERIES, 1>(codes, i, begin, end, lists);
    for (; i < q; ++i) pass<1, BLOCKS_ALONE>(codes, i, begin, end, lists);
}

#else

// The same; add_up tells whether any sum of the block is above the floor, and gives the sums if so.
template <class Codes>
void offer_rows(const Codes &codes, std::size_t begin, std::size_t end, Shortlist *lists) {
    int32_t sums[SCAN_BLOCK];
    for (std::size_t i = 0; i < codes.wanted.q; ++i)
        for (std::size_t row = begin; row < end; row += SCAN_BLOCK) {
            if (!codes.add_up(i, row, floor_of(lists[i]), sums)) continue;
            for (std::size_t j = 0; j < SCAN_BLOCK && row + j < end; ++j)
                if (allowed(codes.wanted, row + j)) lists[i].offer(entry_of(sums[j], row + j));
        }
}

#endif

}  // namespace firth
