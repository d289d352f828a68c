"""What docs/serving.md shows is run as it stands there, against a server with a model as wide as the one it names."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.arrays import unit
from firth.serve import Running
from serve.conftest import Cut, Encoded, HashedWords
from store.conftest import direction

pytestmark = pytest.mark.filterwarnings("ignore")  # the clients' own
TEXT = (Path(__file__).resolve().parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "127.0.0.1:8411"


class Wide(HashedWords):
    """As wide as the model of the documents."""

    dims = 384
    trained_dims = (384,)

    def encode_counted(self, texts: Any, *, kind: str | None = None) -> Encoded:
        rows = np.stack([sum(direction(word, self.dims) for word in text.lower().split()) for text in texts])
        return Encoded(unit(rows.astype(np.float32)), Cut(np.empty(0, np.int64)), np.full(len(texts), 3))


def blocks(kind: str) -> list[Any]:
    """Fenced code of one kind that speaks to the server, named by its first line."""
    fences = TEXT.split("```")[1::2]  # what stands between an opening fence and the next
    found = [fence.removeprefix(kind + "\n") for fence in fences if fence.startswith(kind + "\n")]
    spoken = [code for code in found if ADDRESS in code]
    return [pytest.param(code, id=re.sub(r"\W+", "-", code.strip().splitlines()[0])[:40]) for code in spoken]


@pytest.mark.parametrize("code", blocks("python"))
def test_a_quick_start_runs_as_written(code: str, serving: Callable[..., Running], capsys: Any) -> None:
    package = re.search(r"^(?:import|from) (\w+)", code, re.M)
    assert package is not None
    pytest.importorskip(package[1])
    running = serving(Wide())
    exec(compile(code.replace(f"http://{ADDRESS}", running.url), "docs/serving.md", "exec"), {})
    if "print" in code:
        assert capsys.readouterr().out


@pytest.mark.parametrize("code", blocks(""))
def test_a_request_by_curl_is_answered(code: str, serving: Callable[..., Running]) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl")
    running = serving(Wide())
    client = pytest.importorskip("qdrant_client")
    made = client.QdrantClient(url=running.url, cloud_inference=True)
    made.create_collection("pets", vectors_config=client.models.VectorParams(size=384, distance="Cosine"))
    cat = client.models.Document(text="A cat sleeps.", model="default")
    made.upsert("pets", [client.models.PointStruct(id=1, vector=cat)])
    command = code.replace(ADDRESS, running.url.removeprefix("http://"))
    run = subprocess.run(["bash", "-c", f"{command.rstrip()} --fail"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(("[[", '{"collection"'))


def test_every_protocol_has_a_quick_start() -> None:
    assert len(blocks("python")) >= 4
    assert len(blocks("")) >= 2
