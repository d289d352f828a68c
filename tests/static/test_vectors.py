"""Word vectors answer as gensim's do, and their files are read and written by both."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import Neighbours, Vectors
from firth.errors import DataError, FormatError, SettingsError, ShapeError
from firth.kernels import words_text as kernel
from firth.static import WordVectors

LAYOUTS = {
    "w.txt": "word2vec-text",
    "w.bin": "word2vec-binary",
    "w.vec": "word2vec-text",
    "w.safetensors": "safetensors",
}


@pytest.fixture
def wv(rng: np.random.Generator) -> WordVectors:
    words = ["king", "queen", "man", "woman", "été", "東京", "don't", *(f"w{i}" for i in range(193))]
    vectors = rng.normal(size=(200, 24)).astype(np.float32)
    vectors[1] = vectors[0] - vectors[2] + vectors[3] + 0.01
    return WordVectors(words, vectors, np.arange(200, 0, -1), about={"settings": {"dims": 24}})


@pytest.fixture
def theirs(wv: WordVectors) -> Any:
    keyed = pytest.importorskip("gensim.models").KeyedVectors(24)
    keyed.add_vectors(wv.words, wv.vectors)
    return keyed


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_saved_file_gives_the_same_bits_back(wv: WordVectors, tmp_path: Path, name: str) -> None:
    wv.save(tmp_path / name)
    back = WordVectors.load(tmp_path / name)
    assert back.words == wv.words
    np.testing.assert_array_equal(back.vectors, wv.vectors)


def test_glove_text_has_no_first_line_and_reads_back(wv: WordVectors, tmp_path: Path) -> None:
    wv.save(tmp_path / "glove.txt", "glove")
    assert (tmp_path / "glove.txt").read_text().startswith("king ")
    np.testing.assert_array_equal(WordVectors.load(tmp_path / "glove.txt").vectors, wv.vectors)


def test_safetensors_keep_counts_and_settings_and_are_mapped(wv: WordVectors, tmp_path: Path) -> None:
    wv.save(tmp_path / "w.safetensors")
    back = WordVectors.load(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(back.counts, wv.counts)
    assert back.about == wv.about
    assert isinstance(back.vectors, np.memmap)


def test_the_published_safetensors_reader_opens_ours(wv: WordVectors, tmp_path: Path) -> None:
    published = pytest.importorskip("safetensors.numpy")
    wv.save(tmp_path / "w.safetensors")
    arrays = published.load_file(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(arrays["embeddings"], wv.vectors)


@pytest.mark.parametrize("binary", [False, True])
def test_gensim_opens_ours_and_we_open_gensims(wv: WordVectors, theirs: Any, tmp_path: Path, binary: bool) -> None:
    wv.save(tmp_path / "ours", "word2vec-binary" if binary else "word2vec-text")
    opened = type(theirs).load_word2vec_format(str(tmp_path / "ours"), binary=binary)
    assert opened.index_to_key == wv.words
    np.testing.assert_array_equal(opened.vectors, wv.vectors)
    theirs.save_word2vec_format(str(tmp_path / "theirs"), binary=binary)
    back = WordVectors.load_word2vec_format(tmp_path / "theirs", binary=binary)
    assert back.words == wv.words
    np.testing.assert_array_equal(back.vectors, wv.vectors)
    assert WordVectors.load(tmp_path / "theirs").words == wv.words


def test_a_compressed_file_is_opened_as_it_is(wv: WordVectors, tmp_path: Path) -> None:
    wv.save(tmp_path / "w.txt")
    (tmp_path / "w.txt.gz").write_bytes(gzip.compress((tmp_path / "w.txt").read_bytes()))
    np.testing.assert_array_equal(WordVectors.load(tmp_path / "w.txt.gz").vectors, wv.vectors)


@pytest.mark.filterwarnings("ignore:Call to deprecated:DeprecationWarning")  # gensim's own 3CosMul calls init_sims
def test_measures_agree_with_gensim(wv: WordVectors, theirs: Any) -> None:
    assert wv.similarity("king", "man") == pytest.approx(theirs.similarity("king", "man"), abs=1e-6)
    assert wv.distance("king", "man") == pytest.approx(theirs.distance("king", "man"), abs=1e-6)
    assert wv.n_similarity(["king", "man"], ["w1", "w2"]) == pytest.approx(
        theirs.n_similarity(["king", "man"], ["w1", "w2"]), abs=1e-6
    )
    assert wv.doesnt_match(["king", "queen", "w5", "w6"]) == theirs.doesnt_match(["king", "queen", "w5", "w6"])
    assert wv.rank("king", "man") == theirs.rank("king", "man")
    for positive, negative in ((["king", "woman"], ["man"]), (["king"], []), ([wv["w3"], "w4"], ["w7", "w9"])):
        ours, other = wv.most_similar(positive, negative), theirs.most_similar(positive, negative)
        assert [word for word, _ in ours] == [word for word, _ in other]
        np.testing.assert_allclose([s for _, s in ours], [s for _, s in other], atol=1e-5)
    ours, other = (each.most_similar_cosmul(["king", "woman"], ["man"]) for each in (wv, theirs))
    assert [word for word, _ in ours] == [word for word, _ in other]
    np.testing.assert_allclose([s for _, s in ours], [s for _, s in other], rtol=1e-4)
    assert wv.most_similar("king", topn=3, restrict=50) == wv.most_similar("king", k=3, restrict=50)


def test_gensims_names_give_the_same_things(wv: WordVectors) -> None:
    assert wv.vector_size == wv.dims == 24
    assert wv.index_to_key == wv.words
    assert wv.key_to_index["queen"] == 1
    assert wv.get_vecattr("king", "count") == 200
    np.testing.assert_array_equal(wv.get_vector("king"), wv["king"])
    assert np.linalg.norm(wv.get_vector("king", norm=True)) == pytest.approx(1, abs=1e-6)
    assert wv.similar_by_word("king", 4) == wv.most_similar("king", k=4)
    assert wv.similar_by_vector(wv["king"], 1)[0][0] == "king"


def test_king_without_man_and_with_woman_is_queen_either_way(wv: WordVectors) -> None:
    for method in ("add", "mul"):
        assert wv.most_similar(["king", "woman"], ["man"], k=1, method=method)[0][0] == "queen"


def test_vectors_are_a_container_of_words(wv: WordVectors) -> None:
    assert len(wv) == 200
    assert "king" in wv
    assert "King" not in wv
    assert next(iter(wv)) == "king"
    assert wv[["king", "queen"]].shape == (2, 24)
    with pytest.raises(KeyError, match='"King" is not among the 200 words; "king" is'):
        wv["King"]


def test_asking_for_more_than_there_are_gives_all_but_the_asked(wv: WordVectors) -> None:
    assert len(wv.most_similar("king", k=1000)) == 199
    assert wv.most_similar("king", k=10, restrict=1) == []


def test_a_large_vocabulary_searches_through_an_index(wv: WordVectors) -> None:
    class Exact:
        def search(self, queries: Vectors, k: int = 10) -> Neighbours:
            scores = queries @ wv.unit.T
            ids = np.argsort(-scores, axis=1)[:, :k]
            return Neighbours(ids, np.take_along_axis(scores, ids, axis=1))

    found = wv.most_similar(["king", "woman"], ["man"], index=Exact())
    assert [word for word, _ in found] == [word for word, _ in wv.most_similar(["king", "woman"], ["man"])]
    with pytest.raises(SettingsError, match='or "mul" without an index'):
        wv.most_similar("king", method="mul", index=Exact())


def test_nothing_asked_is_refused(wv: WordVectors) -> None:
    with pytest.raises(SettingsError, match="at least one positive or negative"):
        wv.most_similar()
    with pytest.raises(SettingsError, match="none of the words"):
        wv.doesnt_match(["absent"])


def test_vectors_without_a_row_a_word_are_refused() -> None:
    with pytest.raises(ShapeError, match="2 words need"):
        WordVectors(["a", "b"], np.zeros((3, 2), np.float32))
    with pytest.raises(ShapeError, match="2 words but 1 counts"):
        WordVectors(["a", "b"], np.zeros((2, 2), np.float32), np.ones(1, np.int64))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the file is empty"),
        ("3 2\na 1 2\nb 3 4\n", "line 1 announces 3 words, 2 lines follow; the file is cut off"),
        ("1 2\na 1 2\nb 3 4\n", "line 1 announces 1 words, 2 lines follow; some lines are too many"),
        ("2 2\na 1 2\nb 3\n", r"line 3: expected a word and 2 numbers, got 2 fields \('b 3'\); the line is cut off"),
        ("2 2\na 1 2\nnew york 3 4\n", "line 3: .* the word holds a space"),
        ("2 2\na 1 2\nb 3 x\n", "line 3: number 2 of 'b' is 'x', not a number"),
        ("2 2\na nan 2\nb 3 4\n", "line 2: number 1 of 'a' is 'nan', NaN or infinite"),
        ("2 2\na 1 1e39\nb 3 4\n", "line 2: number 2 of 'a' is '1e39', NaN or infinite"),
        ("2 2\na 1 2\na 3 4\n", "line 3: 'a' stands twice, first at line 2"),
        ("a 1 2\nb 3 4\na 5 6\n", "line 3: 'a' stands twice, first at line 1"),
        ("2 2\na 1 2\n 3 4 5\n", "line 3: begins with a space"),
        ("2 0\na\nb\n", "line 1: 0 dimensions are impossible"),
        ("a 1 2\n\nb 1 2\n", "line 2: expected a word and 2 numbers, got 0 fields"),
    ],
)
def test_a_malformed_text_file_is_named_by_its_line(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "w.txt").write_text(content)
    with pytest.raises(FormatError, match=said):
        WordVectors.load(tmp_path / "w.txt")


def test_words_with_spaces_are_accepted_on_request(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("a 1 2\nnew york 3 4\n. . . 5 6\n")
    assert WordVectors.load(tmp_path / "w.txt", spaces=True).words == ["a", "new york", ". . ."]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data[:-30], "cut off in word 200 of 200"),
        (lambda data: data[:60], "cut off: 200 words of 24 dimensions need at least 19,600 bytes, the file has 60"),
        (lambda data: data + b"more", "5 bytes follow the last of 200 words"),
        (lambda data: b"PK" + data, "does not begin with the counts"),
        (lambda data: data.replace(b"queen ", b"king "), "'king' stands twice, first at byte 7"),
        (lambda data: data[:12] + b"\0\0\xc0\x7f" + data[16:], "byte 7: the vector of word 1 holds NaN"),
        (lambda data: data.replace(b"queen", b"que\xffn"), "byte 109: a word is not UTF-8"),
    ],
)
def test_a_malformed_binary_file_is_named_by_its_byte(wv: WordVectors, tmp_path: Path, damage: Any, said: str) -> None:
    wv.save(tmp_path / "w.bin")
    (tmp_path / "w.bin").write_bytes(damage((tmp_path / "w.bin").read_bytes()))
    with pytest.raises(FormatError, match=said):
        WordVectors.load(tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h["__metadata__"].update(format="pt"), "its format is 'pt', expected 'firth-words/1'"),
        (lambda h: h.pop("words"), "word vectors need the arrays"),
        (lambda h: h["embeddings"].update(shape=[200, 25]), "is not 19,200 bytes"),
        (lambda h: h["embeddings"].update(shape=[-200, -24]), "is not 19,200 bytes"),
        (lambda h: h["embeddings"].update(dtype="BF16"), "cannot be read as"),
        (
            lambda h: h["embeddings"].update(data_offsets=[10**12, 10**12 + 19200]),
            "cut off: array 'embeddings' ends at byte",
        ),
        (lambda h: h["word_ends"].update(h["counts"]), "word_ends does not cut words into one a row"),
        (lambda h: h["__metadata__"].update(about="{"), "its about is not JSON"),
    ],
)
def test_a_damaged_safetensors_header_is_refused(wv: WordVectors, tmp_path: Path, change: Any, said: str) -> None:
    wv.save(tmp_path / "w.safetensors")
    data = (tmp_path / "w.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(FormatError, match=said):
        WordVectors.load(tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 100, (5).to_bytes(8, "little") + b"[1,2]", b"\0" * 8])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(FormatError, match="not a safetensors file"):
        WordVectors.load(tmp_path / "w.safetensors")


def test_safetensors_with_nan_name_the_word(wv: WordVectors, tmp_path: Path) -> None:
    wv.vectors[150, 3] = np.nan
    wv.save(tmp_path / "w.safetensors")
    with pytest.raises(FormatError, match=r"word 150 \('w143'\): its vector holds NaN"):
        WordVectors.load(tmp_path / "w.safetensors")


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="there is no such file"):
        WordVectors.load(tmp_path / "absent.txt")


def test_text_cannot_hold_words_with_white_space(wv: WordVectors, tmp_path: Path) -> None:
    spaced = WordVectors(["new york"], wv.vectors[:1])
    for name in ("w.txt", "w.bin"):
        with pytest.raises(DataError, match="word 0 is 'new york'"):
            spaced.save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []
    spaced.save(tmp_path / "w.safetensors")
    assert WordVectors.load(tmp_path / "w.safetensors").words == ["new york"]


def test_an_unknown_suffix_is_refused_with_the_formats(wv: WordVectors, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"format '\.kv' is not known; expected one of word2vec-text"):
        wv.save(tmp_path / "w.kv")


def test_lines_are_parsed_as_the_twin_does_at_every_level(level: Any, rng: np.random.Generator) -> None:
    numbers = [
        "1",
        "-0",
        "+2.5",
        "1e-3",
        "-1.25E+2",
        ".5",
        "3.",
        "0.1234567890123456789",
        "1e-30",
        "123456789012345678",
    ]
    lines = [" ".join([f"w{i}", *rng.choice(numbers, 6)]) for i in range(50)]
    text = np.frombuffer(("\n".join(lines) + " \r\n").encode(), np.uint8)
    starts = kernel.line_starts(text, module=level)
    rows, lengths, row, fault = kernel.text_rows(text, starts, 6, spaces=False, threads=2, module=level)
    assert (row, fault) == (50, "")
    for i, line in enumerate(lines):
        word, numbers_of = kernel.text_row_twin(line, 6)
        assert lengths[i] == len(word)
        np.testing.assert_array_equal(rows[i], numbers_of)


def test_written_numbers_give_the_same_float_back_as_the_twins_do(level: Any, rng: np.random.Generator) -> None:
    rows = np.concatenate([rng.normal(size=(20, 5)), 10.0 ** rng.uniform(-37, 37, (20, 5))]).astype(np.float32)
    words = [f"w{i}" for i in range(40)]
    lines = kernel.write_rows(words, rows, module=level).decode().splitlines()
    twins = kernel.write_rows_twin(words, rows).decode().splitlines()
    for line, twin, row in zip(lines, twins, rows, strict=True):
        np.testing.assert_array_equal(np.array(line.split()[1:], np.float32), row)
        np.testing.assert_array_equal(np.array(twin.split()[1:], np.float32), row)
