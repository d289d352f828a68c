// The sampled softmax: a block of rows goes from scores to chances while they lie in the second cache.
//
// The gradient computes the scores again, which is cheaper than keeping them: m·k floats through memory twice.
#include "sampled.hpp"

#include <cmath>
#include <optional>

#include "panels.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t BLOCK = 48;    // rows; a multiple of PANEL_ROWS
constexpr std::size_t STAGGER = 32;  // numbers between rows beyond their width, see transformer.cpp
constexpr float LOG2E = 1.44269504f, NEVER = -1e30f;

template <class P> class Softmax {
    using T = typename P::T;

  public:
    explicit Softmax(const SampledSoftmax &s)
        : s_(s), columns_(up_to(s.k, PANEL)), stride_(up_to(s.p + 1, WIDTH) + STAGGER), keys_(s.k, s.p),
          bias_(columns_) {
        keys_.pack_transposed(
            [&](std::size_t j) { return j < s.k ? s.words + s.candidates[j] * s.p : nullptr; },
            [&](std::size_t k) { return std::pair(k, s.p > k ? s.p - k : 0); });
        for (std::size_t j = 0; j < columns_; ++j) bias_[j] = j < s.k ? s.bias[s.candidates[j]] : NEVER;
    }

    void losses(float *losses, float *totals, int threads, const std::atomic<bool> &stop) const {
        blocks(threads, stop, [&](std::size_t row, const float *scores) {
            const float own = true_score(row);
            vf most = all(own);
            for (std::size_t j = 0; j < columns_; j += WIDTH) most = larger(most, load(scores + j));
            const float top = largest(most);
            vf total{};
            for (std::size_t j = 0; j < columns_; j += WIDTH) total += exp2((load(scores + j) - top) * LOG2E);
            totals[row] = top + std::log(sum(total) + std::exp(own - top));
            losses[row] = totals[row] - own;
        });
    }

    void gradients(const float *totals, const float *slopes, const SampledGradients &g, int threads,
                   const std::atomic<bool> &stop) const {
        const Buffer<T> chances(s_.m * (columns_ + STAGGER)), turned((s_.p + 1) * (s_.m + STAGGER));
        std::fill_n(g.words, s_.v * s_.p, 0.0f);
        std::fill_n(g.bias, s_.v, 0.0f);
        blocks(threads, stop, [&](std::size_t row, const float *scores) {
            const vf total = all(totals[row] * LOG2E), slope = all(slopes[row]);
            for (std::size_t j = 0; j < columns_; j += WIDTH)
                P::put(chances.data() + row * (columns_ + STAGGER) + j,
                       slope * exp2(fma(load(scores + j), all(LOG2E), -total)));
        });
        y_gradient(chances, totals, slopes, g, threads, stop);
        word_gradient(chances, turned, g, threads, stop);
        for (std::size_t i = 0; i < s_.m; ++i) {  // in one order: several rows may have one true word
            const float slope = true_slope(i, totals, slopes);
            float *word = g.words + s_.targets[i] * s_.p;
            for (std::size_t j = 0; j < s_.p; ++j) word[j] += slope * s_.y[i * s_.p + j];
            g.bias[s_.targets[i]] += slope;
        }
    }

  private:
    float true_score(std::size_t row) const {
        const float *y = s_.y + row * s_.p, *word = s_.words + s_.targets[row] * s_.p;
        vf total{};
        for (std::size_t j = 0; j < s_.p; j += WIDTH)
            total = fma(load_some(y + j, s_.p - j), load_some(word + j, s_.p - j), total);
        return sum(total) + s_.bias[s_.targets[row]];
    }

    float true_slope(std::size_t row, const float *totals, const float *slopes) const {
        return slopes[row] * (std::exp(true_score(row) - totals[row]) - 1.0f);
    }

    void put_rows(std::size_t from, std::size_t rows, T *to) const {
        for (std::size_t r = 0; r < rows; ++r) {
            put_row<P>(to + r * stride_, s_.y + (from + r) * s_.p, s_.p, up_to(s_.p + 1, WIDTH));
            to[r * stride_ + s_.p] = P::from(1.0f);
        }
    }

    // each(row, its scores, that of the true word among them left out)
    template <class Each> void blocks(int threads, const std::atomic<bool> &stop, const Each &each) const {
        parallel_for((s_.m + BLOCK - 1) / BLOCK, 1, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            const Buffer<T> rows(BLOCK * stride_);
            const Buffer<float> scores(BLOCK * columns_);
            for (std::size_t b = begin; b < end; ++b) {
                const std::size_t from = b * BLOCK, n = std::min(BLOCK, s_.m - from);
                put_rows(from, n, rows.data());
                for (std::size_t q = 0; q < keys_.count(); ++q)
                    keys_.times(rows.data(), stride_, n, q, bias_.data() + q * PANEL,
                                [&](std::size_t r, const vf(&sums)[VECTORS]) {
#pragma GCC unroll 4
                                    for (int v = 0; v < VECTORS; ++v)
                                        store(scores.data() + r * columns_ + q * PANEL + v * WIDTH, sums[v]);
                                });
                for (std::size_t r = 0; r < n; ++r) {
                    if (s_.hits[from + r] >= 0) scores[r * columns_ + static_cast<std::size_t>(s_.hits[from + r])] = NEVER;
                    each(from + r, scores.data() + r * columns_);
                }
            }
        });
    }

    void y_gradient(const Buffer<T> &chances, const float *totals, const float *slopes, const SampledGradients &g,
                    int threads, const std::atomic<bool> &stop) const {
        const Panels<P> values(s_.p, s_.k);
        values.pack([&](std::size_t j) { return s_.words + s_.candidates[j] * s_.p; },
                    [&](std::size_t q, int v) {
                        const std::size_t column = q * PANEL + v * WIDTH;
                        return std::pair(std::min(column, s_.p), s_.p > column ? s_.p - column : 0);
                    });
        parallel_for((s_.m + BLOCK - 1) / BLOCK, 1, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t from = begin * BLOCK; from < std::min(end * BLOCK, s_.m); from += BLOCK)
                for (std::size_t q = 0; q < values.count(); ++q)
                    values.times(chances.data() + from * (columns_ + STAGGER), columns_ + STAGGER,
                                 std::min(BLOCK, s_.m - from), q, nullptr,
                                 [&](std::size_t r, const vf(&sums)[VECTORS]) {
                                     const std::size_t row = from + r;
                                     const vf slope = all(true_slope(row, totals, slopes));
                                     const float *word = s_.words + s_.targets[row] * s_.p;
                                     for (int v = 0; v < VECTORS; ++v) {
                                         const std::size_t at = q * PANEL + v * WIDTH;
                                         if (at >= s_.p) break;
                                         const vf own = load_some(word + at, s_.p - at);
                                         store_some(g.y + row * s_.p + at, fma(slope, own, sums[v]), s_.p - at);
                                     }
                                 });
        });
    }

    // The candidates' words and biases: one product over all rows, the bias by a row of ones.
    void word_gradient(const Buffer<T> &chances, const Buffer<T> &turned, const SampledGradients &g, int threads,
                       const std::atomic<bool> &stop) const {
        const Buffer<T> rows(s_.m * stride_);
        put_rows(0, s_.m, rows.data());
        transpose(rows.data(), stride_, s_.m, s_.p + 1, turned.data(), s_.m + STAGGER);
        parallel_for(columns_ / PANEL, 1, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            const Panels<P> panel(PANEL, s_.m);
            for (std::size_t q = begin; q < end; ++q) {
                panel.pack_rows(chances.data(), columns_ + STAGGER, q * PANEL);
                const std::size_t n = std::min(PANEL, s_.k - q * PANEL);
                panel.times(turned.data(), s_.m + STAGGER, s_.p + 1, 0, nullptr,
                            [&](std::size_t j, const vf(&sums)[VECTORS]) {
                                float column[PANEL];
                                for (int v = 0; v < VECTORS; ++v) store(column + v * WIDTH, sums[v]);
                                for (std::size_t i = 0; i < n; ++i) {
                                    const auto word = s_.candidates[q * PANEL + i];
                                    (j < s_.p ? g.words[word * s_.p + j] : g.bias[word]) = column[i];
                                }
                            });
            }
        });
    }

    SampledSoftmax s_;
    std::size_t columns_, stride_;
    Panels<P> keys_;
    Buffer<float> bias_;
};

template <class Run> void in_format(const SampledSoftmax &s, bool bfloat16, Run run) {
#if defined(__AVX512BF16__)
    if (bfloat16) return run(Softmax<BFloat16>(s));
#endif
    (void)bfloat16;
    run(Softmax<Float32>(s));
}

}  // namespace

void sampled_losses(const SampledSoftmax &s, bool bfloat16, float *losses, float *totals, int threads,
                    const std::atomic<bool> &stop) {
    in_format(s, bfloat16, [&](const auto &softmax) { softmax.losses(losses, totals, threads, stop); });
}

void sampled_gradients(const SampledSoftmax &s, bool bfloat16, const float *totals, const float *slopes,
                       const SampledGradients &gradients, int threads, const std::atomic<bool> &stop) {
    in_format(s, bfloat16, [&](const auto &softmax) { softmax.gradients(totals, slopes, gradients, threads, stop); });
}

}  // namespace firth
