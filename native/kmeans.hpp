// k-means and its nearest-centre search, for product codes.
//
// Sums run over the dimensions in order, one lane a centre, so every CPU level finds the same centres; the mean of a
// cluster is summed in float64 over the points in order, so the number of threads changes nothing.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace firth {

// Squared distances from one point to all centres; `turned` is (d, k), the centres with their axes swapped.
void distances_to(const float *point, const float *turned, std::size_t d, std::size_t k, float *out);

// The nearest centre; the first of equals.
uint32_t nearest(const float *point, const float *turned, std::size_t d, std::size_t k, float *scratch, float *distance);

// points: n rows of d, `stride` floats apart. drawn: k numbers in [0, 1) that choose the k-means++ starts.
void kmeans(const float *points, std::size_t n, std::size_t stride, std::size_t d, std::size_t k, const double *drawn,
            int rounds, float *centres, int threads, const std::atomic<bool> &stop);

// (k, d) -> (d, k)
std::vector<float> turn(const float *centres, std::size_t k, std::size_t d);

}  // namespace firth
