"""Vectors on disk: whole shards, resumed, and encoded anew only where a text has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Vectors
from firth.errors import FormatError
from firth.sentence import shards
from firth.sentence.shards import Shards, encode_shards

MAKER = {"fingerprint": "f", "kind": "document", "dims": 2}
TEXTS = [(f"d{i}", "x" * (1 + i * 37 % 101)) for i in range(25)]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 10)
    monkeypatch.setattr(shards, "STEP", 4)


class Lengths:
    """Encodes a text as (its length, 1); counts what it was asked for and stops after `most`."""

    def __init__(self, most: int = 10**9) -> None:
        self.asked, self.most = 0, most

    def __call__(self, texts: Sequence[str]) -> tuple[Vectors, int, int]:
        self.asked += len(texts)
        if self.asked > self.most:
            raise KeyboardInterrupt
        return np.array([[len(text), 1] for text in texts], np.float32), len(texts), 3


def test_rows_stand_in_the_order_of_the_texts_under_their_ids(tmp_path: Path) -> None:
    found = encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER)
    assert found.ids == [id_ for id_, _ in TEXTS]
    np.testing.assert_array_equal(found.vectors[:, 0], [len(text) for _, text in TEXTS])
    assert [len(block) for block in found.blocks()] == [10, 10, 5]
    assert len(found) == 25


def test_what_was_cut_is_added_up(tmp_path: Path) -> None:
    assert encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER).cut == (25, 3 * 8)


def test_a_second_run_encodes_nothing(tmp_path: Path) -> None:
    encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER)
    again = Lengths()
    encode_shards(again, iter(TEXTS), tmp_path, maker=MAKER)
    assert again.asked == 0


def test_an_interrupted_run_keeps_its_whole_shards_and_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode_shards(Lengths(most=16), TEXTS, tmp_path, maker=MAKER)
    with pytest.raises(FormatError, match="was interrupted"):
        Shards.load(tmp_path)
    later = Lengths()
    found = encode_shards(later, TEXTS, tmp_path, maker=MAKER)
    assert later.asked == 15
    np.testing.assert_array_equal(found.vectors[:, 0], [len(text) for _, text in TEXTS])


def test_a_changed_text_costs_only_its_shard(tmp_path: Path) -> None:
    encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER)
    changed = [*TEXTS[:12], ("d12", "new text"), *TEXTS[13:]]
    again = Lengths()
    found = encode_shards(again, changed, tmp_path, maker=MAKER)
    assert again.asked == 10
    assert found.vectors[12, 0] == len("new text")


def test_fewer_texts_leave_no_shard_of_the_earlier_run(tmp_path: Path) -> None:
    encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER)
    assert len(encode_shards(Lengths(), TEXTS[:5], tmp_path, maker=MAKER)) == 5
    assert sorted(path.name for path in tmp_path.glob("*.vectors")) == ["00000.vectors"]


def test_vectors_of_another_model_are_made_anew(tmp_path: Path) -> None:
    encode_shards(Lengths(), TEXTS, tmp_path, maker=MAKER)
    other = Lengths()
    encode_shards(other, TEXTS, tmp_path, maker=MAKER | {"fingerprint": "other"})
    assert other.asked == 25


def test_texts_are_streamed_shard_by_shard(tmp_path: Path) -> None:
    read = 0

    def stream() -> Iterator[tuple[str, str]]:
        nonlocal read
        for pair in TEXTS:
            read += 1
            yield pair

    with pytest.raises(KeyboardInterrupt):
        encode_shards(Lengths(most=10), stream(), tmp_path, maker=MAKER)
    assert read <= 20


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="firth encode makes such a folder"):
        Shards.load(tmp_path)
    (tmp_path / shards.MANIFEST).write_text('{"version": 1}')
    with pytest.raises(FormatError, match="not a manifest"):
        Shards.load(tmp_path)
