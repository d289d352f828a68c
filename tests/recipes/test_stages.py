"""A stage runs again when, and only when, something that it depends on has changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from firth.errors import FormatError, StorageError
from firth.recipes.stages import MARK, Stages


def through(out: Path, ran: list[str], *, seed: int = 0, fail: str = "") -> list[Any]:
    def work(name: str) -> Any:
        def inner(folder: Path) -> dict[str, Any]:
            ran.append(name)
            (folder / "half").touch()
            if name == fail:
                raise KeyboardInterrupt
            return {"name": name}

        return inner

    with Stages(out, lambda _: None) as stages:
        return [
            stages.run("read", {"data": 1}, work("read")),
            stages.run("tune", {"seed": seed}, work("tune")),
            stages.run("index", {"m": 16}, work("index")),
        ]


def test_a_second_run_does_nothing_and_returns_the_same(tmp_path: Path) -> None:
    ran: list[str] = []
    assert through(tmp_path / "out", ran) == through(tmp_path / "out", ran)
    assert ran == ["read", "tune", "index"]


def test_a_changed_setting_redoes_its_stage_and_those_after_it(tmp_path: Path) -> None:
    ran: list[str] = []
    through(tmp_path / "out", ran)
    ran.clear()
    through(tmp_path / "out", ran, seed=1)
    assert ran == ["tune", "index"]


def test_an_interrupted_run_goes_on_where_it_stopped_with_the_stage_folder_as_it_was(tmp_path: Path) -> None:
    ran: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        through(tmp_path / "out", ran, fail="tune")
    assert (tmp_path / "out/.build/tune/half").exists()
    ran.clear()
    through(tmp_path / "out", ran)
    assert ran == ["tune", "index"]


def test_a_stage_with_other_inputs_does_not_find_the_scraps_of_an_interrupted_one(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        through(tmp_path / "out", [], fail="tune")
    (tmp_path / "out/.build/tune/scrap").touch()
    through(tmp_path / "out", [], seed=1)
    assert not (tmp_path / "out/.build/tune/scrap").exists()


def test_a_folder_that_firth_did_not_build_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(FormatError, match="name another -o"):
        Stages(tmp_path, lambda _: None)


def test_a_folder_of_a_newer_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text('{"layout": 99}')
    with pytest.raises(FormatError, match="layout 99; this firth writes layout 1"):
        Stages(tmp_path, lambda _: None)


def test_two_builds_into_one_folder_are_told_apart(tmp_path: Path) -> None:
    with Stages(tmp_path / "out", lambda _: None), pytest.raises(StorageError, match="another firth build"):
        Stages(tmp_path / "out", lambda _: None)
    with Stages(tmp_path / "out", lambda _: None) as later:
        assert later.out == tmp_path / "out"
