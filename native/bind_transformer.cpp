// An encoder for Python: it owns its packed layers and keeps the embedding tables' arrays alive.
#include <nanobind/stl/optional.h>

#include <optional>

#include "bindings.hpp"
#include "transformer.hpp"

namespace firth {
namespace {

struct BoundTransformer {
    In2<float> tokens, positions;
    In1<float> scale, shift;
    std::optional<In2<float>> relative;
    std::unique_ptr<Transformer> encoder;

    BoundTransformer(In2<float> tokens_, In2<float> positions_, In1<float> scale_, In1<float> shift_,
                     std::optional<In2<float>> relative_, std::size_t heads, std::size_t inner, float eps,
                     int activation, bool bfloat16)
        : tokens(tokens_), positions(positions_), scale(scale_), shift(shift_), relative(relative_),
          encoder(make_transformer({tokens.shape(1), heads, inner, eps, static_cast<Activation>(activation)},
                                   {tokens.data(), positions.data(), scale.data(), shift.data(),
                                    relative ? relative->data() : nullptr, positions.shape(0)},
                                   bfloat16)) {}

    void add_layer(In2<float> qkv, In1<float> qkv_bias, In2<float> out, In1<float> out_bias, In1<float> out_scale,
                   In1<float> out_shift, In2<float> up, In1<float> up_bias, In2<float> down, In1<float> down_bias,
                   In1<float> down_scale, In1<float> down_shift) {
        encoder->add_layer({qkv.data(), qkv_bias.data(), out.data(), out_bias.data(), out_scale.data(),
                            out_shift.data(), up.data(), up_bias.data(), down.data(), down_bias.data(),
                            down_scale.data(), down_shift.data()});
    }

    void run(In1<int32_t> ids, In1<int64_t> offsets, Out2<float> out, int pool, int threads) const {
        const RaggedTexts texts{ids.data(), offsets.data(), offsets.shape(0) - 1};
        float *rows = out.data();
        interruptible([&](const std::atomic<bool> &stop) {
            encoder->run(texts, static_cast<Pool>(pool), rows, threads, stop);
        });
    }
};

}  // namespace

void bind_transformer(nb::module_ &m) {
    nb::class_<BoundTransformer>(m, "Transformer")
        .def(nb::init<In2<float>, In2<float>, In1<float>, In1<float>, std::optional<In2<float>>, std::size_t,
                      std::size_t, float, int, bool>(),
             nb::arg("tokens"), nb::arg("positions"), nb::arg("scale"), nb::arg("shift"), nb::arg("relative").none(),
             nb::arg("heads"), nb::arg("inner"), nb::arg("eps"),
             nb::arg("activation"), nb::arg("bfloat16"))
        .def("add_layer", &BoundTransformer::add_layer)
        .def_prop_ro("precision", [](const BoundTransformer &self) { return self.encoder->precision(); })
        .def("run", &BoundTransformer::run, nb::arg("ids"), nb::arg("offsets"), nb::arg("out"), nb::arg("pool"),
             nb::arg("threads"));
}

}  // namespace firth
