// ELMo's three kernels for Python; shapes and ids are checked by firth.kernels.lstm, sampled, spellings.
#include "bindings.hpp"
#include "lstm.hpp"
#include "sampled.hpp"
#include "spellings.hpp"

namespace firth {
namespace {

template <class T, int N> using Array = nb::ndarray<T, nb::ndim<N>, nb::c_contig, nb::device::cpu>;
using In = const float;

struct BoundLstm {
    std::unique_ptr<Lstm> lstm;

    BoundLstm(std::size_t steps, std::size_t rows, std::size_t inputs, std::size_t cells, std::size_t width,
              float cell_clip, float projection_clip, bool bfloat16)
        : lstm(make_lstm({steps, rows, inputs, cells, width, cell_clip, projection_clip}, bfloat16)) {}

    void forward(Array<In, 3> inner, Array<In, 3> again, Array<In, 2> bias, Array<In, 3> out, Array<In, 4> x,
                 Array<In, 3> h, Array<In, 3> c, Array<float, 4> y, Array<float, 3> end, int threads) {
        const LstmWeights weights{inner.data(), again.data(), bias.data(), out.data()};
        interruptible([&](const std::atomic<bool> &stop) {
            lstm->forward(weights, x.data(), h.data(), c.data(), y.data(), end.data(), threads, stop);
        });
    }

    void backward(Array<In, 3> inner, Array<In, 3> again, Array<In, 3> out, Array<In, 4> y, Array<In, 4> dy,
                  Array<float, 4> dx, Array<float, 3> dinner, Array<float, 3> dagain, Array<float, 2> dbias,
                  Array<float, 3> dout, int threads) {
        const LstmWeights weights{inner.data(), again.data(), nullptr, out.data()};
        const LstmGradients gradients{dx.data(), dinner.data(), dagain.data(), dbias.data(), dout.data()};
        interruptible([&](const std::atomic<bool> &stop) {
            lstm->backward(weights, y.data(), dy.data(), gradients, threads, stop);
        });
    }
};

SampledSoftmax softmax(const Array<In, 2> &y, const Array<In, 2> &words, const Array<In, 1> &bias,
                       const In1<std::int64_t> &candidates, const In1<std::int64_t> &targets,
                       const In1<std::int64_t> &hits) {
    return {y.data(),   words.data(), bias.data(),    candidates.data(),   targets.data(),
            hits.data(), y.shape(0),   y.shape(1), words.shape(0), candidates.shape(0)};
}

}  // namespace

void bind_elmo(nb::module_ &m) {
    nb::class_<BoundLstm>(m, "Lstm")
        .def(nb::init<std::size_t, std::size_t, std::size_t, std::size_t, std::size_t, float, float, bool>(),
             nb::arg("steps"), nb::arg("rows"), nb::arg("inputs"), nb::arg("cells"), nb::arg("width"),
             nb::arg("cell_clip"), nb::arg("projection_clip"), nb::arg("bfloat16"))
        .def_prop_ro("precision", [](const BoundLstm &self) { return self.lstm->precision(); })
        .def("forward", &BoundLstm::forward, nb::arg("inner"), nb::arg("again"), nb::arg("bias"), nb::arg("out"),
             nb::arg("x"), nb::arg("h"), nb::arg("c"), nb::arg("y"), nb::arg("end"), nb::arg("threads"))
        .def("backward", &BoundLstm::backward, nb::arg("inner"), nb::arg("again"), nb::arg("out"), nb::arg("y"),
             nb::arg("dy"), nb::arg("dx"), nb::arg("dinner"), nb::arg("dagain"), nb::arg("dbias"), nb::arg("dout"),
             nb::arg("threads"));
    m.def(
        "sampled_losses",
        [](Array<In, 2> y, Array<In, 2> words, Array<In, 1> bias, In1<std::int64_t> candidates,
           In1<std::int64_t> targets, In1<std::int64_t> hits, bool bfloat16, Out1<float> losses, Out1<float> totals,
           int threads) {
            const auto s = softmax(y, words, bias, candidates, targets, hits);
            interruptible([&](const std::atomic<bool> &stop) {
                sampled_losses(s, bfloat16, losses.data(), totals.data(), threads, stop);
            });
        },
        nb::arg("y"), nb::arg("words"), nb::arg("bias"), nb::arg("candidates"), nb::arg("targets"), nb::arg("hits"),
        nb::arg("bfloat16"), nb::arg("losses"), nb::arg("totals"), nb::arg("threads"));
    m.def(
        "sampled_gradients",
        [](Array<In, 2> y, Array<In, 2> words, Array<In, 1> bias, In1<std::int64_t> candidates,
           In1<std::int64_t> targets, In1<std::int64_t> hits, bool bfloat16, In1<float> totals, In1<float> slopes,
           Out2<float> dy, Out2<float> dwords, Out1<float> dbias, int threads) {
            const auto s = softmax(y, words, bias, candidates, targets, hits);
            interruptible([&](const std::atomic<bool> &stop) {
                sampled_gradients(s, bfloat16, totals.data(), slopes.data(), {dy.data(), dwords.data(), dbias.data()},
                                  threads, stop);
            });
        },
        nb::arg("y"), nb::arg("words"), nb::arg("bias"), nb::arg("candidates"), nb::arg("targets"), nb::arg("hits"),
        nb::arg("bfloat16"), nb::arg("totals"), nb::arg("slopes"), nb::arg("dy"), nb::arg("dwords"), nb::arg("dbias"),
        nb::arg("threads"));
    m.def(
        "spelling_maxima",
        [](In2<std::int16_t> symbols, Array<In, 3> table, Array<In, 1> bias, std::int16_t pad, Out2<float> best,
           Out2<std::int16_t> places, int threads) {
            const Spellings s{symbols.data(), table.data(),   bias.data(),    symbols.shape(0), symbols.shape(1),
                              table.shape(0), table.shape(1), table.shape(2), pad};
            interruptible([&](const std::atomic<bool> &stop) {
                spelling_maxima(s, best.data(), places.data(), threads, stop);
            });
        },
        nb::arg("symbols"), nb::arg("table"), nb::arg("bias"), nb::arg("pad"), nb::arg("best"), nb::arg("places"),
        nb::arg("threads"));
    m.def(
        "spelling_gradient",
        [](In2<std::int16_t> symbols, std::int16_t pad, In2<std::int16_t> places, In2<float> slopes,
           Array<float, 3> table, int threads) {
            const Spellings s{symbols.data(), nullptr,        nullptr,        symbols.shape(0), symbols.shape(1),
                              table.shape(0), table.shape(1), table.shape(2), pad};
            interruptible([&](const std::atomic<bool> &stop) {
                spelling_gradient(s, places.data(), slopes.data(), table.data(), threads, stop);
            });
        },
        nb::arg("symbols"), nb::arg("pad"), nb::arg("places"), nb::arg("slopes"), nb::arg("table"),
        nb::arg("threads"));
}

}  // namespace firth
