// Scans over codes of 8 bits: sums of entries of tables of 256, and inner products of one byte a dimension.
//
// Tried (one byte a dimension, 20,000 vectors of 384, a batch, a busy core of a Zen 5, microseconds a query): chunks of
// 256 KB of codes instead of 4,096 vectors, which do not fit the second cache, 132 -> 103 to 124.
#include "scan.hpp"

#include "bytes.hpp"
#include "shortlist.hpp"

#include <bit>
#include <cmath>

namespace firth {
namespace {

constexpr uint32_t ANY = 0xFFFFFFFF;  // slack: every row of a list is scored again
constexpr std::size_t TOGETHER = 4;   // rows whose float64 sums run side by side

uint32_t falling(float score) {  // a larger score gives a smaller key
    const uint32_t bits = std::bit_cast<uint32_t>(-score);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

}  // namespace

void scan_tables(const ScanWanted &wanted, const uint8_t *codes, std::size_t m, const float *tables, int64_t *ids,
                 float *scores, int threads, const std::atomic<bool> &stop) {
    const auto coarse = [&](std::size_t begin, std::size_t end, Shortlist *lists) {
        for (std::size_t i = 0; i < wanted.q; ++i) {
            const float *table = tables + i * m * 256;
            for (std::size_t row = begin; row < end; ++row) {
                const uint8_t *code = codes + row * m;
                float sum[4] = {};  // four chains of additions run side by side
                std::size_t s = 0;
                for (; s + 4 <= m; s += 4)
                    for (std::size_t j = 0; j < 4; ++j) sum[j] += table[(s + j) * 256 + code[s + j]];
                for (; s < m; ++s) sum[0] += table[s * 256 + code[s]];
                const uint64_t entry = uint64_t{falling((sum[0] + sum[1]) + (sum[2] + sum[3]))} << 32 | row;
                if (entry < lists[i].worst() && allowed(wanted, row)) lists[i].offer(entry);
            }
        }
    };
    const auto exact = [&](std::size_t query, const std::vector<uint64_t> &entries, double *found) {
        const float *table = tables + query * m * 256;
        for (std::size_t j = 0; j < entries.size(); ++j) {
            const uint8_t *code = codes + (entries[j] & 0xFFFFFFFFu) * m;
            double sum = 0;
            for (std::size_t s = 0; s < m; ++s) sum += table[s * 256 + code[s]];
            found[j] = sum;
        }
    };
    scan(wanted, m, ANY, coarse, exact, ids, scores, threads, stop);
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
    const auto coarse = [&](std::size_t begin, std::size_t end, Shortlist *lists) {
        for (std::size_t i = 0; i < wanted.q; ++i) {
            const int8_t *part = parts.data() + i * d;
            for (std::size_t row = begin; row < end; row += 4) {
                const uint8_t *four[4];
                int32_t dots[4];
                for (std::size_t j = 0; j < 4; ++j) four[j] = codes + std::min(row + j, end - 1) * d;
                dot_bytes4(four, part, whole, dots);
                for (std::size_t j = 0; j < 4 && row + j < end; ++j) {
                    for (std::size_t at = whole; at < d; ++at) dots[j] += int32_t{four[j][at]} * part[at];
                    const uint64_t entry = uint64_t{~(static_cast<uint32_t>(dots[j]) ^ 0x80000000u)} << 32 | (row + j);
                    if (entry < lists[i].worst() && allowed(wanted, row + j)) lists[i].offer(entry);
                }
            }
        }
    };
    const auto exact = [&](std::size_t query, const std::vector<uint64_t> &entries, double *found) {
        const float *asked = queries + query * d;
        for (std::size_t start = 0; start < entries.size(); start += TOGETHER) {
            const uint8_t *code[TOGETHER];
            for (std::size_t j = 0; j < TOGETHER; ++j)
                code[j] = codes + (entries[std::min(start + j, entries.size() - 1)] & 0xFFFFFFFFu) * d;
            double sum[TOGETHER] = {};
            for (std::size_t at = 0; at < d; ++at)
                for (std::size_t j = 0; j < TOGETHER; ++j) {
                    const float value = centre[at] + step[at] * (static_cast<float>(code[j][at]) - 128.0f);
                    sum[j] += static_cast<double>(asked[at]) * value;
                }
            for (std::size_t j = 0; j < TOGETHER && start + j < entries.size(); ++j) found[start + j] = sum[j];
        }
    };
    scan(wanted, d, ANY, coarse, exact, ids, scores, threads, stop);
}

}  // namespace firth
