"""Any number of texts go to disk; a run that was killed goes on where it was, with the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from firth.errors import FormatError, ShapeError
from firth.sentence import shards
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.shards import Shards

SCRIPT = """
import sys, time
from firth.sentence import shards
from firth.sentence.encoder import SentenceEncoder
shards.SHARD_ROWS = 10
def texts():
    for i in range(60):
        time.sleep(0.02)
        yield f"the cat {i}"
SentenceEncoder.load(sys.argv[1]).encode_to(sys.argv[2], texts(), precision="float32")
"""


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_ROWS", 10)


def test_the_folder_holds_what_encode_gives(tiny: SentenceEncoder, texts: list[str], tmp_path: Path) -> None:
    found = tiny.encode_to(tmp_path / "out", iter(texts), kind="document")
    np.testing.assert_array_equal(found.vectors, tiny.encode(texts, kind="document"))
    assert found.ids == [str(i) for i in range(40)]
    assert Shards.load(tmp_path / "out").maker == {"fingerprint": tiny.fingerprint, "kind": "document", "dims": 32}


def test_a_killed_run_goes_on_with_its_finished_shards(tiny: SentenceEncoder, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    out = tmp_path / "out"
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "model"), str(out)]
    process = subprocess.Popen(command, env={"PYTHONPATH": ":".join(sys.path), "PATH": ""})
    while not (out / "00001.vectors").exists():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(FormatError):
        Shards.load(out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.vectors")}
    texts = [f"the cat {i}" for i in range(60)]
    found = SentenceEncoder.load(tmp_path / "model").encode_to(out, texts, precision="float32")
    np.testing.assert_array_equal(found.vectors, tiny.encode(texts, precision="float32"))
    assert (out / "00000.vectors").stat().st_mtime_ns == before[out / "00000.vectors"]
    assert 2 <= len(before) < 6


def test_another_precision_makes_other_vectors(tiny: SentenceEncoder, tmp_path: Path) -> None:
    makers = [tiny.encode_to(tmp_path / "out", ["cat"], precision=p).maker for p in ("auto", "float32")]
    assert makers[0] != makers[1]


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"]])
def test_ids_and_texts_of_unequal_number_are_refused(tiny: SentenceEncoder, ids: list[str], tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="as many as there are texts"):
        tiny.encode_to(tmp_path / "out", ["cat", "dog"], ids)
