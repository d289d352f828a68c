// One byte a dimension: 128 + the rounded distance from the mean in steps, cut off at 1 and 255.
#pragma once

#include "bytes.hpp"

#include <algorithm>

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

}  // namespace firth
