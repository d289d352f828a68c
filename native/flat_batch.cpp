// See flat.hpp. Many queries at once: a panel of rows is brought into a form in which one instruction multiplies most,
// all queries of a block pass over it, and what could be among a query's best k by the bound of that form's error is
// kept. Those few are scored again in float64, so the answer is exact and the same at every CPU level.
//
// With AVX-512 VNNI rows and queries become bytes, each by a scale of its own: x = scale·codes + missed. The inner
// product q·x is off by |q|·|missed of x| + |missed of q|·|codes of x| at most (Cauchy-Schwarz); both lengths are known.
// Elsewhere they stay float32 and only rounding is allowed for.
//
// Tried (one core of a busy Zen 5, 384 dimensions, 1,024 queries, 50,000 rows, k 101; seconds of processor time):
//   flat.cpp's tiles, four rows by four queries                                 0.66
//   bytes, all within the bound kept and scored in float64 at the end           0.47
//   bytes, each within the bound scored in float32 at once, while it is near    0.28
//   the same, a tile's sums in an array that no other function sees: registers  0.18
//   bfloat16 (vdpbf16ps) likewise, with a third fewer within its bound          0.19
//   float32 likewise, which is what levels without VNNI do                      0.27
#include "flat.hpp"

#include "gemm.hpp"
#include "simd.hpp"
#include "threads.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

namespace firth {
namespace {

constexpr std::size_t FEWEST = 32;      // queries for which it pays to bring rows into another form
constexpr std::size_t WIDEST = 32'768;  // dimensions whose products of bytes fit an int32
constexpr std::size_t BLOCK = 1'024;    // queries that share a panel of rows; their codes stay in the second cache
constexpr std::size_t FEWEST_KEPT = 256;  // candidates of a query before they are thinned out, or 2 k
constexpr std::size_t CANDIDATE_BYTES = 64 << 20;  // of all queries of a block, unless most rows tie

// What codes stand for: scale·codes is off from the row by a vector of length `missed`.
struct Coded {
    float scale, length, missed;
};

struct Floats : Float32 {
    using Row = float;
    using Start = float;
    using Sum = vf;
    static Sum start(const float *) { return vf{}; }
    static vf floats(Sum sum) { return sum; }
    static Coded query(const float *x, std::size_t d, float *codes, float *) {
        std::copy(x, x + d, codes);
        return {1, std::sqrt(dot(x, x, d)), 0};
    }
    static Coded row(const float *x, std::size_t d, float *codes, float *, float *) {
        return query(x, d, codes, nullptr);
    }
};

#if defined(__AVX512VNNI__)
// Queries are unsigned (code + 128), rows signed, as the instruction wants them; a row's sum starts at -128 times the
// sum of its codes.
struct Bytes {
    using T = uint8_t;
    using Row = int8_t;
    using Start = int32_t;
    using Sum = __m512i;
    using Columns = __m512i;
    static constexpr std::size_t STEP = 4;
    static constexpr float MOST = 127;
    static Columns columns(const Row *b) { return _mm512_loadu_si512(b); }
    static Columns broadcast(const T *a) {
        int four;
        std::memcpy(&four, a, 4);
        return _mm512_set1_epi32(four);
    }
    static Sum product(Sum sum, Columns query, Columns row) { return _mm512_dpbusd_epi32(sum, query, row); }
    static Sum start(const Start *p) { return _mm512_loadu_si512(p); }
    static vf floats(Sum sum) { return (vf)_mm512_cvtepi32_ps(sum); }

    // Whole numbers from -127 to 127 in `rest`'s place, then what they miss.
    template <class Put> static Coded code(const float *x, std::size_t d, float *rest, Put put) {
        vf most = {};
        std::size_t i = 0;
        for (; i + WIDTH <= d; i += WIDTH) most = larger(most, larger(load(x + i), -load(x + i)));
        float top = largest(most);
        for (; i < d; ++i) top = std::max(top, std::fabs(x[i]));
        const float scale = std::max(top, 1e-30f) / MOST, inverse = 1 / scale;
        constexpr float NEAREST = 12582912;  // 1.5·2^23: adding it rounds to a whole number
        for (std::size_t j = 0; j < d; ++j) {
            const float code = (x[j] * inverse + NEAREST) - NEAREST;
            rest[j] = x[j] - scale * code;
            put(j, static_cast<int>(code));
        }
        return {scale, std::sqrt(dot(x, x, d)), std::sqrt(dot(rest, rest, d))};
    }
    static Coded query(const float *x, std::size_t d, T *codes, float *rest) {
        return code(x, d, rest, [&](std::size_t j, int value) { codes[j] = static_cast<T>(value + 128); });
    }
    static Coded row(const float *x, std::size_t d, Row *codes, Start *start, float *rest) {
        int sum = 0;
        const Coded coded = code(x, d, rest, [&](std::size_t j, int value) {
            codes[j] = static_cast<Row>(value);
            sum += value;
        });
        *start = -128 * sum;
        return coded;
    }
};
#endif

// Which lanes are at least `least`, a bit each.
unsigned at_least(vf values, float least) {
#if defined(__AVX512F__)
    return _mm512_cmp_ps_mask((__m512)values, _mm512_set1_ps(least), _CMP_GE_OQ);
#elif defined(__AVX__)
    return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)values, _mm256_set1_ps(least), _CMP_GE_OQ)));
#else
    unsigned bits = 0;
    for (std::size_t i = 0; i < WIDTH; ++i) bits |= static_cast<unsigned>(values[i] >= least) << i;
    return bits;
#endif
}

// Inner product in this level's own order: what rounding does to it is allowed for.
float float_dot(const float *a, const float *b, std::size_t d) {
    vf one = {}, two = {};
    std::size_t i = 0;
    for (; i + 2 * WIDTH <= d; i += 2 * WIDTH) {
        one = fma(load(a + i), load(b + i), one);
        two = fma(load(a + i + WIDTH), load(b + i + WIDTH), two);
    }
    float total = sum(one + two);
    for (; i < d; ++i) total += a[i] * b[i];
    return total;
}

// Rows that may be among the best k of one query, by float32 scores that are at most `doubt` away from the exact ones.
class Candidates {
  public:
    using One = std::pair<float, uint32_t>;  // score, row

    float least() const { return least_; }  // a smaller float32 score cannot be among the best k
    const std::vector<One> &all() const { return all_; }

    void add(float score, std::size_t row, std::size_t k, float doubt) {
        if (score < least_) return;
        all_.emplace_back(score, static_cast<uint32_t>(row));
        if (all_.size() >= most_) thin(k, doubt);
    }

    // Forget who is surely behind k others.
    void thin(std::size_t k, float doubt) {
        if (all_.size() > k) {
            const auto kth = all_.begin() + static_cast<std::ptrdiff_t>(k - 1);
            std::nth_element(all_.begin(), kth, all_.end(), std::greater<>());
            least_ = kth->first - 2 * doubt;
            std::erase_if(all_, [&](const One &one) { return one.first < least_; });
        }
        most_ = std::max({FEWEST_KEPT, 2 * k, 2 * all_.size()});
    }

  private:
    std::vector<One> all_;
    std::size_t most_ = FEWEST_KEPT;
    float least_ = -std::numeric_limits<float>::infinity();
};

// As many rows as fill the registers' columns, interleaved so that a step of all of them lies together.
template <class F> struct Panel {
    static constexpr std::size_t COLUMNS = WIDE * WIDTH;

    explicit Panel(std::size_t d)
        : d(d), steps(up_to(d, F::STEP) / F::STEP), codes(steps * COLUMNS * F::STEP), one(steps * F::STEP),
          rest(d) {}

    void take(const float *rows, std::size_t count) {
        length = missed = 0;
        for (std::size_t c = 0; c < COLUMNS; ++c) {
            start[c] = 0, scales[c] = 0;
            if (c >= count) continue;
            const Coded coded = F::row(rows + c * d, d, one.data(), start + c, rest.data());
            scales[c] = coded.scale;
            length = std::max(length, coded.length), missed = std::max(missed, coded.missed);
            for (std::size_t k = 0; k < steps; ++k)
                std::memcpy(codes.data() + (k * COLUMNS + c) * F::STEP, one.data() + k * F::STEP,
                            F::STEP * sizeof(typename F::Row));
        }
    }

    std::size_t d, steps;
    Buffer<typename F::Row> codes, one;
    Buffer<float> rest;
    typename F::Start start[COLUMNS];
    float scales[COLUMNS];
    float length, missed;  // the largest of the panel
};

template <class F> class Block {
  public:
    Block(const FlatWanted &wanted, std::size_t begin, std::size_t end)
        : wanted_(wanted), begin_(begin), count_(end - begin), stride_(up_to(wanted.d, F::STEP)),
          codes_(up_to(count_, WIDE_ROWS) * stride_), asked_(count_), found_(count_) {
        Buffer<float> rest(wanted.d);
        for (std::size_t i = 0; i < count_; ++i)
            asked_[i] = F::query(query(i), wanted.d, codes_.data() + i * stride_, rest.data());
    }

    void search(const std::atomic<bool> &stop) {
        Panel<F> panel(wanted_.d);
        for (std::size_t row = 0; row < wanted_.n && !stop.load(std::memory_order_relaxed); row += panel.COLUMNS) {
            panel.take(wanted_.rows + row * wanted_.d, std::min(panel.COLUMNS, wanted_.n - row));
            for (std::size_t i = 0; i < count_; i += WIDE_ROWS) past(panel, row, i);
        }
    }

    void finish(int64_t *ids, float *scores) {
        std::vector<std::pair<double, std::size_t>> best;
        for (std::size_t i = 0; i < count_; ++i) {
            found_[i].thin(wanted_.k, doubt(i));
            best.clear();
            for (const auto &[score, row] : found_[i].all())
                best.emplace_back(-dot64(query(i), wanted_.rows + row * wanted_.d, wanted_.d), row);
            const std::size_t k = std::min(wanted_.k, best.size()), at = (begin_ + i) * wanted_.k;
            std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(k), best.end());
            for (std::size_t j = 0; j < wanted_.k; ++j) {
                ids[at + j] = j < k ? static_cast<int64_t>(best[j].second) : -1;
                scores[at + j] = j < k ? static_cast<float>(-best[j].first) : -std::numeric_limits<float>::infinity();
            }
        }
    }

  private:
    // WIDE_ROWS queries from `first` on past a panel whose first row is `row`.
    void past(const Panel<F> &panel, std::size_t row, std::size_t first) {
        typename F::Sum sums[WIDE_ROWS][WIDE];
        products(panel, codes_.data() + first * stride_, sums);
        for (std::size_t r = 0; r < WIDE_ROWS && first + r < count_; ++r) offer(panel, row, first + r, sums[r]);
    }

    // The sums of a tile stay in registers until the last step.
    void products(const Panel<F> &panel, const typename F::T *query, typename F::Sum (&out)[WIDE_ROWS][WIDE]) const {
        typename F::Sum sums[WIDE_ROWS][WIDE];
#pragma GCC unroll 6
        for (int r = 0; r < WIDE_ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < WIDE; ++v) sums[r][v] = F::start(panel.start + v * WIDTH);
        const typename F::Row *at = panel.codes.data();
        for (std::size_t k = 0; k < panel.steps; ++k, at += panel.COLUMNS * F::STEP) {
            typename F::Columns column[WIDE];
#pragma GCC unroll 4
            for (int v = 0; v < WIDE; ++v) column[v] = F::columns(at + v * WIDTH * F::STEP);
#pragma GCC unroll 6
            for (int r = 0; r < WIDE_ROWS; ++r) {
                const typename F::Columns one = F::broadcast(query + r * stride_ + k * F::STEP);
#pragma GCC unroll 4
                for (int v = 0; v < WIDE; ++v) sums[r][v] = F::product(sums[r][v], one, column[v]);
            }
        }
#pragma GCC unroll 6
        for (int r = 0; r < WIDE_ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < WIDE; ++v) out[r][v] = sums[r][v];
    }

    void offer(const Panel<F> &panel, std::size_t row, std::size_t i, const typename F::Sum (&sums)[WIDE]) {
        const Coded &asked = asked_[i];
        const float coarse = asked.length * panel.missed + asked.missed * (panel.length + panel.missed);
        const float least = (found_[i].least() - coarse - doubt(i)) / asked.scale;
        for (int v = 0; v < WIDE; ++v) {
            const vf scores = F::floats(sums[v]) * load(panel.scales + v * WIDTH);
            for (unsigned bits = at_least(scores, least); bits; bits &= bits - 1) {
                const auto lane = static_cast<std::size_t>(std::countr_zero(bits));
                const std::size_t place = row + static_cast<std::size_t>(v) * WIDTH + lane, d = wanted_.d;
                if (place < wanted_.n)
                    found_[i].add(float_dot(query(i), wanted_.rows + place * d, d), place, wanted_.k, doubt(i));
            }
        }
    }

    const float *query(std::size_t i) const { return wanted_.queries + (begin_ + i) * wanted_.d; }

    // How far rounding to float32 can take the sum of d products.
    float doubt(std::size_t i) const {
        constexpr float UNIT = std::numeric_limits<float>::epsilon();
        return static_cast<float>(wanted_.d + 8) * UNIT * asked_[i].length * wanted_.longest;
    }

    const FlatWanted &wanted_;
    std::size_t begin_, count_, stride_;
    Buffer<typename F::T> codes_;
    std::vector<Coded> asked_;
    std::vector<Candidates> found_;
};

#if defined(__AVX512VNNI__)
using Format = Bytes;
#else
using Format = Floats;
#endif

// Lengths whose squares and products are far from both ends of float32; a query of zeros is as good as any.
bool ordinary(float length) { return length >= 1e-10f && length <= 1e15f; }

}  // namespace

bool flat_batch_fits(const FlatWanted &wanted) {
    if (wanted.only || wanted.euclid || wanted.q < FEWEST || wanted.d == 0 || wanted.d > WIDEST) return false;
    if (!ordinary(wanted.longest)) return false;
    for (std::size_t i = 0; i < wanted.q; ++i) {
        const double square = dot64(wanted.queries + i * wanted.d, wanted.queries + i * wanted.d, wanted.d);
        if (square != 0 && !ordinary(static_cast<float>(std::sqrt(square)))) return false;
    }
    return true;
}

void flat_batch(const FlatWanted &wanted, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop) {
    const std::size_t team = static_cast<std::size_t>(std::max(threads, 1));
    const std::size_t bytes = sizeof(Candidates::One) * 2 * wanted.k;  // of a query's candidates
    const std::size_t most = std::clamp<std::size_t>(CANDIDATE_BYTES / bytes, 1, BLOCK);
    const std::size_t share = std::clamp<std::size_t>((wanted.q + team - 1) / team, 1, most);
    parallel_for(wanted.q, share, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        Block<Format> block(wanted, begin, end);
        block.search(stop);
        if (!stop.load(std::memory_order_relaxed)) block.finish(ids, scores);
    });
}

}  // namespace firth
