// Counting words and averaging word vectors over texts, for kernels/words.py.
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include "bindings.hpp"
#include "threads.hpp"
#include "words.hpp"
#include "words_text.hpp"

namespace firth {
namespace {

Splitter splitter(int kind, In1<int32_t> classes) { return Splitter(kind, classes.data(), classes.size()); }

// Words as slices of one buffer: word i is bytes [offsets[i], offsets[i + 1]).
std::vector<std::string_view> slices(In1<uint8_t> bytes, In1<int64_t> offsets) {
    std::vector<std::string_view> words;
    const auto *text = reinterpret_cast<const char *>(bytes.data());
    for (std::size_t i = 0; i + 1 < offsets.size(); ++i)
        words.emplace_back(text + offsets.data()[i], static_cast<std::size_t>(offsets.data()[i + 1] - offsets.data()[i]));
    return words;
}

nb::list text_list(const std::vector<std::string> &words) {
    nb::list list;
    for (const std::string &word : words) list.append(nb::str(word.data(), word.size()));
    return list;
}

// A vocabulary that texts are looked up in.
struct Lookup {
    Splitter split;
    WordTable table;

    Lookup(int kind, In1<int32_t> classes, In1<uint8_t> bytes, In1<int64_t> offsets) : split(splitter(kind, classes)) {
        for (const std::string_view word : slices(bytes, offsets))
            table.count(reinterpret_cast<const uint8_t *>(word.data()), word.size());
    }

    // out[i] = sum over the words of text i of weights[word] * vectors[word], in order; found[i] and words[i] count them.
    void sums(In1<uint8_t> text, In1<int64_t> offsets, In2<float> vectors, In1<float> weights, Out2<float> out,
              Out1<int64_t> found, Out1<int64_t> words, int threads) const {
        const std::size_t d = vectors.shape(1);
        const float *row = vectors.data(), *weight = weights.data();
        interruptible([&](const std::atomic<bool> &stop) {
            parallel_for(found.size(), 256, threads, stop, [&](std::size_t begin, std::size_t end, int) {
                for (std::size_t i = begin; i < end; ++i) {
                    float *sum = out.data() + i * d;
                    int64_t hits = 0, all = 0;
                    split.split(
                        text.data() + offsets.data()[i], text.data() + offsets.data()[i + 1],
                        [&](const uint8_t *word, std::size_t length) {
                            ++all;
                            const int32_t id = table.find(word, length);
                            if (id < 0) return;
                            ++hits;
                            const float *vector = row + static_cast<std::size_t>(id) * d, by = weight[id];
                            for (std::size_t j = 0; j < d; ++j) sum[j] += by * vector[j];
                        },
                        [] {});
                    found.data()[i] = hits;
                    words.data()[i] = all;
                }
            });
        });
    }

    // The ids of the words of each text, -1 where unknown: text i fills out[starts[i] ...]; returns how many in all.
    std::size_t ids(In1<uint8_t> text, In1<int64_t> offsets, Out1<int32_t> out, Out1<int64_t> starts) const {
        std::size_t n = 0;
        const std::size_t texts = offsets.size() - 1;
        for (std::size_t i = 0; i < texts; ++i) {
            starts.data()[i] = static_cast<int64_t>(n);
            split.split(
                text.data() + offsets.data()[i], text.data() + offsets.data()[i + 1],
                [&](const uint8_t *word, std::size_t length) { out.data()[n++] = table.find(word, length); }, [] {});
        }
        starts.data()[texts] = static_cast<int64_t>(n);
        return n;
    }
};

}  // namespace

void bind_words(nb::module_ &m) {
    nb::class_<WordCounter>(m, "WordCounter")
        .def(
            "__init__",
            [](WordCounter *self, int kind, In1<int32_t> classes, int threads, std::size_t budget, std::string folder) {
                new (self) WordCounter(splitter(kind, classes), threads, budget, std::move(folder));
            },
            nb::arg("kind"), nb::arg("classes"), nb::arg("threads"), nb::arg("budget"), nb::arg("folder"))
        .def(
            "add",
            [](WordCounter &self, In1<uint8_t> block, bool last) {
                WordCounter::Added added{};
                interruptible([&](const std::atomic<bool> &stop) {
                    added = self.add(block.data(), block.size(), last, stop);
                });
                return std::pair(added.consumed, added.invalid);
            },
            nb::arg("block"), nb::arg("last"))
        .def(
            "finish",
            [](WordCounter &self, uint64_t min_count, std::size_t max_words, In1<uint8_t> bytes, In1<int64_t> offsets) {
                interruptible([&](const std::atomic<bool> &) {
                    self.finish(min_count, max_words, slices(bytes, offsets));
                });
            },
            nb::arg("min_count"), nb::arg("max_words"), nb::arg("known"), nb::arg("known_offsets"))
        .def(
            "encode",
            [](WordCounter &self, Out1<int32_t> out, int threads) {
                std::size_t n = 0;
                interruptible([&](const std::atomic<bool> &stop) { n = self.encode(out.data(), threads, stop); });
                return n;
            },
            nb::arg("out"), nb::arg("threads"))
        .def("words", [](const WordCounter &self) { return text_list(self.words); })
        .def(
            "counts",
            [](const WordCounter &self, Out1<int64_t> out) {
                std::copy(self.counts.begin(), self.counts.end(), out.data());
            },
            nb::arg("out"))
        .def_prop_ro("bound", &WordCounter::bound)
        .def_ro("tokens", &WordCounter::tokens)
        .def_ro("kept", &WordCounter::kept)
        .def_ro("highest", &WordCounter::highest)
        .def_ro("distinct", &WordCounter::distinct);
    nb::class_<Lookup>(m, "Lookup")
        .def(nb::init<int, In1<int32_t>, In1<uint8_t>, In1<int64_t>>(), nb::arg("kind"), nb::arg("classes"),
             nb::arg("words"), nb::arg("offsets"))
        .def("sums", &Lookup::sums, nb::arg("text"), nb::arg("offsets"), nb::arg("vectors"), nb::arg("weights"),
             nb::arg("out"), nb::arg("found"), nb::arg("words"), nb::arg("threads"))
        .def("ids", &Lookup::ids, nb::arg("text"), nb::arg("offsets"), nb::arg("out"), nb::arg("starts"));
    m.def("count_lines", [](In1<uint8_t> text) {
        return count_lines(reinterpret_cast<const char *>(text.data()), text.size());
    });
    m.def("line_starts", [](In1<uint8_t> text, Out1<int64_t> starts) {
        line_starts(reinterpret_cast<const char *>(text.data()), text.size(), starts.data());
    });
    m.def(
        "text_rows",
        [](In1<uint8_t> text, In1<int64_t> starts, bool spaces, Out2<float> out, Out1<int64_t> word_bytes, int threads) {
            Faulty faulty{};
            interruptible([&](const std::atomic<bool> &stop) {
                faulty = text_rows(reinterpret_cast<const char *>(text.data()), starts.data(), out.shape(0),
                                   out.shape(1), spaces, out.data(), word_bytes.data(), threads, stop);
            });
            return std::pair(faulty.row, static_cast<int>(faulty.fault));
        },
        nb::arg("text"), nb::arg("starts"), nb::arg("spaces"), nb::arg("out"), nb::arg("word_bytes"), nb::arg("threads"));
    m.def(
        "binary_rows",
        [](In1<uint8_t> bytes, std::size_t start, Out2<float> out, Out1<int64_t> word_starts, Out1<int64_t> word_bytes) {
            std::size_t whole = 0, at = 0;
            interruptible([&](const std::atomic<bool> &stop) {
                whole = binary_rows(reinterpret_cast<const char *>(bytes.data()), bytes.size(), start, out.shape(0),
                                    out.shape(1), out.data(), word_starts.data(), word_bytes.data(), stop, at);
            });
            return std::pair(whole, at);
        },
        nb::arg("bytes"), nb::arg("start"), nb::arg("out"), nb::arg("word_starts"), nb::arg("word_bytes"));
    m.def(
        "write_rows",
        [](In1<uint8_t> bytes, In1<int64_t> offsets, In2<float> vectors) {
            std::string text;
            std::vector<char> row(vectors.shape(1) * (LONGEST_NUMBER + 1) + 1);
            const std::vector<std::string_view> words = slices(bytes, offsets);
            for (std::size_t i = 0; i < words.size(); ++i) {
                text += words[i];
                text.append(row.data(), write_row(vectors.data() + i * vectors.shape(1), vectors.shape(1), row.data()));
            }
            return nb::bytes(text.data(), text.size());
        },
        nb::arg("words"), nb::arg("offsets"), nb::arg("vectors"));
}

}  // namespace firth
