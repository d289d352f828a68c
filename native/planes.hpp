// A byte code in two planes of half bytes: the upper four bits of its values, and the lower four.
//
// A walk that compares the upper plane reads half the bytes; both planes together give the same integers as the code
// itself. Byte b of a plane holds value b in its lower half and value b + width / 2 in its upper half, so a query needs
// no other order: its first half meets the lower halves, its second the upper ones. Widths are multiples of 64.
//
// Tried (one core of a busy Zen 5, 768 wide, random rows of 50,000, enough of them asked for ahead; a row):
//   the whole code                  12 cache lines, 28 ns
//   its upper plane                  6 cache lines, 16 ns   this one
//   its upper two bits of eight      3 cache lines, 10 ns   5 to 20 % more rows to the same recall: not faster in all
// A separate sketch, 2 bits about the standard deviation, asks for 5 to 10 % more rows, but costs a quarter of the code
// in memory. A half byte times a signed byte fits vpmaddubsw without saturation, so v2 and v3 use it here.
#pragma once

#include "bytes.hpp"

namespace firth {

inline void split_code(const uint8_t *code, std::size_t width, uint8_t *high, uint8_t *low) {
    const std::size_t half = width / 2;
    for (std::size_t i = 0; i < half; ++i) {
        high[i] = static_cast<uint8_t>(code[i] >> 4 | (code[half + i] & 0xF0));
        low[i] = static_cast<uint8_t>((code[i] & 0x0F) | code[half + i] << 4);
    }
}

inline void join_code(const uint8_t *high, const uint8_t *low, std::size_t width, uint8_t *code) {
    const std::size_t half = width / 2;
    for (std::size_t i = 0; i < half; ++i) {
        code[i] = static_cast<uint8_t>(high[i] << 4 | (low[i] & 0x0F));
        code[half + i] = static_cast<uint8_t>((high[i] & 0xF0) | low[i] >> 4);
    }
}

#if defined(__AVX512VNNI__)

// 64 bytes, or the last 32 of a plane and zeros.
inline __m512i load_plane(const void *p, std::size_t left) {
    if (left >= 64) return _mm512_loadu_si512(p);
    return _mm512_zextsi256_si512(_mm256_loadu_si256(static_cast<const __m256i *>(p)));
}

// Products of R rows with a query: of the upper plane alone, or with WHOLE of both.
template <std::size_t R, bool WHOLE>
inline void dot_rows(const uint8_t *const *high, const uint8_t *const *low, const int8_t *query, std::size_t width,
                     __m512i sum[R]) {
    const __m512i lower = _mm512_set1_epi8(0x0F);
    const std::size_t half = width / 2;
    for (std::size_t r = 0; r < R; ++r) sum[r] = _mm512_setzero_si512();
    for (std::size_t i = 0; i < half; i += 64) {
        const __m512i first = load_plane(query + i, half - i), second = load_plane(query + half + i, half - i);
        for (std::size_t r = 0; r < R; ++r) {
            const __m512i h = load_plane(high[r] + i, half - i);
            __m512i a, b;
            if constexpr (WHOLE) {  // 0xCA: the second where a bit of the first is set, the third elsewhere
                const __m512i l = load_plane(low[r] + i, half - i);
                a = _mm512_ternarylogic_epi32(lower, l, _mm512_slli_epi16(h, 4), 0xCA);
                b = _mm512_ternarylogic_epi32(lower, _mm512_srli_epi16(l, 4), h, 0xCA);
            } else {
                a = _mm512_and_si512(h, lower), b = _mm512_and_si512(_mm512_srli_epi16(h, 4), lower);
            }
            sum[r] = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(sum[r], a, first), b, second);
        }
    }
}

template <bool WHOLE>
inline int32_t dot_plane(const uint8_t *high, const uint8_t *low, const int8_t *query, std::size_t width) {
    __m512i sum[1];
    dot_rows<1, WHOLE>(&high, &low, query, width, sum);
    return _mm512_reduce_add_epi32(sum[0]);
}

template <bool WHOLE>
inline void dot_plane4(const uint8_t *const high[4], const uint8_t *const low[4], const int8_t *query,
                       std::size_t width, int32_t out[4]) {
    __m512i sum[4];
    dot_rows<4, WHOLE>(high, low, query, width, sum);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out), sum_of_four(sum[0], sum[1], sum[2], sum[3]));
}

#else

#if defined(__AVX2__)

// Sixteen sums of four products, each below 2^13.
inline __m256i nibble_products(const uint8_t *plane, const int8_t *first, const int8_t *second) {
    const __m256i lower = _mm256_set1_epi8(0x0F);
    auto load = [](const void *p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); };
    const __m256i p = load(plane), a = _mm256_and_si256(p, lower);
    const __m256i b = _mm256_and_si256(_mm256_srli_epi16(p, 4), lower);
    return _mm256_add_epi16(_mm256_maddubs_epi16(a, load(first)), _mm256_maddubs_epi16(b, load(second)));
}

template <bool WHOLE>
inline int32_t dot_plane(const uint8_t *high, const uint8_t *low, const int8_t *query, std::size_t width) {
    const std::size_t half = width / 2;
    const __m256i one = _mm256_set1_epi16(1), sixteen = _mm256_set1_epi16(16);
    __m256i sum = _mm256_setzero_si256();
    for (std::size_t i = 0; i < half; i += 32) {
        const __m256i h = nibble_products(high + i, query + i, query + half + i);
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(h, WHOLE ? sixteen : one));
        if (WHOLE)
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(nibble_products(low + i, query + i, query + half + i), one));
    }
    return sum_lanes(sum);
}

#elif defined(__SSE4_1__)

inline __m128i nibble_products(const uint8_t *plane, const int8_t *first, const int8_t *second) {
    const __m128i lower = _mm_set1_epi8(0x0F);
    auto load = [](const void *p) { return _mm_loadu_si128(static_cast<const __m128i *>(p)); };
    const __m128i p = load(plane), a = _mm_and_si128(p, lower), b = _mm_and_si128(_mm_srli_epi16(p, 4), lower);
    return _mm_add_epi16(_mm_maddubs_epi16(a, load(first)), _mm_maddubs_epi16(b, load(second)));
}

template <bool WHOLE>
inline int32_t dot_plane(const uint8_t *high, const uint8_t *low, const int8_t *query, std::size_t width) {
    const std::size_t half = width / 2;
    const __m128i one = _mm_set1_epi16(1), sixteen = _mm_set1_epi16(16);
    __m128i sum = _mm_setzero_si128();
    for (std::size_t i = 0; i < half; i += 16) {
        const __m128i h = nibble_products(high + i, query + i, query + half + i);
        sum = _mm_add_epi32(sum, _mm_madd_epi16(h, WHOLE ? sixteen : one));
        if (WHOLE)
            sum = _mm_add_epi32(sum, _mm_madd_epi16(nibble_products(low + i, query + i, query + half + i), one));
    }
    return sum_lanes(sum);
}

#else

template <bool WHOLE>
inline int32_t dot_plane(const uint8_t *high, const uint8_t *low, const int8_t *query, std::size_t width) {
    const std::size_t half = width / 2;
    int32_t upper = 0, lower = 0;
    for (std::size_t i = 0; i < half; ++i) {
        upper += static_cast<int32_t>(high[i] & 15) * query[i] + static_cast<int32_t>(high[i] >> 4) * query[half + i];
        if (WHOLE)
            lower += static_cast<int32_t>(low[i] & 15) * query[i] + static_cast<int32_t>(low[i] >> 4) * query[half + i];
    }
    return WHOLE ? 16 * upper + lower : upper;
}

#endif

template <bool WHOLE>
inline void dot_plane4(const uint8_t *const high[4], const uint8_t *const low[4], const int8_t *query,
                       std::size_t width, int32_t out[4]) {
    for (int j = 0; j < 4; ++j) out[j] = dot_plane<WHOLE>(high[j], WHOLE ? low[j] : nullptr, query, width);
}

#endif

}  // namespace firth
