// Lloyd's k-means from k-means++ starts (Arthur and Vassilvitskii 2007). See kmeans.hpp for the order of sums.
#include "kmeans.hpp"

#include "simd.hpp"
#include "threads.hpp"

#include <limits>

namespace firth {
namespace {

constexpr std::size_t SLICE = 2048;  // points between two looks at `stop`

}  // namespace

void distances_to(const float *point, const float *turned, std::size_t d, std::size_t k, float *out) {
    std::size_t c = 0;
    for (; c + LANES <= k; c += LANES) {
        f32x16 sum = {};
        for (std::size_t i = 0; i < d; ++i) {
            const f32x16 off = point[i] - load16(turned + i * k + c);
            sum += off * off;
        }
        std::memcpy(out + c, &sum, sizeof sum);
    }
    for (; c < k; ++c) {
        out[c] = 0;
        for (std::size_t i = 0; i < d; ++i) {
            const float off = point[i] - turned[i * k + c];
            out[c] += off * off;
        }
    }
}

uint32_t nearest(const float *point, const float *turned, std::size_t d, std::size_t k, float *scratch,
                 float *distance) {
    distances_to(point, turned, d, k, scratch);
    const float *best = std::min_element(scratch, scratch + k);
    if (distance) *distance = *best;
    return static_cast<uint32_t>(best - scratch);
}

std::vector<float> turn(const float *centres, std::size_t k, std::size_t d) {
    std::vector<float> turned(k * d);
    for (std::size_t c = 0; c < k; ++c)
        for (std::size_t i = 0; i < d; ++i) turned[i * k + c] = centres[c * d + i];
    return turned;
}

void kmeans(const float *points, std::size_t n, std::size_t stride, std::size_t d, std::size_t k, const double *drawn,
            int rounds, float *centres, int threads, const std::atomic<bool> &stop) {
    // Starts: each next centre is a point drawn with a chance in proportion to its squared distance from the others.
    std::vector<float> gap(n, std::numeric_limits<float>::max());
    for (std::size_t c = 0; c < k && !stop.load(); ++c) {
        std::size_t chosen = static_cast<std::size_t>(drawn[c] * static_cast<double>(n));
        if (c > 0) {
            double total = 0;
            for (float g : gap) total += g;
            double left = drawn[c] * total;
            for (std::size_t i = 0; total > 0 && i < n; ++i) {
                left -= gap[i];
                if (left < 0 || i + 1 == n) {
                    chosen = i;
                    break;
                }
            }
        }
        std::copy_n(points + chosen * stride, d, centres + c * d);
        for (std::size_t i = 0; i < n; ++i) {
            float distance = 0;
            for (std::size_t j = 0; j < d; ++j) {
                const float off = points[i * stride + j] - centres[c * d + j];
                distance += off * off;
            }
            gap[i] = std::min(gap[i], distance);
        }
    }
    std::vector<uint32_t> label(n);
    std::vector<double> sum(k * d);
    std::vector<std::size_t> members(k);
    for (int round = 0; round < rounds && !stop.load(); ++round) {
        const std::vector<float> turned = turn(centres, k, d);
        parallel_for(n, SLICE, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            std::vector<float> scratch(k);
            for (std::size_t i = begin; i < end; ++i)
                label[i] = nearest(points + i * stride, turned.data(), d, k, scratch.data(), nullptr);
        });
        if (stop.load()) return;
        std::fill(sum.begin(), sum.end(), 0.0), std::fill(members.begin(), members.end(), 0);
        for (std::size_t i = 0; i < n; ++i) {
            ++members[label[i]];
            for (std::size_t j = 0; j < d; ++j) sum[label[i] * d + j] += points[i * stride + j];
        }
        for (std::size_t c = 0; c < k; ++c)  // an empty cluster keeps its centre
            for (std::size_t j = 0; members[c] && j < d; ++j)
                centres[c * d + j] = static_cast<float>(sum[c * d + j] / static_cast<double>(members[c]));
    }
}

}  // namespace firth
