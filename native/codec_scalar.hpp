// Values in steps. One byte a dimension: 128 + the rounded distance from the mean in steps, cut off at 1 and 255; or
// codes from 0 to the top of each dimension.
#pragma once

#include "bytes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace firth {

// inverse: 1 / step of each dimension. What pads the row to `width` is the code of zero.
inline void encode_bytes(const float *row, const float *mean, const float *inverse, std::size_t d, uint8_t *out,
                         std::size_t width) {
    for (std::size_t i = 0; i < d; ++i) {
        const float steps = std::clamp((row[i] - mean[i]) * inverse[i], -127.0f, 127.0f);
        out[i] = static_cast<uint8_t>(static_cast<int>(steps + 128.5f));
    }
    std::fill(out + d, out + width, static_cast<uint8_t>(CODE_ZERO));
}

// The code of `value`: its distance from the lowest in steps, rounded and cut off.
inline double code_of(double value, double step, double half) {
    return std::clamp(std::floor(value / step + (half + 0.5)), 0.0, 2 * half);
}

// Codes from 0 to top, half of it standing for 0. First each value is rounded; then, one after the other, each may
// change for the sum of weight * error^2 and of the squared error along the row, which the others' errors share in.
// off: m numbers to work on. In float64 and without reciprocals: NumPy gives the same codes.
inline void encode_steps(const float *row, const float *step, const uint8_t *top, const float *weight, std::size_t m,
                         double *off, uint8_t *out) {
    double norm = 0, along = 0;
    for (std::size_t j = 0; j < m; ++j) {
        const double x = row[j], half = top[j] / 2.0;
        off[j] = (code_of(x, step[j], half) - half) * step[j] - x;
        norm += x * x;
        along += off[j] * x;
    }
    for (std::size_t j = 0; j < m; ++j) {
        const double x = row[j], half = top[j] / 2.0, others = along - off[j] * x;
        const double below = std::max(weight[j] * norm + x * x, std::numeric_limits<double>::min());
        const double code = code_of(x - others * x / below, step[j], half);
        along = others + ((code - half) * step[j] - x) * x;
        out[j] = static_cast<uint8_t>(code);
    }
}

}  // namespace firth
