// See scan.hpp. Codes of 8 bits: sums of entries of tables of 256.
#include "scan.hpp"

#include "shortlist.hpp"

#include <bit>

namespace firth {
namespace {

constexpr uint32_t ANY = 0xFFFFFFFF;  // slack: every row of a list is scored again

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

}  // namespace firth
