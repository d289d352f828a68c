// Distances as the walk sees them: an unsigned 32-bit key that sorts as the distance does.
//
// Three spaces with the same face. Bytes: centred int8 codes, integer sums; growth and scans go by it. Halves: the upper
// half of each byte, as a search does. Floats: the rows themselves, summed in the fixed sixteen lanes of simd.hpp. Each
// gives the same keys at every CPU level, so the walk takes the same path.
// BIASED adds the node's squared length: the Euclidean distance less the query's own length. The build always
// walks by it; searches under the inner product leave it out and touch one cache line less a node.
#pragma once

#include "graph.hpp"
#include "planes.hpp"

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

// Of rows that all have one length, as they have under an inner product.
inline double squared_radius(const Graph &graph) {
    const uint32_t entry = graph.entry.load(std::memory_order_acquire);
    return entry == NO_NODE ? 0.0 : dot64(graph.rows.row(entry), graph.rows.row(entry), graph.settings.d);
}

template <bool BIASED> struct Bytes {
    struct Query {
        const int8_t *part;
        uint32_t shift;  // what makes up for the codes being unsigned
        double base, slope;  // squared distance of the rows = base + slope * the key as a number
    };
    const Graph &graph;

    void prefetch(uint32_t node) const {
        prefetch_bytes(graph.high(node), graph.settings.width / 2);
        prefetch_bytes(graph.low.row(node), graph.settings.width / 2);
        if (BIASED) __builtin_prefetch(graph.norms.row(node));
    }
    uint32_t key(const Query &query, uint32_t node) const {
        const int32_t sum = dot_plane<true>(graph.high(node), graph.low.row(node), query.part, graph.settings.width);
        return finish(query, node, sum);
    }
    void keys4(const Query &query, const uint32_t *nodes, uint32_t *out) const {
        const uint8_t *high[4], *low[4];
        int32_t sums[4];
        for (int j = 0; j < 4; ++j) high[j] = graph.high(nodes[j]), low[j] = graph.low.row(nodes[j]);
        dot_plane4<true>(high, low, query.part, graph.settings.width, sums);
        for (int j = 0; j < 4; ++j) out[j] = finish(query, nodes[j], sums[j]);
    }
    // Half the squared distance under an inner product, the whole of it else, both less than nothing: the score that a key
    // stands for, but for what is the same for all nodes.
    static double score(const Query &query, uint32_t key) {
        return (BIASED ? -1.0 : -0.5) * query.slope * static_cast<double>(static_cast<int32_t>(key ^ 0x80000000u));
    }
    // The key of what lies at `times` the squared distance of another key.
    static uint32_t further(const Query &query, uint32_t key, double times) {
        const double squared = query.base + query.slope * static_cast<double>(static_cast<int32_t>(key ^ 0x80000000u));
        const double other = (times * std::max(squared, 0.0) - query.base) / query.slope;
        if (!(other < 2147483647.0)) return 0xFFFFFFFFu;  // a query of zeros comes here too
        return static_cast<uint32_t>(static_cast<int32_t>(std::max(other, -2147483648.0))) ^ 0x80000000u;
    }
    // An inner product wants the query's own scale; a Euclidean distance wants it on the scale of the codes.
    Query from_floats(const float *query, Scratch &scratch, double unseen = 0) const {
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
        const int8_t *part = scratch.bytes.data();
        int64_t sum = 0, squares = 0;
        for (std::size_t i = 0; i < d; ++i) sum += part[i], squares += part[i] * part[i];
        const double missing = unseen * static_cast<double>(sum);
        if (BIASED) {
            const double unit = static_cast<double>(graph.step[0]) * graph.step[0];
            return {part, shift(part), unit * (static_cast<double>(squares) - 2 * missing), unit};
        }
        const double unit = scale > 0 ? 1.0 / scale : 0.0, centre = dot64(query, graph.mean.data(), d);
        const double own = dot64(query, query, d) + squared_radius(graph);
        return {part, 0, own - 2 * centre + 2 * unit * (CODE_ZERO * static_cast<double>(sum) - missing), 2 * unit};
    }
    Query from_node(uint32_t node, Scratch &scratch) const {
        scratch.bytes.resize(graph.settings.width);
        uint8_t *code = reinterpret_cast<uint8_t *>(scratch.bytes.data());
        join_code(graph.high(node), graph.low.row(node), graph.settings.width, code);
        for (std::size_t i = 0; i < graph.settings.width; ++i) code[i] ^= 0x80;
        return {scratch.bytes.data(), shift(scratch.bytes.data()), 0.0, 0.0};
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

    uint32_t finish(const Query &query, uint32_t node, int32_t dot) const {
        uint32_t distance = query.shift - (BIASED ? 2u : 1u) * static_cast<uint32_t>(dot);
        if (BIASED) distance += graph.norms[node];
        return distance ^ 0x80000000u;
    }
};

// Each value of a code taken for the middle of the sixteen that share its upper half: what that adds to a key is the
// same for all nodes, and left out.
template <bool BIASED> struct Halves : Bytes<BIASED> {
    using Query = typename Bytes<BIASED>::Query;
    using Bytes<BIASED>::graph;

    Query from_floats(const float *query, Scratch &scratch) const {
        return Bytes<BIASED>::from_floats(query, scratch, 7.5);
    }
    void prefetch(uint32_t node) const {
        prefetch_bytes(graph.high(node), graph.settings.width / 2);
        if (BIASED) __builtin_prefetch(graph.norms.row(node));
    }
    uint32_t key(const Query &query, uint32_t node) const {
        const int32_t sum = dot_plane<false>(graph.high(node), nullptr, query.part, graph.settings.width);
        return this->finish(query, node, 16 * sum);
    }
    void keys4(const Query &query, const uint32_t *nodes, uint32_t *out) const {
        const uint8_t *high[4];
        int32_t sums[4];
        for (int j = 0; j < 4; ++j) high[j] = graph.high(nodes[j]);
        dot_plane4<false>(high, nullptr, query.part, graph.settings.width, sums);
        for (int j = 0; j < 4; ++j) out[j] = this->finish(query, nodes[j], 16 * sums[j]);
    }
};

template <bool BIASED> struct Floats {
    struct Query {
        const float *part;
        double base;  // squared distance = base + the key as a number, twice that under an inner product
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
    Query from_floats(const float *query, Scratch &) const {
        return {query, dot64(query, query, graph.settings.d) + (BIASED ? 0.0 : squared_radius(graph))};
    }
    Query from_node(uint32_t node, Scratch &) const { return {graph.rows.row(node), 0.0}; }
    static double number(uint32_t key) { return std::bit_cast<float>(key & 0x80000000u ? key & 0x7FFFFFFFu : ~key); }
    static double score(const Query &, uint32_t key) { return -number(key); }
    static uint32_t further(const Query &query, uint32_t key, double times) {
        constexpr double SLOPE = BIASED ? 1 : 2;
        const double squared = query.base + SLOPE * number(key);
        return sortable(static_cast<float>((times * std::max(squared, 0.0) - query.base) / SLOPE));
    }
    static uint32_t norm(const float *row, std::size_t d) { return std::bit_cast<uint32_t>(dot(row, row, d)); }
    static uint32_t between(uint32_t key, uint32_t own) {
        return sortable(static_cast<float>(number(key)) + std::bit_cast<float>(own));
    }
};

}  // namespace firth
