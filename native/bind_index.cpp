// The index families for Python: byte codes, exact scans, the graph.
#include "bindings.hpp"
#include "flat.hpp"
#include "graph_space.hpp"
#include "pairs.hpp"
#include "threads.hpp"

#include <nanobind/stl/optional.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

namespace firth {
namespace {

// What takes under a twentieth of a second needs no second thread to stay interruptible: queries x beam of a walk, and
// queries x codes of a scan. On busy cores the second thread costs 3 ms, ten times the scan of 1,000 codes.
constexpr std::size_t SHORT_WORK = 20'000, SHORT_SCAN = 1'000'000;

void dot_codes(In2<int8_t> queries, In2<uint8_t> codes, Out2<int32_t> out) {
    const std::size_t q = queries.shape(0), n = codes.shape(0), width = codes.shape(1);
    if (width % CODE_ALIGNMENT || queries.shape(1) != width || out.shape(0) != q || out.shape(1) != n)
        throw std::invalid_argument("dot_codes: widths must agree and be a multiple of 64");
    for (std::size_t i = 0; i < q; ++i)
        for (std::size_t j = 0; j < n; j += 4) {
            const uint8_t *row[4];
            int32_t sums[4];
            for (std::size_t l = 0; l < 4; ++l) row[l] = codes.data() + std::min(j + l, n - 1) * width;
            dot_bytes4(row, queries.data() + i * width, width, sums);
            for (std::size_t l = 0; l < 4 && j + l < n; ++l) out(i, j + l) = sums[l];
        }
}

// Products with the upper plane alone, or with both; planes.hpp.
void dot_planes(In2<int8_t> queries, In2<uint8_t> high, std::optional<In2<uint8_t>> low, Out2<int32_t> out) {
    const std::size_t q = queries.shape(0), n = high.shape(0), width = queries.shape(1);
    if (width % CODE_ALIGNMENT || high.shape(1) * 2 != width || out.shape(0) != q || out.shape(1) != n ||
        (low && (low->shape(0) != n || low->shape(1) * 2 != width)))
        throw std::invalid_argument("dot_planes: a plane has half the width of a query, a multiple of 32");
    for (std::size_t i = 0; i < q; ++i)
        for (std::size_t j = 0; j < n; j += 4) {
            const uint8_t *upper[4], *lower[4];
            int32_t sums[4];
            for (std::size_t l = 0; l < 4; ++l) {
                const std::size_t at = std::min(j + l, n - 1) * (width / 2);
                upper[l] = high.data() + at, lower[l] = low ? low->data() + at : nullptr;
            }
            if (low)
                dot_plane4<true>(upper, lower, queries.data() + i * width, width, sums);
            else
                dot_plane4<false>(upper, lower, queries.data() + i * width, width, sums);
            for (std::size_t l = 0; l < 4 && j + l < n; ++l) out(i, j + l) = sums[l];
        }
}

void pair_distances(In2<uint8_t> rows, In2<uint8_t> codes, Out2<uint32_t> out) {
    const std::size_t q = rows.shape(0), n = codes.shape(0), width = codes.shape(1);
    if (width % CODE_ALIGNMENT || rows.shape(1) != width || out.shape(0) != q || out.shape(1) != n)
        throw std::invalid_argument("pair_distances: widths must agree and be a multiple of 64");
    CodeSet some, all;
    auto fill = [&](CodeSet &set, const In2<uint8_t> &from) {
        auto code = [&](std::size_t i) { return from.data() + i * width; };
        set.fill(from.shape(0), width, code, [&](std::size_t i) { return Bytes<true>::norm(code(i), width); });
    };
    fill(some, rows), fill(all, codes);
    std::vector<uint32_t> distances(PAIR_ROWS * all.stride());
    for (std::size_t i = 0; i < q; ++i) {
        if (i % PAIR_ROWS == 0) all.distances(some, i, std::min(PAIR_ROWS, q - i), distances.data());
        std::copy_n(distances.data() + i % PAIR_ROWS * all.stride(), n, out.data() + i * n);
    }
}

void flat(In2<float> queries, In2<float> rows, std::size_t k, std::optional<In1<int64_t>> only, bool euclid,
          float longest, Out2<int64_t> ids, Out2<float> scores, int threads) {
    const std::size_t q = queries.shape(0), n = rows.shape(0);
    if (queries.shape(1) != rows.shape(1) || ids.shape(0) != q || ids.shape(1) != k || scores.shape(0) != q ||
        scores.shape(1) != k || n >= MOST_NODES)
        throw std::invalid_argument("flat: queries, rows or results have another shape");
    for (std::size_t i = 0; only && i < only->shape(0); ++i)
        if ((*only)(i) < 0 || static_cast<std::size_t>((*only)(i)) >= n)
            throw std::invalid_argument("flat: a chosen row does not exist");
    const FlatWanted wanted{queries.data(), rows.data(), q, n, queries.shape(1), k, only ? only->data() : nullptr,
                            only ? only->shape(0) : 0, euclid, longest};
    interruptible([&](const std::atomic<bool> &stop) {
        flat_search(wanted, ids.data(), scores.data(), threads, stop);
    });
}

template <class T> void borrow(Column<T> &column, const nb::ndarray<const T, nb::c_contig, nb::device::cpu> &array) {
    if (array.ndim() != 2 || array.shape(1) != column.width())
        throw std::invalid_argument("graph: a column has another width");
    column.borrow(array.data(), array.shape(0));
}

// A view of a column's first `rows` rows; the caller keeps the graph alive and does not write to it meanwhile.
template <class T> nb::ndarray<nb::numpy, const T, nb::ndim<2>> view(const Column<T> &column, std::size_t rows) {
    return nb::ndarray<nb::numpy, const T, nb::ndim<2>>(column.row(0), {rows, column.width()}, nb::handle());
}

template <class T> using Mapped = nb::ndarray<const T, nb::c_contig, nb::device::cpu>;

void open_graph(Graph &graph, Mapped<uint8_t> blocks, Mapped<uint8_t> low, Mapped<uint32_t> norms, Mapped<float> rows,
                Mapped<int64_t> keys, Mapped<uint8_t> levels, Mapped<uint8_t> state, Mapped<uint32_t> upper_at,
                Mapped<uint32_t> upper, uint32_t entry) {
    borrow(graph.blocks, blocks), borrow(graph.low, low), borrow(graph.norms, norms), borrow(graph.rows, rows), borrow(graph.keys, keys);
    borrow(graph.levels, levels), borrow(graph.state, state), borrow(graph.upper_at, upper_at);
    borrow(graph.upper, upper);
    const std::size_t n = graph.blocks.capacity();
    for (std::size_t rows_of : {graph.low.capacity(), graph.norms.capacity(), graph.rows.capacity(), graph.keys.capacity(),
                                graph.levels.capacity(), graph.state.capacity(), graph.upper_at.capacity()})
        if (rows_of != n) throw std::invalid_argument("graph: columns have different numbers of rows");
    if (n > MOST_NODES || (n > 0 && entry >= n && entry != NO_NODE))
        throw std::invalid_argument("graph: the entry is not a node");
    uint32_t alive = 0;
    for (std::size_t i = 0; i < n; ++i) {
        const std::size_t levels = graph.levels[i];
        if (levels > MOST_LEVELS || graph.state[i] > FREE ||
            (levels && graph.upper_at[i] + levels > graph.upper.capacity()))
            throw std::invalid_argument("graph: node " + std::to_string(i) + " has links outside of the file");
        alive += graph.state[i] == ALIVE;
        if (graph.state[i] == FREE) graph.free_slots.push_back(static_cast<uint32_t>(i));
    }
    if (alive && (entry == NO_NODE || graph.state[entry] == FREE))
        throw std::invalid_argument("graph: it has nodes and no entry");
    graph.count = static_cast<uint32_t>(n), graph.alive = alive, graph.entry = n ? entry : NO_NODE;
    graph.upper_used = graph.upper.capacity();
}

std::size_t add(Graph &graph, In2<uint8_t> codes, In2<float> rows, In1<int64_t> keys, Out1<uint32_t> slots,
                int threads) {
    const std::size_t n = rows.shape(0);
    if (rows.shape(1) != graph.settings.d || codes.shape(0) != n || codes.shape(1) != graph.settings.width ||
        keys.shape(0) != n || slots.shape(0) != n)
        throw std::invalid_argument("graph: rows, codes and keys do not fit it");
    if (graph.count.load() + n > MOST_NODES) throw std::invalid_argument("graph: more than 2^31 - 1 nodes");
    const uint32_t before = graph.alive.load();
    interruptible([&](const std::atomic<bool> &stop) {
        graph.add(codes.data(), rows.data(), keys.data(), n, slots.data(), threads, stop);
    });
    return graph.alive.load() - before;
}

void search(const Graph &graph, In2<float> queries, std::size_t k, std::size_t ef,
            std::optional<In1<uint64_t>> allow, std::size_t allowed, bool exact, bool through, std::size_t rank,
            std::size_t least, double times, Out2<int64_t> ids, Out2<float> scores, Out1<uint32_t> work, int threads) {
    const std::size_t q = queries.shape(0);
    if (queries.shape(1) != graph.settings.d || ids.shape(0) != q || ids.shape(1) != k || scores.shape(0) != q ||
        scores.shape(1) != k || work.shape(0) != q)
        throw std::invalid_argument("graph: queries or results have another shape");
    const Graph::Wanted wanted{k,
                               std::max(ef, k),
                               allow ? allow->data() : nullptr,
                               allow ? allow->shape(0) * 64 : 0,
                               allowed,
                               exact,
                               through,
                               {std::max<std::size_t>(rank, 1), std::max<std::size_t>(least, 1), times}};
    const auto run = [&](const std::atomic<bool> &stop) {
        graph.search(queries.data(), q, wanted, ids.data(), scores.data(), work.data(), threads, stop);
    };
    const bool brief = exact ? q * (allowed + graph.count.load() / 64) <= SHORT_SCAN : q * wanted.ef <= SHORT_WORK;
    if (brief && threads == 1) {
        const std::atomic<bool> never{false};
        nb::gil_scoped_release released;
        run(never);
    } else {
        interruptible(run);
    }
}

Graph *make(uint32_t d, uint32_t width, uint32_t m, uint32_t ef_construction, int metric, uint64_t seed) {
    return new Graph(GraphSettings{d, width, m, ef_construction, static_cast<Metric>(metric), seed});
}

}  // namespace

void bind_index(nb::module_ &m) {
    m.def("dot_codes", &dot_codes, nb::arg("queries"), nb::arg("codes"), nb::arg("out"));
    m.def("dot_planes", &dot_planes, nb::arg("queries"), nb::arg("high"), nb::arg("low").none(), nb::arg("out"));
    m.def("pair_distances", &pair_distances, nb::arg("rows"), nb::arg("codes"), nb::arg("out"));
    m.def("flat", &flat, nb::arg("queries"), nb::arg("rows"), nb::arg("k"), nb::arg("only").none(), nb::arg("euclid"),
          nb::arg("longest"), nb::arg("ids"), nb::arg("scores"), nb::arg("threads"));
    nb::class_<Graph>(m, "Graph")
        .def(nb::new_(&make), nb::arg("d"), nb::arg("width"), nb::arg("m"), nb::arg("ef_construction"),
             nb::arg("metric"), nb::arg("seed"))
        .def("open", &open_graph)
        .def("scale", [](Graph &g, In1<float> mean, In1<float> step) {
            if (mean.shape(0) != g.settings.d || step.shape(0) != g.settings.d)
                throw std::invalid_argument("graph: mean and step have another width");
            g.mean.assign(mean.data(), mean.data() + mean.shape(0));
            g.step.assign(step.data(), step.data() + step.shape(0));
        })
        .def("add", &add)
        .def("search", &search, nb::arg("queries"), nb::arg("k"), nb::arg("ef"),
             nb::arg("allow").none(), nb::arg("allowed"), nb::arg("exact"), nb::arg("through"), nb::arg("rank"), nb::arg("least"),
             nb::arg("times"), nb::arg("ids"),
             nb::arg("scores"), nb::arg("work"), nb::arg("threads"))
        .def("remove", [](Graph &g, In1<uint32_t> slots) {
            for (std::size_t i = 0; i < slots.shape(0); ++i)
                if (slots(i) >= g.count.load() || g.state_of(slots(i)) != ALIVE)
                    throw std::invalid_argument("graph: a slot to remove holds nothing");
            nb::gil_scoped_release released;
            g.remove(slots.data(), slots.shape(0));
        })
        .def("held", [](const Graph &g, Out1<int64_t> keys, Out1<uint8_t> state) {  // safe beside a writer
            std::shared_lock open(g.gate);
            const std::size_t n = std::min<std::size_t>({keys.shape(0), state.shape(0), g.count.load()});
            for (std::size_t i = 0; i < n; ++i) state(i) = g.state_of(static_cast<uint32_t>(i));
            std::copy_n(g.keys.row(0), n, keys.data());
            return n;
        })
        .def("repair", [](Graph &g, int threads) {
            interruptible([&](const std::atomic<bool> &stop) { g.repair(threads, stop); });
        })
        .def("connect", [](Graph &g) {
            nb::gil_scoped_release released;
            return g.connect();
        })
        .def("unreachable", [](const Graph &g) {
            nb::gil_scoped_release released;
            return g.unreachable();
        })
        .def_prop_ro("count", [](const Graph &g) { return g.count.load(); })
        .def_prop_ro("alive", [](const Graph &g) { return g.alive.load(); })
        .def_prop_ro("capacity", [](const Graph &g) { return g.bound(); })
        .def_prop_ro("block_bytes", [](const Graph &g) { return g.blocks.width(); })
        .def_prop_ro("entry", [](const Graph &g) { return g.entry.load(); })
        .def_prop_ro("free", [](const Graph &g) { return g.free_slots.size(); })
        .def_prop_ro("blocks", [](Graph &g) { return view(g.blocks, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("low", [](Graph &g) { return view(g.low, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("norms", [](Graph &g) { return view(g.norms, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("rows", [](Graph &g) { return view(g.rows, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("keys", [](Graph &g) { return view(g.keys, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("levels", [](Graph &g) { return view(g.levels, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("state", [](Graph &g) { return view(g.state, g.count); }, nb::rv_policy::reference_internal)
        .def_prop_ro("upper_at", [](Graph &g) { return view(g.upper_at, g.count); },
                     nb::rv_policy::reference_internal)
        .def_prop_ro("upper", [](Graph &g) { return view(g.upper, g.upper_used); },
                     nb::rv_policy::reference_internal);
}

}  // namespace firth
