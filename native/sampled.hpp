// The losses of a softmax over sampled candidates and the true word, and their gradient.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace firth {

struct SampledSoftmax {
    const float *y;        // (m, p)
    const float *words;    // (v, p)
    const float *bias;     // (v,) what is taken off a sampled word's score already taken off
    const std::int64_t *candidates;  // (k,) different words
    const std::int64_t *targets;     // (m,) the true words
    const std::int64_t *hits;        // (m,) where the true word stands among the candidates, or -1; left out there
    std::size_t m, p, v, k;
};

struct SampledGradients {
    float *y, *words, *bias;  // (m, p), (v, p), (v,): all of them are written
};

// losses (m,) = totals - score of the true word; totals (m,) log of the sum of exp of all scores.
// bfloat16 products where this CPU level has them, float32 elsewhere.
void sampled_losses(const SampledSoftmax &s, bool bfloat16, float *losses, float *totals, int threads,
                    const std::atomic<bool> &stop);

// slopes (m,): gradient of each row's loss.
void sampled_gradients(const SampledSoftmax &s, bool bfloat16, const float *totals, const float *slopes,
                       const SampledGradients &gradients, int threads, const std::atomic<bool> &stop);

}  // namespace firth
