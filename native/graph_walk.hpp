// The walk: from what is in the pool, best first, until every entry of the pool has been expanded.
//
// It is taken apart into two steps, and each ends by asking the memory for what the next one reads. A build does one
// after the other; a search of many queries keeps several walks under way and takes their steps in turns, so that the
// memory answers one while another computes.
#pragma once

#include "graph_space.hpp"

namespace firth {

template <class Space> class Walk {
  public:
    // The pool's nodes must be marked as visited.
    Walk(const Graph &graph, const Space &space, Scratch &scratch, int level = 0, Reach reach = {})
        : graph_(graph), space_(space), scratch_(scratch), level_(level), reach_(reach) {
        scratch.todo.resize(graph.m0 + 4);  // `score` fills its last group of four
        scratch.keys.resize(graph.m0 + 4);
        scratch.ranked.resize(graph.m0 + 4);
        ask(0);
    }

    uint32_t work() const { return work_; }  // distances computed

    // Expands the nearest node of the pool that was not yet; false when there is none left.
    bool look() {
        return look([&](uint32_t node, uint32_t *todo) { return gather(node, todo); });
    }
    // The same with another notion of what its neighbours are: `gather` marks and lists them.
    template <class Gather> bool look(Gather &&gather) {
        Pool &pool = scratch_.pool;
        if (at_ >= pool.size || pool.entry[at_] > end_) return false;
        const uint32_t node = Pool::node(pool.entry[at_]);
        pool.entry[at_] |= 1;
        found_ = gather(node, scratch_.todo.data());
        for (uint32_t i = 0; i < found_; ++i) space_.prefetch(scratch_.todo[i]);
        ask(at_ + 1);
        return true;
    }

    // Compares what `look` listed.
    void score(const typename Space::Query &query) {
        Pool &pool = scratch_.pool;
        uint32_t *todo = scratch_.todo.data(), *keys = scratch_.keys.data();
        for (uint32_t j = found_; j % 4; ++j) todo[j] = todo[0];
        for (uint32_t i = 0; i < found_; i += 4) space_.keys4(query, todo + i, keys + i);
        // Those good enough are picked without a branch, and only then put in.
        uint64_t *good = scratch_.ranked.data(), best = ~uint64_t{0};
        const uint64_t limit = std::min(pool.limit(), end_);
        std::size_t n = 0;
        for (uint32_t i = 0; i < found_; ++i) {
            const uint64_t value = Pool::pack(keys[i], todo[i]);
            good[n] = value;
            n += value < limit;
            best = std::min(best, value);
        }
        if (n && !level_) prefetch_bytes(graph_.links(Pool::node(best)), graph_.m0 * 4);
        std::size_t at = at_ + 1;
        for (std::size_t i = 0; i < n; ++i) at = std::min(at, pool.insert(good[i]));
        while (at < pool.size && (pool.entry[at] & 1)) ++at;
        ask(at_ = at);
        work_ += found_;
        if (reach_.times > 0 && n && pool.size >= std::max(reach_.rank, reach_.least)) {
            const auto key = static_cast<uint32_t>(pool.entry[reach_.rank - 1] >> 32);
            const uint64_t reached = Pool::pack(Space::further(query, key, reach_.times), MOST_NODES);
            end_ = std::max(reached, pool.entry[reach_.least - 1] | 1);
        }
    }

  private:
    // The neighbours of a node that this walk has not met.
    uint32_t gather(uint32_t node, uint32_t *todo) {
        const uint32_t *link = graph_.links(node, level_);
        const uint32_t bound = graph_.bound(), most = graph_.most_links(level_);
        uint32_t found = 0;
        for (uint32_t i = 0; i < most; ++i) {
            const uint32_t other = load_link(link + i);
            if (other >= bound) break;
            if (level_ && graph_.levels[other] < level_) continue;
            todo[found] = other;
            found += scratch_.mark(other);
        }
        scratch_.seen.insert(scratch_.seen.end(), todo, todo + found);
        return found;
    }
    void ask(std::size_t at) const {
        const Pool &pool = scratch_.pool;
        if (at < pool.size && !level_) prefetch_bytes(graph_.links(Pool::node(pool.entry[at])), graph_.m0 * 4);
    }

    const Graph &graph_;
    const Space space_;
    Scratch &scratch_;
    const int level_;
    const Reach reach_;
    uint64_t end_ = ~uint64_t{0};  // worse than this is neither kept nor expanded
    std::size_t at_ = 0;
    uint32_t found_ = 0, work_ = 0;
};

// All of it at once. Returns how many distances it computed.
template <class Space>
uint32_t walk(const Graph &graph, const Space &space, const typename Space::Query &query, Scratch &scratch, int level) {
    Walk<Space> walk(graph, space, scratch, level);
    while (walk.look()) walk.score(query);
    return walk.work();
}

// Goes down to `level` greedily from the graph's entry; leaves the node it ends at as the pool's only entry.
template <class Space>
uint32_t descend(const Graph &graph, const Space &space, const typename Space::Query &query, Scratch &scratch,
                 int level) {
    const uint32_t entry = graph.entry.load(std::memory_order_acquire);
    uint64_t best = Pool::pack(space.key(query, entry), entry);
    uint32_t work = 1;
    std::vector<uint32_t> &todo = scratch.todo;
    for (int l = graph.levels[entry]; l > level; --l) {
        for (bool moved = true; moved;) {
            moved = false;
            const uint32_t *link = graph.links(Pool::node(best), l);
            todo.clear();
            for (uint32_t i = 0; i < graph.settings.m; ++i) {
                const uint32_t node = load_link(link + i);
                if (node >= graph.bound()) break;
                if (graph.levels[node] < l) continue;
                space.prefetch(node);
                todo.push_back(node);
            }
            for (uint32_t node : todo) {
                const uint64_t other = Pool::pack(space.key(query, node), node);
                if (other < best) best = other, moved = true;
            }
            work += static_cast<uint32_t>(todo.size());
        }
    }
    scratch.pool.insert(best);
    scratch.visit(Pool::node(best));
    return work;
}

}  // namespace firth
