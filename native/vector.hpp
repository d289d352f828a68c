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
#include <immintrin.h>
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

inline vf larger(vf a, vf b) { return a > b ? a : b; }
inline vf smaller(vf a, vf b) { return a < b ? a : b; }

// Lanes are joined as a tree, halves first.
template <class Join> inline float reduce(const vf &v, Join join) {
    float lane[WIDTH];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t width = WIDTH / 2; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) lane[i] = join(lane[i], lane[i + width]);
    return lane[0];
}

inline float sum(const vf &v) {
    return reduce(v, [](float a, float b) { return a + b; });
}

inline float largest(const vf &v) {
    return reduce(v, [](float a, float b) { return a > b ? a : b; });
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
    const vf near = smaller(larger(x, all(-END)), all(END));
    const vf p = polynomial(C, fma(near * near, all(2.0f / (END * END)), all(-1.0f)));
    return x * smaller(larger(fma(near, p, all(0.5f)), vf{}), all(1.0f));
}

}  // namespace firth
