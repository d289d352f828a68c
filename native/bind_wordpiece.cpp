// WordPiece for Python; a call reads one slice of texts, so it is over in milliseconds and looks for no signals.
#include "bindings.hpp"
#include "wordpiece.hpp"

namespace firth {
namespace {

struct BoundWordPiece {
    WordPiece pieces;

    BoundWordPiece(In1<uint8_t> entries, In1<int64_t> offsets, In1<uint8_t> aside, int32_t unknown, std::size_t longest,
                   bool lower)
        : pieces(entries.data(), offsets.data(), offsets.shape(0) - 1, {unknown, longest, lower, aside.data()}) {}

    std::size_t split(In1<uint8_t> text, In1<int64_t> offsets, Out1<int32_t> ids, Out2<int32_t> spans,
                      Out1<int64_t> rows) const {
        nb::gil_scoped_release released;
        return pieces.split(text.data(), offsets.data(), offsets.shape(0) - 1, ids.data(), spans.data(), rows.data());
    }
};

}  // namespace

void bind_wordpiece(nb::module_ &m) {
    nb::class_<BoundWordPiece>(m, "WordPiece")
        .def(nb::init<In1<uint8_t>, In1<int64_t>, In1<uint8_t>, int32_t, std::size_t, bool>(), nb::arg("entries"),
             nb::arg("offsets"), nb::arg("aside"), nb::arg("unknown"), nb::arg("longest"), nb::arg("lower"))
        .def("split", &BoundWordPiece::split, nb::arg("text"), nb::arg("offsets"), nb::arg("ids"), nb::arg("spans"),
             nb::arg("rows"));
}

}  // namespace firth
