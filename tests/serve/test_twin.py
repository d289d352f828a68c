"""The same documents embedded by the base model: made by a job, asked with that model, never mixed with the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asking import ask
from firth.errors import SettingsError
from firth.serve import Running, Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.library import Library
from firth.serve.opening import open_library
from firth.serve.wire import Refused
from firth.store import Collection
from serve.conftest import HashedWords

TEXTS = [f"note {i} about {word}" for i, word in enumerate(["cats", "dogs", "birds", "stocks"] * 100)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Collection.create(tmp_path / "collections" / "notes", encoder=HashedWords()) as made:
        made.upsert(range(len(TEXTS)), TEXTS, [{"n": i} for i in range(len(TEXTS))])
    return tmp_path


def library(root: Path, *, base: bool) -> Library:
    other = Served(HashedWords("base"), "base") if base else None
    return Library(root, Served(HashedWords(), "tuned"), base=other, grows=True)


def job(running: Running, kind: str) -> dict[str, Any]:
    status, _, told = ask(running.url, "POST", "/api/v1/jobs", {"kind": kind, "collection": "notes"})
    assert status == 202, told
    while told["state"] in ("waiting", "running"):
        time.sleep(0.05)
        told = ask(running.url, "GET", f"/api/v1/jobs/{told['id']}")[2]
    return dict(told)


def search(running: Running, collection: str, **more: Any) -> tuple[int, Any]:
    body = {"collection": collection, "query": "about cats", "k": 5, **more}
    status, _, answer = ask(running.url, "POST", "/api/v1/search", body)
    return status, answer


def test_a_twin_holds_the_same_documents_and_is_asked_with_the_base_model(root: Path) -> None:
    with started(Server(library(root, base=True), Settings(port=0))) as running:
        assert job(running, "base")["result"] == len(TEXTS)
        about = ask(running.url, "GET", "/api/v1")[2]
        assert {one["name"]: one["model"] for one in about["collections"]} == {"notes": "tuned", "notes-base": "base"}
        assert about["base"] == "base"
        best = search(running, "notes-base")[1]["hits"][0]
        query = HashedWords("base").encode(["about cats"], kind="query")
        assert best["score"] == pytest.approx(float(np.max(query @ HashedWords("base").encode(TEXTS).T)), abs=1e-5)
        assert best["payload"] == {"n": best["id"]}
        again = ask(running.url, "POST", "/api/v1/jobs", {"kind": "base", "collection": "notes"})
        assert again[0] == 409
    with started(Server(library(root, base=False), Settings(port=0))) as running:  # without it, words alone find
        status, answer = search(running, "notes-base")
        assert (status, "another model" in str(answer)) == (409, True)
        assert search(running, "notes-base", mode="words")[0] == 200
        point = {"points": [{"id": 9999, "vector": {"text": "a cat", "model": "tuned"}}]}
        assert ask(running.url, "PUT", "/collections/notes-base/points", point)[0] == 409
        assert search(running, "notes")[0] == 200


def test_a_base_is_refused_where_there_is_none_or_nothing_to_compare(root: Path, tmp_path: Path) -> None:
    with started(Server(library(root, base=False), Settings(port=0))) as running:
        status, _, told = ask(running.url, "POST", "/api/v1/jobs", {"kind": "base", "collection": "notes"})
        assert (status, "--base" in str(told)) == (400, True)
    with pytest.raises(SettingsError, match="--base compares collections of a folder"):
        open_library(root / "collections" / "notes", base="some-model")


def test_a_twin_that_cannot_be_made_leaves_nothing(root: Path) -> None:
    made = library(root, base=True)
    assert made.base is not None

    def fails(*_: Any, **__: Any) -> Any:
        raise SettingsError("a text that the model does not take")

    made.base.encoder.encode_counted = fails  # type: ignore[attr-defined]
    with started(Server(made, Settings(port=0))) as running:
        told = job(running, "base")
        assert (told["state"], told["error"]) == ("failed", "a text that the model does not take")
        assert made.names == ["notes"]


def test_a_folder_is_opened_with_both_models_and_each_is_ended_with_it(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 3, 4))
    for name, vectors in zip(("tuned", "base"), rows, strict=True):
        lines = [f"{word} {' '.join(map(str, row))}" for word, row in zip(("cat", "dog", "bank"), vectors, strict=True)]
        (tmp_path / f"{name}.txt").write_text("\n".join(["3 4", *lines]) + "\n")
    made = open_library(tmp_path / "served", model=str(tmp_path / "tuned.txt"), base=str(tmp_path / "base.txt"))
    assert made.served is not None
    assert made.base is not None
    assert (made.served.name, made.base.name) == ("tuned.txt", "base.txt")
    with started(Server(made, Settings(port=0))) as running:
        assert ask(running.url, "GET", "/api/v1")[2]["base"] == "base.txt"
    with pytest.raises(SettingsError, match="is a model; leave --model out"):
        open_library(tmp_path / "tuned.txt", model=str(tmp_path / "base.txt"))
    for model in (made.served, made.base):
        with pytest.raises(Refused, match="stopping"):
            model.submit(["cat"])
