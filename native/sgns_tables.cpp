// The tables that word2vec draws from: Walker's alias table of the noise distribution, and Huffman codes of the words.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "sgns.hpp"

namespace firth {

// Vose's method (1991): slot i holds itself with probability (below + 1) / 2^32, else its alias.
void alias_table(const double *weights, std::size_t n, uint32_t *below, int32_t *alias) {
    double total = 0;
    for (std::size_t i = 0; i < n; ++i) total += weights[i];
    std::vector<double> share(n);
    std::vector<int32_t> small, large;
    for (std::size_t i = n; i-- > 0;) {
        share[i] = weights[i] * static_cast<double>(n) / total;
        (share[i] < 1 ? small : large).push_back(static_cast<int32_t>(i));
    }
    auto settle = [&](int32_t slot, int32_t other) {
        const double limit = std::ceil(share[static_cast<std::size_t>(slot)] * 4294967296.0) - 1;
        below[slot] = limit >= 4294967295.0 ? 0xffffffff : limit < 0 ? 0 : static_cast<uint32_t>(limit);
        alias[slot] = other;
    };
    while (!small.empty() && !large.empty()) {
        const int32_t less = small.back(), more = large.back();
        small.pop_back();
        settle(less, more);
        double &rest = share[static_cast<std::size_t>(more)];
        rest -= 1 - share[static_cast<std::size_t>(less)];
        if (rest < 1) large.pop_back(), small.push_back(more);
    }
    for (const auto *left : {&small, &large})
        for (const int32_t slot : *left) below[slot] = 0xffffffff, alias[slot] = slot;
}

// Huffman's tree over n counts: starts (n + 1), path = for each word its inner nodes from the root (the last node, n - 2)
// down, times two plus the bit taken there. Ties go to the leaf with the higher index, then to the older node.
std::vector<int32_t> huffman(const int64_t *counts, std::size_t n, int64_t *starts) {
    std::vector<int32_t> order(n), parent(2 * n, -1);
    std::vector<int64_t> weight(2 * n);
    std::vector<uint8_t> bit(2 * n, 0);
    for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<int32_t>(i);
    std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
        return counts[a] != counts[b] ? counts[a] < counts[b] : a > b;
    });
    for (std::size_t i = 0; i < n; ++i) weight[i] = counts[i];
    std::size_t leaf = 0, inner = n;  // two queues in rising order: leaves, and nodes n .. 2n - 2 as they are made
    for (std::size_t made = n; made + 1 < 2 * n; ++made) {
        for (const uint8_t side : {0, 1}) {
            const bool take_leaf = leaf < n && (inner == made || weight[static_cast<std::size_t>(order[leaf])] <= weight[inner]);
            const std::size_t taken = take_leaf ? static_cast<std::size_t>(order[leaf++]) : inner++;
            weight[made] += weight[taken];
            parent[taken] = static_cast<int32_t>(made);
            bit[taken] = side;
        }
    }
    std::vector<int32_t> path;
    for (std::size_t i = 0; i < n; ++i) {
        starts[i] = static_cast<int64_t>(path.size());
        for (std::size_t at = i; parent[at] >= 0; at = static_cast<std::size_t>(parent[at]))
            path.push_back((parent[at] - static_cast<int32_t>(n)) * 2 + bit[at]);
        std::reverse(path.begin() + static_cast<std::ptrdiff_t>(starts[i]), path.end());
    }
    starts[n] = static_cast<int64_t>(path.size());
    return path;
}

}  // namespace firth
