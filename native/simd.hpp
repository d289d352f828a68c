// Sixteen float32 lanes, written once; the compiler lowers them to one AVX-512, two AVX2 or four SSE/NEON registers.
//
// The order of every sum is fixed by the sixteen lanes and not by the machine's register width, and the module is
// built with -ffp-contract=off, so each CPU level returns the same bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace firth {

using f32x16 = float __attribute__((vector_size(64)));
using f64x8 = double __attribute__((vector_size(64)));
constexpr std::size_t LANES = 16;

inline f32x16 load16(const float *p) {
    f32x16 v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// Lanes are added as a tree: 8 pairs, 4, 2, 1.
inline float sum16(const f32x16 &v) {
    float lane[LANES];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t width = LANES / 2; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
}

// Inner product of two float32 rows in sixteen lanes; the tail is added after the lanes.
inline float dot(const float *a, const float *b, std::size_t d) {
    f32x16 sum = {}, sum2 = {};
    std::size_t i = 0;
    for (; i + 2 * LANES <= d; i += 2 * LANES) {
        sum += load16(a + i) * load16(b + i);
        sum2 += load16(a + i + LANES) * load16(b + i + LANES);
    }
    for (; i + LANES <= d; i += LANES) sum += load16(a + i) * load16(b + i);
    float total = sum16(sum + sum2);
    for (; i < d; ++i) total += a[i] * b[i];
    return total;
}

// Inner product accumulated in float64, where each product of two float32 is exact: the score that is reported.
inline double dot64(const float *a, const float *b, std::size_t d) {
    f64x8 sum = {};
    std::size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        f64x8 x, y;
        for (std::size_t j = 0; j < 8; ++j) x[j] = a[i + j], y[j] = b[i + j];
        sum += x * y;
    }
    double lane[8];
    std::memcpy(lane, &sum, sizeof sum);
    for (std::size_t width = 4; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) lane[j] += lane[j + width];
    double total = lane[0];
    for (; i < d; ++i) total += static_cast<double>(a[i]) * b[i];
    return total;
}

// Squared Euclidean distance accumulated in float64, in the order of dot64.
inline double distance64(const float *a, const float *b, std::size_t d) {
    f64x8 sum = {};
    std::size_t i = 0;
    for (; i + 8 <= d; i += 8) {
        f64x8 x, y;
        for (std::size_t j = 0; j < 8; ++j) x[j] = a[i + j], y[j] = b[i + j];
        sum += (x - y) * (x - y);
    }
    double lane[8];
    std::memcpy(lane, &sum, sizeof sum);
    for (std::size_t width = 4; width > 0; width /= 2)
        for (std::size_t j = 0; j < width; ++j) lane[j] += lane[j + width];
    double total = lane[0];
    for (; i < d; ++i) total += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    return total;
}

}  // namespace firth
