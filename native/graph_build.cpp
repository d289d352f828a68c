// Growth: nodes come in batches, and a batch is the same for any number of threads. A large first batch over byte codes
// is linked without walks (graph_start.hpp); for every other:
//
//   1. Each node of the batch looks for its neighbours in the graph as it was before the batch, and among the batch
//      itself by comparing with all of it; it keeps a diverse choice (Malkov's heuristic) as its own links.
//   2. The links back are grouped by the node that receives them; each such node keeps a diverse choice again.
//   3. The entry moves up if the batch holds a taller node.
//
// No list has two writers, so there are no locks, and the order of threads changes nothing: batch insertion after
// ParlayANN (Dobson Manohar et al. 2023, arXiv:2305.04359), which leaves out the comparison within the batch and
// therefore has to begin with batches of one.
#include "graph_start.hpp"

#include "graph_links.hpp"
#include "threads.hpp"

#include <numeric>

namespace firth {
namespace {

constexpr std::size_t BATCH = 1024;        // rows; all pairs within a batch cost under a tenth of the walks
constexpr std::size_t GRAIN = 8;           // insertions between two looks at `stop`
constexpr std::size_t STARTS = 8;          // entries carried from one level to the next

uint64_t mixed(uint64_t x) {  // splitmix64
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

// P(level >= l) = m^-l, in integers so that it is the same everywhere.
uint8_t draw_level(uint64_t seed, uint64_t slot, uint32_t m) {
    const uint64_t drawn = mixed(mixed(seed) ^ slot);
    int level = 0;
    for (uint64_t limit = ~uint64_t{0} / m; drawn < limit && level < MOST_LEVELS; limit /= m) ++level;
    return static_cast<uint8_t>(level);
}

// Step 1 for one node.
template <class Space>
void find_links(Graph &graph, const Space &space, const std::vector<uint32_t> &batch, uint32_t node,
                Scratch &scratch) {
    const auto part = space.from_node(node, scratch);
    std::vector<int8_t> kept_part = scratch.bytes;  // `choose` writes over the scratch between two levels
    const uint32_t entry = graph.entry.load(std::memory_order_acquire);
    const int own = graph.levels[node], top = entry == NO_NODE ? -1 : graph.levels[entry];
    Pool &pool = scratch.pool;
    std::vector<uint64_t> starts;
    uint32_t kept[MOST_LINKS];
    for (int level = own; level >= 0; --level) {
        pool.reset(graph.settings.ef_construction);
        if (level <= top) {
            if (starts.empty()) descend(graph, space, part, scratch, level);
            for (uint64_t start : starts)
                if (scratch.visit(Pool::node(start))) pool.insert(start);
            walk(graph, space, part, scratch, level);
            scratch.forget();
            starts.assign(pool.entry.begin(), pool.entry.begin() + std::min(pool.size, STARTS));
            for (uint64_t &start : starts) start &= ~uint64_t{1};
        }
        uint32_t group[4], keys[4];
        std::size_t filled = 0;
        auto flush = [&] {
            for (std::size_t j = filled; j < 4; ++j) group[j] = group[0];
            space.keys4(part, group, keys);
            for (std::size_t j = 0; j < filled; ++j) pool.insert(Pool::pack(keys[j], group[j]));
            filled = 0;
        };
        for (uint32_t other : batch) {
            if (other == node || graph.levels[other] < level) continue;
            group[filled++] = other;
            if (filled == 4) flush();
        }
        if (filled) flush();
        scratch.ranked.clear();
        for (std::size_t i = 0; i < pool.size; ++i) {
            const uint32_t other = Pool::node(pool.entry[i]);
            if (graph.state_of(other) == REMOVED) continue;
            const uint32_t distance = Space::between(static_cast<uint32_t>(pool.entry[i] >> 32), graph.norms[node]);
            scratch.ranked.push_back(Pool::pack(distance, other));
        }
        std::sort(scratch.ranked.begin(), scratch.ranked.end());
        const std::size_t n = choose(graph, space, scratch.ranked, graph.most_links(level), scratch, kept);
        write_links(graph, node, level, kept, n);
        scratch.bytes = kept_part;
    }
}

template <class Space>
bool link_batch(Graph &graph, const Space &space, const std::vector<uint32_t> &batch, int threads,
                const std::atomic<bool> &stop) {
    parallel_for(batch.size(), GRAIN, threads, stop, [&](std::size_t begin, std::size_t end, int) {
        auto scratch = graph.scratches.take(graph.bound());
        for (std::size_t i = begin; i < end; ++i) find_links(graph, space, batch, batch[i], *scratch);
        graph.scratches.keep(std::move(scratch));
    });
    if (stop.load()) return false;

    std::vector<uint64_t> back;  // receiver << 20 | level << 16 | place of the source in the batch
    for (std::size_t i = 0; i < batch.size(); ++i)
        for (int level = 0; level <= graph.levels[batch[i]]; ++level)
            for (uint32_t j = 0; j < graph.most_links(level); ++j) {
                const uint32_t node = graph.links(batch[i], level)[j];
                if (node >= graph.bound()) break;
                back.push_back(uint64_t{node} << 20 | static_cast<uint64_t>(level) << 16 | i);
            }
    std::sort(back.begin(), back.end());
    std::vector<std::size_t> group;
    for (std::size_t i = 0; i < back.size(); ++i)
        if (i == 0 || back[i] >> 16 != back[i - 1] >> 16) group.push_back(i);
    group.push_back(back.size());
    const std::atomic<bool> never{false};  // from here on the batch is in
    parallel_for(group.size() - 1, GRAIN, threads, never, [&](std::size_t begin, std::size_t end, int) {
        auto scratch = graph.scratches.take(graph.bound());
        std::vector<uint32_t> sources;
        for (std::size_t g = begin; g < end; ++g) {
            sources.clear();
            for (std::size_t i = group[g]; i < group[g + 1]; ++i) sources.push_back(batch[back[i] & 0xFFFF]);
            link_back(graph, space, static_cast<uint32_t>(back[group[g]] >> 20),
                      static_cast<int>(back[group[g]] >> 16 & 15), sources, *scratch);
        }
        graph.scratches.keep(std::move(scratch));
    });
    return true;
}

}  // namespace

void Graph::reserve(std::size_t nodes, std::size_t groups) {
    if (blocks.owned() && nodes <= bound() && groups <= upper.capacity()) return;
    const std::size_t used = count.load();
    std::unique_lock closed(gate);
    blocks.reserve(nodes, used, 0xFF);  // every link NO_NODE
    low.reserve(nodes, used, 0);
    norms.reserve(nodes, used, 0);
    rows.reserve(nodes, used, 0);
    keys.reserve(nodes, used, -1);
    levels.reserve(nodes, used, 0);
    state.reserve(nodes, used, FREE);
    upper_at.reserve(nodes, used, 0);
    upper.reserve(groups, upper_used, NO_NODE);
}

void Graph::add(const uint8_t *codes, const float *vectors, const int64_t *names, std::size_t n, uint32_t *slots,
                int threads, const std::atomic<bool> &stop) {
    const bool whole = settings.width && count.load() == 0 && n >= START_LEAST;
    const std::size_t most = whole ? n : BATCH;
    for (std::size_t begin = 0; begin < n && !stop.load(); begin += most) {
        const std::size_t end = std::min(n, begin + most), reused = std::min(end - begin, free_slots.size());
        const uint32_t old = count.load();
        std::vector<uint32_t> batch(free_slots.end() - static_cast<std::ptrdiff_t>(reused), free_slots.end());
        for (uint32_t slot = old; batch.size() < end - begin; ++slot) batch.push_back(slot);
        const std::size_t total = old + (end - begin) - reused;
        std::size_t groups = upper_used;
        for (uint32_t slot : batch) groups += slot >= old ? draw_level(settings.seed, slot, settings.m) : 0;
        reserve(total > bound() ? std::max<std::size_t>(old + n - begin, bound() + bound() / 2) : bound(),
                groups > upper.capacity() ? std::max(groups, upper.capacity() + n / 8) : upper.capacity());
        {
            std::unique_lock closed(gate, std::defer_lock);
            if (reused) closed.lock();  // no search may still hold a freed slot
            for (std::size_t i = 0; i < batch.size(); ++i) {
                const uint32_t slot = batch[i];
                if (slot >= old) {  // a freed slot keeps its level and its lists' place
                    levels[slot] = draw_level(settings.seed, slot, settings.m);
                    upper_at[slot] = static_cast<uint32_t>(upper_used);
                    upper_used += levels[slot];
                }
                std::copy_n(vectors + (begin + i) * settings.d, settings.d, rows.row(slot));
                const uint8_t *code = codes + (begin + i) * settings.width;
                if (settings.width) split_code(code, settings.width, high(slot), low.row(slot));
                norms[slot] = settings.width ? Bytes<true>::norm(code, settings.width)
                                             : Floats<true>::norm(rows.row(slot), settings.d);
                keys[slot] = names[begin + i];
                for (int level = 0; level <= levels[slot]; ++level) write_links(*this, slot, level, nullptr, 0);
            }
        }
        const bool linked = whole            ? start_graph(*this, batch, threads, stop)
                            : settings.width ? link_batch(*this, Bytes<true>{*this}, batch, threads, stop)
                                             : link_batch(*this, Floats<true>{*this}, batch, threads, stop);
        if (!linked) {
            for (uint32_t slot : batch) upper_used -= slot >= old ? levels[slot] : 0;
            return;
        }
        free_slots.resize(free_slots.size() - reused);
        uint32_t highest = entry.load();
        for (uint32_t slot : batch) {
            set_state(slot, ALIVE);
            if (highest == NO_NODE || levels[slot] > levels[highest]) highest = slot;
        }
        std::copy(batch.begin(), batch.end(), slots + begin);
        count.store(static_cast<uint32_t>(total), std::memory_order_release);
        alive.fetch_add(static_cast<uint32_t>(batch.size()));
        entry.store(highest, std::memory_order_release);
    }
}

}  // namespace firth
