// The encoder kernel. Each thread takes its own block of whole texts through all layers: no barrier between layers, no
// padding, and a block's activations stay in the second cache.
//
// Floor, measured here (2 cores Zen 5 at 4.05 GHz, two 512-bit units): 259 GFLOP/s a core by vfmadd231ps, 518 by
// vdpbf16ps. all-MiniLM-L6-v2 takes 21.2 MFLOP a token and 9.2 kFLOP a token for each token of its text.
//
// Reached, on 64 texts of mean 117 tokens: 410 GFLOP/s a core in bfloat16 (79 % of the floor), 203 in float32 (78 %).
//
// Tried (GFLOP/s a core, processor time, the machine shared):
//   products alone, tile 12x2 registers: 410-475 bfloat16; 8x3: 425-490; 6x4: 440-495, taken. Cutting k into pieces of
//   256 to 512 to keep a panel in the first cache: 3 to 6 % slower than the whole of k.
//   whole encoder, first version                                                                 365
//   keys moved a pair at a time, values by two rows; max and min by name, not compare and blend  401
//   four rows of softmax abreast (6.3 % of the time before, 3.1 % after), four sums of a norm    410
//   tokens a block: 128: 387, 192: 401, 256: 410, 384: 405, 512: 401.
// Where the time is: products with weights 80 %, attention's 5 %, GELU 4 %, softmax 3 %, norms 3 %, the rest 5 %.
#include "transformer.hpp"

#include <cmath>
#include <numeric>
#include <optional>
#include <vector>

#include "gemm.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t BLOCK = 256;     // tokens that a thread takes through all layers at once
constexpr std::size_t STAGGER = 32;    // numbers between rows beyond their width: a stride of 4096 bytes would
                                       // put all rows of a tile into one set of the first cache
constexpr float LOG2E = 1.44269504f;
constexpr std::size_t KEYS = TALL * WIDTH;  // columns of a panel of keys, and of values
constexpr std::size_t ABREAST = TALL_ROWS / 3;  // rows of softmax at once: alone, each would wait for its own maximum

struct Norm {
    Buffer<float> scale, shift;
    Norm(const float *scale_from, const float *shift_from, std::size_t d, std::size_t width)
        : scale(width), shift(width) {
        std::copy_n(scale_from, d, scale.data());
        std::copy_n(shift_from, d, shift.data());
    }
};

// What one thread writes while it takes a block of texts through the layers; M tokens at most, the longest text T.
template <class P> struct Work {
    using T = typename P::T;
    Buffer<float> states;   // (M, d) float32: the residual stream
    Buffer<T> rounded;      // (M, d) the same in the format of the products
    Buffer<T> heads;        // (M, 3·h·w) queries, keys, values; the mixed values take the queries' place
    Buffer<T> inner;        // (M, inner)
    Buffer<T> keys, values; // one head of one text, in panels
    Buffer<float> scores;   // (TALL_ROWS, T)
    Buffer<T> weights;      // the same after softmax
};

template <class P> class Encoder final : public Transformer {
    using T = typename P::T;

  public:
    Encoder(const EncoderSettings &s, const EncoderTables &tables)
        : s_(s), tables_(tables), head_(s.dims / s.heads), head_width_(up_to(head_, KEYS)),
          width_(up_to(s.dims, Packed<P>::COLUMNS)), stride_(width_ + STAGGER),
          heads_stride_(up_to(3 * s.heads * head_width_, Packed<P>::COLUMNS) + STAGGER),
          inner_stride_(up_to(s.inner, Packed<P>::COLUMNS) + STAGGER),
          embedding_(tables.scale, tables.shift, s.dims, width_) {}

    const char *precision() const override { return P::NAME; }

    void add_layer(const LayerWeights &w) override {
        const std::size_t d = s_.dims, wide = head_width_, mixed = s_.heads * wide;
        // Queries carry the softmax's scale and its change of base: the scores come out ready for exp2.
        const float scale = LOG2E / std::sqrt(static_cast<float>(head_));
        auto source = [&](std::size_t i) -> std::optional<std::size_t> {  // output of the padded heads -> row of qkv
            const std::size_t part = i / mixed, head = i % mixed / wide, at = i % wide;
            if (at >= head_) return std::nullopt;
            return part * d + head * head_ + at;
        };
        auto scaled = [&](std::size_t i, float x) { return i < mixed ? x * scale : x; };
        layers_.push_back(
            {Packed<P>(3 * mixed, d,
                       [&](std::size_t i, std::size_t j) {
                           const auto row = source(i);
                           return row ? scaled(i, w.qkv[*row * d + j]) : 0.0f;
                       },
                       [&](std::size_t i) {
                           const auto row = source(i);
                           return row ? scaled(i, w.qkv_bias[*row]) : 0.0f;
                       }),
             Packed<P>(d, mixed,
                       [&](std::size_t i, std::size_t j) {
                           const std::size_t at = j % wide;
                           return at < head_ ? w.out[i * d + j / wide * head_ + at] : 0.0f;
                       },
                       [&](std::size_t i) { return w.out_bias[i]; }),
             Packed<P>(s_.inner, d, [&](std::size_t i, std::size_t j) { return w.up[i * d + j]; },
                       [&](std::size_t i) { return w.up_bias[i]; }),
             Packed<P>(d, s_.inner, [&](std::size_t i, std::size_t j) { return w.down[i * s_.inner + j]; },
                       [&](std::size_t i) { return w.down_bias[i]; }),
             Norm(w.out_scale, w.out_shift, d, width_), Norm(w.down_scale, w.down_shift, d, width_)});
    }

    void run(const RaggedTexts &texts, Pool pool, float *out, int threads,
             const std::atomic<bool> &stop) const override {
        // Long texts first, so that the last blocks are small; a text's result does not depend on its block.
        std::vector<std::size_t> order(texts.n);
        std::iota(order.begin(), order.end(), 0);
        auto length = [&](std::size_t i) { return static_cast<std::size_t>(texts.offsets[i + 1] - texts.offsets[i]); };
        std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return length(a) > length(b); });
        const std::size_t total = static_cast<std::size_t>(texts.offsets[texts.n]);
        const std::size_t team = static_cast<std::size_t>(std::max(threads, 1));
        const std::size_t rounds = std::max<std::size_t>((total + team * BLOCK - 1) / (team * BLOCK), 1);
        const std::size_t budget = (total + team * rounds - 1) / (team * rounds);  // equal blocks for every thread
        std::vector<std::size_t> starts{0};
        std::size_t most = 0, tokens = 0;
        for (std::size_t i = 0; i < texts.n; ++i) {
            if (tokens && tokens + length(order[i]) > budget + budget / 8) starts.push_back(i), tokens = 0;
            most = std::max(most, tokens += length(order[i]));
        }
        starts.push_back(texts.n);
        const std::size_t longest = texts.n ? length(order[0]) : 0;
        std::vector<std::optional<Work<P>>> work(team);
        parallel_for(starts.size() - 1, 1, threads, stop, [&](std::size_t begin, std::size_t end, int thread) {
            if (!work[thread]) work[thread] = workspace(most, longest);
            for (std::size_t b = begin; b < end; ++b)
                block(texts, {order.data() + starts[b], order.data() + starts[b + 1]}, pool, out, *work[thread], stop);
        });
    }

  private:
    struct Layer {
        Packed<P> qkv, out, up, down;
        Norm after_attention, after_inner;
    };

    Work<P> workspace(std::size_t tokens, std::size_t longest) const {
        const std::size_t panels = up_to(longest, KEYS) * head_width_;
        const std::size_t scores = TALL_ROWS * (up_to(longest, KEYS) + WIDTH);
        return {Buffer<float>(tokens * width_),          Buffer<T>(tokens * stride_),
                Buffer<T>(tokens * heads_stride_),       Buffer<T>(tokens * inner_stride_),
                Buffer<T>(panels),                       Buffer<T>(panels),
                Buffer<float>(scores),                   Buffer<T>(scores)};
    }

    struct Texts {
        const std::size_t *begin, *end;
    };

    // One block of texts from ids to results.
    void block(const RaggedTexts &texts, Texts which, Pool pool, float *out, const Work<P> &w,
               const std::atomic<bool> &stop) const {
        std::vector<std::size_t> at{0};  // where each text of the block begins
        for (const std::size_t *i = which.begin; i != which.end; ++i) {
            const auto from = texts.offsets[*i], to = texts.offsets[*i + 1];
            const auto n = static_cast<std::size_t>(to - from);
            for (std::size_t t = 0; t < n; ++t) embed(texts.ids[from + t], t, at.back() + t, w);
            at.push_back(at.back() + n);
        }
        for (const Layer &layer : layers_) {
            if (stop.load(std::memory_order_relaxed)) return;
            apply(layer, at, pool == Pool::first && &layer == &layers_.back(), w);
        }
        for (std::size_t i = 0; i + 1 < at.size(); ++i) {
            const std::size_t text = which.begin[i], n = at[i + 1] - at[i];
            const float *rows = w.states.data() + at[i] * width_;
            if (pool == Pool::none)
                for (std::size_t t = 0; t < n; ++t)
                    std::copy_n(rows + t * width_, s_.dims,
                                out + (static_cast<std::size_t>(texts.offsets[text]) + t) * s_.dims);
            else
                mean(rows, n, out + text * s_.dims);
        }
    }

    void mean(const float *rows, std::size_t n, float *out) const {
        for (std::size_t c = 0; c < s_.dims; c += WIDTH) {
            vf total{};
            for (std::size_t t = 0; t < n; ++t) total += load(rows + t * width_ + c);
            total /= all(static_cast<float>(std::max<std::size_t>(n, 1)));
            std::memcpy(out + c, &total, std::min(WIDTH, s_.dims - c) * sizeof(float));
        }
    }

    void embed(std::int32_t id, std::size_t position, std::size_t row, const Work<P> &w) const {
        const float *token = tables_.tokens + static_cast<std::size_t>(id) * s_.dims;
        const float *place = tables_.positions + position * s_.dims;
        float *state = w.states.data() + row * width_;
        const std::size_t whole = s_.dims / WIDTH * WIDTH;
        for (std::size_t c = 0; c < whole; c += WIDTH) store(state + c, load(token + c) + load(place + c));
        for (std::size_t c = whole; c < s_.dims; ++c) state[c] = token[c] + place[c];
        std::fill(state + s_.dims, state + width_, 0.0f);
        normalise(embedding_, row, w);
    }

    // Sum of f(x) over one row; four sums abreast, since one alone would wait for each addition.
    template <class F> float sum_of(const float *row, F f) const {
        const std::size_t whole = s_.dims / (4 * WIDTH) * (4 * WIDTH);
        vf sums[4] = {};
        for (std::size_t c = 0; c < whole; c += 4 * WIDTH)
            for (std::size_t i = 0; i < 4; ++i) sums[i] += f(load(row + c + i * WIDTH));
        float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
        for (std::size_t c = whole; c < s_.dims; ++c) total += f(row[c]);
        return total;
    }

    void normalise(const Norm &norm, std::size_t row, const Work<P> &w) const {
        float *state = w.states.data() + row * width_;
        const float mean = sum_of(state, [](auto x) { return x; }) / static_cast<float>(s_.dims);
        const float squares = sum_of(state, [mean](auto x) { return (x - mean) * (x - mean); });
        const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(s_.dims) + s_.eps);
        for (std::size_t c = 0; c < width_; c += WIDTH) {
            const vf centred = (load(state + c) - mean) * inverse;
            const vf x = fma(centred, load(norm.scale.data() + c), load(norm.shift.data() + c));
            store(state + c, x);
            P::put(w.rounded.data() + row * stride_ + c, x);
        }
    }

    // One layer. With only_first, what nobody will read is left out: `at` comes back with one row a text.
    void apply(const Layer &layer, std::vector<std::size_t> &at, bool only_first, const Work<P> &w) const {
        auto keep = [](T *to, std::size_t stride) {
            return [=](std::size_t r, std::size_t column, const vf(&sums)[WIDE]) {
#pragma GCC unroll 4
                for (int v = 0; v < WIDE; ++v) P::put(to + r * stride + column + v * WIDTH, sums[v]);
            };
        };
        auto add = [&](std::size_t r, std::size_t column, const vf(&sums)[WIDE]) {
            float *state = w.states.data() + r * width_ + column;
#pragma GCC unroll 4
            for (int v = 0; v < WIDE; ++v) store(state + v * WIDTH, load(state + v * WIDTH) + sums[v]);
        };
        layer.qkv.times(w.rounded.data(), stride_, at.back(), keep(w.heads.data(), heads_stride_));
        for (std::size_t i = 0; i + 1 < at.size(); ++i) {
            const std::size_t n = at[i + 1] - at[i];
            attend(at[i], n, only_first ? std::min<std::size_t>(n, 1) : n, w);
        }
        if (only_first) keep_first(at, w);
        const std::size_t rows = at.back();
        layer.out.times(w.heads.data(), heads_stride_, rows, add);
        for (std::size_t r = 0; r < rows; ++r) normalise(layer.after_attention, r, w);
        raise(layer.up, rows, w);
        layer.down.times(w.inner.data(), inner_stride_, rows, add);
        for (std::size_t r = 0; r < rows; ++r) normalise(layer.after_inner, r, w);
    }

    void raise(const Packed<P> &up, std::size_t rows, const Work<P> &w) const {
        auto through = [&](auto activation) {
            up.times(w.rounded.data(), stride_, rows, [&](std::size_t r, std::size_t column, const vf(&sums)[WIDE]) {
                T *to = w.inner.data() + r * inner_stride_ + column;
#pragma GCC unroll 4
                for (int v = 0; v < WIDE; ++v) P::put(to + v * WIDTH, activation(sums[v]));
            });
        };
        if (s_.activation == Activation::gelu) through([](vf x) { return gelu(x); });
        if (s_.activation == Activation::gelu_tanh) through([](vf x) { return gelu_tanh(x); });
        if (s_.activation == Activation::relu) through([](vf x) { return larger(x, vf{}); });
    }

    // The first row of each text that has one moves up behind that of the text before.
    void keep_first(std::vector<std::size_t> &at, const Work<P> &w) const {
        std::vector<std::size_t> kept{0};
        for (std::size_t i = 0; i + 1 < at.size(); ++i) {
            const std::size_t from = at[i], to = kept.back();
            const bool some = from < at[i + 1];
            if (some && from > to) {
                std::copy_n(w.states.data() + from * width_, width_, w.states.data() + to * width_);
                std::copy_n(w.heads.data() + from * heads_stride_, heads_stride_, w.heads.data() + to * heads_stride_);
            }
            kept.push_back(to + some);
        }
        at = kept;
    }

    // Each head of one text: softmax(queries · keys) · values, in place of the first `wanted` queries.
    void attend(std::size_t first, std::size_t n, std::size_t wanted, const Work<P> &w) const {
        const std::size_t mixed = s_.heads * head_width_, across = up_to(n, KEYS), steps = up_to(n, P::STEP) / P::STEP;
        const std::size_t score_stride = across + WIDTH;
        const std::size_t key_steps = head_width_ / P::STEP;
        for (std::size_t head = 0; head < s_.heads; ++head) {
            T *queries = w.heads.data() + first * heads_stride_ + head * head_width_;
            lay_keys(queries + mixed, n, w.keys.data());
            lay_values(queries + 2 * mixed, n, w.values.data());
            const float *relative =
                tables_.relative ? tables_.relative + head * (2 * tables_.longest - 1) + tables_.longest - 1 : nullptr;
            for (std::size_t row = 0; row < wanted; row += TALL_ROWS) {
                const std::size_t rows = std::min<std::size_t>(TALL_ROWS, wanted - row);
                float *scores = w.scores.data();
                for (std::size_t c = 0; c < across; c += KEYS)
                    past_panel<P, TALL_ROWS, TALL>(queries + row * heads_stride_, heads_stride_, rows,
                                                   w.keys.data() + c * head_width_, key_steps, nullptr,
                                                   [&](std::size_t r, const vf(&sums)[TALL]) {
                                                       for (int v = 0; v < TALL; ++v)
                                                           store(scores + r * score_stride + c + v * WIDTH, sums[v]);
                                                   });
                float sums_of[TALL_ROWS], inverse[TALL_ROWS];
                for (std::size_t r = 0; r < rows; r += ABREAST)
                    softmax(scores + r * score_stride, score_stride, n, relative ? relative - (row + r) : nullptr,
                            w.weights.data() + r * score_stride, sums_of + r);
                for (std::size_t r = 0; r < TALL_ROWS; ++r) inverse[r] = 1.0f / sums_of[r];
                for (std::size_t c = 0; c < head_width_; c += KEYS)
                    past_panel<P, TALL_ROWS, TALL>(
                        w.weights.data(), score_stride, rows, w.values.data() + c * steps * P::STEP, steps, nullptr,
                        [&](std::size_t r, const vf(&sums)[TALL]) {
                            for (int v = 0; v < TALL; ++v)
                                P::put(queries + (row + r) * heads_stride_ + c + v * WIDTH, sums[v] * inverse[r]);
                        });
            }
        }
    }

    // ABREAST rows of scores (base 2) to weights that are yet to be divided by their sums.
    static void softmax(float *scores, std::size_t stride, std::size_t n, const float *relative, T *weights,
                        float *sums) {
        vf top[ABREAST], total[ABREAST];
        for (std::size_t r = 0; r < ABREAST; ++r) {
            float *row = scores + r * stride;
            if (relative)
                for (std::size_t j = 0; j < n; ++j) row[j] += LOG2E * (relative - r)[j];
            for (std::size_t c = n; c < up_to(n, KEYS); c += WIDTH) store(row + c, all(-__builtin_inff()));
            top[r] = load(row), total[r] = vf{};
        }
        for (std::size_t c = WIDTH; c < n; c += WIDTH)
            for (std::size_t r = 0; r < ABREAST; ++r) top[r] = larger(top[r], load(scores + r * stride + c));
        for (std::size_t r = 0; r < ABREAST; ++r) top[r] = all(largest(top[r]));
        for (std::size_t c = 0; c < n; c += WIDTH)
            for (std::size_t r = 0; r < ABREAST; ++r) {
                const vf weight = exp2(load(scores + r * stride + c) - top[r]);
                total[r] += weight;
                P::put(weights + r * stride + c, weight);
            }
        for (std::size_t r = 0; r < ABREAST; ++r) sums[r] = sum(total[r]);
    }

    // (n, head) keys to panels with KEYS tokens as columns, k along the head; missing tokens are zeros.
    void lay_keys(const T *keys, std::size_t n, T *to) const {
        const std::size_t width = head_width_, stride = heads_stride_;  // not read again at every store
        for (std::size_t panel = 0; panel < n; panel += KEYS, to += KEYS * width) {
            if (panel + KEYS > n) std::fill_n(to, KEYS * width, T{});
            for (std::size_t j = 0; j < std::min(KEYS, n - panel); ++j) {
                const T *key = keys + (panel + j) * stride;
                for (std::size_t c = 0; c < width; c += P::STEP)
                    std::memcpy(to + c * KEYS + j * P::STEP, key + c, P::STEP * sizeof(T));
            }
        }
    }

    // (n, head) values to panels with KEYS columns of the head, k along the tokens; a missing token is zeros.
    void lay_values(const T *values, std::size_t n, T *to) const {
        for (std::size_t column = 0; column < head_width_; column += KEYS)
            for (std::size_t j = 0; j < n; j += P::STEP, to += KEYS * P::STEP) {
                const T *row = values + j * heads_stride_ + column;
                if constexpr (P::STEP == 1)
                    std::copy_n(row, KEYS, to);
                else
                    P::pair(to, row, j + 1 < n ? row + heads_stride_ : nullptr, KEYS);
            }
    }

    EncoderSettings s_;
    EncoderTables tables_;
    std::size_t head_, head_width_;  // as the model has it; padded to whole panels
    std::size_t width_, stride_, heads_stride_, inner_stride_;
    Norm embedding_;
    std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<Transformer> make_transformer(const EncoderSettings &settings, const EncoderTables &tables,
                                              [[maybe_unused]] bool bfloat16) {
#if defined(__AVX512BF16__)
    if (bfloat16) return std::make_unique<Encoder<BFloat16>>(settings, tables);
#endif
    return std::make_unique<Encoder<Float32>>(settings, tables);
}

}  // namespace firth
