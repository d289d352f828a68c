// The start of a large graph: no walks. The rows are split into leaves of near ones, all pairs of a leaf are compared
// at once, and each row chooses its links among the nearest that it met in any leaf.
//
//   1. Some rows are drawn as pivots; each row joins the leaves of its three nearest. That is done several times over
//      with other pivots, so that two near rows which one split parts meet in another.
//   2. All pairs of a leaf by blocked integer products (pairs.hpp); a row keeps the best it has met, in a pool.
//   3. A row also looks at the pools of its nearest (one step of NN-descent, Dong et al. 2011), then chooses.
//   4. Links back, all at once. The same again for each upper level.
//
// The best of a union does not depend on the order of its parts, and the distances are integers: the graph is the
// same for any number of threads and at every CPU level. Beside the index, a build holds 8 bytes a pool entry:
// with ef_construction = 200, 0.8 KB a row, and the links back, 0.1 KB.
// Source: "PiPNN", arXiv:2602.21247. Where we differ: the pool is the plain best and not hashed by direction, the
// choice of links is that of arXiv:1603.09320, and there is a hierarchy.
//
// Tried (100,000 x 384 sentences, m = 16, ef_construction = 200, processor seconds of the whole build on busy cores;
// distances a query at recall@10 0.99, at recall@100 0.99, and for questions, which lie elsewhere):
//   walks, batch by batch (graph_build.cpp)                41.8 s   2,155   5,305   2,193
//   3 splits, pools of 64                                  12.3 s   2,446   5,562   2,536
//   3 splits, pools of 128                                 15.9 s   2,710   5,635   3,174
//   3 splits, pools of 64, then a walk of 64 from each     19.5 s   1,993   5,264   2,105
//   2 splits, pools of 96, then a walk of 100              23.1 s   2,142   5,184   2,171
//   5 splits, pools of 96                                  16.4 s   2,300   5,176   2,278
//   8 splits, pools of 100                                 21.9 s   1,947   4,955   2,060
//   8 splits of leaves half as large, pools of 100         19.6 s   2,121   5,104   2,138
//   5 splits, pools of 100, pools of the ten nearest       17.7 s   1,925   5,171   2,227   this one
#include "graph_start.hpp"

#include "graph_links.hpp"
#include "pairs.hpp"
#include "random.hpp"
#include "threads.hpp"

#include <mutex>
#include <numeric>

namespace firth {
namespace {

constexpr std::size_t LEAF = 512;           // rows of a leaf, about
constexpr std::size_t MOST_LEAF = 2 * LEAF;  // rows; a larger one is split again
constexpr std::size_t FANOUT = 3;           // leaves that a row joins in one split
constexpr std::size_t MOST_PIVOTS = 1024;   // of one split
constexpr std::size_t EF_A_SPLIT = 40;      // ef_construction buys one split for so many
constexpr std::size_t LEAST_SPLITS = 2, MOST_SPLITS = 16;
constexpr std::size_t LEAST_POOL = 32, MOST_POOL = 512;
constexpr std::size_t NEAR = 10, NEAR_POOL = 32;  // rows whose pools a row looks at, and how far
constexpr std::size_t COPIES = 2;     // rows at distance 0 that a row takes from one leaf: the next ones, a ring
constexpr std::size_t STRIPES = 4096;  // locks that the pools share
constexpr std::size_t SPLIT_GRAIN = 256, LINK_GRAIN = 64;  // rows between two looks at `stop`
constexpr uint64_t NOTHING = ~uint64_t{0};

using Set = std::vector<uint32_t>;  // rows: places in the list of a level's nodes

bool shorter(const Set &a, const Set &b) { return a.size() < b.size(); }

// The nodes of one level, and for each the nearest others met so far.
class Level {
  public:
    Level(Graph &graph, const std::vector<uint32_t> &nodes, int level, int threads, const std::atomic<bool> &stop)
        : graph_(graph), nodes_(nodes), level_(level), threads_(threads), stop_(stop),
          room_(std::clamp<std::size_t>(graph.settings.ef_construction / 2, LEAST_POOL, MOST_POOL)), locks_(STRIPES),
          best_(nodes.size() * room_, NOTHING) {}

    void meet(uint64_t seed);
    void link();
    void link_back();

  private:
    std::vector<Set> split(const Set &set, std::size_t fanout, uint64_t seed) const;
    std::vector<Set> leaves(Random &random) const;
    void fill(CodeSet &codes, const uint32_t *rows, std::size_t n) const;
    void join(const Set &leaf, CodeSet &codes);
    void offer(uint32_t row, std::vector<uint64_t> &found);
    void rank(uint32_t row, Scratch &scratch) const;
    const uint64_t *pool(uint32_t row) const { return best_.data() + row * room_; }

    Graph &graph_;
    const std::vector<uint32_t> &nodes_;
    const int level_, threads_;
    const std::atomic<bool> &stop_;
    const std::size_t room_;
    std::vector<std::mutex> locks_;
    std::vector<uint64_t> best_;  // room_ a row, ascending: squared distance << 32 | row << 1
    Set order_;                   // rows, near ones together: what one needs is in the cache from the one before
};

void Level::fill(CodeSet &codes, const uint32_t *rows, std::size_t n) const {
    std::vector<uint8_t> code(graph_.settings.width);
    codes.fill(
        n, code.size(),
        [&](std::size_t i) {
            const uint32_t node = nodes_[rows[i]];
            join_code(graph_.high(node), graph_.low.row(node), code.size(), code.data());
            return code.data();
        },
        [&](std::size_t i) { return graph_.norms[nodes_[rows[i]]]; });
}

// The parts of a set: rows by their nearest pivots.
std::vector<Set> Level::split(const Set &set, std::size_t fanout, uint64_t seed) const {
    const std::size_t n = set.size();
    const std::size_t p = std::clamp<std::size_t>(n * fanout / LEAF, fanout + 1, MOST_PIVOTS);
    Random random(seed);
    Set pivots;
    for (std::size_t i = 0; i < p; ++i) {
        const std::size_t from = n * i / p, to = n * (i + 1) / p;
        pivots.push_back(set[from + random.below(to - from)]);
    }
    CodeSet centres;
    fill(centres, pivots.data(), p);
    Set chosen(n * fanout);
    parallel_for(n, SPLIT_GRAIN, threads_, stop_, [&](std::size_t begin, std::size_t end, int) {
        CodeSet some;
        fill(some, set.data() + begin, end - begin);
        std::vector<uint32_t> distances(PAIR_ROWS * centres.stride());
        std::vector<uint64_t> near(fanout);
        for (std::size_t i = begin; i < end; i += PAIR_ROWS) {
            const std::size_t rows = std::min(PAIR_ROWS, end - i);
            centres.distances(some, i - begin, rows, distances.data());
            for (std::size_t r = 0; r < rows; ++r) {
                const uint32_t *at = distances.data() + r * centres.stride();
                std::fill(near.begin(), near.end(), NOTHING);
                for (std::size_t c = 0; c < p; ++c) {
                    const uint64_t value = uint64_t{at[c]} << 32 | c;
                    std::size_t j = fanout;
                    for (; j > 0 && near[j - 1] > value; --j)
                        if (j < fanout) near[j] = near[j - 1];
                    if (j < fanout) near[j] = value;
                }
                for (std::size_t j = 0; j < fanout; ++j)
                    chosen[(i + r) * fanout + j] = static_cast<uint32_t>(near[j]);
            }
        }
    });
    std::vector<Set> parts(p);
    for (std::size_t i = 0; i < n * fanout && !stop_.load(); ++i) parts[chosen[i]].push_back(set[i / fanout]);
    return parts;
}

std::vector<Set> Level::leaves(Random &random) const {
    std::vector<Set> done, open(1, Set(nodes_.size()));
    std::iota(open[0].begin(), open[0].end(), 0u);
    for (std::size_t fanout = FANOUT; !open.empty() && !stop_.load(); fanout = 1) {
        std::vector<Set> next;
        for (Set &set : open) {
            if (set.size() <= MOST_LEAF) {
                done.push_back(std::move(set));
                continue;
            }
            std::vector<Set> parts = split(set, fanout, random.next());
            if (std::max_element(parts.begin(), parts.end(), shorter)->size() <= set.size() / 10 * 9) {
                std::move(parts.begin(), parts.end(), std::back_inserter(next));
                continue;
            }
            // Copies of one row, or nearly: no pivot tells them apart, chance does.
            for (std::size_t i = set.size(); i-- > 1;) std::swap(set[i], set[random.below(i + 1)]);
            for (std::size_t i = 0; i < set.size(); i += LEAF)
                done.emplace_back(set.data() + i, set.data() + std::min(i + LEAF, set.size()));
        }
        open = std::move(next);
    }
    return done;
}

// The best of a row's pool and of what was found; the same pair found twice is the same number.
void Level::offer(uint32_t row, std::vector<uint64_t> &found) {
    if (found.size() > room_) {
        std::nth_element(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(room_), found.end());
        found.resize(room_);
    }
    std::sort(found.begin(), found.end());
    uint64_t merged[MOST_POOL], *pool = best_.data() + row * room_;
    std::size_t n = 0;
    for (std::size_t a = 0, b = 0; n < room_ && (pool[a] != NOTHING || b < found.size()); ++n) {
        const uint64_t known = pool[a], other = b < found.size() ? found[b] : NOTHING;
        merged[n] = std::min(known, other);
        a += known <= other, b += other <= known;
    }
    std::copy(merged, merged + n, pool);
}

void Level::join(const Set &leaf, CodeSet &codes) {
    const std::size_t n = leaf.size();
    fill(codes, leaf.data(), n);
    std::vector<uint32_t> distances(PAIR_ROWS * codes.stride());
    std::vector<uint64_t> found;
    for (std::size_t own = 0; own < n; ++own) {
        if (own % PAIR_ROWS == 0) codes.distances(codes, own, std::min(PAIR_ROWS, n - own), distances.data());
        const uint32_t *at = distances.data() + own % PAIR_ROWS * codes.stride();
        const uint32_t row = leaf[own];
        std::size_t copies = 0;
        found.clear();
        std::lock_guard lock(locks_[row % STRIPES]);
        const auto limit = static_cast<uint32_t>(pool(row)[room_ - 1] >> 32);
        auto look = [&](std::size_t from, std::size_t to) {
            for (std::size_t i = from; i < to; ++i)
                if (at[i] <= limit && (at[i] || ++copies <= COPIES)) found.push_back(Pool::pack(at[i], leaf[i]));
        };
        look(own + 1, n);
        look(0, own);
        if (!found.empty()) offer(row, found);
    }
}

void Level::meet(uint64_t seed) {
    Random random(seed);
    const std::vector<Set> parts = leaves(random);
    std::vector<CodeSet> codes(static_cast<std::size_t>(std::max(threads_, 1)));
    parallel_for(parts.size(), 1, threads_, stop_, [&](std::size_t begin, std::size_t end, int thread) {
        for (std::size_t i = begin; i < end; ++i) join(parts[i], codes[static_cast<std::size_t>(thread)]);
    });
    if (!order_.empty() || stop_.load()) return;
    std::vector<bool> seen(nodes_.size());
    for (const Set &part : parts)
        for (uint32_t row : part)
            if (!seen[row]) seen[row] = true, order_.push_back(row);
}

// What a row chooses from, as `choose` wants it: the best of its own pool and of those of its nearest.
void Level::rank(uint32_t row, Scratch &scratch) const {
    const Bytes<true> space{graph_};
    const uint32_t node = nodes_[row];
    const auto part = space.from_node(node, scratch);
    std::vector<uint64_t> &ranked = scratch.ranked;
    ranked.clear();
    scratch.visit(row);
    std::size_t held = 0;
    for (; held < room_ && pool(row)[held] != NOTHING; ++held) {
        const uint32_t other = Pool::node(pool(row)[held]);
        scratch.visit(other);
        space.prefetch(nodes_[other]);
        ranked.push_back(Pool::pack(static_cast<uint32_t>(pool(row)[held] >> 32), nodes_[other]));
    }
    const uint32_t limit = held == room_ ? static_cast<uint32_t>(pool(row)[room_ - 1] >> 32) : ~uint32_t{0};
    std::vector<uint32_t> &todo = scratch.todo;
    todo.clear();
    for (std::size_t i = 0; i < std::min(held, NEAR); ++i) {
        const uint64_t *near = pool(Pool::node(pool(row)[i]));
        for (std::size_t j = 0; j < std::min(room_, NEAR_POOL) && near[j] != NOTHING; ++j)
            if (scratch.visit(Pool::node(near[j]))) {
                todo.push_back(nodes_[Pool::node(near[j])]);
                space.prefetch(todo.back());
            }
    }
    scratch.forget();
    const std::size_t n = todo.size();
    while (todo.size() % 4) todo.push_back(todo.back());
    uint32_t keys[4];
    for (std::size_t i = 0; i < n; i += 4) {
        space.keys4(part, todo.data() + i, keys);
        for (std::size_t j = 0; j < 4 && i + j < n; ++j) {
            const uint32_t distance = Bytes<true>::between(keys[j], graph_.norms[node]);
            if (distance < limit) ranked.push_back(Pool::pack(distance, todo[i + j]));
        }
    }
    std::sort(ranked.begin(), ranked.end());
    ranked.resize(std::min(ranked.size(), room_));
}

void Level::link() {
    parallel_for(order_.size(), LINK_GRAIN, threads_, stop_, [&](std::size_t begin, std::size_t end, int) {
        auto scratch = graph_.scratches.take(graph_.bound());
        uint32_t kept[MOST_LINKS];
        for (std::size_t i = begin; i < end; ++i) {
            const uint32_t node = nodes_[order_[i]];
            rank(order_[i], *scratch);
            const std::size_t n = choose(graph_, Bytes<true>{graph_}, scratch->ranked, graph_.most_links(level_),
                                         *scratch, kept);
            write_links(graph_, node, level_, kept, n);
        }
        graph_.scratches.keep(std::move(scratch));
    });
}

void Level::link_back() {
    std::vector<uint32_t> row_of(graph_.bound());
    for (uint32_t row = 0; row < nodes_.size(); ++row) row_of[nodes_[row]] = row;
    auto each = [&](auto &&act) {
        for (uint32_t node : nodes_) {
            const uint32_t *link = graph_.links(node, level_);
            for (uint32_t j = 0; j < graph_.most_links(level_) && link[j] < graph_.bound(); ++j)
                act(node, row_of[link[j]]);
        }
    };
    std::vector<std::size_t> ends(nodes_.size() + 1, 0);
    each([&](uint32_t, uint32_t to) { ++ends[to + 1]; });
    std::partial_sum(ends.begin(), ends.end(), ends.begin());
    std::vector<uint32_t> sources(ends.back());
    std::vector<std::size_t> at(ends.begin(), ends.end() - 1);
    each([&](uint32_t from, uint32_t to) { sources[at[to]++] = from; });
    parallel_for(order_.size(), LINK_GRAIN, threads_, stop_, [&](std::size_t begin, std::size_t end, int) {
        auto scratch = graph_.scratches.take(graph_.bound());
        std::vector<uint32_t> some;
        for (std::size_t i = begin; i < end; ++i) {
            const uint32_t row = order_[i];
            some.assign(sources.data() + ends[row], sources.data() + ends[row + 1]);
            firth::link_back(graph_, Bytes<true>{graph_}, nodes_[row], level_, some, *scratch);
        }
        graph_.scratches.keep(std::move(scratch));
    });
}

}  // namespace

bool start_graph(Graph &graph, const std::vector<uint32_t> &slots, int threads, const std::atomic<bool> &stop) {
    const std::size_t wanted =
        std::clamp<std::size_t>(graph.settings.ef_construction / EF_A_SPLIT, LEAST_SPLITS, MOST_SPLITS);
    Random random(graph.settings.seed);
    std::vector<uint32_t> nodes = slots;
    for (int level = 0; nodes.size() > 1; ++level) {
        Level here(graph, nodes, level, threads, stop);
        const std::size_t splits = nodes.size() > MOST_LEAF ? wanted : 1;  // all in one leaf need no other
        for (std::size_t i = 0; i < splits; ++i) here.meet(random.next());
        if (!stop.load()) here.link();
        if (!stop.load()) here.link_back();
        if (stop.load()) return false;
        std::erase_if(nodes, [&](uint32_t node) { return graph.levels[node] <= level; });
    }
    return true;
}

}  // namespace firth
