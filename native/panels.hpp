// Products of a training step: both sides change at every step, so what is packed is packed fast and used once.
//
// Four registers of columns at every level; an LSTM's panel holds the four gates of WIDTH cells, which then meet in
// registers.
#pragma once

#include "gemm.hpp"

namespace firth {

constexpr int VECTORS = 4, PANEL_ROWS = REGISTERS == 32 ? 6 : 2;
constexpr std::size_t PANEL = VECTORS * WIDTH;  // columns of a panel

// Two rows of WIDTH floats as one step of columns; a format that takes rows singly reads only the first.
template <class P> inline void put_pair(typename P::T *out, const vf &first, const vf &second) {
    if constexpr (P::STEP == 1) {
        P::put(out, first);
    } else {
        typename P::T rounded[2][WIDTH];
        P::put(rounded[0], first);
        P::put(rounded[1], second);
        P::pair(out, rounded[0], rounded[1], WIDTH);
    }
}

// The first n of WIDTH floats, zeros behind them.
inline vf load_some(const float *p, std::size_t n) {
    if (n >= WIDTH) return load(p);
    vf v{};
    std::memcpy(&v, p, n * sizeof(float));
    return v;
}

inline void store_some(float *p, const vf &v, std::size_t n) { std::memcpy(p, &v, std::min(n, WIDTH) * sizeof(float)); }

// n floats into the format of the products, zeros up to `width`, a multiple of WIDTH.
template <class P> inline void put_row(typename P::T *out, const float *row, std::size_t n, std::size_t width) {
    for (std::size_t j = 0; j < width; j += WIDTH) P::put(out + j, load_some(row + j, j < n ? n - j : 0));
}

template <class T> inline void transpose(const T *from, std::size_t stride, std::size_t rows, std::size_t columns, T *to,
                                         std::size_t to_stride) {
    constexpr std::size_t BLOCK = 32;
    for (std::size_t r = 0; r < rows; r += BLOCK)
        for (std::size_t c = 0; c < columns; c += BLOCK)
            for (std::size_t j = c; j < std::min(c + BLOCK, columns); ++j)
                for (std::size_t i = r; i < std::min(r + BLOCK, rows); ++i) to[j * to_stride + i] = from[i * stride + j];
}

template <class P> class Panels {
    using T = typename P::T;

  public:
    Panels() = default;
    Panels(std::size_t columns, std::size_t k)
        : panels_(up_to(columns, PANEL) / PANEL), steps_(up_to(k, P::STEP) / P::STEP), k_(k),
          data_(panels_ * steps_ * PANEL * P::STEP) {}

    std::size_t count() const { return panels_; }
    T *panel(std::size_t q) const { return data_.data() + q * steps_ * PANEL * P::STEP; }

    // row(k) -> the k-th row of floats; at(q, v) -> first column and how many of them register v of panel q takes.
    template <class Row, class At> void pack(Row row, At at) const {
        for (std::size_t q = 0; q < panels_; ++q) {
            T *to = panel(q);
            for (int v = 0; v < VECTORS; ++v) {
                const auto [column, n] = at(q, v);
                for (std::size_t s = 0; s < steps_; ++s) {
                    const std::size_t k = s * P::STEP;
                    const vf second = k + 1 < k_ && P::STEP > 1 ? load_some(row(k + 1) + column, n) : vf{};
                    put_pair<P>(to + (s * VECTORS + v) * WIDTH * P::STEP, load_some(row(k) + column, n), second);
                }
            }
        }
    }

    // The transpose: row(column) -> the k floats of a column, or null; from(k) -> where the WIDTH floats of k, a
    // multiple of WIDTH, begin in it, and how many of them there are.
    template <class Row, class From> void pack_transposed(Row row, From from) const {
        for (std::size_t q = 0; q < panels_; ++q) {
            T *to = panel(q);
            for (std::size_t k = 0; k < k_; k += WIDTH) {
                const auto [begin, n] = from(k);
                const std::size_t most = std::min(WIDTH, up_to(k_, P::STEP) - k);
                for (std::size_t j = 0; j < PANEL; ++j) {
                    const float *source = row(q * PANEL + j);
                    T rounded[WIDTH] = {};
                    if (source) P::put(rounded, load_some(source + begin, n));
                    for (std::size_t i = 0; i < most; i += P::STEP)
                        std::memcpy(to + ((k + i) / P::STEP * PANEL + j) * P::STEP, rounded + i, P::STEP * sizeof(T));
                }
            }
        }
    }

    // Rows in the products' format, `stride` apart, PANEL of their columns from `column` on; panel 0 alone.
    void pack_rows(const T *rows, std::size_t stride, std::size_t column) const {
        for (std::size_t s = 0; s < steps_; ++s) {
            const T *first = rows + s * P::STEP * stride + column;
            T *to = panel(0) + s * PANEL * P::STEP;
            if constexpr (P::STEP == 1)
                std::copy_n(first, PANEL, to);
            else
                P::pair(to, first, s * P::STEP + 1 < k_ ? first + stride : nullptr, PANEL);
        }
    }

    // done(row, sums) for every row of a past panel q.
    template <class Done>
    void times(const T *a, std::size_t stride, std::size_t rows, std::size_t q, const float *bias, const Done &done) const {
        past_panel<P, PANEL_ROWS, VECTORS>(a, stride, rows, panel(q), steps_, bias, done);
    }

  private:
    std::size_t panels_ = 0, steps_ = 0, k_ = 0;
    Buffer<T> data_;
};

}  // namespace firth
