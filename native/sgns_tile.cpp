// The step on a tile of input and output rows: two small matrix products around a logistic function; see sgns.hpp.
//
// Registers: a block of 4 x 4 inner products (AVX-512; 2 x 4 in AVX2, 1 x 4 in SSE) is summed lane by lane and folded
// to one vector by a tree of shuffles, so the logistic function runs on full registers. The two gradient products keep
// 4 rows x 4 vectors in registers. This file is compiled with fused multiply-add (CMakeLists.txt).
#include <cmath>
#include <cstring>

#include "sgns.hpp"
#include "vector.hpp"

namespace firth {
namespace {

constexpr std::size_t SLAB = WIDTH / BLOCK;  // input rows of a register block
constexpr std::size_t CELLS = BLOCK * BLOCK;

// Sums of WIDTH vectors, in their order: v[i] -> lane i.
inline vf fold(const vf *v) {
#if defined(__AVX512F__)
    vf half[8], quad[4], pair[2];
    for (int i = 0; i < 8; ++i)
        half[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29) +
                  __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
    for (int i = 0; i < 4; ++i)
        quad[i] = __builtin_shufflevector(half[2 * i], half[2 * i + 1], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
                  __builtin_shufflevector(half[2 * i], half[2 * i + 1], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    for (int i = 0; i < 2; ++i)
        pair[i] = __builtin_shufflevector(quad[2 * i], quad[2 * i + 1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
                  __builtin_shufflevector(quad[2 * i], quad[2 * i + 1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    return __builtin_shufflevector(pair[0], pair[1], 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
           __builtin_shufflevector(pair[0], pair[1], 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
#elif defined(__AVX__)
    vf half[4], quad[2];
    for (int i = 0; i < 4; ++i)
        half[i] = __builtin_shufflevector(v[2 * i], v[2 * i + 1], 0, 8, 1, 9, 4, 12, 5, 13) +
                  __builtin_shufflevector(v[2 * i], v[2 * i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    for (int i = 0; i < 2; ++i)
        quad[i] = __builtin_shufflevector(half[2 * i], half[2 * i + 1], 0, 1, 8, 9, 4, 5, 12, 13) +
                  __builtin_shufflevector(half[2 * i], half[2 * i + 1], 2, 3, 10, 11, 6, 7, 14, 15);
    return __builtin_shufflevector(quad[0], quad[1], 0, 1, 2, 3, 8, 9, 10, 11) +
           __builtin_shufflevector(quad[0], quad[1], 4, 5, 6, 7, 12, 13, 14, 15);
#else
    const vf a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5) + __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const vf b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5) + __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    return __builtin_shufflevector(a, b, 0, 1, 4, 5) + __builtin_shufflevector(a, b, 2, 3, 6, 7);
#endif
}

// exp(x) for -87 <= x <= 0: 2^n by the exponent bits, the rest by a polynomial; relative error below 2e-7.
inline vf exp_of(vf x) {
    const vf n = x * 1.44269504f + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const vf rounded = n - 12582912.0f;
    const vf r = (x - rounded * 0.693145752f) - rounded * 1.42860677e-6f;  // ln 2 in two parts
    vf p = all(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    vi bits;
    std::memcpy(&bits, &n, sizeof bits);
    bits = (bits + 127) << 23;
    vf power;
    std::memcpy(&power, &bits, sizeof power);
    return p * power;
}

struct Logistic {
    vf sigma, softplus, above, below;  // 1 / (1 + exp(-s)), log(1 + exp(-|s|)), max(s, 0), max(-s, 0)
};

inline Logistic logistic(vf s) {
    const vf magnitude = s < 0.0f ? -s : s;
    const vf e = exp_of(magnitude > 87.0f ? all(-87.0f) : -magnitude);
    const vf upper = 1.0f / (1.0f + e);
    const vf z = e / (2.0f + e);  // log(1 + e) = 2 atanh(e / (2 + e)), z <= 1/3
    const vf z2 = z * z;
    vf series = all(1.0f / 11);
    series = series * z2 + 1.0f / 9;
    series = series * z2 + 1.0f / 7;
    series = series * z2 + 1.0f / 5;
    series = series * z2 + 1.0f / 3;
    series = series * z2 + 1.0f;
    return {s < 0.0f ? e * upper : upper, 2.0f * z * series, s < 0.0f ? vf{} : s, s < 0.0f ? -s : vf{}};
}

// to[i] = from[i] + sum over the other side of factor * other: `factors` walks blocks with a stride.
template <std::size_t N>
inline void product(const float *const *from, float *const *to, std::size_t column, float *const *other,
                    std::size_t other_blocks, const float *factors, std::size_t block_stride, std::size_t row_stride,
                    std::size_t other_stride) {
    vf sum[BLOCK][N];
    for (std::size_t i = 0; i < BLOCK; ++i)
        for (std::size_t c = 0; c < N; ++c) sum[i][c] = from[i] ? load(from[i] + column + c * WIDTH) : vf{};
    for (std::size_t b = 0; b < other_blocks; ++b)
        for (std::size_t o = 0; o < BLOCK; ++o) {
            const float *row = other[b * BLOCK + o] + column;
            const float *factor = factors + b * block_stride + o * other_stride;
            vf value[N];
            for (std::size_t c = 0; c < N; ++c) value[c] = load(row + c * WIDTH);
            for (std::size_t i = 0; i < BLOCK; ++i) {
                const vf by = all(factor[i * row_stride]);
                for (std::size_t c = 0; c < N; ++c) sum[i][c] += by * value[c];
            }
        }
    for (std::size_t i = 0; i < BLOCK; ++i)
        for (std::size_t c = 0; c < N; ++c) store(to[i] + column + c * WIDTH, sum[i][c]);
}

template <class... Arguments>
inline void product_all(std::size_t pitch, const float *const *from, float *const *to, Arguments... arguments) {
    std::size_t column = 0;
    for (; column + 4 * WIDTH <= pitch; column += 4 * WIDTH) product<4>(from, to, column, arguments...);
    switch ((pitch - column) / WIDTH) {
        case 3: product<3>(from, to, column, arguments...); break;
        case 2: product<2>(from, to, column, arguments...); break;
        case 1: product<1>(from, to, column, arguments...); break;
        default: break;
    }
}

}  // namespace

Tile::Tile(std::size_t most_inputs, std::size_t most_outputs, std::size_t pitch)
    : x(most_inputs + BLOCK), u(most_outputs + BLOCK), pitch(pitch), weights(x.size() * u.size()),
      labels(x.size() * u.size()), gradients(x.size() * u.size()), steps(x.size() * pitch), nothing(pitch) {}

void Tile::open(std::size_t n_inputs, std::size_t n_outputs) {
    inputs = n_inputs, outputs = n_outputs;
    for (std::size_t i = inputs; i < input_blocks() * BLOCK; ++i) x[i] = nothing.data();
    for (std::size_t o = outputs; o < output_blocks() * BLOCK; ++o) u[o] = nothing.data();
    const std::size_t bytes = input_blocks() * output_blocks() * CELLS * sizeof(float);
    std::memset(weight(), 0, bytes);
    std::memset(label(), 0, bytes);
}

double logistic_tile(Tile &tile, float rate, bool move) {
    const std::size_t rows = tile.input_blocks(), columns = tile.output_blocks(), pitch = tile.pitch;
    float *gradient = tile.gradient();
    const float *weights = tile.weight(), *labels = tile.label();
    vf loss = {};
    for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t c = 0; c < columns; ++c)
            for (std::size_t half = 0; half < BLOCK; half += SLAB) {
                float *const *x = tile.x.data() + r * BLOCK + half, *const *u = tile.u.data() + c * BLOCK;
                const std::size_t cell = (r * columns + c) * CELLS + half * BLOCK;
                vf sum[WIDTH] = {};
                for (std::size_t column = 0; column < pitch; column += WIDTH) {
                    vf left[SLAB], right[BLOCK];
                    for (std::size_t i = 0; i < SLAB; ++i) left[i] = load(x[i] + column);
                    for (std::size_t o = 0; o < BLOCK; ++o) right[o] = load(u[o] + column);
                    for (std::size_t i = 0; i < SLAB; ++i)
                        for (std::size_t o = 0; o < BLOCK; ++o) sum[i * BLOCK + o] += left[i] * right[o];
                }
                const vf score = fold(sum), weight = load(weights + cell), label = load(labels + cell);
                const Logistic at = logistic(score);
                loss += weight * at.softplus + (weight - label) * at.above + label * at.below;
                store(gradient + cell, rate * (label - weight * at.sigma));
            }
    float *to[BLOCK];
    const float *none[BLOCK];
    for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = 0; i < BLOCK; ++i) to[i] = tile.step(r * BLOCK + i), none[i] = nullptr;
        product_all(pitch, none, to, tile.u.data(), columns, gradient + r * columns * CELLS, CELLS, BLOCK, std::size_t{1});
    }
    for (std::size_t c = 0; c < columns; ++c) {
        float *const *u = tile.u.data() + c * BLOCK;
        product_all(pitch, u, u, tile.x.data(), rows, gradient + c * CELLS, columns * CELLS, std::size_t{1}, BLOCK);
    }
    if (move)
        for (std::size_t i = 0; i < tile.inputs; ++i) add_row(tile.x[i], tile.step(i), 1, pitch);
    double total = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) total += static_cast<double>(loss[i]);
    return total;
}

float dot_row(const float *a, const float *b, std::size_t pitch) {
    vf sum = {};
    for (std::size_t column = 0; column < pitch; column += WIDTH) sum += load(a + column) * load(b + column);
    float total = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) total += sum[i];
    return total;
}

void add_row(float *to, const float *from, float by, std::size_t pitch) {
    for (std::size_t column = 0; column < pitch; column += WIDTH)
        store(to + column, load(to + column) + by * load(from + column));
}

void sum_rows(float *to, const std::vector<const float *> &rows, const std::vector<float> &by, std::size_t pitch,
              bool add) {
    for (std::size_t column = 0; column < pitch; column += WIDTH) {
        vf sum = add ? load(to + column) : vf{};
        for (std::size_t i = 0; i < rows.size(); ++i) sum += by[i] * load(rows[i] + column);
        store(to + column, sum);
    }
}

}  // namespace firth
