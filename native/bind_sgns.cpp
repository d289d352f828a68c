// word2vec for kernels/word2vec.py.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include "bindings.hpp"
#include "sgns.hpp"

namespace firth {
namespace {

// The settings and tables of one model over matrices that Python owns.
struct Trainer {
    Word2VecSettings settings;
    Model model;
};

}  // namespace

void bind_sgns(nb::module_ &m) {
    nb::class_<Trainer>(m, "Trainer")
        .def(
            "__init__",
            [](Trainer *self, Out2<float> input, Out2<float> output, In1<uint32_t> keep, In1<uint32_t> noise_below,
               In1<int32_t> noise_alias, In1<int64_t> path_start, In1<int32_t> path, nb::dict settings) {
                new (self) Trainer();
                auto flag = [&](const char *name) { return nb::cast<bool>(settings[name]); };
                auto size = [&](const char *name) { return nb::cast<std::size_t>(settings[name]); };
                self->settings = {flag("skipgram"), flag("hierarchical"), flag("softmax"), flag("mean"), flag("shrink"),
                                  flag("deterministic"), size("window"), size("negatives"), size("epochs"),
                                  nb::cast<float>(settings["rate"]), nb::cast<float>(settings["last_rate"]),
                                  nb::cast<uint64_t>(settings["seed"]), size("centres"), size("noise"),
                                  size("inputs"), size("span")};
                self->model = {input.shape(0), input.shape(1), input.data(), output.data(), keep.data(),
                               noise_below.data(), noise_alias.data(), path_start.data(), path.data()};
            },
            nb::arg("input"), nb::arg("output"), nb::arg("keep"), nb::arg("noise_below"), nb::arg("noise_alias"),
            nb::arg("path_start"), nb::arg("path"), nb::arg("settings"), nb::keep_alive<1, 2>(), nb::keep_alive<1, 3>(),
            nb::keep_alive<1, 4>(), nb::keep_alive<1, 5>(), nb::keep_alive<1, 6>(), nb::keep_alive<1, 7>(),
            nb::keep_alive<1, 8>())
        .def(
            "train",
            [](Trainer &self, In1<int32_t> ids, std::size_t epoch, std::size_t part, std::size_t parts, int threads) {
                Passed passed;
                interruptible([&](const std::atomic<bool> &stop) {
                    passed = train_part(self.model, self.settings, ids.data(), ids.size(), epoch, part, parts, threads,
                                        stop);
                });
                return std::pair(passed.loss, passed.pairs);
            },
            nb::arg("ids"), nb::arg("epoch"), nb::arg("part"), nb::arg("parts"), nb::arg("threads"));
    m.def(
        "logistic_tile",
        [](Out2<float> x, Out2<float> u, In2<float> weight, In2<float> label, float rate) {
            Tile tile(x.shape(0), u.shape(0), x.shape(1));
            for (std::size_t i = 0; i < x.shape(0); ++i) tile.x[i] = x.data() + i * x.shape(1);
            for (std::size_t o = 0; o < u.shape(0); ++o) tile.u[o] = u.data() + o * u.shape(1);
            tile.open(x.shape(0), u.shape(0));
            for (std::size_t i = 0; i < x.shape(0); ++i)
                for (std::size_t o = 0; o < u.shape(0); ++o) {
                    tile.weight()[tile.at(i, o)] = weight(i, o);
                    tile.label()[tile.at(i, o)] = label(i, o);
                }
            return logistic_tile(tile, rate, true);
        },
        nb::arg("x"), nb::arg("u"), nb::arg("weight"), nb::arg("label"), nb::arg("rate"));
    m.def(
        "softmax_step",
        [](Out2<float> x, Out2<float> u, In2<float> wanted, float rate, int threads) {
            std::vector<float *> rows;
            std::vector<std::vector<Wanted>> answers(x.shape(0));
            for (std::size_t i = 0; i < x.shape(0); ++i) {
                rows.push_back(x.data() + i * x.shape(1));
                for (std::size_t o = 0; o < u.shape(0); ++o)
                    if (wanted(i, o) > 0) answers[i].push_back({static_cast<int32_t>(o), wanted(i, o)});
            }
            Floats steps(x.shape(0) * x.shape(1));
            double loss = 0;
            interruptible([&](const std::atomic<bool> &stop) {
                loss = softmax_step(rows, u.data(), u.shape(0), x.shape(1), answers, rate, steps.data(), threads, stop);
            });
            for (std::size_t i = 0; i < x.shape(0); ++i) add_row(rows[i], steps.data() + i * x.shape(1), 1, x.shape(1));
            return loss;
        },
        nb::arg("x"), nb::arg("u"), nb::arg("wanted"), nb::arg("rate"), nb::arg("threads"));
    m.def(
        "sample_piece",
        [](In1<int32_t> ids, In1<uint32_t> keep, std::size_t window, bool shrink, uint64_t seed, Out2<int32_t> out) {
            Model model{};
            model.keep = keep.data();
            Word2VecSettings settings{};
            settings.window = window, settings.shrink = shrink;
            Random random(seed);
            Piece piece;
            sample_piece(model, settings, ids.data(), ids.size(), 0, ids.size(), random, piece);
            std::copy(piece.word.begin(), piece.word.end(), out.data());
            std::copy(piece.left.begin(), piece.left.end(), out.data() + ids.size());
            std::copy(piece.right.begin(), piece.right.end(), out.data() + 2 * ids.size());
            return piece.word.size();
        },
        nb::arg("ids"), nb::arg("keep"), nb::arg("window"), nb::arg("shrink"), nb::arg("seed"), nb::arg("out"));
    m.def("piece_seed", &piece_seed, nb::arg("seed"), nb::arg("epoch"), nb::arg("piece"));
    m.def(
        "alias_table",
        [](In1<double> weights, Out1<uint32_t> below, Out1<int32_t> alias) {
            alias_table(weights.data(), weights.size(), below.data(), alias.data());
        },
        nb::arg("weights"), nb::arg("below"), nb::arg("alias"));
    m.def(
        "huffman",
        [](In1<int64_t> counts, Out1<int64_t> starts) {
            return huffman(counts.data(), counts.size(), starts.data());
        },
        nb::arg("counts"), nb::arg("starts"));
    m.def(
        "noise_words",
        [](In1<uint32_t> below, In1<int32_t> alias, uint64_t seed, Out1<int32_t> out) {
            Model model{};
            model.words = below.size(), model.noise_below = below.data(), model.noise_alias = alias.data();
            Random random(seed);
            for (std::size_t i = 0; i < out.size(); ++i) out.data()[i] = noise_word(model, random);
        },
        nb::arg("below"), nb::arg("alias"), nb::arg("seed"), nb::arg("out"));
}

}  // namespace firth
