// See flat.hpp. A shortlist comes from float32 tiles and is longer than k by SLACK; if rounding could have kept a row
// out of it that belongs among the best k, the query is done again in float64, so the answer is always exact and the
// same at every CPU level.
//
// Tried (one core of a busy Zen 5, 384 dimensions, 256 queries, 20,000 rows; giga-multiplications a second):
//   tiles of the sixteen lanes of simd.hpp            v2 2.0, v3 2.1 (lanes spill to memory), v4 13
//   tiles of the level's own registers, fused (v3 up) v2 4.6, v3 7.6,                         v4 13
#include "flat.hpp"

#include "simd.hpp"
#include "threads.hpp"

#if defined(__x86_64__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 warns of its own _mm512_undefined_epi32
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

#include <bit>
#include <cmath>
#include <limits>

namespace firth {
namespace {

// Rows and queries a tile, as many as the level's registers hold in accumulators.
#if defined(__AVX512F__)
constexpr std::size_t TILE_ROWS = 4, TILE_QUERIES = 4;
#elif defined(__AVX2__)
constexpr std::size_t TILE_ROWS = 4, TILE_QUERIES = 2;
#else
constexpr std::size_t TILE_ROWS = 4, TILE_QUERIES = 2;
#endif
constexpr std::size_t BLOCK = 128;    // rows that stay in the cache while all queries pass over them
constexpr std::size_t SLACK = 16;     // shortlist beyond k
constexpr std::size_t GRAIN = 16;     // queries between two looks at `stop`

using Heap = std::vector<uint64_t>;  // negated score as a sortable key << 32 | place; the worst on top

#if defined(__AVX512F__)
using Lanes = __m512;
Lanes fused(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__AVX2__)
using Lanes = __m256;
Lanes fused(Lanes a, Lanes b, Lanes c) { return _mm256_fmadd_ps(a, b, c); }
#else
using Lanes = float __attribute__((vector_size(16)));
Lanes fused(Lanes a, Lanes b, Lanes c) { return a * b + c; }
#endif
constexpr std::size_t WIDE = sizeof(Lanes) / sizeof(float);

Lanes load(const float *p) {
    Lanes v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

float sum(Lanes v) {
    float lane[WIDE];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t width = WIDE / 2; width > 0; width /= 2)
        for (std::size_t i = 0; i < width; ++i) lane[i] += lane[i + width];
    return lane[0];
}

uint32_t falling(float score) {  // a larger score gives a smaller key
    const uint32_t bits = std::bit_cast<uint32_t>(-score);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
float score_of(uint64_t entry) {
    const auto key = static_cast<uint32_t>(entry >> 32);
    return -std::bit_cast<float>(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
}

void offer(Heap &heap, std::size_t most, uint64_t entry) {
    if (heap.size() < most) {
        heap.push_back(entry);
        std::push_heap(heap.begin(), heap.end());
    } else if (entry < heap.front()) {
        std::pop_heap(heap.begin(), heap.end());
        heap.back() = entry;
        std::push_heap(heap.begin(), heap.end());
    }
}

// Inner products of a tile's rows with its queries.
void tile(const float *const rows[TILE_ROWS], const float *const queries[TILE_QUERIES], std::size_t d,
          float out[TILE_QUERIES][TILE_ROWS]) {
    Lanes total[TILE_QUERIES][TILE_ROWS] = {};
    std::size_t i = 0;
    for (; i + WIDE <= d; i += WIDE) {
        Lanes row[TILE_ROWS];
        for (std::size_t r = 0; r < TILE_ROWS; ++r) row[r] = load(rows[r] + i);
        for (std::size_t c = 0; c < TILE_QUERIES; ++c) {
            const Lanes query = load(queries[c] + i);
            for (std::size_t r = 0; r < TILE_ROWS; ++r) total[c][r] = fused(query, row[r], total[c][r]);
        }
    }
    for (std::size_t c = 0; c < TILE_QUERIES; ++c)
        for (std::size_t r = 0; r < TILE_ROWS; ++r) {
            out[c][r] = sum(total[c][r]);
            for (std::size_t j = i; j < d; ++j) out[c][r] += queries[c][j] * rows[r][j];
        }
}

struct Scan {
    const FlatWanted &wanted;
    std::size_t count, most;  // rows to look at; length of a shortlist

    std::size_t row(std::size_t place) const {
        return wanted.only ? static_cast<std::size_t>(wanted.only[place]) : place;
    }

    // The best `most` of the places [begin, end) for each query.
    void shard(std::size_t begin, std::size_t end, std::vector<Heap> &heaps, const std::atomic<bool> &stop) const {
        const std::size_t d = wanted.d;
        for (std::size_t block = begin; block < end && !stop.load(std::memory_order_relaxed); block += BLOCK) {
            const std::size_t last = std::min(end, block + BLOCK);
            float half[BLOCK] = {};
            for (std::size_t p = block; wanted.euclid && p < last; ++p) {
                const float *x = wanted.rows + row(p) * d;
                half[p - block] = dot(x, x, d) / 2;
            }
            for (std::size_t c = 0; c < wanted.q; c += TILE_QUERIES) {
                const float *queries[TILE_QUERIES];
                for (std::size_t j = 0; j < TILE_QUERIES; ++j)
                    queries[j] = wanted.queries + std::min(c + j, wanted.q - 1) * d;
                for (std::size_t p = block; p < last; p += TILE_ROWS) {
                    const float *rows[TILE_ROWS];
                    for (std::size_t j = 0; j < TILE_ROWS; ++j)
                        rows[j] = wanted.rows + row(std::min(p + j, last - 1)) * d;
                    float found[TILE_QUERIES][TILE_ROWS];
                    tile(rows, queries, d, found);
                    for (std::size_t i = 0; i < TILE_QUERIES && c + i < wanted.q; ++i)
                        for (std::size_t j = 0; j < TILE_ROWS && p + j < last; ++j)
                            offer(heaps[c + i], most,
                                  uint64_t{falling(found[i][j] - half[p + j - block])} << 32 | (p + j));
                }
            }
        }
    }

    double exact(const float *query, std::size_t place) const {
        const float *x = wanted.rows + row(place) * wanted.d;
        const double score = wanted.euclid ? -distance64(query, x, wanted.d) : dot64(query, x, wanted.d);
        return score == score ? score : -std::numeric_limits<double>::infinity();
    }

    void finish(std::size_t i, Heap &shortlist, int64_t *ids, float *scores) const {
        const float *query = wanted.queries + i * wanted.d;
        std::vector<std::pair<double, std::size_t>> best;
        for (uint64_t entry : shortlist) best.emplace_back(-exact(query, entry & 0xFFFFFFFFu), entry & 0xFFFFFFFFu);
        std::sort(best.begin(), best.end());
        if (shortlist.size() < count && may_have_missed(query, shortlist, -best[wanted.k - 1].first)) {
            best.clear();
            for (std::size_t place = 0; place < count; ++place) best.emplace_back(-exact(query, place), place);
            std::sort(best.begin(), best.end());
        }
        for (std::size_t j = 0; j < wanted.k; ++j) {
            const bool there = j < best.size();
            ids[j] = there ? static_cast<int64_t>(row(best[j].second)) : -1;
            scores[j] = there ? static_cast<float>(-best[j].first) : -std::numeric_limits<float>::infinity();
        }
    }

    // Whether a row outside of the shortlist could reach the k-th exact score.
    bool may_have_missed(const float *query, const Heap &shortlist, double kth) const {
        double worst = std::numeric_limits<double>::infinity();
        for (uint64_t entry : shortlist) worst = std::min<double>(worst, score_of(entry));
        const double length = std::sqrt(dot64(query, query, wanted.d)), longest = wanted.longest;
        const double rounding = static_cast<double>(wanted.d + 2) * std::numeric_limits<float>::epsilon() *
                                    (length * longest + (wanted.euclid ? longest * longest : 0)) +
                                static_cast<double>(wanted.d) * std::numeric_limits<float>::min();  // underflow
        return (wanted.euclid ? (kth + length * length) / 2 : kth) <= worst + rounding;
    }
};

}  // namespace

void flat_search(const FlatWanted &wanted, int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop) {
    if (flat_batch_fits(wanted)) return flat_batch(wanted, ids, scores, threads, stop);
    const std::size_t count = wanted.only ? wanted.chosen : wanted.n;
    const Scan scan{wanted, count, std::min(count, wanted.k + SLACK)};
    const std::size_t shards = std::clamp<std::size_t>(count / (2 * BLOCK), 1, static_cast<std::size_t>(std::max(threads, 1)));
    std::vector<std::vector<Heap>> heaps(shards, std::vector<Heap>(wanted.q));
    parallel_for(shards, 1, threads, stop, [&](std::size_t begin, std::size_t, int) {
        scan.shard(count * begin / shards, count * (begin + 1) / shards, heaps[begin], stop);
    });
    parallel_for(wanted.q, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        for (std::size_t i = begin; i < end; ++i) {
            Heap &all = heaps[0][i];
            for (std::size_t s = 1; s < shards; ++s)
                for (uint64_t entry : heaps[s][i]) offer(all, scan.most, entry);
            scan.finish(i, all, ids + i * wanted.k, scores + i * wanted.k);
        }
    });
}

}  // namespace firth
