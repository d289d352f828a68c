// Answers: walk the codes, then score the best of them exactly from the float32 rows.
//
// The walk is in integers and the scores are float64 sums of a fixed order, so an answer does not depend on the CPU
// level or on the number of threads. Scratch is made once a thread; a query allocates nothing.
#include "graph_space.hpp"
#include "threads.hpp"

#include <limits>

namespace firth {
namespace {

constexpr std::size_t GRAIN = 16;      // queries between two looks at `stop`
constexpr std::size_t MOST_LIST = 512;  // links of level 0, at most

bool wanted_node(const Graph &graph, const Graph::Wanted &wanted, uint32_t node) {
    if (wanted.allow && (node >= wanted.allow_bits || !(wanted.allow[node >> 6] >> (node & 63) & 1))) return false;
    return graph.state_of(node) == ALIVE;
}

// Every wanted node by its code, the best `rerank` kept.
template <class Space>
uint32_t scan(const Graph &graph, const Space &space, const typename Space::Query &query, const Graph::Wanted &wanted,
              Scratch &scratch) {
    scratch.pool.reset(wanted.rerank);
    const uint32_t count = graph.count.load(std::memory_order_acquire);
    uint32_t group[4], keys[4], filled = 0, work = 0;
    auto flush = [&] {
        for (uint32_t j = filled; j < 4; ++j) group[j] = group[0];
        space.keys4(query, group, keys);
        for (uint32_t j = 0; j < filled; ++j) scratch.pool.insert(Pool::pack(keys[j], group[j]));
        work += filled, filled = 0;
    };
    for (uint32_t node = 0; node < count; ++node) {
        if (wanted.allow && (node & 63) == 0)
            while (node + 64 <= std::min<std::size_t>(count, wanted.allow_bits) && wanted.allow[node >> 6] == 0)
                node += 64;
        if (node >= count || !wanted_node(graph, wanted, node)) continue;
        group[filled++] = node;
        if (filled == 4) flush();
    }
    if (filled) flush();
    return work;
}

// A walk that scores allowed nodes only; behind a neighbour that is not allowed its own neighbours are looked at, until
// an expansion has as many nodes as a list has links. Where one node in s is allowed that reads s lists a hop, and
// scores a s-th of what a beam widened by s scores.
// Source: Patel et al. 2024, "ACORN", arXiv:2403.04871 (ACORN-1).
template <class Space>
uint32_t walk_through(const Graph &graph, const Space &space, const typename Space::Query &query,
                      const Graph::Wanted &wanted, Scratch &scratch) {
    Pool &pool = scratch.pool;
    const uint32_t bound = graph.bound(), most = graph.m0;
    uint32_t todo[MOST_LIST + 4], passed[MOST_LIST], keys[4], work = 0;
    std::size_t at = 0;
    while (at < pool.size) {
        if (pool.entry[at] & 1) {
            ++at;
            continue;
        }
        const uint32_t *link = graph.links(Pool::node(pool.entry[at]));
        pool.entry[at] |= 1;
        uint32_t found = 0, behind = 0;
        for (uint32_t i = 0; i < most; ++i) {
            const uint32_t node = load_link(link + i);
            if (node >= bound) break;
            if (!scratch.visit(node)) continue;
            if (wanted_node(graph, wanted, node)) {
                space.prefetch(node);
                todo[found++] = node;
            } else {
                prefetch_bytes(graph.links(node), most * 4);
                passed[behind++] = node;
            }
        }
        for (uint32_t p = 0; p < behind && found < most; ++p) {
            const uint32_t *further = graph.links(passed[p]);
            for (uint32_t i = 0; i < most && found < most; ++i) {
                const uint32_t node = load_link(further + i);
                if (node >= bound) break;
                if (!wanted_node(graph, wanted, node) || !scratch.visit(node)) continue;
                space.prefetch(node);
                todo[found++] = node;
            }
        }
        std::size_t best = at + 1;
        for (uint32_t i = 0; i < found; i += 4) {
            for (uint32_t j = found; j < i + 4; ++j) todo[j] = todo[i];
            space.keys4(query, todo + i, keys);
            for (uint32_t j = 0; j < 4 && i + j < found; ++j)
                best = std::min(best, pool.insert(Pool::pack(keys[j], todo[i + j])));
        }
        work += found;
        at = best;
    }
    return work;
}

double exact(const Graph &graph, const float *query, uint32_t node) {
    const float *row = graph.rows.row(node);
    const double score = graph.settings.metric == Metric::DOT ? dot64(query, row, graph.settings.d)
                                                              : -distance64(query, row, graph.settings.d);
    return score == score ? score : -std::numeric_limits<double>::infinity();  // a damaged row may hold NaN
}

// The best `rerank` wanted nodes of the pool, scored exactly, best k written.
void rerank(const Graph &graph, const float *query, const Graph::Wanted &wanted, Scratch &scratch, int64_t *ids,
            float *scores) {
    auto &found = scratch.exact;
    found.clear();
    const Pool &pool = scratch.pool;
    for (std::size_t i = 0; i < pool.size && found.size() < wanted.rerank; ++i) {
        const uint32_t node = Pool::node(pool.entry[i]);
        if (!wanted_node(graph, wanted, node)) continue;
        prefetch_bytes(graph.rows.row(node), graph.settings.d * sizeof(float));
        found.emplace_back(0.0, node);
    }
    for (auto &[score, node] : found) score = -exact(graph, query, node);
    const std::size_t k = std::min(wanted.k, found.size());
    std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(k), found.end());
    for (std::size_t i = 0; i < wanted.k; ++i) {
        ids[i] = i < k ? graph.keys[found[i].second] : -1;
        scores[i] = i < k ? static_cast<float>(-found[i].first) : -std::numeric_limits<float>::infinity();
    }
}

std::size_t usable(const Graph &graph, const Graph::Wanted &wanted, const Pool &pool) {
    std::size_t n = 0;
    for (std::size_t i = 0; i < pool.size; ++i) n += wanted_node(graph, wanted, Pool::node(pool.entry[i]));
    return n;
}

template <class Space>
uint32_t answer(const Graph &graph, const Space &space, const float *query, const Graph::Wanted &wanted,
                Scratch &scratch, int64_t *ids, float *scores) {
    const auto part = space.from_floats(query, scratch);
    uint32_t work = 0;
    bool walked = !wanted.exact && graph.entry.load(std::memory_order_acquire) != NO_NODE;
    if (walked) {
        scratch.pool.reset(wanted.ef);
        work += descend(graph, space, part, scratch, 0);
        work += wanted.through ? walk_through(graph, space, part, wanted, scratch)
                               : walk(graph, space, part, scratch, 0);
        scratch.forget();
        // A filter or removed nodes may have left too little of the beam: then look at each allowed node.
        const std::size_t least = std::min(wanted.allow ? std::max(wanted.k, wanted.rerank) : wanted.k, wanted.allowed);
        walked = usable(graph, wanted, scratch.pool) >= least;
    }
    if (!walked) work += scan(graph, space, part, wanted, scratch);
    rerank(graph, query, wanted, scratch, ids, scores);
    return work;
}

}  // namespace

void Graph::search(const float *queries, std::size_t q, const Wanted &wanted, int64_t *ids, float *scores,
                   uint32_t *work, int threads, const std::atomic<bool> &stop) const {
    const bool euclid = settings.metric == Metric::EUCLID;
    parallel_for(q, GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        std::shared_lock open(gate);
        auto scratch = scratches.take(bound());
        auto run = [&](const auto &space) {
            for (std::size_t i = begin; i < end; ++i)
                work[i] = answer(*this, space, queries + i * settings.d, wanted, *scratch, ids + i * wanted.k,
                                 scores + i * wanted.k);
        };
        if (settings.width)
            euclid ? run(Bytes<true>{*this}) : run(Bytes<false>{*this});
        else
            euclid ? run(Floats<true>{*this}) : run(Floats<false>{*this});
        scratches.keep(std::move(scratch));
    });
}

}  // namespace firth
