// Co-occurrence counting; see glove.hpp.
#include <algorithm>
#include <utility>

#include "glove.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t AHEAD = 8;  // places whose text is fetched before they are visited
constexpr uint64_t PLACES_A_BLOCK = 1 << 15;

// Sums by column, and which columns hold one: a set bit each, so that they come out in order without a sort.
class Accumulator {
  public:
    explicit Accumulator(std::size_t columns) : sums(columns), bits((columns + 63) / 64) {}

    void add(std::size_t column, double value) {
        sums[column] += value;
        bits[column / 64] |= uint64_t{1} << column % 64;
        highest = std::max(highest, column);
    }
    // Appends the cells of a row and forgets them.
    void take(CooccurrenceRows &to) {
        const std::size_t before = to.columns.size();
        for (std::size_t word = 0; word <= highest / 64; ++word)
            for (uint64_t left = bits[word]; left != 0; left &= left - 1) {
                const std::size_t column = word * 64 + static_cast<std::size_t>(__builtin_ctzll(left));
                to.columns.push_back(static_cast<int32_t>(column));
                to.values.push_back(static_cast<float>(sums[column]));
                sums[column] = 0;
            }
        std::fill_n(bits.begin(), highest / 64 + 1, 0);
        highest = 0;
        to.sizes.push_back(static_cast<int64_t>(to.columns.size() - before));
    }

  private:
    std::vector<double> sums;
    std::vector<uint64_t> bits;
    std::size_t highest = 0;
};

}  // namespace

CooccurrenceCounter::CooccurrenceCounter(const int32_t *ids, std::size_t n, std::size_t words, std::size_t window,
                                         bool symmetric, int threads, const std::atomic<bool> &stop)
    : ids(ids), n(n), words(words), window(window), symmetric(symmetric), starts(words + 1), nearness(window + 1) {
    for (std::size_t d = 1; d <= window; ++d) nearness[d] = 1.0 / static_cast<double>(d);
    // Each thread counts and later places one stretch of the text, so that a word's places are in the text's order.
    const auto team = static_cast<std::size_t>(std::max(threads, 1));
    std::vector<std::vector<uint64_t>> next(team, std::vector<uint64_t>(words));
    auto stretch = [&](std::size_t t) { return std::pair(n * t / team, n * (t + 1) / team); };
    parallel_for(team, 1, threads, stop, [&](std::size_t t, std::size_t, int) {
        const auto [begin, end] = stretch(t);
        for (std::size_t i = begin; i < end; ++i)
            if (ids[i] >= 0) ++next[t][static_cast<std::size_t>(ids[i])];
    });
    uint64_t total = 0;
    for (std::size_t w = 0; w < words; ++w) {
        starts[w] = total;
        for (std::size_t t = 0; t < team; ++t) total += std::exchange(next[t][w], total);
    }
    starts[words] = total;
    places.resize(total);
    parallel_for(team, 1, threads, stop, [&](std::size_t t, std::size_t, int) {
        const auto [begin, end] = stretch(t);
        for (std::size_t i = begin; i < end; ++i)
            if (ids[i] >= 0) places[next[t][static_cast<std::size_t>(ids[i])]++] = static_cast<uint32_t>(i);
    });
}

CooccurrenceRows CooccurrenceCounter::rows(std::size_t begin, std::size_t end, int threads,
                                           const std::atomic<bool> &stop) const {
    std::vector<std::size_t> blocks{begin};  // of about the same number of places
    for (std::size_t row = begin; row < end; ++row)
        if (starts[row + 1] - starts[blocks.back()] >= PLACES_A_BLOCK || row + 1 == end) blocks.push_back(row + 1);
    std::vector<CooccurrenceRows> parts(blocks.size() - 1);
    std::vector<Accumulator> accumulators(static_cast<std::size_t>(std::max(threads, 1)), Accumulator(words));
    parallel_for(parts.size(), 1, threads, stop, [&](std::size_t block, std::size_t, int thread) {
        Accumulator &sums = accumulators[static_cast<std::size_t>(thread)];
        for (std::size_t row = blocks[block]; row < blocks[block + 1]; ++row) {
            const auto limit = symmetric ? static_cast<int32_t>(row) : INT32_MAX;
            for (uint64_t p = starts[row]; p < starts[row + 1]; ++p) {
                if (p % 1024 == 0 && stop.load(std::memory_order_relaxed)) return;
                if (p + AHEAD < starts[words]) {
                    const int32_t *text = ids + places[p + AHEAD];
                    __builtin_prefetch(text - window);
                    __builtin_prefetch(text + window);
                }
                const std::size_t place = places[p];
                for (std::size_t d = 1; d <= window && d <= place; ++d) {
                    const int32_t other = ids[place - d];
                    if (other < 0) break;
                    if (other <= limit) sums.add(static_cast<std::size_t>(other), nearness[d]);
                }
                for (std::size_t d = 1; symmetric && d <= window && place + d < n; ++d) {
                    const int32_t other = ids[place + d];
                    if (other < 0) break;
                    if (other <= limit) sums.add(static_cast<std::size_t>(other), nearness[d]);
                }
            }
            sums.take(parts[block]);
        }
    });
    CooccurrenceRows all;
    std::size_t cells = 0;
    for (const CooccurrenceRows &part : parts) cells += part.columns.size();
    all.sizes.reserve(end - begin), all.columns.reserve(cells), all.values.reserve(cells);
    for (CooccurrenceRows &part : parts) {
        all.sizes.insert(all.sizes.end(), part.sizes.begin(), part.sizes.end());
        all.columns.insert(all.columns.end(), part.columns.begin(), part.columns.end());
        all.values.insert(all.values.end(), part.values.begin(), part.values.end());
        part = CooccurrenceRows();
    }
    return all;
}

CooccurrenceRows merge_runs(const std::vector<Run> &runs, std::size_t rows, std::size_t words) {
    CooccurrenceRows merged;
    Accumulator sums(words);
    for (std::size_t row = 0; row < rows; ++row) {
        for (const Run &run : runs)
            for (int64_t i = run.starts[row]; i < run.starts[row + 1]; ++i)
                sums.add(static_cast<std::size_t>(run.columns[i]), static_cast<double>(run.values[i]));
        sums.take(merged);
    }
    return merged;
}

}  // namespace firth
