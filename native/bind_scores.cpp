// Exact scores of given (query, candidate) pairs: the float64 inner product, the same bits at every CPU level.
#include "bindings.hpp"
#include "simd.hpp"
#include "threads.hpp"

namespace firth {
namespace {

void scores(In2<float> queries, In2<float> vectors, In2<int64_t> ids, Out2<float> out, int threads) {
    const std::size_t q = queries.shape(0), d = queries.shape(1), k = ids.shape(1);
    const auto n = static_cast<int64_t>(vectors.shape(0));
    const float *query = queries.data(), *vector = vectors.data();
    const int64_t *id = ids.data();
    float *score = out.data();
    interruptible([&](const std::atomic<bool> &stop) {
        parallel_for(q, 16, threads, stop, [&](std::size_t begin, std::size_t end, int) {
            for (std::size_t i = begin; i < end; ++i)
                for (std::size_t j = 0; j < k; ++j) {
                    const int64_t row = id[i * k + j];
                    score[i * k + j] = row < 0 || row >= n
                                           ? -__builtin_inff()
                                           : static_cast<float>(dot64(query + i * d, vector + row * d, d));
                }
        });
    });
}

}  // namespace

void bind_scores(nb::module_ &m) {
    m.def("scores", &scores, nb::arg("queries"), nb::arg("vectors"), nb::arg("ids"), nb::arg("out"),
          nb::arg("threads"));
}

}  // namespace firth
