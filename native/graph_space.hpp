// Distances as the walk sees them: an unsigned 32-bit key that sorts as the distance does.
//
// Two spaces with the same face. Bytes: centred int8 codes, integer sums. Floats: the rows themselves, summed in the
// fixed sixteen lanes of simd.hpp. Both give the same keys at every CPU level, so the walk takes the same path.
// BIASED adds the node's squared length: the Euclidean distance less the query's own length. The build always
// walks by it; searches under the inner product leave it out and touch one cache line less a node.
#pragma once

#include "graph.hpp"

#include <bit>
#include <cmath>

namespace firth {

inline void prefetch_bytes(const void *data, std::size_t bytes) {
    const char *p = static_cast<const char *>(data);
    for (std::size_t i = 0; i < bytes; i += 64) __builtin_prefetch(p + i, 0, 3);
}

// -0.0 and 0.0 differ here, which only orders ties.
inline uint32_t sortable(float value) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

template <bool BIASED> struct Bytes {
    struct Query {
        const int8_t *part;
        uint32_t shift;  // what makes up for the codes being unsigned
    };
    const Graph &graph;

    void prefetch(uint32_t node) const {
        prefetch_bytes(graph.code(node), graph.settings.width);
        if (BIASED) __builtin_prefetch(graph.norms.row(node));
    }
    uint32_t key(const Query &query, uint32_t node) const {
        return finish(query, node, dot_bytes(graph.code(node), query.part, graph.settings.width));
    }
    void keys4(const Query &query, const uint32_t *nodes, uint32_t *out) const {
        const uint8_t *code[4] = {graph.code(nodes[0]), graph.code(nodes[1]), graph.code(nodes[2]),
                                  graph.code(nodes[3])};
        int32_t dots[4];
        dot_bytes4(code, query.part, graph.settings.width, dots);
        for (int j = 0; j < 4; ++j) out[j] = finish(query, nodes[j], dots[j]);
    }
    // An inner product wants the query's own scale; a Euclidean distance wants it on the scale of the codes.
    Query from_floats(const float *query, Scratch &scratch) const {
        const std::size_t d = graph.settings.d;
        scratch.bytes.assign(graph.settings.width, 0);
        scratch.floats.resize(d);
        float largest = 0;
        for (std::size_t i = 0; i < d; ++i) {
            scratch.floats[i] = BIASED ? (query[i] - graph.mean[i]) / graph.step[i] : query[i] * graph.step[i];
            largest = std::max(largest, std::fabs(scratch.floats[i]));
        }
        const float scale = BIASED ? 1.0f : largest > 0 ? 127.0f / largest : 0.0f;
        for (std::size_t i = 0; i < d; ++i) {
            const float value = std::clamp(scratch.floats[i] * scale, -127.0f, 127.0f);
            scratch.bytes[i] = static_cast<int8_t>(static_cast<int>(value + 128.5f) - 128);
        }
        return {scratch.bytes.data(), shift(scratch.bytes.data())};
    }
    Query from_node(uint32_t node, Scratch &scratch) const {
        scratch.bytes.resize(graph.settings.width);
        const uint8_t *code = graph.code(node);
        for (std::size_t i = 0; i < graph.settings.width; ++i)
            scratch.bytes[i] = static_cast<int8_t>(code[i] ^ 0x80);
        return {scratch.bytes.data(), shift(scratch.bytes.data())};
    }
    uint32_t shift(const int8_t *part) const {
        int32_t sum = 0;
        if (BIASED)
            for (std::size_t i = 0; i < graph.settings.width; ++i) sum += part[i];
        return static_cast<uint32_t>(sum) * 256u;
    }
    // |x|² of a node from its code
    static uint32_t norm(const uint8_t *code, std::size_t width) {
        uint32_t sum = 0;
        for (std::size_t i = 0; i < width; ++i) {
            const int value = static_cast<int>(code[i]) - CODE_ZERO;
            sum += static_cast<uint32_t>(value * value);
        }
        return sum;
    }
    // |x|² + |y|² - 2xy of two nodes, x in the part of the query, as a key without a sign
    static uint32_t between(uint32_t key, uint32_t own) { return (key ^ 0x80000000u) + own; }

  private:
    uint32_t finish(const Query &query, uint32_t node, int32_t dot) const {
        uint32_t distance = query.shift - (BIASED ? 2u : 1u) * static_cast<uint32_t>(dot);
        if (BIASED) distance += graph.norms[node];
        return distance ^ 0x80000000u;
    }
};

template <bool BIASED> struct Floats {
    struct Query {
        const float *part;
    };
    const Graph &graph;

    void prefetch(uint32_t node) const {
        prefetch_bytes(graph.rows.row(node), graph.settings.d * sizeof(float));
        if (BIASED) __builtin_prefetch(graph.norms.row(node));
    }
    uint32_t key(const Query &query, uint32_t node) const {
        const float product = dot(query.part, graph.rows.row(node), graph.settings.d);
        return sortable(BIASED ? std::bit_cast<float>(graph.norms[node]) - 2 * product : -product);
    }
    void keys4(const Query &query, const uint32_t *nodes, uint32_t *out) const {
        for (int j = 0; j < 4; ++j) out[j] = key(query, nodes[j]);
    }
    Query from_floats(const float *query, Scratch &) const { return {query}; }
    Query from_node(uint32_t node, Scratch &) const { return {graph.rows.row(node)}; }
    static uint32_t norm(const float *row, std::size_t d) { return std::bit_cast<uint32_t>(dot(row, row, d)); }
    static uint32_t between(uint32_t key, uint32_t own) {
        const float value = std::bit_cast<float>(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key);
        return sortable(value + std::bit_cast<float>(own));
    }
};

// Walks one level from what is in the pool, best first, until every entry of the pool has been expanded.
// Returns how many distances it computed. The pool's nodes must be marked as visited.
template <class Space>
uint32_t walk(const Graph &graph, const Space &space, const typename Space::Query &query, Scratch &scratch, int level) {
    Pool &pool = scratch.pool;
    const uint32_t bound = graph.bound(), most = graph.most_links(level);
    uint32_t todo[2 * 256 + 4], keys[4], work = 0;
    std::size_t at = 0;
    while (at < pool.size) {
        if (pool.entry[at] & 1) {
            ++at;
            continue;
        }
        const uint32_t *link = graph.links(Pool::node(pool.entry[at]), level);
        pool.entry[at] |= 1;
        uint32_t found = 0;
        for (uint32_t i = 0; i < most; ++i) {
            const uint32_t node = load_link(link + i);
            if (node >= bound) break;
            if (level && graph.levels[node] < level) continue;
            if (!scratch.visit(node)) continue;
            space.prefetch(node);
            todo[found++] = node;
        }
        if (at + 1 < pool.size && level == 0) prefetch_bytes(graph.links(Pool::node(pool.entry[at + 1])), most * 4);
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

// Goes down to `level` greedily from the graph's entry; leaves the node it ends at as the pool's only entry.
template <class Space>
uint32_t descend(const Graph &graph, const Space &space, const typename Space::Query &query, Scratch &scratch,
                 int level) {
    const uint32_t entry = graph.entry.load(std::memory_order_acquire);
    uint64_t best = Pool::pack(space.key(query, entry), entry);
    uint32_t work = 1;
    for (int l = graph.levels[entry]; l > level; --l) {
        for (bool moved = true; moved;) {
            moved = false;
            const uint32_t *link = graph.links(Pool::node(best), l);
            for (uint32_t i = 0; i < graph.settings.m; ++i) {
                const uint32_t node = load_link(link + i);
                if (node >= graph.bound()) break;
                if (graph.levels[node] < l) continue;
                const uint64_t other = Pool::pack(space.key(query, node), node);
                ++work;
                if (other < best) best = other, moved = true;
            }
        }
    }
    scratch.pool.insert(best);
    scratch.visit(Pool::node(best));
    return work;
}

}  // namespace firth
