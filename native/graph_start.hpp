// The links of a large first batch, without walks; see graph_start.cpp.
#pragma once

#include "graph.hpp"

namespace firth {

constexpr std::size_t START_LEAST = 4096;  // rows; below, walks are as fast

// Links rows of byte codes that are in place, `slots` ascending, and that no other node links to yet. False when it was
// stopped; then some of their lists are written.
bool start_graph(Graph &graph, const std::vector<uint32_t> &slots, int threads, const std::atomic<bool> &stop);

}  // namespace firth
