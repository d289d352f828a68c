// Small dense products for encoder inference: (rows, k) activations times weights packed once into panels.
//
// A panel is VECTORS registers of columns wide and k deep, and stays in the first or second cache while the rows stream
// past it. A tile of ROWS x VECTORS sums lives in registers for the whole of k: nothing is split along k, so an output
// depends on its own row only, in one fixed order, whatever the other rows are.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "vector.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace firth {

// Rows x registers of a tile of sums; the rest of the registers hold the panel's columns and one row's value.
constexpr int WIDE_ROWS = 6, WIDE = REGISTERS == 32 ? 4 : 2;   // for weights: fewest loads a product
constexpr int TALL_ROWS = REGISTERS == 32 ? 12 : 6, TALL = 2;  // for attention: heads are 32 or 64 wide

constexpr std::size_t up_to(std::size_t n, std::size_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// Zeroed memory on cache lines, in huge pages where the system has them to give.
template <class T> class Buffer {
  public:
    Buffer() = default;
    explicit Buffer(std::size_t n) {
        const std::size_t align = n * sizeof(T) >= HUGE ? HUGE : 64, bytes = up_to(n * sizeof(T) + 1, align);
        memory_.reset(static_cast<T *>(::operator new(bytes, std::align_val_t(align))), Free{align});
#if defined(__linux__)
        if (align == HUGE) madvise(memory_.get(), bytes, MADV_HUGEPAGE);  // advice: its refusal changes nothing
#endif
        std::memset(memory_.get(), 0, bytes);
    }
    T *data() const { return memory_.get(); }
    T &operator[](std::size_t i) const { return memory_.get()[i]; }

  private:
    static constexpr std::size_t HUGE = 1 << 21;
    struct Free {
        std::size_t align;
        void operator()(T *p) const { ::operator delete(p, std::align_val_t(align)); }
    };
    std::shared_ptr<T> memory_;
};

// A number format: T is its storage, STEP how many neighbours along k one instruction takes.
struct Float32 {
    using T = float;
    static constexpr std::size_t STEP = 1;
    static constexpr const char *NAME = "float32";
    using Columns = vf;
    static T from(float x) { return x; }
    static Columns columns(const T *b) { return load(b); }
    static Columns broadcast(const T *a) { return all(*a); }
    static vf product(vf sum, Columns a, Columns b) { return fma(a, b, sum); }
    static void put(T *out, vf v) { store(out, v); }
};

#if defined(__AVX512BF16__)
struct BFloat16 {
    using T = std::uint16_t;
    static constexpr std::size_t STEP = 2;
    static constexpr const char *NAME = "bfloat16";
    using Columns = __m512bh;
    static T from(float x) {  // to nearest, ties to even
        std::uint32_t bits;
        std::memcpy(&bits, &x, 4);
        return static_cast<T>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
    }
    static Columns columns(const T *b) { return (__m512bh)_mm512_loadu_si512(b); }
    static Columns broadcast(const T *a) {
        int pair;
        std::memcpy(&pair, a, 4);
        return (__m512bh)_mm512_set1_epi32(pair);
    }
    static vf product(vf sum, Columns a, Columns b) { return _mm512_dpbf16_ps(sum, a, b); }
    static void put(T *out, vf v) { _mm256_storeu_si256((__m256i *)out, (__m256i)_mm512_cvtneps_pbh(v)); }
    // Two rows taken alternately; without a second row, zeros.
    static void pair(T *out, const T *first, const T *second, std::size_t n) {
        for (std::size_t i = 0; i < n; i += WIDTH) {
            auto wide = [&](const T *row) {
                return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(row + i)));
            };
            const __m512i high = second ? _mm512_slli_epi32(wide(second), 16) : _mm512_setzero_si512();
            _mm512_storeu_si512(out + 2 * i, _mm512_or_si512(wide(first), high));
        }
    }
};
#endif

// sums[r][v] += row r of a · the v-th register of columns of b, over `steps` of k.
template <class P, int ROWS, int VECTORS>
[[gnu::always_inline]] inline void tile(const typename P::T *a, std::size_t stride, const typename P::T *b,
                                        std::size_t steps, vf (&sums)[ROWS][VECTORS]) {
    for (std::size_t k = 0; k < steps; ++k) {
        typename P::Columns column[VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) column[v] = P::columns(b + (k * VECTORS + v) * WIDTH * P::STEP);
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) {
            const typename P::Columns row = P::broadcast(a + r * stride + k * P::STEP);
#pragma GCC unroll 4
            for (int v = 0; v < VECTORS; ++v) sums[r][v] = P::product(sums[r][v], row, column[v]);
        }
    }
}

// Tiles of one height; done(row, sums of that row) is called once for each row.
template <class P, int ROWS, int VECTORS, class Done>
[[gnu::noinline]] void rows_of_height(const typename P::T *a, std::size_t stride, const typename P::T *panel,
                                      std::size_t steps, const float *bias, std::size_t row, const Done &done) {
    vf sums[ROWS][VECTORS];
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < VECTORS; ++v) sums[r][v] = bias ? load(bias + v * WIDTH) : vf{};
    tile<P>(a + row * stride, stride, panel, steps, sums);
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) done(row + r, sums[r]);
}

template <class P, int ROWS, int VECTORS, class... Rest> void rows_of(int height, const Rest &...rest) {
    if constexpr (ROWS > 1)
        if (height < ROWS) return rows_of<P, ROWS - 1, VECTORS>(height, rest...);
    rows_of_height<P, ROWS, VECTORS>(rest...);
}

// All rows past one panel, cut into tiles of nearly equal height: a last tile of one row would wait for its own sums.
template <class P, int ROWS, int VECTORS, class Done>
void past_panel(const typename P::T *a, std::size_t stride, std::size_t rows, const typename P::T *panel,
                std::size_t steps, const float *bias, const Done &done) {
    const std::size_t tiles = (rows + ROWS - 1) / ROWS;
    for (std::size_t i = 0, row = 0; i < tiles; ++i) {
        const std::size_t next = rows * (i + 1) / tiles;
        rows_of<P, ROWS, VECTORS>(static_cast<int>(next - row), a, stride, panel, steps, bias, row, done);
        row = next;
    }
}

// (n, k) weights and n biases, as panels of columns; n is padded with zeros to whole panels.
template <class P> class Packed {
  public:
    static constexpr std::size_t COLUMNS = WIDE * WIDTH;

    // row(i) gives the k weights of output i, or null for zeros; bias_of(i) its bias.
    template <class Row, class Bias>
    Packed(std::size_t n, std::size_t k, Row row, Bias bias_of)
        : panels_(up_to(n, COLUMNS) / COLUMNS), steps_(up_to(k, P::STEP) / P::STEP),
          weights_(panels_ * steps_ * COLUMNS * P::STEP), bias_(panels_ * COLUMNS) {
        for (std::size_t i = 0; i < n; ++i) {
            bias_[i] = bias_of(i);
            typename P::T *to = weights_.data() + (i / COLUMNS * steps_ * COLUMNS + i % COLUMNS) * P::STEP;
            for (std::size_t j = 0; j < k; ++j) to[j / P::STEP * COLUMNS * P::STEP + j % P::STEP] = P::from(row(i, j));
        }
    }

    // done(row, first column, sums of WIDE registers) for each row of a and each panel.
    template <class Done> void times(const typename P::T *a, std::size_t stride, std::size_t rows, Done done) const {
        for (std::size_t p = 0; p < panels_; ++p)
            past_panel<P, WIDE_ROWS, WIDE>(
                a, stride, rows, weights_.data() + p * steps_ * COLUMNS * P::STEP, steps_, bias_.data() + p * COLUMNS,
                [&, column = p * COLUMNS](std::size_t r, const vf(&sums)[WIDE]) { done(r, column, sums); });
    }

    std::size_t columns() const { return panels_ * COLUMNS; }

  private:
    std::size_t panels_, steps_;
    Buffer<typename P::T> weights_;
    Buffer<float> bias_;
};

}  // namespace firth
