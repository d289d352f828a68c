// A scan is coarse first and keeps a shortlist a query; the rows of the lists are scored again in float64.
//
// What is kept depends on scores and row numbers alone, so any split into chunks and threads keeps the same rows.
#pragma once

#include "scan.hpp"
#include "threads.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace firth {

constexpr std::size_t GRAIN = 4;             // queries between two looks at `stop`
constexpr std::size_t CHUNK = 256 << 10;     // bytes of codes that stay in the cache while all queries pass over them
constexpr std::size_t WAITING = 96;          // entries that a list takes in before it is cut to its best

// The best `most` rows of one query: a smaller entry is better; its low half is the row, so ties fall to the first.
class Shortlist {
  public:
    explicit Shortlist(std::size_t most) : most_(most) {}

    std::size_t most() const { return most_; }
    bool empty() const { return held_.empty(); }
    // Entries from here on are no use: `most` better ones are known.
    uint64_t worst() const { return worst_; }

    void offer(uint64_t entry) {
        if (entry >= worst_) return;
        if (held_.empty()) held_.reserve(most_ + std::max(WAITING, most_ / 2));
        held_.push_back(entry);
        if (held_.size() >= most_ + std::max(WAITING, most_ / 2)) cut();
    }

    // The best `most` and perhaps some more, in no order.
    const std::vector<uint64_t> &held() const { return held_; }

    // The best, in no order, without those that are worse than the k-th by more than `slack` in their upper half.
    void near(std::size_t k, uint64_t slack, std::vector<uint64_t> &out) const {
        out = held_;
        if (out.size() <= k) return;
        order(out, k);
        const uint64_t last = (out[k - 1] >> 32) + slack;
        std::erase_if(out, [last](uint64_t entry) { return entry >> 32 > last; });
        if (out.size() <= most_) return;
        order(out, most_);
        out.resize(most_);
    }

  private:
    void cut() {
        order(held_, most_);
        held_.resize(most_);
        worst_ = held_.back();
    }

    // The first `wanted` of all, in any order, and the last of them at its place.
    static void order(std::vector<uint64_t> &entries, std::size_t wanted) {
        std::nth_element(entries.begin(), entries.begin() + static_cast<std::ptrdiff_t>(wanted - 1), entries.end());
    }

    std::vector<uint64_t> held_;
    std::size_t most_;
    uint64_t worst_ = std::numeric_limits<uint64_t>::max();
};

inline bool allowed(const ScanWanted &wanted, std::size_t row) { return !wanted.allow || wanted.allow[row]; }

// coarse(begin, end, lists) offers rows of a chunk, whose begin is a multiple of `step`, to the list of each query.
// exact(query, entries, scores) gives the float64 scores of the rows of a list.
// slack: how much worse than that of the k-th an entry's upper half can be while its exact score is as good.
template <class Coarse, class Exact>
void scan(const ScanWanted &wanted, std::size_t width, uint32_t slack, const Coarse &coarse, const Exact &exact,
          int64_t *ids, float *scores, int threads, const std::atomic<bool> &stop) {
    const std::size_t k = wanted.k, most = std::min(wanted.n, 2 * k + 16);
    const std::size_t rows = std::max<std::size_t>(CHUNK / std::max<std::size_t>(width, 1) / 64, 4) * 64;
    const std::size_t chunks = (wanted.n + rows - 1) / rows;
    const std::size_t shards = std::clamp<std::size_t>(chunks, 1, static_cast<std::size_t>(std::max(threads, 1)));
    std::vector<std::vector<Shortlist>> lists(shards, std::vector<Shortlist>(wanted.q, Shortlist(most)));
    parallel_for(shards, 1, threads, stop, [&](std::size_t shard, std::size_t, int) {
        for (std::size_t c = shard; c < chunks && !stop.load(std::memory_order_relaxed); c += shards)
            coarse(c * rows, std::min(wanted.n, (c + 1) * rows), lists[shard].data());
    });
    parallel_for(wanted.q, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        std::vector<uint64_t> kept;
        std::vector<double> found;
        std::vector<std::pair<double, std::size_t>> best;
        for (std::size_t i = begin; i < end; ++i) {
            for (std::size_t s = 1; s < shards; ++s)
                for (uint64_t entry : lists[s][i].held()) lists[0][i].offer(entry);
            lists[0][i].near(k, slack, kept);
            found.resize(kept.size());
            exact(i, kept, found.data());
            best.clear();
            for (std::size_t j = 0; j < kept.size(); ++j) {
                const bool number = found[j] == found[j];  // a damaged codec may give NaN, which comes last
                best.emplace_back(number ? -found[j] : std::numeric_limits<double>::infinity(), kept[j] & 0xFFFFFFFFu);
            }
            std::sort(best.begin(), best.end());
            for (std::size_t j = 0; j < k; ++j) {
                const bool there = j < best.size();
                ids[i * k + j] = there ? static_cast<int64_t>(best[j].second) : -1;
                scores[i * k + j] = there ? static_cast<float>(-best[j].first) : -std::numeric_limits<float>::infinity();
            }
        }
    });
}

}  // namespace firth
