// GloVe for kernels/glove.py.
#include <memory>

#include "bindings.hpp"
#include "glove.hpp"

namespace firth {
namespace {

// A NumPy array that owns what a vector held.
template <class T> nb::object array_of(std::vector<T> &&values) {
    auto *kept = new std::vector<T>(std::move(values));
    nb::capsule owner(kept, [](void *p) noexcept { delete static_cast<std::vector<T> *>(p); });
    return nb::cast(nb::ndarray<nb::numpy, T, nb::ndim<1>>(kept->data(), {kept->size()}, owner));
}

nb::tuple arrays_of(CooccurrenceRows &&rows) {
    return nb::make_tuple(array_of(std::move(rows.sizes)), array_of(std::move(rows.columns)),
                          array_of(std::move(rows.values)));
}

}  // namespace

void bind_glove(nb::module_ &m) {
    nb::class_<CooccurrenceCounter>(m, "CooccurrenceCounter")
        .def(
            "__init__",
            [](CooccurrenceCounter *self, In1<int32_t> ids, std::size_t words, std::size_t window, bool symmetric,
               int threads) {
                interruptible([&](const std::atomic<bool> &stop) {
                    new (self) CooccurrenceCounter(ids.data(), ids.size(), words, window, symmetric, threads, stop);
                });
            },
            nb::arg("ids"), nb::arg("words"), nb::arg("window"), nb::arg("symmetric"), nb::arg("threads"),
            nb::keep_alive<1, 2>())
        .def(
            "rows",
            [](const CooccurrenceCounter &self, std::size_t begin, std::size_t end, int threads) {
                CooccurrenceRows rows;
                interruptible([&](const std::atomic<bool> &stop) { rows = self.rows(begin, end, threads, stop); });
                return arrays_of(std::move(rows));
            },
            nb::arg("begin"), nb::arg("end"), nb::arg("threads"))
        .def("places_before", &CooccurrenceCounter::places_before, nb::arg("row"));
    m.def(
        "merge_runs",
        [](nb::list runs, std::size_t words) {
            std::vector<Run> all;
            std::vector<In1<int64_t>> starts;
            std::vector<In1<int32_t>> columns;
            std::vector<In1<float>> values;
            for (nb::handle run : runs) {
                starts.push_back(nb::cast<In1<int64_t>>(run[0]));
                columns.push_back(nb::cast<In1<int32_t>>(run[1]));
                values.push_back(nb::cast<In1<float>>(run[2]));
                all.push_back({starts.back().data(), columns.back().data(), values.back().data()});
            }
            CooccurrenceRows merged;
            interruptible([&](const std::atomic<bool> &) { merged = merge_runs(all, starts.at(0).size() - 1, words); });
            return arrays_of(std::move(merged));
        },
        nb::arg("runs"), nb::arg("words"));
    m.def(
        "train_glove",
        [](Out2<float> rows, std::size_t dims, In1<int64_t> starts, In1<int32_t> columns, In1<float> values,
           In1<int32_t> order, float rate, float alpha, float x_max, bool symmetric,
           std::size_t bands, std::size_t band, int threads) {
            GlovePassed passed;
            const GloveModel model{rows.data(), dims, rows.shape(1) / 4};
            const GloveSettings settings{rate, alpha, x_max, symmetric};
            interruptible([&](const std::atomic<bool> &stop) {
                passed = train_glove(model, settings, starts.data(), columns.data(), values.data(), order.data(),
                                     order.size(), bands, band, threads, stop);
            });
            return nb::make_tuple(passed.loss, passed.cells);
        },
        nb::arg("rows"), nb::arg("dims"), nb::arg("starts"), nb::arg("columns"), nb::arg("values"), nb::arg("order"),
        nb::arg("rate"), nb::arg("alpha"), nb::arg("x_max"), nb::arg("symmetric"), nb::arg("bands"),
        nb::arg("band"), nb::arg("threads"));
    m.def(
        "sort_into_bands",
        [](In1<int64_t> starts, Out1<int32_t> columns, Out1<float> values, std::size_t bands, int threads) {
            interruptible([&](const std::atomic<bool> &stop) {
                sort_into_bands(starts.data(), columns.data(), values.data(), starts.size() - 1, bands, threads, stop);
            });
        },
        nb::arg("starts"), nb::arg("columns"), nb::arg("values"), nb::arg("bands"), nb::arg("threads"));
}

}  // namespace firth
