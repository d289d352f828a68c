"""firth probe: a table by slice, marks that can be set, exit code 3 where it is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from firth.errors import DataError, SettingsError
from firth.evaluate.probes import MARKS
from firth.recipes.probe import Settings, run, show

pytestmark = pytest.mark.filterwarnings("ignore::firth.sentence.encoder.CutWarning")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for i in range(24):
        (folder / f"{i}.txt").write_text(
            f"The old wolf{'abcdefgh'[i % 8]} came near the oak{'abcdefgh'[i % 7]} in 19{60 + i} with some new salta. "
            f"Nobody saw the fern{'abcdefgh'[i % 5]} and the {40 + i} kg of iron{'abcdefgh'[i % 3]} near the moona."
        )
    return folder


def test_every_probe_is_in_the_table_with_its_n_and_the_json_has_the_worst(model: Path, notes: Path) -> None:
    found = run(Settings(str(model), notes, n=4, quiet=True))
    assert {each.probe for each in found.slices} == set(MARKS)
    tree = json.loads(json.dumps(found.as_json(), allow_nan=False))
    for row in tree["slices"]:
        assert 1 <= row["right"]["n"] <= 2 * 10
        assert row["passed"] == (row["right"]["value"] >= row["mark"])
        assert row["passed"] or row["worst"]
    from rich.console import Console

    shown = StringIO()
    show(found, Console(file=shown, width=140))
    assert "who did what" in shown.getvalue()
    assert "nearer" in shown.getvalue()


def test_a_missed_mark_is_a_gate_only_where_it_is_asked_for(model: Path, notes: Path) -> None:
    asked = {"n": 3, "probes": "fact", "quiet": True}
    assert not run(Settings(str(model), notes, mark=["fact=1"], **asked)).missed_gates
    strict = run(Settings(str(model), notes, mark=["fact=1"], strict=True, **asked))
    assert {each.probe for each in strict.slices} == {"fact"}
    assert len(strict.missed_gates) == sum(not each.passed for each in strict.slices)
    assert not run(Settings(str(model), notes, mark=["fact=0"], strict=True, **asked)).missed_gates


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"probes": "fact,mood"}, "probe 'mood' is not known"),
        ({"mark": ["fact=high"]}, "mark 'fact=high': expected probe=share"),
        ({"mark": ["mood=0.5"]}, "mark 'mood=0.5': expected one of fact"),
        ({"mark": ["fact=7"]}, "a share from 0 to 1"),
        ({"n": 0}, "n=0"),
    ],
)
def test_a_setting_that_is_not_understood_is_told(settings: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings("model", Path("x"), **settings)  # type: ignore[arg-type]


def test_documents_without_a_sentence_are_refused(model: Path, domain: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "short").mkdir()
    (tmp_path / "short" / "a.txt").write_text("too short")
    with pytest.raises(DataError, match="no document has a sentence of six words"):
        run(Settings(str(model), tmp_path / "short", quiet=True))
