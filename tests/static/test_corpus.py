"""Counting: what a corpus of ids is, whatever it was read from."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from firth.errors import DataError, SettingsError, TrainingError
from firth.kernels import words as kernel
from firth.static import Corpus, Counting, count, count_texts
from firth.static import corpus as reading

ALL = Counting(min_count=1)
MOST_BYTES_A_WORD = 250  # of counting where every word is new; a Python dict of counts takes more


def sentences(corpus: Corpus) -> list[list[str]]:
    """The sentences that the ids spell."""
    ends = np.flatnonzero(corpus.ids == kernel.SENTENCE_END)
    return [[corpus.vocabulary.words[i] for i in part if i >= 0] for part in np.split(corpus.ids, ends + 1)][:-1]


@pytest.fixture
def text(rng: np.random.Generator) -> str:
    """2,000 lines of words whose counts fall like 1 / rank."""
    words = [f"w{rank}" for rank in rng.zipf(1.4, 30_000) % 5000]
    cuts = np.sort(rng.integers(0, len(words), 2000))
    return "\n".join(" ".join(part) for part in np.split(np.array(words), cuts)) + "\n"


@pytest.fixture
def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(text)
    return path


def test_a_corpus_of_ids_spells_the_sentences_it_was_read_from(file: Path, text: str) -> None:
    assert sentences(count(file, ALL)) == [line.split() for line in text.split("\n") if line.split()]


def test_words_stand_by_falling_count_and_equal_counts_by_their_bytes(file: Path, text: str) -> None:
    corpus = count(file, ALL)
    expected = sorted(Counter(text.split()).items(), key=lambda item: (-item[1], item[0].encode()))
    assert list(zip(corpus.vocabulary.words, corpus.vocabulary.counts.tolist(), strict=True)) == expected


def test_the_number_of_threads_and_the_size_of_blocks_change_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = count(file, threads=1)
    for threads, block in ((2, 8 << 20), (4, 5000), (3, 64), (1, 1)):
        monkeypatch.setattr(reading, "BLOCK", block)
        corpus = count(file, threads=threads)
        np.testing.assert_array_equal(corpus.ids, expected.ids)
        assert corpus.vocabulary.words == expected.vocabulary.words


def test_many_parts_of_one_block_join_to_the_same_sentences(tmp_path: Path, text: str) -> None:
    path = tmp_path / "large.txt"
    path.write_text(text * 20)  # several of the half-megabyte parts that threads take
    assert path.stat().st_size > 2_000_000
    assert sentences(count(path, ALL, threads=3)) == [line.split() for line in (text * 20).split("\n") if line.split()]


def test_a_corpus_beyond_the_memory_given_lies_on_disk_and_is_the_same(file: Path) -> None:
    inside, outside = count(file), count(file, Counting(memory=0))
    assert isinstance(outside.ids.base, np.memmap) or isinstance(outside.ids, np.memmap)
    np.testing.assert_array_equal(inside.ids, outside.ids)


def test_rare_words_are_left_out_and_the_rest_moves_together(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("a b a\nb\nrare\n\na rare b\n")
    corpus = count(path, Counting(min_count=2))
    assert corpus.tokens == 8
    assert corpus.distinct == 3
    assert sentences(count(path, Counting(min_count=3))) == [["a", "b", "a"], ["b"], ["a", "b"]]


def test_a_largest_vocabulary_keeps_the_most_frequent(file: Path) -> None:
    assert count(file, Counting(max_words=10)).vocabulary.words == count(file).vocabulary.words[:10]


def test_known_words_keep_their_ids_whatever_their_counts(file: Path) -> None:
    corpus = count(file, Counting(max_words=5), known=["absent", "w3"])
    assert corpus.vocabulary.words[:2] == ["absent", "w3"]
    assert corpus.vocabulary.counts[0] == 0
    assert len(corpus.vocabulary) == 5
    assert corpus.vocabulary.words[2] == count(file).vocabulary.words[0]


def test_a_line_longer_than_any_block_stays_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "one-line.txt"
    words = [f"word{i % 700}" for i in range(400_000)]
    path.write_text(" ".join(words))
    monkeypatch.setattr(reading, "BLOCK", 10_000)
    assert sentences(count(path, ALL, threads=2)) == [words]


def test_compressed_files_read_as_plain_ones(file: Path, tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard", reason="the zstd extra is not installed")
    data = file.read_bytes()
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(data))
    (tmp_path / "c.txt.zst").write_bytes(zstandard.compress(data))
    for name in ("c.txt.gz", "c.txt.zst"):
        np.testing.assert_array_equal(count(tmp_path / name).ids, count(file).ids)


def test_several_files_are_one_corpus(file: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "second.txt").write_text("ends without a line end")
    lines = [line.split() for line in text.split("\n") if line.split()]
    assert sentences(count([file, str(tmp_path / "second.txt")], ALL)) == [
        *lines,
        ["ends", "without", "a", "line", "end"],
    ]


def test_token_lists_are_taken_as_they_are_and_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [["new york", "is", "Big"], [], ["", "line\nend"] * 2]
    monkeypatch.setattr(reading, "BLOCK", 8)
    assert sentences(count(iter(lists), ALL)) == [["new york", "is", "Big"], ["line\nend"] * 2]


def test_texts_in_memory_are_read_like_files() -> None:
    corpus = count_texts(["The cat sat.", "L'été, THE end\nnew line"], Counting(min_count=1, tokenizer="unicode"))
    assert sentences(corpus) == [["the", "cat", "sat"], ["l'été", "the", "end"], ["new", "line"]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't stop", ["don't", "stop"]),
        ("rock’n’roll 'quoted'", ["rock'n'roll", "quoted"]),
        ("ГОСТ-2020, naïve", ["гост", "2020", "naïve"]),
        ("snake_case v2.0", ["snake_case", "v2", "0"]),
        ("東京tower", ["東", "京", "tower"]),
        ("हिन्दी", ["हिन्दी"]),
        ("İstanbul", ["istanbul"]),
        ("🙂 …", []),
    ],
)
def test_the_unicode_splitter_finds_words_in_any_script(text: str, words: list[str]) -> None:
    assert kernel.split_twin(text, kernel.UNICODE) == words
    if words:
        assert sentences(count_texts([text], Counting(min_count=1, tokenizer="unicode"))) == [words]


@given(st.lists(st.text(max_size=40), max_size=5), st.sampled_from([kernel.SPACES, kernel.UNICODE]))
def test_the_native_splitter_agrees_with_its_twin_on_any_text(texts: list[str], kind: int) -> None:
    words = sorted({word for text in texts for word in kernel.split_twin(text, kind)})
    ids, starts = kernel.text_ids(kernel.lookup(words, kind), texts)
    assert [words[i] for i in ids] == [word for text in texts for word in kernel.split_twin(text, kind)]
    assert starts[-1] == len(ids)


def test_the_splitter_is_the_same_at_every_level(level: Any, text: str) -> None:
    words = sorted(set(text.split()))[:100]
    table = kernel.lookup(words, kernel.SPACES, module=level)
    ids, _ = kernel.text_ids(table, [text])
    assert [words[i] if i >= 0 else None for i in ids] == [word if word in words else None for word in text.split()]


def test_words_of_every_length_are_told_apart(level: Any) -> None:
    words = ["ab" * n + tail for n in range(12) for tail in ("c", "d", "cd")]
    table = kernel.lookup(words, kernel.SPACES, module=level)
    ids, _ = kernel.text_ids(table, [" ".join(words), "abx " + "ab" * 12 + "x"])
    assert ids.tolist() == [*range(len(words)), -1, -1]


def test_a_byte_that_is_not_utf8_is_named_with_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes(b"fine words\n" * 100 + b"caf\xe9 au lait\n")
    for block in (8 << 20, 64):
        monkeypatch.setattr(reading, "BLOCK", block)
        with pytest.raises(DataError, match=r"latin\.txt: byte 1,103 \(0xe9\) is not UTF-8; convert it"):
            count(path)


@pytest.mark.parametrize(
    "bad", [b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82", b"\x80", b"\xe0\x80\x80"]
)
def test_every_kind_of_broken_utf8_is_refused(tmp_path: Path, bad: bytes) -> None:
    path = tmp_path / "c.txt"
    path.write_bytes(b"eight bytes and more " + bad + b"\n")
    with pytest.raises(DataError, match="byte 21"):
        count(path, ALL)


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbffirst second\r\n")
    assert sentences(count(path, ALL)) == [["first", "second"]]


def test_a_cut_off_archive_is_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(file.read_bytes())[:-50])
    with pytest.raises(DataError, match=r"cut\.txt\.gz: the archive is damaged"):
        count(tmp_path / "cut.txt.gz")


def test_an_empty_file_is_told_apart_from_a_vocabulary_of_rare_words(tmp_path: Path) -> None:
    path = tmp_path / "c.txt"
    path.write_text("\n \n")
    with pytest.raises(TrainingError, match="holds no word"):
        count(path)
    path.write_text("once twice twice\n")
    with pytest.raises(TrainingError, match="no word reaches min_count=5: the most frequent of 2 was seen 2 times"):
        count(path)


def test_a_string_among_token_lists_is_refused() -> None:
    with pytest.raises(DataError, match="sentence 1 is one string"):
        count(iter([["fine"], "not fine"]), ALL)  # type: ignore[list-item]


def test_a_token_with_a_separator_inside_is_refused() -> None:
    with pytest.raises(DataError, match="sentence 0: a token holds one of the control characters"):
        count(iter([["a\x1fb"]]), ALL)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(SettingsError, match="min_count must be 1 or more"):
        Counting(min_count=0)
    with pytest.raises(SettingsError, match="tokenizer 'words': expected one of spaces, unicode"):
        Counting(tokenizer="words")


@pytest.mark.slow
def test_ten_million_distinct_words_are_counted_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "distinct.txt"
    with path.open("w") as out:
        for start in range(0, 10_000_000, 100_000):
            out.write(" ".join(map(str, range(start, start + 100_000))) + "\n")
    code = (
        "import resource, sys\n"
        "from firth.static import Counting, count\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "corpus = count(sys.argv[1], Counting(min_count=1, max_words=1000))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(corpus.distinct, len(corpus.vocabulary), (after - before) * 1024 // 10_000_000)"
    )
    command = [sys.executable, "-c", code, str(path)]
    distinct, kept, bytes_a_word = map(int, subprocess.run(command, capture_output=True, check=True).stdout.split())
    assert (distinct, kept) == (10_000_000, 1000)
    assert bytes_a_word < MOST_BYTES_A_WORD
