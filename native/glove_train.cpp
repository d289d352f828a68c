// GloVe's AdaGrad steps; see glove.hpp.
//
// Cells are not shuffled. Partners are dealt into bands; an epoch takes one band after the other and in it the rows in
// random order, so that a row's own parameters stay in the first-level cache and the band's frequent partners in the
// second. A symmetric cell is loaded once and seen from both sides. Whole rows at once, without bands, diverge: frequent
// words grow to explain each new row alone ("the" reaches length 10), and then throw rows that have not moved yet.
//
// Versions tried on 17.8 M words (51.5 M cells, d = 100, 15 epochs), seconds of processor and analogies in per cent:
//   whole rows                                             diverges
//   16 bands (this one)                                       40     26.3
//   64 bands                                                  70     26.9
//   256 bands: a row holds two or three cells a time         147     27.0
// Quality at 16 bands (mean of two seeds: SimLex-999, MEN, analogies):
//   partners of a band in ascending order, biases at the vectors' rate       .203   .455   26.2
//   biases at the rate of 1                                                  .209   .461   26.3
//   and partners in random order (this one)                                  .218   .463   26.5
//   and 64 bands                                                             .216   .465   26.9
//   25 epochs instead of 15, by the first version                            .210   .460   26.7
// The loss after 15 epochs is the same to one per cent with all of them, and on 3 M words below that of Stanford's
// shuffled program (0.0236 to 0.0240), so more bands buy little.
// Floor: a cell seen from one side takes 126 vector operations at d = 100 (dot product, two steps, two inverse roots with
// a Newton step), 16 ns at two a cycle; its partner's 1.8 KB come from the second-level cache in about as long, beside
// it. 47 ns are reached, a third of the floor.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <cstring>

#include "glove.hpp"
#include "random.hpp"
#include "threads.hpp"
#include "vector.hpp"

namespace firth {
namespace {

constexpr std::size_t LINE = 16;        // floats of a cache line
constexpr std::size_t AHEAD = 2;        // cells whose partner is fetched before its turn
constexpr float CLIP = 100;             // the largest step times rate, as in Stanford's program
constexpr std::size_t CELLS_A_BLOCK = 1 << 13;

// 1 / sqrt(x): the machine's estimate and one Newton step, relative error below 1e-6.
inline vf inverse_root(vf x) {
#if defined(__AVX512F__)
    const vf y = reinterpret_cast<vf>(_mm512_rsqrt14_ps(reinterpret_cast<__m512>(x)));
#elif defined(__AVX__)
    const vf y = reinterpret_cast<vf>(_mm256_rsqrt_ps(reinterpret_cast<__m256>(x)));
#elif defined(__SSE__)
    const vf y = reinterpret_cast<vf>(_mm_rsqrt_ps(reinterpret_cast<__m128>(x)));
#else
    vf y;
    for (std::size_t i = 0; i < WIDTH; ++i) y[i] = 1.0f / std::sqrt(x[i]);
    return y;
#endif
#if defined(__SSE__)
    return y * (1.5f - 0.5f * x * y * y);
#endif
}

inline float sum(vf v) {
    float lane[WIDTH];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t width = WIDTH / 2; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
}

inline vf clipped(vf v) {
    v = v > CLIP ? all(CLIP) : v;
    return v < -CLIP ? all(-CLIP) : v;
}

inline void fetch(const float *row, std::size_t floats) {
    for (std::size_t i = 0; i < floats; i += LINE) __builtin_prefetch(row + i, 1);
}

// A bias moves at the rate of 1, twenty times as fast as the vectors: it soon holds how frequent its word is, and vectors
// need not learn that. As in Stanford's program of today; with the vectors' rate SimLex-999 falls by .02, analogies by 2 %.
struct Bias {
    std::size_t at;
    float value, square;
    Bias(const float *row, const float *sum, std::size_t at) : at(at), value(row[at]), square(sum[at]) {}
    void step(float *row, float *sum, float pull) const {
        row[at] = value - pull / std::sqrt(square);
        sum[at] = square + pull * pull;
    }
};

struct Stepper {
    const GloveModel &model;
    const GloveSettings &settings;
    double loss = 0;
    uint64_t cells = 0;

    Stepper(const GloveModel &model, const GloveSettings &settings) : model(model), settings(settings) {}

    // One cell from one side: word vector of `row`, context vector of `other`.
    void step(float *row, float *other, float target, float weight) {
        const std::size_t pitch = model.pitch;
        float *w = row, *c = other + pitch, *w_sum = row + 2 * pitch, *c_sum = other + 3 * pitch;
        vf a = {}, b = {};
        std::size_t i = 0;
        for (; i + 2 * WIDTH <= pitch; i += 2 * WIDTH) {
            a += load(w + i) * load(c + i);
            b += load(w + i + WIDTH) * load(c + i + WIDTH);
        }
        if (i < pitch) a += load(w + i) * load(c + i);
        const float difference = sum(a + b) - target, pull = weight * difference;
        loss += 0.5 * static_cast<double>(pull) * static_cast<double>(difference);
        ++cells;
        const float scaled = settings.rate * pull;
        const Bias word_bias(w, w_sum, model.dims), context_bias(c, c_sum, model.dims + 1);
        const float word_one = w[model.dims + 1], context_one = c[model.dims];
        if (std::fabs(scaled) <= 1)
            move<false>(w, c, w_sum, c_sum, scaled);
        else
            move<true>(w, c, w_sum, c_sum, scaled);
        w[model.dims + 1] = word_one, c[model.dims] = context_one;  // constants
        word_bias.step(w, w_sum, pull), context_bias.step(c, c_sum, pull);
    }

    template <bool CLIPS> void move(float *w, float *c, float *w_sum, float *c_sum, float scaled) {
        for (std::size_t i = 0; i < model.pitch; i += WIDTH) {
            const vf word = load(w + i), context = load(c + i), w_square = load(w_sum + i), c_square = load(c_sum + i);
            vf of_word = scaled * context, of_context = scaled * word;
            if (CLIPS) of_word = clipped(of_word), of_context = clipped(of_context);
            store(w + i, word - of_word * inverse_root(w_square));
            store(c + i, context - of_context * inverse_root(c_square));
            store(w_sum + i, w_square + of_word * of_word);
            store(c_sum + i, c_square + of_context * of_context);
        }
    }

    void cell(float *row, float *other, float value) {
        const float target = std::log(value);
        const float weight = value >= settings.x_max ? 1.0f : std::exp(settings.alpha * (target - log_x_max));
        step(row, other, target, weight);
        if (settings.symmetric && row != other) step(other, row, target, weight);
    }
    float log_x_max = std::log(settings.x_max);
};

// The first column of a row behind the bands before `band`.
const int32_t *behind(const int32_t *first, const int32_t *last, std::size_t bands, std::size_t band) {
    return std::partition_point(first, last, [&](int32_t c) { return static_cast<std::size_t>(c) % bands < band; });
}

}  // namespace

void sort_into_bands(const int64_t *starts, int32_t *columns, float *values, std::size_t rows, std::size_t bands,
                     int threads, const std::atomic<bool> &stop) {
    parallel_for(rows, 256, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        std::vector<int32_t> column;
        std::vector<float> value;
        std::vector<std::size_t> next;
        for (std::size_t row = begin; row < end; ++row) {
            int32_t *c = columns + starts[row];
            float *v = values + starts[row];
            const auto n = static_cast<std::size_t>(starts[row + 1] - starts[row]);
            column.assign(c, c + n), value.assign(v, v + n);
            next.assign(bands + 1, 0);
            for (const int32_t at : column) ++next[static_cast<std::size_t>(at) % bands + 1];
            std::partial_sum(next.begin(), next.end(), next.begin());
            for (std::size_t i = 0; i < n; ++i) {
                const std::size_t to = next[static_cast<std::size_t>(column[i]) % bands]++;
                c[to] = column[i], v[to] = value[i];
            }
            Random random(row);
            for (std::size_t band = 0, begin = 0; band < bands; begin = next[band++])
                for (std::size_t i = next[band]; i > begin + 1; --i) {
                    const std::size_t j = begin + random.below(i - begin);
                    std::swap(c[i - 1], c[j]), std::swap(v[i - 1], v[j]);
                }
        }
    });
}

GlovePassed train_glove(const GloveModel &model, const GloveSettings &settings, const int64_t *starts,
                        const int32_t *columns, const float *values, const int32_t *order, std::size_t rows,
                        std::size_t bands, std::size_t band, int threads, const std::atomic<bool> &stop) {
    std::vector<std::size_t> blocks{0};  // of about the same number of cells
    int64_t cells = 0;
    for (std::size_t i = 0; i < rows; ++i) {
        cells += starts[order[i] + 1] - starts[order[i]];
        if (cells >= static_cast<int64_t>(CELLS_A_BLOCK) || i + 1 == rows) blocks.push_back(i + 1), cells = 0;
    }
    const std::size_t stride = 4 * model.pitch;
    std::vector<GlovePassed> passed(static_cast<std::size_t>(std::max(threads, 1)));
    parallel_for(blocks.size() - 1, 1, threads, stop, [&](std::size_t block, std::size_t, int thread) {
        Stepper stepper(model, settings);
        for (std::size_t i = blocks[block]; i < blocks[block + 1]; ++i) {
            float *row = model.rows + static_cast<std::size_t>(order[i]) * stride;
            const int32_t *first = columns + starts[order[i]], *last = columns + starts[order[i] + 1];
            const int64_t begin = behind(first, last, bands, band) - columns;
            const int64_t end = behind(columns + begin, last, bands, band + 1) - columns;
            for (int64_t at = begin; at < end; ++at) {
                if (at + static_cast<int64_t>(AHEAD) < end) fetch(model.rows + static_cast<std::size_t>(columns[at + AHEAD]) * stride, stride);
                stepper.cell(row, model.rows + static_cast<std::size_t>(columns[at]) * stride, values[at]);
            }
        }
        passed[static_cast<std::size_t>(thread)].loss += stepper.loss;
        passed[static_cast<std::size_t>(thread)].cells += stepper.cells;
    });
    GlovePassed total;
    for (const GlovePassed &part : passed) total.loss += part.loss, total.cells += part.cells;
    return total;
}

}  // namespace firth
