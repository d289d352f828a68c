// See scan.hpp. Codes of 4 bits: each sub-code's table of 16 numbers, rounded to bytes, lies in a register, and one
// shuffle looks up 16 (v2, NEON), 32 (v3) or 64 (v4) codes at once. Bytes are summed in 16-bit halves that wrap: the
// sum of both halves less 256 times the odd ones leaves the even ones, so nothing is unpacked on the way.
// Source: André et al. 2017, "Accelerated nearest neighbor search with Quick ADC", arXiv:1704.07355.
//
// Tried (20,000 vectors of 96 sub-codes, 10 neighbours, a busy core of a Zen 5, queries a second):
//   a second thread for Ctrl-C at each call            2,700 one by one, 14,400 in a batch
//   none for scans of under some milliseconds         12,000 one by one, 12,900 in a batch
//   sums compared in registers, not one by one        14,800 one by one, 14,000 in a batch
//   (faiss's fast-scan beside the last                43,000 one by one, 52,200 in a batch)
#include "scan.hpp"

#include "bytes.hpp"
#include "threads.hpp"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

namespace firth {
namespace {

constexpr std::size_t GRAIN = 4;          // queries between two looks at `stop`
constexpr std::size_t CHUNK = 4096;       // vectors that stay in the cache while all queries pass over them
constexpr std::size_t LARGEST_SUM = 0xFFFF;
constexpr std::size_t LARGEST_ENTRY = 0xFF;

#if defined(__AVX512BW__)
constexpr std::size_t LANES = 4;  // of 16 bytes, one table each
#elif defined(__AVX2__)
constexpr std::size_t LANES = 2;
#else
constexpr std::size_t LANES = 1;
#endif
using Bytes16 = uint8_t __attribute__((vector_size(16)));
using Halves8 = uint16_t __attribute__((vector_size(16)));
using Wide = uint8_t __attribute__((vector_size(16 * LANES)));
using Halves = uint16_t __attribute__((vector_size(16 * LANES)));

Wide load(const uint8_t *p) {
    Wide v;
    std::memcpy(&v, p, sizeof v);
    return v;
}

// Entry `at` (below 16) of each lane's table.
Wide look_up(Wide table, Wide at) {
#if defined(__AVX512BW__)
    return (Wide)_mm512_shuffle_epi8((__m512i)table, (__m512i)at);
#elif defined(__AVX2__)
    return (Wide)_mm256_shuffle_epi8((__m256i)table, (__m256i)at);
#elif defined(__SSSE3__)
    return (Wide)_mm_shuffle_epi8((__m128i)table, (__m128i)at);
#elif defined(__aarch64__)
    return (Wide)vqtbl1q_u8((uint8x16_t)table, (uint8x16_t)at);
#else
    return __builtin_shuffle(table, at);
#endif
}

Halves8 over_lanes(Halves v) {
    Halves8 lane[LANES];
    std::memcpy(lane, &v, sizeof v);
    for (std::size_t i = 1; i < LANES; ++i) lane[0] += lane[i];
    return lane[0];
}

// The sums of 32 vectors, in four groups: those of even and of odd number below 16, and from 16 on.
void sums_of_block(const uint8_t *block, const uint8_t *table, std::size_t m, Halves8 out[4]) {
    Halves low = {}, low_odd = {}, high = {}, high_odd = {};
    for (std::size_t s = 0; s < m; s += LANES) {
        const Wide codes = load(block + s * 16), entries = load(table + s * 16);
        const auto first = (Halves)look_up(entries, codes & 15);
        const auto second = (Halves)look_up(entries, (Wide)((Halves)codes >> 4) & 15);
        low += first, low_odd += first >> 8;
        high += second, high_odd += second >> 8;
    }
    out[0] = over_lanes(low - (low_odd << 8)), out[1] = over_lanes(low_odd);
    out[2] = over_lanes(high - (high_odd << 8)), out[3] = over_lanes(high_odd);
}

// Whether any of the 32 sums is above `most`.
bool any_above(const Halves8 sums[4], uint16_t most) {
    const auto above = (sums[0] > most) | (sums[1] > most) | (sums[2] > most) | (sums[3] > most);
    uint64_t halves[2];
    std::memcpy(halves, &above, sizeof halves);
    return (halves[0] | halves[1]) != 0;
}

// Tables in bytes, all of one scale, so that no sum of m entries passes 16 bits.
void round_tables(const float *tables, std::size_t m, uint8_t *out) {
    float widest = 0;
    for (std::size_t s = 0; s < m; ++s) {
        const auto [low, high] = std::minmax_element(tables + s * 16, tables + s * 16 + 16);
        widest = std::max(widest, *high - *low);
    }
    const auto most = static_cast<float>(std::min(LARGEST_ENTRY, LARGEST_SUM / std::max<std::size_t>(m, 1)));
    const float scale = widest > 0 && std::isfinite(widest) ? most / widest : 0;
    if (scale == 0) return;  // all alike, or beyond float32: every row is a candidate as good as the others
    for (std::size_t s = 0; s < m; ++s) {
        const float low = *std::min_element(tables + s * 16, tables + s * 16 + 16);
        for (std::size_t c = 0; c < 16; ++c)
            out[s * 16 + c] = static_cast<uint8_t>((tables[s * 16 + c] - low) * scale + 0.5f);
    }
}

// The best `most` rows of one query: a smaller entry is better; its low half is the row, so ties fall to the first.
struct Shortlist {
    std::vector<uint64_t> heap;
    std::size_t most;

    uint64_t worst() const { return heap.size() < most ? std::numeric_limits<uint64_t>::max() : heap.front(); }
    void offer(uint64_t entry) {
        if (entry >= worst()) return;
        if (heap.size() == most) {
            std::pop_heap(heap.begin(), heap.end());
            heap.back() = entry;
        } else {
            heap.push_back(entry);
        }
        std::push_heap(heap.begin(), heap.end());
    }
};

uint32_t falling(float score) {  // a larger score gives a smaller key
    const uint32_t bits = std::bit_cast<uint32_t>(-score);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// coarse(query, begin, end, offer) offers (key, row) of a chunk; exact(query, row) is the float64 score.
template <class Coarse, class Exact>
void scan(const ScanWanted &wanted, const Coarse &coarse, const Exact &exact, int64_t *ids, float *scores, int threads,
          const std::atomic<bool> &stop) {
    const std::size_t most = std::min(wanted.n, 2 * wanted.k + 16), chunks = (wanted.n + CHUNK - 1) / CHUNK;
    const std::size_t shards = std::clamp<std::size_t>(chunks, 1, static_cast<std::size_t>(std::max(threads, 1)));
    std::vector<std::vector<Shortlist>> lists(shards, std::vector<Shortlist>(wanted.q, Shortlist{{}, most}));
    parallel_for(shards, 1, threads, stop, [&](std::size_t shard, std::size_t, int) {
        for (std::size_t chunk = shard; chunk < chunks && !stop.load(std::memory_order_relaxed); chunk += shards)
            for (std::size_t i = 0; i < wanted.q && most; ++i) {
                Shortlist &list = lists[shard][i];
                coarse(i, chunk * CHUNK, std::min(wanted.n, (chunk + 1) * CHUNK), list);
            }
    });
    parallel_for(wanted.q, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        std::vector<std::pair<double, std::size_t>> best;
        for (std::size_t i = begin; i < end; ++i) {
            Shortlist &all = lists[0][i];
            for (std::size_t s = 1; s < shards; ++s)
                for (uint64_t entry : lists[s][i].heap) all.offer(entry);
            best.clear();
            for (uint64_t entry : all.heap) {
                const double score = exact(i, entry & 0xFFFFFFFFu);
                const bool number = score == score;  // a damaged codec may give NaN, which comes last
                best.emplace_back(number ? -score : std::numeric_limits<double>::infinity(), entry & 0xFFFFFFFFu);
            }
            std::sort(best.begin(), best.end());
            for (std::size_t j = 0; j < wanted.k; ++j) {
                const bool there = j < best.size();
                ids[i * wanted.k + j] = there ? static_cast<int64_t>(best[j].second) : -1;
                scores[i * wanted.k + j] =
                    there ? static_cast<float>(-best[j].first) : -std::numeric_limits<float>::infinity();
            }
        }
    });
}

bool allowed(const ScanWanted &wanted, std::size_t row) { return !wanted.allow || wanted.allow[row]; }

}  // namespace

void scan_nibbles(const ScanWanted &wanted, const uint8_t *packed, std::size_t m, const float *tables, int64_t *ids,
                  float *scores, int threads, const std::atomic<bool> &stop) {
    std::vector<uint8_t> rounded(wanted.q * m * 16);
    for (std::size_t i = 0; i < wanted.q; ++i) round_tables(tables + i * m * 16, m, rounded.data() + i * m * 16);
    const auto coarse = [&](std::size_t query, std::size_t begin, std::size_t end, Shortlist &list) {
        const uint8_t *table = rounded.data() + query * m * 16;
        Halves8 sums[4];
        for (std::size_t block = begin; block < end; block += SCAN_BLOCK) {
            sums_of_block(packed + block / SCAN_BLOCK * m * 16, table, m, sums);
            const uint64_t worst = list.worst();
            // Rows come block by block in order, so a sum that only equals the worst of a full list comes too late.
            const bool full = worst != ~uint64_t{0};
            const auto most = static_cast<uint16_t>(full ? LARGEST_SUM - (worst >> 32) : 0);
            if (full && !any_above(sums, most)) continue;
            for (std::size_t j = 0; j < SCAN_BLOCK && block + j < end; ++j) {
                const uint16_t sum = sums[j / 16 * 2 + j % 2][j % 16 / 2];
                if ((!full || sum > most) && allowed(wanted, block + j))
                    list.offer(uint64_t{LARGEST_SUM - sum} << 32 | (block + j));
            }
        }
    };
    const auto exact = [&](std::size_t query, std::size_t row) {
        const uint8_t *at = packed + row / SCAN_BLOCK * m * 16 + row % 16;
        const int shift = row % SCAN_BLOCK < 16 ? 0 : 4;
        const float *table = tables + query * m * 16;
        double sum = 0;
        for (std::size_t s = 0; s < m; ++s) sum += table[s * 16 + (at[s * 16] >> shift & 15)];
        return sum;
    };
    scan(wanted, coarse, exact, ids, scores, threads, stop);
}

void scan_tables(const ScanWanted &wanted, const uint8_t *codes, std::size_t m, const float *tables, int64_t *ids,
                 float *scores, int threads, const std::atomic<bool> &stop) {
    const auto coarse = [&](std::size_t query, std::size_t begin, std::size_t end, Shortlist &list) {
        const float *table = tables + query * m * 256;
        for (std::size_t row = begin; row < end; ++row) {
            const uint8_t *code = codes + row * m;
            float sum[4] = {};  // four chains of additions run side by side
            std::size_t s = 0;
            for (; s + 4 <= m; s += 4)
                for (std::size_t j = 0; j < 4; ++j) sum[j] += table[(s + j) * 256 + code[s + j]];
            for (; s < m; ++s) sum[0] += table[s * 256 + code[s]];
            const uint64_t entry = uint64_t{falling((sum[0] + sum[1]) + (sum[2] + sum[3]))} << 32 | row;
            if (entry < list.worst() && allowed(wanted, row)) list.offer(entry);
        }
    };
    const auto exact = [&](std::size_t query, std::size_t row) {
        double sum = 0;
        for (std::size_t s = 0; s < m; ++s) sum += tables[(query * m + s) * 256 + codes[row * m + s]];
        return sum;
    };
    scan(wanted, coarse, exact, ids, scores, threads, stop);
}

void scan_scalar(const ScanWanted &wanted, const uint8_t *codes, std::size_t d, const float *queries,
                 const float *centre, const float *step, int64_t *ids, float *scores, int threads,
                 const std::atomic<bool> &stop) {
    const std::size_t whole = d / CODE_ALIGNMENT * CODE_ALIGNMENT;
    std::vector<int8_t> parts(wanted.q * d);
    std::vector<float> weights(d);
    for (std::size_t i = 0; i < wanted.q; ++i) {
        float largest = 0;
        for (std::size_t j = 0; j < d; ++j) {
            weights[j] = queries[i * d + j] * step[j];
            largest = std::max(largest, std::fabs(weights[j]));
        }
        const float scale = largest > 0 && std::isfinite(largest) ? 127.0f / largest : 0.0f;
        for (std::size_t j = 0; scale > 0 && j < d; ++j)
            parts[i * d + j] = static_cast<int8_t>(static_cast<int>(weights[j] * scale + 128.5f) - 128);
    }
    const auto coarse = [&](std::size_t query, std::size_t begin, std::size_t end, Shortlist &list) {
        const int8_t *part = parts.data() + query * d;
        for (std::size_t row = begin; row < end; row += 4) {
            const uint8_t *four[4];
            int32_t dots[4];
            for (std::size_t j = 0; j < 4; ++j) four[j] = codes + std::min(row + j, end - 1) * d;
            dot_bytes4(four, part, whole, dots);
            for (std::size_t j = 0; j < 4 && row + j < end; ++j) {
                for (std::size_t at = whole; at < d; ++at) dots[j] += int32_t{four[j][at]} * part[at];
                const uint64_t entry = uint64_t{~(static_cast<uint32_t>(dots[j]) ^ 0x80000000u)} << 32 | (row + j);
                if (entry < list.worst() && allowed(wanted, row + j)) list.offer(entry);
            }
        }
    };
    const auto exact = [&](std::size_t query, std::size_t row) {
        double sum = 0;
        for (std::size_t j = 0; j < d; ++j) {
            const float value = centre[j] + step[j] * (static_cast<float>(codes[row * d + j]) - 128.0f);
            sum += static_cast<double>(queries[query * d + j]) * value;
        }
        return sum;
    };
    scan(wanted, coarse, exact, ids, scores, threads, stop);
}

}  // namespace firth
