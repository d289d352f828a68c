// Float32 vectors as wide as this CPU level's registers, and the functions that an encoder applies to them.
//
// simd.hpp has sixteen lanes at every level so that results agree to the last bit. Here speed comes first: sixteen
// lanes in AVX2 registers spill, so the width follows the level, products are fused where the level can, and levels
// agree within rounding only. At one level the order of every sum is still fixed.
//
// exp2 and GELU: polynomials by weighted minimax fit (Lawson), checked in float32 against float64:
//   exp2  degree 5 on [-1/2, 1/2], relative error 7.5e-8 before rounding;
//   gelu  x·Φ(x), Φ(x) - 1/2 = x·P(x²) with P of degree 14 on |x| <= 5.25, absolute error 6.1e-7 on [-8, 8]
//         (degree 12: 1.3e-6; an even degree ends above 1/2, so that the clamp makes Φ exactly 0 and 1 outside).
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 warns of its own header's undefined values (PR 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace firth {

#if defined(__AVX512F__)
constexpr std::size_t WIDTH = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr std::size_t WIDTH = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr std::size_t WIDTH = 4, REGISTERS = 32;
#else
constexpr std::size_t WIDTH = 4, REGISTERS = 16;
#endif

using vf = float __attribute__((vector_size(4 * WIDTH)));
using vi = std::int32_t __attribute__((vector_size(4 * WIDTH)));

inline vf load(const float *p) {
    vf v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

inline void store(float *p, const vf &v) { std::memcpy(p, &v, sizeof v); }

inline vf all(float x) { return x - vf{}; }

// a·b + c, rounded once where the level has it.
inline vf fma(vf a, vf b, vf c) {
#if defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
    return vfmaq_f32(c, a, b);
#else
    return a * b + c;
#endif
}

// Spelt out for each level: a ? b : c on vectors becomes a comparison and a blend.
inline vf larger(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE__)
    return _mm_max_ps(a, b);
#elif defined(__aarch64__)
    return vmaxq_f32(a, b);
#else
    return a > b ? a : b;
#endif
}

inline vf smaller(vf a, vf b) {
#if defined(__AVX512F__)
    return _mm512_min_ps(a, b);
#elif defined(__AVX__)
    return _mm256_min_ps(a, b);
#elif defined(__SSE__)
    return _mm_min_ps(a, b);
#elif defined(__aarch64__)
    return vminq_f32(a, b);
#else
    return a < b ? a : b;
#endif
}

// Lanes are joined as a tree, halves first.
using f32x4 = float __attribute__((vector_size(16)));
using f32x8 = float __attribute__((vector_size(32)));
using f32x16 = float __attribute__((vector_size(64)));

template <class Join> inline float reduce(f32x4 v, Join join) { return join(join(v[0], v[2]), join(v[1], v[3])); }

template <class Join> inline float reduce(f32x8 v, Join join) {
    return reduce(join(__builtin_shufflevector(v, v, 0, 1, 2, 3), __builtin_shufflevector(v, v, 4, 5, 6, 7)), join);
}

template <class Join> inline float reduce(f32x16 v, Join join) {
    return reduce(join(__builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7),
                       __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15)),
                  join);
}

inline float sum(vf v) {
    return reduce(v, [](auto a, auto b) { return a + b; });
}

inline float largest(vf v) {
    return reduce(v, [](auto a, auto b) { return a > b ? a : b; });
}

template <std::size_t N> inline vf polynomial(const float (&c)[N], vf x) {
    vf sum = all(c[N - 1]);
#pragma GCC unroll 16
    for (std::size_t i = 1; i < N; ++i) sum = fma(sum, x, all(c[N - 1 - i]));
    return sum;
}

// 2^x for x <= 0; below -126, where float32 has no normal number left, 2^-126.
inline vf exp2(vf x) {
    constexpr float C[] = {1.00000007f, 0.69314697f, 0.24022120f, 0.05550713f, 0.00967554f, 0.00132765f};
    constexpr float ROUND = 12582912.0f;  // 1.5·2^23: adding it leaves the nearest integer in the low bits
    x = larger(x, all(-126.0f));
    const vf shifted = x + ROUND;
    const vf power = polynomial(C, x - (shifted - ROUND));
    return (vf)((vi)power + ((vi)shifted << 23));
}

// x·Φ(x), the exact (erf) form.
inline vf gelu(vf x) {
    constexpr float C[] = {0.13465935f,   -0.06712677f,   0.049645677f,  -0.039764877f,   0.032033976f,
                           -0.025027582f, 0.018517751f,   -0.012834442f, 0.008496087f,    -0.0053317356f,
                           0.0027472083f, -0.0011486454f, 0.0007948116f, -0.0006178248f,  0.0001951047f};
    constexpr float END = 5.25f;
    const vf p = polynomial(C, fma(smaller(x * x, all(END * END)), all(2.0f / (END * END)), all(-1.0f)));
    return x * smaller(larger(fma(x, p, all(0.5f)), vf{}), all(1.0f));
}

// The form with tanh, 0.5·x·(1 + tanh y) = x / (1 + e^-2y) for y = sqrt(2/π)·(x + 0.044715·x³).
inline vf gelu_tanh(vf x) {
    constexpr float MINUS_TWO_LOG2E = -2.88539008f, ROOT = 0.79788456f, CUBE = 0.044715f;
    const vf y = x * fma(x * x, all(ROOT * CUBE), all(ROOT));
    const vf power = exp2(larger(y, -y) * MINUS_TWO_LOG2E);  // e^-2|y|
    return x * (y > vf{} ? all(1.0f) : power) / (power + 1.0f);
}

}  // namespace firth
