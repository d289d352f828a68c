// The LSTM kernel: one direction's steps stay on one thread, where its weights stay in the second cache.
//
// A panel of the gates' product holds the four gates of WIDTH cells, so that they meet in registers: curves, cell,
// clipping and the output of a cell follow at once, and no gate goes through memory before its curve. The gradient of
// the weights is one product over all steps, its bias a row of it: the inputs carry a column of ones.
//
// Tried, in processor time of one training step of elmo_small (64 streams x 20 words, vocabulary 30,003, bfloat16, one
// thread, Zen 5, the machine shared; medians of three, benchmarks/bench_pretrain.py's batches):
//   torch operations a step, gradient written out by hand (contextual/lstm.py's _run)   320 ms
//   this kernel                                                                         192
//   and characters as sums of table rows (spellings.cpp) in place of convolutions       159
//   and the sampled softmax in blocks (sampled.cpp)                                     109
//   this kernel with a new workspace each pass, its pages touched anew: 3 % slower.
#include "lstm.hpp"

#include <cmath>
#include <optional>
#include <utility>

#include "panels.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t STAGGER = 32;  // numbers between rows beyond their width, see transformer.cpp
constexpr float LOG2E = 1.44269504f;

inline vf sigmoid(vf x) {
    const vf power = exp2(smaller(x, -x) * LOG2E);  // e^-|x|
    return (x > vf{} ? all(1.0f) : power) / (power + 1.0f);
}

// Near zero by its series, where 1 - e^-2|x| would cancel; relative error 3e-7.
inline vf tanh(vf x) {
    constexpr float NEAR = 0.3f;
    constexpr float C[] = {1.0f, -1.0f / 3, 2.0f / 15, -17.0f / 315, 62.0f / 2835};
    const vf size = larger(x, -x), power = exp2(size * (-2 * LOG2E));
    const vf far = (1.0f - power) / (1.0f + power);
    return size < all(NEAR) ? x * polynomial(C, x * x) : (x > vf{} ? far : -far);
}

inline vf clipped(vf x, float most) { return larger(smaller(x, all(most)), all(-most)); }

// x where |y| is below `most`, else 0.
inline vf where_free(vf x, vf y, float most) { return larger(y, -y) < all(most) ? x : vf{}; }

template <class P> class Steps final : public Lstm {
    using T = typename P::T;

  public:
    explicit Steps(const LstmShape &shape)
        : s_(shape), n_(shape.steps * shape.rows), k_(shape.inputs + shape.width), cells_(up_to(shape.cells, PANEL)),
          width_(up_to(shape.width, PANEL)), in_stride_(up_to(k_ + 1, WIDTH) + STAGGER),
          gates_stride_(4 * cells_ + STAGGER), cells_stride_(cells_ + STAGGER), width_stride_(width_ + STAGGER) {
        for (Direction &d : directions_)
            d = {Panels<P>(4 * cells_, k_),
                 Panels<P>(width_, s_.cells),
                 Buffer<float>(4 * cells_),
                 Buffer<T>((n_ + s_.rows) * in_stride_),
                 Buffer<float>(n_ * 4 * cells_),
                 Buffer<float>((n_ + s_.rows) * cells_),
                 Buffer<float>(n_ * cells_),
                 Buffer<T>(n_ * cells_stride_)};
    }

    const char *precision() const override { return P::NAME; }

    void forward(const LstmWeights &weights, const float *x, const float *h, const float *c, float *y, float *end,
                 int threads, const std::atomic<bool> &stop) override {
        both(1, threads, stop, [&](std::size_t side, std::size_t) { pack(side, weights); });
        both(blocks(threads), threads, stop, [&](std::size_t side, std::size_t block) {
            const std::size_t from = block * s_.rows / blocks(threads), to = (block + 1) * s_.rows / blocks(threads);
            start(side, from, to, x, h, c);
            for (std::size_t t = 0; t < s_.steps && !stop.load(std::memory_order_relaxed); ++t)
                step(directions_[side], t, from, to, y + side * n_ * s_.width);
            const float *last = directions_[side].cells.data() + n_ * cells_;
            for (std::size_t r = from; r < to; ++r)
                std::copy_n(last + r * cells_, s_.cells, end + (side * s_.rows + r) * s_.cells);
        });
    }

    void backward(const LstmWeights &weights, const float *y, const float *dy, const LstmGradients &g, int threads,
                  const std::atomic<bool> &stop) override {
        both(1, threads, stop, [&](std::size_t side, std::size_t) { prepare(side, weights); });
        both(blocks(threads), threads, stop, [&](std::size_t side, std::size_t block) {
            const std::size_t from = block * s_.rows / blocks(threads), to = (block + 1) * s_.rows / blocks(threads);
            for (std::size_t t = s_.steps; t-- > 0 && !stop.load(std::memory_order_relaxed);)
                step_back(side, t, from, to, y + side * n_ * s_.width, dy + side * n_ * s_.width,
                          g.x + side * n_ * s_.inputs);
        });
        both(1, threads, stop, [&](std::size_t side, std::size_t) { turn(directions_[side], back_[side]); });
        const std::size_t gates = cells_ / WIDTH, outs = cells_ / PANEL;
        parallel_for(2 * (gates + outs), 1, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            const Panels<P> panel(PANEL, n_);
            for (std::size_t i = begin; i < end; ++i) {
                const std::size_t side = i % 2, q = i / 2;
                if (q < gates)
                    weight_gradient(side, q, panel, g);
                else
                    out_gradient(side, q - gates, panel, g);
            }
        });
    }

  private:
    struct Direction {
        Panels<P> gates, out;
        Buffer<float> bias;    // (4·cells) in the order of the panels
        Buffer<T> in;          // (n + b, i + p + 1): a step's input, the output before it, and a one
        Buffer<float> curved;  // (n, 4·cells) gates behind their curves, in the order of the panels
        Buffer<float> cells;   // (n + b, cells), the first b before the first step
        Buffer<float> tanhs;   // (n, cells) of the cells
        Buffer<T> shown;       // (n, cells) what is projected
    };
    struct Back {
        Panels<P> gates, out;  // transposed
        Buffer<T> dgates;      // (n, 4·cells) in the order of the panels
        Buffer<T> dprojected;  // (n, p)
        Buffer<float> din;     // (b, i + p) of one step
        Buffer<float> dcells;  // (b, cells)
        Buffer<T> in, projected;  // (i + p + 1, n) and (p, n): transposes of what the steps took and gave
    };

    std::size_t blocks(int threads) const {
        return std::clamp<std::size_t>(static_cast<std::size_t>(std::max(threads, 1)) / 2, 1, s_.rows);
    }

    template <class Body> void both(std::size_t n, int threads, const std::atomic<bool> &stop, Body body) const {
        parallel_for(2 * n, 1, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t i = begin; i < end; ++i) body(i % 2, i / 2);
        });
    }

    std::size_t left(std::size_t from, std::size_t all) const { return from < all ? all - from : 0; }

    // Row k of one direction's weights to the gates: those of the input, then those of the output before.
    const float *weights_row(std::size_t side, const LstmWeights &w, std::size_t k) const {
        const std::size_t gates = 4 * s_.cells;
        return k < s_.inputs ? w.inner + (side * s_.inputs + k) * gates
                             : w.again + (side * s_.width + k - s_.inputs) * gates;
    }

    void pack(std::size_t side, const LstmWeights &w) {
        Direction &d = directions_[side];
        auto gate = [&](std::size_t q, int v) {
            return std::pair(v * s_.cells + std::min(q * WIDTH, s_.cells), left(q * WIDTH, s_.cells));
        };
        d.gates.pack([&](std::size_t k) { return weights_row(side, w, k); }, gate);
        for (std::size_t q = 0; q < cells_ / WIDTH; ++q)
            for (int v = 0; v < VECTORS; ++v) {
                const auto [column, n] = gate(q, v);
                store(d.bias.data() + q * PANEL + v * WIDTH, load_some(w.bias + side * 4 * s_.cells + column, n));
            }
        d.out.pack([&](std::size_t k) { return w.out + (side * s_.cells + k) * s_.width; },
                   [&](std::size_t q, int v) {
                       const std::size_t column = q * PANEL + v * WIDTH;
                       return std::pair(std::min(column, s_.width), left(column, s_.width));
                   });
    }

    // What is known before the first step: all inputs, the output and the cells before it.
    void start(std::size_t side, std::size_t from, std::size_t to, const float *x, const float *h, const float *c) {
        const Direction &d = directions_[side];
        for (std::size_t t = 0; t <= s_.steps; ++t)
            for (std::size_t r = from; r < to; ++r) {
                T *in = d.in.data() + (t * s_.rows + r) * in_stride_;
                if (t < s_.steps) {
                    const float *row = x + ((side * s_.steps + t) * s_.rows + r) * s_.inputs;
                    put_row<P>(in, row, s_.inputs, up_to(s_.inputs, WIDTH));
                }
                if (t == 0) put_tail(in + s_.inputs, h + (side * s_.rows + r) * s_.width);
                in[k_] = P::from(1.0f);
            }
        for (std::size_t r = from; r < to; ++r)
            std::copy_n(c + (side * s_.rows + r) * s_.cells, s_.cells, d.cells.data() + r * cells_);
    }

    void put_tail(T *to, const float *row) const {
        for (std::size_t j = 0; j < s_.width; ++j) to[j] = P::from(row[j]);
    }

    void step(const Direction &d, std::size_t t, std::size_t from, std::size_t to, float *y) const {
        const std::size_t first = t * s_.rows + from, rows = to - from;
        for (std::size_t q = 0; q < cells_ / WIDTH; ++q)
            d.gates.times(d.in.data() + first * in_stride_, in_stride_, rows, q, d.bias.data() + q * PANEL,
                          [&](std::size_t r, const vf(&sums)[VECTORS]) { cell(d, first + r, q * WIDTH, sums); });
        for (std::size_t q = 0; q < d.out.count(); ++q)
            d.out.times(d.shown.data() + first * cells_stride_, cells_stride_, rows, q, nullptr,
                        [&](std::size_t r, const vf(&sums)[VECTORS]) {
                            float out[PANEL];
                            for (int v = 0; v < VECTORS; ++v) store(out + v * WIDTH, clipped(sums[v], s_.projection_clip));
                            const std::size_t n = std::min(PANEL, s_.width - q * PANEL);
                            std::copy_n(out, n, y + (first + r) * s_.width + q * PANEL);
                            T *next = d.in.data() + (first + s_.rows + r) * in_stride_ + s_.inputs + q * PANEL;
                            for (std::size_t j = 0; j < n; ++j) next[j] = P::from(out[j]);
                        });
    }

    // WIDTH cells of one row, from the sums of their four gates to what is projected.
    void cell(const Direction &d, std::size_t row, std::size_t at, const vf (&sums)[VECTORS]) const {
        const vf take = sigmoid(sums[0]), keep = sigmoid(sums[1]), show = sigmoid(sums[2]), fresh = tanh(sums[3]);
        float *curved = d.curved.data() + row * 4 * cells_ + at * VECTORS;
        store(curved, take);
        store(curved + WIDTH, keep);
        store(curved + 2 * WIDTH, show);
        store(curved + 3 * WIDTH, fresh);
        float *before = d.cells.data() + row * cells_ + at;
        const vf value = clipped(fma(keep, load(before), take * fresh), s_.cell_clip), bent = tanh(value);
        store(before + s_.rows * cells_, value);
        store(d.tanhs.data() + row * cells_ + at, bent);
        P::put(d.shown.data() + row * cells_stride_ + at, show * bent);
    }

    void prepare(std::size_t side, const LstmWeights &w) {
        Back &b = back_[side];
        if (b.dgates.data() == nullptr)  // a layer that only reads has no gradient to keep
            b = {Panels<P>(k_, 4 * cells_),
                 Panels<P>(cells_, s_.width),
                 Buffer<T>(n_ * gates_stride_),
                 Buffer<T>(n_ * width_stride_),
                 Buffer<float>(s_.rows * up_to(k_, PANEL)),
                 Buffer<float>(s_.rows * cells_),
                 Buffer<T>((k_ + 1) * (n_ + STAGGER)),
                 Buffer<T>(s_.width * (n_ + STAGGER))};
        std::fill_n(b.din.data(), s_.rows * up_to(k_, PANEL), 0.0f);
        std::fill_n(b.dcells.data(), s_.rows * cells_, 0.0f);
        b.gates.pack_transposed([&](std::size_t k) { return k < k_ ? weights_row(side, w, k) : nullptr; },
                                [&](std::size_t k) {
                                    const std::size_t at = k / PANEL * WIDTH, gate = k % PANEL / WIDTH;
                                    return std::pair(gate * s_.cells + std::min(at, s_.cells), left(at, s_.cells));
                                });
        b.out.pack_transposed(
            [&](std::size_t j) { return j < s_.cells ? w.out + (side * s_.cells + j) * s_.width : nullptr; },
            [&](std::size_t k) { return std::pair(k, left(k, s_.width)); });
    }

    void step_back(std::size_t side, std::size_t t, std::size_t from, std::size_t to, const float *y, const float *dy,
                   float *dx) const {
        const Direction &d = directions_[side];
        const Back &b = back_[side];
        const std::size_t first = t * s_.rows + from, rows = to - from, in = up_to(k_, PANEL);
        for (std::size_t r = 0; r < rows; ++r) {
            const float *given = y + (first + r) * s_.width, *slope = dy + (first + r) * s_.width;
            const float *after = b.din.data() + (from + r) * in + s_.inputs;
            for (std::size_t j = 0; j < s_.width; j += WIDTH) {
                const std::size_t n = s_.width - j;
                const vf total = load_some(slope + j, n) + load_some(after + j, n);
                P::put(b.dprojected.data() + (first + r) * width_stride_ + j,
                       where_free(total, load_some(given + j, n), s_.projection_clip));
            }
        }
        for (std::size_t q = 0; q < b.out.count(); ++q)
            b.out.times(b.dprojected.data() + first * width_stride_, width_stride_, rows, q, nullptr,
                        [&](std::size_t r, const vf(&sums)[VECTORS]) {
#pragma GCC unroll 4
                            for (int v = 0; v < VECTORS; ++v)
                                cell_back(d, b, first + r, from + r, q * PANEL + v * WIDTH, sums[v]);
                        });
        for (std::size_t q = 0; q < b.gates.count(); ++q)
            b.gates.times(b.dgates.data() + first * gates_stride_, gates_stride_, rows, q, nullptr,
                          [&](std::size_t r, const vf(&sums)[VECTORS]) {
#pragma GCC unroll 4
                              for (int v = 0; v < VECTORS; ++v)
                                  store(b.din.data() + (from + r) * in + q * PANEL + v * WIDTH, sums[v]);
                          });
        for (std::size_t r = 0; r < rows; ++r)
            std::copy_n(b.din.data() + (from + r) * in, s_.inputs, dx + (first + r) * s_.inputs);
    }

    // WIDTH cells of one row, from the gradient of what was projected to those of the four gates before their curves.
    void cell_back(const Direction &d, const Back &b, std::size_t row, std::size_t own, std::size_t at, vf dshown) const {
        const float *curved = d.curved.data() + row * 4 * cells_ + at * VECTORS;
        const vf take = load(curved), keep = load(curved + WIDTH), show = load(curved + 2 * WIDTH),
                 fresh = load(curved + 3 * WIDTH), bent = load(d.tanhs.data() + row * cells_ + at);
        const float *before = d.cells.data() + row * cells_ + at;
        float *dcell = b.dcells.data() + own * cells_ + at;
        const vf total = fma(dshown * show, 1.0f - bent * bent, load(dcell));
        const vf slope = where_free(total, load(before + s_.rows * cells_), s_.cell_clip);
        store(dcell, slope * keep);
        T *to = b.dgates.data() + row * gates_stride_ + at * VECTORS;
        P::put(to, slope * fresh * take * (1.0f - take));
        P::put(to + WIDTH, slope * load(before) * keep * (1.0f - keep));
        P::put(to + 2 * WIDTH, dshown * bent * show * (1.0f - show));
        P::put(to + 3 * WIDTH, slope * take * (1.0f - fresh * fresh));
    }

    void turn(const Direction &d, const Back &b) const {
        transpose(d.in.data(), in_stride_, n_, k_ + 1, b.in.data(), n_ + STAGGER);
        transpose(b.dprojected.data(), width_stride_, n_, s_.width, b.projected.data(), n_ + STAGGER);
    }

    // The four gates of WIDTH cells: their columns of the gates' weights and bias.
    void weight_gradient(std::size_t side, std::size_t q, const Panels<P> &panel, const LstmGradients &g) const {
        const Back &b = back_[side];
        const std::size_t gates = 4 * s_.cells, n = left(q * WIDTH, s_.cells);
        if (n == 0) return;
        panel.pack_rows(b.dgates.data(), gates_stride_, q * PANEL);
        panel.times(b.in.data(), n_ + STAGGER, k_ + 1, 0, nullptr, [&](std::size_t k, const vf(&sums)[VECTORS]) {
            float *row = k == k_          ? g.bias + side * gates
                         : k < s_.inputs ? g.inner + (side * s_.inputs + k) * gates
                                         : g.again + (side * s_.width + k - s_.inputs) * gates;
            for (int v = 0; v < VECTORS; ++v) store_some(row + v * s_.cells + q * WIDTH, sums[v], n);
        });
    }

    // PANEL rows of the projection's weights.
    void out_gradient(std::size_t side, std::size_t q, const Panels<P> &panel, const LstmGradients &g) const {
        panel.pack_rows(directions_[side].shown.data(), cells_stride_, q * PANEL);
        const std::size_t n = std::min(PANEL, left(q * PANEL, s_.cells));
        float *out = g.out + (side * s_.cells + q * PANEL) * s_.width;
        panel.times(back_[side].projected.data(), n_ + STAGGER, s_.width, 0, nullptr,
                    [&](std::size_t j, const vf(&sums)[VECTORS]) {
                        float column[PANEL];
                        for (int v = 0; v < VECTORS; ++v) store(column + v * WIDTH, sums[v]);
                        for (std::size_t i = 0; i < n; ++i) out[i * s_.width + j] = column[i];
                    });
    }

    LstmShape s_;
    std::size_t n_, k_, cells_, width_, in_stride_, gates_stride_, cells_stride_, width_stride_;
    Direction directions_[2];
    Back back_[2];
};

}  // namespace

std::unique_ptr<Lstm> make_lstm(const LstmShape &shape, bool bfloat16) {
#if defined(__AVX512BF16__)
    if (bfloat16) return std::make_unique<Steps<BFloat16>>(shape);
#endif
    (void)bfloat16;
    return std::make_unique<Steps<Float32>>(shape);
}

}  // namespace firth
