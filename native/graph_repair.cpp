// Change without decay: lists around removed nodes are mended, and every node stays reachable from the entry.
//
// Removing marks a node; it is still walked through, never returned. A repair gives each list that holds removed
// nodes a new diverse choice among its living links and the living links of its removed ones, then frees their
// slots (FreshDiskANN's consolidation, Singh et al. 2021, arXiv:2105.09613). What the heuristic left without a way
// in is then connected: `connect` walks level 0 breadth-first and gives each node it missed a link from a near node,
// in a free place or instead of a link that is not part of the breadth-first tree, so that nothing else is lost.
#include "graph_links.hpp"
#include "threads.hpp"

namespace firth {
namespace {

constexpr std::size_t GRAIN = 256;     // lists between two looks at `stop`
constexpr std::size_t NEARBY = 64;     // candidates for the link that connects a lost node
constexpr std::size_t MOST_RING = 512; // living nodes looked at around removed ones

// The living nodes of a list, and through its removed ones those behind them.
std::vector<uint32_t> living(const Graph &graph, uint32_t node, int level, bool &mended) {
    std::vector<uint32_t> found, ring{node}, passed;
    for (std::size_t i = 0; i < ring.size() && found.size() < MOST_RING; ++i) {
        const uint32_t *link = graph.links(ring[i], level);
        for (uint32_t j = 0; j < graph.most_links(level) && link[j] < graph.bound(); ++j) {
            const uint32_t other = link[j];
            if (other == node || (level && graph.levels[other] < level)) continue;
            if (graph.state_of(other) == ALIVE)
                found.push_back(other);
            else if (std::find(ring.begin(), ring.end(), other) == ring.end() && ring.size() < MOST_RING)
                ring.push_back(other), mended = true;
        }
    }
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

template <class Space>
void mend(Graph &graph, const Space &space, int threads, const std::atomic<bool> &stop) {
    parallel_for(graph.count.load(), GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        auto scratch = graph.scratches.take(graph.bound());
        uint32_t kept[MOST_LINKS];
        for (auto node = static_cast<uint32_t>(begin); node < end; ++node) {
            if (graph.state_of(node) != ALIVE) continue;
            for (int level = 0; level <= graph.levels[node]; ++level) {
                bool mended = false;
                const std::vector<uint32_t> candidates = living(graph, node, level, mended);
                if (!mended) continue;
                rank(graph, space, node, candidates.data(), candidates.size(), *scratch, scratch->ranked);
                const std::size_t n =
                    choose(graph, space, scratch->ranked, graph.most_links(level), *scratch, kept);
                write_links(graph, node, level, kept, n);
            }
        }
        graph.scratches.keep(std::move(scratch));
    });
}

// parent[i] is the node that the breadth-first walk came from; NO_NODE where it did not come.
void reach(const Graph &graph, uint32_t from, std::vector<uint32_t> &parent) {
    std::vector<uint32_t> queue{from};
    for (std::size_t i = 0; i < queue.size(); ++i) {
        const uint32_t *link = graph.links(queue[i]);
        for (uint32_t j = 0; j < graph.m0 && link[j] < graph.bound(); ++j)
            if (parent[link[j]] == NO_NODE) parent[link[j]] = queue[i], queue.push_back(link[j]);
    }
}

std::vector<uint32_t> reached_from_entry(const Graph &graph) {
    std::vector<uint32_t> parent(graph.bound(), NO_NODE);
    const uint32_t entry = graph.entry.load();
    if (entry != NO_NODE) parent[entry] = entry, reach(graph, entry, parent);
    return parent;
}

// A link from `from` to `node` that costs no other node its way in; false when each place of the list is needed.
bool link_into(Graph &graph, uint32_t from, uint32_t node, const std::vector<uint32_t> &parent) {
    uint32_t *link = graph.links(from);
    uint32_t held = 0;
    while (held < graph.m0 && link[held] < graph.bound()) ++held;
    if (held < graph.m0) return store_link(link + held, node), true;
    for (uint32_t j = held; j-- > 0;)
        if (parent[link[j]] != from) return store_link(link + j, node), true;
    return false;
}

template <class Space> std::size_t connect_lost(Graph &graph, const Space &space) {
    std::vector<uint32_t> parent = reached_from_entry(graph);
    auto scratch = graph.scratches.take(graph.bound());
    std::size_t lost = 0;
    for (uint32_t node = 0; node < graph.count.load(); ++node) {
        if (parent[node] != NO_NODE || graph.state_of(node) == FREE) continue;
        ++lost;
        scratch->pool.reset(NEARBY);
        const auto part = space.from_node(node, *scratch);
        descend(graph, space, part, *scratch, 0);
        walk(graph, space, part, *scratch, 0);
        scratch->forget();
        auto take = [&](uint32_t from) {
            if (from == node || parent[from] == NO_NODE || !link_into(graph, from, node, parent)) return false;
            parent[node] = from;
            return true;
        };
        bool linked = false;
        for (std::size_t i = 0; i < scratch->pool.size && !linked; ++i)
            linked = take(Pool::node(scratch->pool.entry[i]));
        for (uint32_t from = 0; from < graph.count.load() && !linked; ++from) linked = take(from);
        reach(graph, node, parent);
    }
    graph.scratches.keep(std::move(scratch));
    return lost;
}

}  // namespace

void Graph::remove(const uint32_t *slots, std::size_t n) {
    reserve(bound(), upper.capacity());
    for (std::size_t i = 0; i < n; ++i) set_state(slots[i], REMOVED);
    alive.fetch_sub(static_cast<uint32_t>(n));
}

void Graph::repair(int threads, const std::atomic<bool> &stop) {
    reserve(bound(), upper.capacity());
    if (settings.width)
        mend(*this, Bytes<true>{*this}, threads, stop);
    else
        mend(*this, Floats<true>{*this}, threads, stop);
    if (stop.load()) return;  // lists mended so far are sound; the marks stay, and the next repair goes on
    uint32_t highest = NO_NODE;
    for (uint32_t node = 0; node < count.load(); ++node)
        if (state_of(node) == ALIVE && (highest == NO_NODE || levels[node] > levels[highest])) highest = node;
    entry.store(highest, std::memory_order_release);
    for (uint32_t node = 0; node < count.load(); ++node) {
        if (state_of(node) != REMOVED) continue;
        set_state(node, FREE);
        free_slots.push_back(node);
    }
    connect();
}

std::size_t Graph::connect() {
    if (entry.load() == NO_NODE) return 0;
    reserve(bound(), upper.capacity());
    return settings.width ? connect_lost(*this, Bytes<true>{*this}) : connect_lost(*this, Floats<true>{*this});
}

std::size_t Graph::unreachable() const {
    const std::vector<uint32_t> parent = reached_from_entry(*this);
    std::size_t n = 0;
    for (uint32_t node = 0; node < count.load(); ++node) n += parent[node] == NO_NODE && state_of(node) == ALIVE;
    return n;
}

}  // namespace firth
