// The exact softmax over the whole vocabulary: what negative sampling and hierarchical softmax approximate.
//
// A tile is a few dozen inputs against all v outputs. Each input's logits are computed once however many centres it is
// company to. The vocabulary is cut into SLICES of rows; sums over slices are taken in their order, so the number of
// threads changes no bit. Meant for small vocabularies, as a reference and not for speed: an input costs 3 v d
// multiply-adds, and no version but this plain one was tried.
#include <algorithm>
#include <cmath>
#include <limits>

#include "sgns.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t SLICES = 16;

}  // namespace

double softmax_step(const std::vector<float *> &x, float *u, std::size_t v, std::size_t pitch,
                    const std::vector<std::vector<Wanted>> &wanted, float rate, float *steps, int threads,
                    const std::atomic<bool> &stop) {
    const std::size_t m = x.size();
    std::vector<float> scores(m * v);
    std::vector<float> highest(SLICES * m, -std::numeric_limits<float>::infinity());
    std::vector<double> sums(SLICES * m), total(m), times(m);
    std::vector<float> partial(SLICES * m * pitch);
    auto slice = [&](std::size_t s) { return std::pair(v * s / SLICES, v * (s + 1) / SLICES); };
    parallel_for(SLICES, 1, threads, stop, [&](std::size_t s, std::size_t, int) {
        const auto [begin, end] = slice(s);
        for (std::size_t o = begin; o < end; ++o)
            for (std::size_t i = 0; i < m; ++i) {
                const float score = dot_row(x[i], u + o * pitch, pitch);
                scores[o * m + i] = score;
                highest[s * m + i] = std::max(highest[s * m + i], score);
            }
        for (std::size_t o = begin; o < end; ++o)
            for (std::size_t i = 0; i < m; ++i) sums[s * m + i] += std::exp(scores[o * m + i] - highest[s * m + i]);
    });
    if (stop.load()) return 0;
    double loss = 0;
    std::vector<float> top(m, -std::numeric_limits<float>::infinity());
    for (std::size_t i = 0; i < m; ++i) {
        for (std::size_t s = 0; s < SLICES; ++s) top[i] = std::max(top[i], highest[s * m + i]);
        for (std::size_t s = 0; s < SLICES; ++s)
            if (sums[s * m + i] > 0) total[i] += sums[s * m + i] * std::exp(static_cast<double>(highest[s * m + i] - top[i]));
        for (const Wanted &want : wanted[i]) {
            times[i] += want.times;
            loss -= static_cast<double>(want.times) * static_cast<double>(scores[static_cast<std::size_t>(want.output) * m + i]);
        }
        loss += times[i] * (std::log(total[i]) + static_cast<double>(top[i]));
    }
    // scores become gradients
    parallel_for(SLICES, 1, threads, stop, [&](std::size_t s, std::size_t, int) {
        const auto [begin, end] = slice(s);
        for (std::size_t o = begin; o < end; ++o)
            for (std::size_t i = 0; i < m; ++i)
                scores[o * m + i] = static_cast<float>(-times[i] / total[i]) * std::exp(scores[o * m + i] - top[i]) * rate;
        for (std::size_t i = 0; i < m; ++i)
            for (const Wanted &want : wanted[i])
                if (const auto o = static_cast<std::size_t>(want.output); o >= begin && o < end)
                    scores[o * m + i] += rate * want.times;
        for (std::size_t o = begin; o < end; ++o)
            for (std::size_t i = 0; i < m; ++i) add_row(partial.data() + (s * m + i) * pitch, u + o * pitch, scores[o * m + i], pitch);
        for (std::size_t o = begin; o < end; ++o)
            for (std::size_t i = 0; i < m; ++i) add_row(u + o * pitch, x[i], scores[o * m + i], pitch);
    });
    for (std::size_t i = 0; i < m; ++i) {
        std::fill_n(steps + i * pitch, pitch, 0.0f);
        for (std::size_t s = 0; s < SLICES; ++s) add_row(steps + i * pitch, partial.data() + (s * m + i) * pitch, 1, pitch);
    }
    return loss;
}

Passed train_softmax(const Model &model, const Word2VecSettings &settings, const int32_t *ids, std::size_t n,
                     std::size_t epoch, Span pieces, int threads, const std::atomic<bool> &stop) {
    const std::size_t pitch = model.pitch;
    Passed passed;
    Piece piece;
    Floats means(settings.centres * pitch), steps((settings.centres + 2 * settings.window) * pitch);
    std::vector<float *> x;
    std::vector<std::vector<Wanted>> wanted;
    for (std::size_t p = pieces.begin; p < pieces.end && !stop.load(); ++p) {
        const std::size_t start = piece_start(ids, n, p, settings.span), end = piece_start(ids, n, p + 1, settings.span);
        Random random(piece_seed(settings.seed, epoch, p));
        sample_piece(model, settings, ids + start, end - start, 0, end - start, random, piece);
        const float rate = rate_at(settings, epoch, start, n);
        for (std::size_t begin = 0; begin < piece.word.size() && !stop.load(); begin += settings.centres) {
            const std::size_t last = std::min(piece.word.size(), begin + settings.centres);
            std::size_t low = last, high = begin;
            for (std::size_t i = begin; i < last; ++i) {
                low = std::min(low, i - static_cast<std::size_t>(piece.left[i]));
                high = std::max(high, i + static_cast<std::size_t>(piece.right[i]) + 1);
            }
            auto company = [&](std::size_t i, auto &&each) {
                for (std::size_t j = i - static_cast<std::size_t>(piece.left[i]);
                     j <= i + static_cast<std::size_t>(piece.right[i]); ++j)
                    if (j != i) each(j);
            };
            x.clear(), wanted.clear();
            if (settings.skipgram) {
                for (std::size_t j = low; j < high; ++j) x.push_back(model.input + static_cast<std::size_t>(piece.word[j]) * pitch);
                wanted.resize(x.size());
                for (std::size_t i = begin; i < last; ++i)
                    company(i, [&](std::size_t j) { wanted[j - low].push_back({piece.word[i], 1}), ++passed.pairs; });
            } else {
                for (std::size_t i = begin; i < last; ++i) {
                    float *mean = means.data() + (i - begin) * pitch;
                    std::fill_n(mean, pitch, 0.0f);
                    x.push_back(mean);
                    wanted.emplace_back();
                    const int32_t size = piece.left[i] + piece.right[i];
                    if (size == 0) continue;
                    const float by = settings.mean ? 1.0f / static_cast<float>(size) : 1.0f;
                    company(i, [&](std::size_t j) { add_row(mean, model.input + static_cast<std::size_t>(piece.word[j]) * pitch, by, pitch); });
                    wanted.back().push_back({piece.word[i], 1}), ++passed.pairs;
                }
            }
            passed.loss += softmax_step(x, model.output, model.words, pitch, wanted, rate, steps.data(), threads, stop);
            if (stop.load()) break;
            if (settings.skipgram) {
                for (std::size_t j = low; j < high; ++j) add_row(x[j - low], steps.data() + (j - low) * pitch, 1, pitch);
                continue;
            }
            for (std::size_t i = begin; i < last; ++i) {
                const float by = settings.mean ? 1.0f : 1.0f / static_cast<float>(std::max(piece.left[i] + piece.right[i], 1));
                company(i, [&](std::size_t j) {
                    add_row(model.input + static_cast<std::size_t>(piece.word[j]) * pitch, steps.data() + (i - begin) * pitch, by, pitch);
                });
            }
        }
    }
    return passed;
}

}  // namespace firth
