// The choice of a node's links, shared by growth and repair.
#pragma once

#include "graph_walk.hpp"

namespace firth {

constexpr std::size_t MOST_LINKS = 512;  // links of one list

// Keeps of `ranked` (true distance << 32 | node << 1, nearest first) those that are nearer to the centre than to any
// that is kept already, at most `most`. Source: Algorithm 4 of arXiv:1603.09320.
template <class Space>
std::size_t choose(const Graph &graph, const Space &space, const std::vector<uint64_t> &ranked, std::size_t most,
                   Scratch &scratch, uint32_t *kept) {
    std::size_t n = 0;
    uint32_t keys[4];
    for (std::size_t c = 0; c < ranked.size() && n < most; ++c) {
        const uint32_t node = Pool::node(ranked[c]), distance = static_cast<uint32_t>(ranked[c] >> 32);
        const auto part = space.from_node(node, scratch);
        bool diverse = true;
        for (std::size_t i = 0; i < n && diverse; i += 4) {
            uint32_t group[4];
            for (std::size_t j = 0; j < 4; ++j) group[j] = kept[std::min(i + j, n - 1)];
            space.keys4(part, group, keys);
            for (uint32_t key : keys) diverse &= Space::between(key, graph.norms[node]) >= distance;
        }
        if (diverse) kept[n++] = node;
    }
    return n;
}

template <class Space>
void rank(const Graph &graph, const Space &space, uint32_t centre, const uint32_t *nodes, std::size_t n,
          Scratch &scratch, std::vector<uint64_t> &ranked) {
    const auto part = space.from_node(centre, scratch);
    ranked.clear();
    for (std::size_t i = 0; i < n; i += 4) {
        uint32_t group[4], keys[4];
        for (std::size_t j = 0; j < 4; ++j) group[j] = nodes[std::min(i + j, n - 1)];
        space.keys4(part, group, keys);
        for (std::size_t j = 0; j < 4 && i + j < n; ++j)
            ranked.push_back(Pool::pack(Space::between(keys[j], graph.norms[centre]), group[j]));
    }
    std::sort(ranked.begin(), ranked.end());
}

inline void write_links(Graph &graph, uint32_t node, int level, const uint32_t *links, std::size_t n) {
    uint32_t *slot = graph.links(node, level);
    for (std::size_t i = 0; i < n; ++i) store_link(slot + i, links[i]);
    for (std::size_t i = n; i < graph.most_links(level); ++i) store_link(slot + i, NO_NODE);
}

// Adds links from `node` back to `sources`, the nodes that link to it at `level`; a list that overflows is chosen anew.
template <class Space>
void link_back(Graph &graph, const Space &space, uint32_t node, int level, std::vector<uint32_t> &sources,
               Scratch &scratch) {
    const uint32_t *link = graph.links(node, level);
    const std::size_t most = graph.most_links(level);
    std::size_t held = 0;
    while (held < most && link[held] < graph.bound()) ++held;
    std::erase_if(sources, [&](uint32_t s) { return std::find(link, link + held, s) != link + held; });
    if (held + sources.size() <= most) {
        for (uint32_t source : sources) store_link(graph.links(node, level) + held++, source);
        return;
    }
    sources.insert(sources.end(), link, link + held);
    rank(graph, space, node, sources.data(), sources.size(), scratch, scratch.ranked);
    uint32_t kept[MOST_LINKS];
    const std::size_t n = choose(graph, space, scratch.ranked, most, scratch, kept);
    write_links(graph, node, level, kept, n);
}

}  // namespace firth
