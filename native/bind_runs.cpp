// Run files for Python: names come as joined UTF-8 bytes with the end of each.
#include "bindings.hpp"
#include "runs.hpp"

#include <stdexcept>

namespace firth {
namespace {

bool ends_fit(const In1<int64_t> &ends, std::size_t bytes) {
    int64_t before = 0;
    for (std::size_t i = 0; i < ends.shape(0); ++i) {
        if (ends(i) < before || static_cast<std::size_t>(ends(i)) > bytes) return false;
        before = ends(i);
    }
    return true;
}

nb::tuple run_ranks_of(In1<uint8_t> text, In1<uint8_t> queries, In1<int64_t> query_ends, In1<uint8_t> documents,
                       In1<int64_t> document_ends, In1<int64_t> pair_query, Out1<int64_t> rank,
                       Out1<int64_t> ranked) {
    const std::size_t q = query_ends.shape(0), h = document_ends.shape(0);
    if (pair_query.shape(0) != h || rank.shape(0) != h || ranked.shape(0) != q ||
        !ends_fit(query_ends, queries.shape(0)) || !ends_fit(document_ends, documents.shape(0)))
        throw std::invalid_argument("run_ranks: names, ends or results do not fit");
    for (std::size_t i = 0; i < h; ++i)
        if (pair_query(i) < (i ? pair_query(i - 1) : 0) || static_cast<std::size_t>(pair_query(i)) >= q)
            throw std::invalid_argument("run_ranks: pairs must be in order of their queries, which must be there");
    const RunJudged judged{reinterpret_cast<const char *>(queries.data()),
                           query_ends.data(),
                           q,
                           reinterpret_cast<const char *>(documents.data()),
                           document_ends.data(),
                           pair_query.data(),
                           h};
    RunResult result;
    interruptible([&](const std::atomic<bool> &stop) {
        result = run_ranks(reinterpret_cast<const char *>(text.data()), text.shape(0), judged, rank.data(),
                           ranked.data(), stop);
    });
    return nb::make_tuple(static_cast<int>(result.fault), result.offset);
}

}  // namespace

void bind_runs(nb::module_ &m) {
    m.def("run_ranks", &run_ranks_of, nb::arg("text"), nb::arg("queries"), nb::arg("query_ends"), nb::arg("documents"),
          nb::arg("document_ends"), nb::arg("pair_query"), nb::arg("rank"), nb::arg("ranked"));
}

}  // namespace firth
