"""What every request goes through: keys, limits, rates, logs, metrics, batches, and the end of the server."""

from __future__ import annotations

import hmac
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from asking import ask
from firth import files
from firth.errors import FormatError, LockedError, SettingsError
from firth.recipes.stages import LAYOUT, MARK
from firth.serve import Limits, Running, Server, Settings, started
from firth.serve.batcher import Served
from firth.serve.keys import Keys, add_key
from firth.serve.library import Library
from firth.serve.opening import open_library
from firth.serve.rate import Buckets
from firth.serve.wire import Refused
from firth.static import WordVectors
from firth.static.average import mean
from firth.store import Collection

EMBED = {"model": "hashed-words", "input": "a cat"}


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    path = tmp_path / "keys.json"
    return path, {scope: add_key(path, f"the-{scope}er", scope) for scope in ("read", "write", "admin")}


def test_a_key_is_kept_as_its_hash_in_a_file_for_its_owner_only(keys: Any) -> None:
    path, shown = keys
    content = path.read_text()
    assert all(key not in content and key.startswith("firth_") for key in shown.values())
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keys.load(path).find(shown["write"]).name == "the-writeer"
    assert Keys.load(path).find(shown["write"] + "x") is None
    add_key(path, "the-writeer", "read")
    assert Keys.load(path).find(shown["write"]) is None


def test_every_key_is_compared_whichever_of_them_is_right(keys: Any, monkeypatch: Any) -> None:
    path, shown = keys
    known, compared = Keys.load(path), []
    same = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: (compared.append(len(a)), same(a, b))[1])
    for key in (*shown.values(), "firth_wrong", "", "é"):
        compared.clear()
        known.find(key)
        assert compared == [64, 64, 64]  # hex digits of a hash, of which no prefix tells anything


@pytest.mark.parametrize("content", ["[]", "{}", "nonsense", '[{"name": "a", "scope": "root", "sha256": ""}]', "[1]"])
def test_a_file_of_keys_that_would_let_everybody_in_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(content)
    with pytest.raises(FormatError):
        Keys.load(path)


def test_every_route_asks_for_a_key_of_its_scope(serving: Callable[..., Running], encoder: Any, keys: Any) -> None:
    path, shown = keys
    running = serving(encoder, keys=path)
    ranks = {"read": 1, "write": 2, "admin": 3}
    for endpoint in running.server.endpoints:
        place = endpoint.path
        for name in ("collection", "field", "snapshot", "id", "model", "file"):
            place = place.replace(f"{{{name}}}", "x").replace(f"{{{name}:path}}", "x")
        without = ask(running.url, endpoint.method, place, b"{}")
        if endpoint.scope == "open":
            assert without[0] in (200, 404), place
            continue
        assert (without[0], without[1].get("www-authenticate")) == (401, "Bearer"), place
        assert ask(running.url, endpoint.method, place, b"{}", {"api-key": "wrong"})[0] == 401, place
        for scope, key in shown.items():
            status = ask(running.url, endpoint.method, place, b"{}", {"authorization": f"Bearer {key}"})[0]
            assert (status == 403) == (ranks[scope] < ranks[endpoint.scope]), (place, scope)


def test_both_ways_to_show_a_key_are_read(serving: Callable[..., Running], encoder: Any, keys: Any) -> None:
    path, shown = keys
    url = serving(encoder, keys=path).url
    for headers in ({"api-key": shown["read"]}, {"Authorization": f"Bearer {shown['read']}"}):
        assert ask(url, "POST", "/v1/embeddings", EMBED, headers)[0] == 200
    assert ask(url, "POST", "/v1/embeddings", EMBED)[2]["error"]["type"] == "authentication_error"


def test_a_server_beyond_this_machine_needs_keys(encoder: Any, tmp_path: Path) -> None:
    server = Server(Library(tmp_path, Served(encoder, "m")), Settings(host="0.0.0.0", port=0))
    with pytest.raises(SettingsError, match="firth key KEYS"), started(server):
        raise AssertionError("it came up")
    server.close()


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:80"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_a_page_from_elsewhere_is_turned_away(running: Running, headers: dict[str, str]) -> None:
    status, answer_headers, _ = ask(running.url, "GET", "/collections", None, headers)
    assert status == 403
    assert not any(name.startswith("access-control") for name in answer_headers)


def test_the_page_of_this_server_itself_may_ask(running: Running) -> None:
    place = urlsplit(running.url).netloc
    headers = {"origin": f"http://{place}", "host": place, "sec-fetch-site": "same-origin"}
    assert ask(running.url, "GET", "/collections", None, headers)[0] == 200


def test_requests_beyond_the_rate_are_told_when_to_come_again(serving: Callable[..., Running], encoder: Any) -> None:
    url = serving(encoder, limits=Limits(rate=2, burst=1)).url
    seen = [ask(url, "GET", "/collections") for _ in range(4)]
    assert [status for status, _, _ in seen][:2] == [200, 200]
    refused = [headers for status, headers, _ in seen if status == 429]
    assert refused
    assert int(refused[0]["retry-after"]) >= 1
    assert ask(url, "GET", "/healthz")[0] == 200  # a probe is not counted


def test_a_bucket_fills_at_its_rate_and_no_further() -> None:
    buckets = Buckets(rate=10, burst=2)
    assert sum(buckets.take("a", 0.0) == 0 for _ in range(30)) == 20
    assert buckets.take("b", 0.0) == 0
    assert sum(buckets.take("a", 0.5) == 0 for _ in range(30)) == 5
    assert buckets.take("a", 0.5) == pytest.approx(0.1)
    assert sum(buckets.take("a", 1e6) == 0 for _ in range(30)) == 20


def test_callers_that_never_come_back_are_forgotten() -> None:
    buckets = Buckets(rate=1, burst=1)
    for caller in range(25_000):
        buckets.take(str(caller), float(caller))
    assert len(buckets._left) <= 10_000


def test_a_body_beyond_the_limit_is_refused_before_it_is_read(serving: Callable[..., Running], encoder: Any) -> None:
    running = serving(encoder, limits=Limits(body=1000))
    assert ask(running.url, "POST", "/v1/embeddings", {**EMBED, "input": "x" * 2000})[0] == 413
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:  # no length told
        line.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        line.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert line.recv(100).startswith(b"HTTP/1.1 413")
    assert running.server.held == 0


def test_a_body_that_does_not_come_is_given_up(serving: Callable[..., Running], encoder: Any) -> None:
    running = serving(encoder, limits=Limits(patience=0.3))
    place = urlsplit(running.url)
    with socket.create_connection((place.hostname, place.port), timeout=10) as line:
        line.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
        assert line.recv(100).startswith(b"HTTP/1.1 408")
    assert running.server.held == 0


def test_a_caller_who_hangs_up_is_no_fault_of_ours(running: Running, caplog: Any) -> None:
    place = urlsplit(running.url)
    with caplog.at_level(logging.INFO, "firth.serve"):
        with socket.create_connection((place.hostname, place.port), timeout=10) as line:
            line.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n{")
            time.sleep(0.2)
        deadline = time.monotonic() + 10
        while "499" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.05)
    assert '"status":499' in caplog.text
    assert '"level":"error"' not in caplog.text.replace(" ", "")
    assert running.server.held == 0


def test_too_much_at_once_is_refused_and_what_was_begun_is_done(serving: Callable[..., Running], encoder: Any) -> None:
    running = serving(encoder, limits=Limits(bodies=60_000))
    inside = threading.Event()
    slow = encoder.encode_counted

    def waits(texts: Any, *, kind: Any = None) -> Any:
        inside.set()
        time.sleep(0.5)
        return slow(texts, kind=kind)

    encoder.encode_counted = waits
    body = {**EMBED, "input": ["word " * 8000]}
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, running.url, "POST", "/v1/embeddings", body)
        inside.wait(10)
        status, headers, _ = ask(running.url, "POST", "/v1/embeddings", body)
        assert (status, headers["retry-after"]) == (429, "1")
        assert first.result()[0] == 200
    assert running.server.held == 0
    assert ask(running.url, "POST", "/v1/embeddings", body)[0] == 200


def test_texts_beyond_the_queue_are_refused(encoder: Any) -> None:
    release = threading.Event()
    slow = encoder.encode_counted
    encoder.encode_counted = lambda texts, *, kind=None: (release.wait(10), slow(texts, kind=kind))[1]
    served = Served(encoder, "m", queue=10)
    first = served.submit(["a"])
    time.sleep(0.1)
    second = served.submit(["b"] * 8)
    with pytest.raises(Refused, match="8 texts wait") as told:
        served.submit(["c"] * 5)
    assert (told.value.status, told.value.after) == (429, 1.0)
    release.set()
    assert len(first.result().vectors) + len(second.result().vectors) == 9
    served.close()


def test_texts_that_wait_together_are_encoded_together_and_go_back_to_their_askers(encoder: Any) -> None:
    release, slow = threading.Event(), encoder.encode_counted
    encoder.encode_counted = lambda texts, *, kind=None: (release.wait(10), slow(texts, kind=kind))[1]
    served = Served(encoder, "m")
    begun = served.submit(["first"])
    time.sleep(0.1)
    waiting = {text: served.submit([text, text + " again"], "query") for text in ("a", "b", "c")}
    large = served.submit([f"text {i}" for i in range(200)], "query")
    release.set()
    plain = type(encoder)()
    for text, future in waiting.items():
        expected = plain.encode([text, text + " again"], kind="query")
        np.testing.assert_allclose(future.result(10).vectors, expected, atol=1e-6)
    np.testing.assert_allclose(large.result(10).vectors[150], plain.encode(["text 150"], kind="query")[0], atol=1e-6)
    begun.result()
    served.close()
    assert encoder.batches[0] == 1
    assert encoder.batches[1] == 6 + 64  # a piece of the large one beside all the small ones


def test_one_bad_text_fails_alone_and_the_model_goes_on(running: Running) -> None:
    assert ask(running.url, "POST", "/v1/embeddings", {**EMBED, "input": "poison"})[0] == 400
    assert ask(running.url, "POST", "/v1/embeddings", EMBED)[0] == 200


def test_an_answer_bears_its_requests_id_and_nothing_that_a_browser_may_keep(running: Running) -> None:
    _, headers, _ = ask(running.url, "GET", "/collections", None, {"x-request-id": "my-id:7"})
    assert headers["x-request-id"] == "my-id:7"
    _, headers, _ = ask(running.url, "GET", "/collections", None, {"x-request-id": "a b\tc"})
    assert len(headers["x-request-id"]) == 16
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert "server" not in headers


def test_a_log_line_is_json_and_never_holds_a_text(running: Running, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, "firth.serve"):
        ask(running.url, "POST", "/v1/embeddings", {**EMBED, "input": "a secret"}, {"x-request-id": "known"})
        time.sleep(0.1)
    (line,) = [json.loads(record.message) for record in caplog.records if "known" in record.message]
    assert (line["route"], line["status"], line["rows"], line["method"]) == ("/v1/embeddings", 200, 1, "POST")
    assert "secret" not in caplog.text


def test_a_fault_of_ours_is_logged_and_not_shown(running: Running, caplog: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(running.server.library.served, "submit", lambda *_: 1 / 0)
    with caplog.at_level(logging.INFO, "firth.serve"):
        status, headers, answer = ask(running.url, "POST", "/v1/embeddings", EMBED)
        time.sleep(0.1)
    assert status == 500
    assert "division" not in json.dumps(answer)
    assert headers["x-request-id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_metrics_tell_requests_batches_and_the_recall_that_was_sampled(
    serving: Callable[..., Running], encoder: Any
) -> None:
    running = serving(encoder, sampled=1.0)
    ask(running.url, "PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Cosine"}})
    ask(running.url, "PUT", "/collections/c/points", {"points": [{"id": 1, "vector": [1, 0]}]})
    for _ in range(3):
        assert ask(running.url, "POST", "/collections/c/points/query", {"query": [1, 0]})[0] == 200
    ask(running.url, "POST", "/v1/embeddings", EMBED)
    time.sleep(0.3)
    text = ask(running.url, "GET", "/metrics")[2].decode()
    for line in (
        'firth_requests_total{route="/collections/{collection}/points/query",status="200"} 3.0',
        "firth_encoded_texts_total 1.0",
        'firth_recall_sampled{collection="c"} 1.0',
        'firth_recall_samples_total{collection="c"} 3.0',
        'firth_documents{collection="c"} 1.0',
    ):
        assert line in text
    ask(running.url, "GET", "/nowhere/%3Cscript%3E")
    assert "script" not in ask(running.url, "GET", "/metrics")[2].decode()


def test_a_reading_server_changes_nothing(serving: Callable[..., Running], encoder: Any, tmp_path: Path) -> None:
    root = tmp_path / "served"
    (root / "collections").mkdir(parents=True)
    with Collection.create(root / "collections" / "c", dims=2) as made:
        made.upsert([1], ["x"], vectors=[[1, 0]])
        running = serving(encoder, readonly=True)  # while another process could be writing
        assert ask(running.url, "POST", "/collections/c/points/query", {"query": [1, 0]})[2]["result"]["points"]
        assert ask(running.url, "PUT", "/collections/d", {"vectors": {"size": 2, "distance": "Dot"}})[0] == 403
        assert ask(running.url, "DELETE", "/collections/c")[0] == 403
        point = {"points": [{"id": 2, "vector": [1, 0]}]}
        assert ask(running.url, "PUT", "/collections/c/points", point)[0] == 403
        with pytest.raises(LockedError):
            Library(root, None, grows=True)


def test_what_lies_in_a_folder_decides_what_is_served(tmp_path: Path, encoder: Any) -> None:
    with Collection.create(tmp_path / "notes.firth", dims=2) as made:
        made.upsert([1], ["x"], vectors=[[1, 0]])
    single = open_library(tmp_path / "notes.firth")
    assert (single.names, single.grows, single.served) == (["notes"], False, None)
    single.close()
    fresh = open_library(tmp_path / "new" / "folder")
    assert (fresh.names, fresh.grows) == ([], True)
    fresh.close()


def test_a_built_folder_is_served_with_its_model_its_recall_and_its_report(tmp_path: Path) -> None:
    out = tmp_path / "shop.firth"
    out.mkdir()
    words = ["cat", "dog", "bank", "share"]
    model = mean(WordVectors(words, np.eye(4, 8, dtype=np.float32) + 0.1))
    model.save(out / "words.safetensors")
    with Collection.create(out / "collection", encoder=model) as made:
        made.upsert(["a", "b"], ["a cat and a dog", "the bank and its share"])
    files.write_json(out / MARK, {"layout": LAYOUT, "model": "words.safetensors", "recall": 0.9, "chosen": {"dims": 8}})
    (out / "report.html").write_text("<!doctype html><title>report</title>")
    with started(Server(open_library(out), Settings(port=0))) as running:
        body = {"collection": "shop", "query": "dog", "k": 1}
        assert ask(running.url, "POST", "/api/v1/search", body)[2]["hits"][0]["id"] == "a"
        about = ask(running.url, "GET", "/api/v1")[2]
        assert (about["collections"][0]["vectors"][0]["recall"], about["report"]) == (0.9, True)
        assert ask(running.url, "GET", "/api/v1/report")[2].startswith(b"<!doctype html>")
        assert ask(running.url, "DELETE", "/collections/shop")[0] == 403
        more = {"vectors": {"size": 8, "distance": "Cosine"}}
        assert ask(running.url, "PUT", "/collections/more", more)[0] == 200
    with pytest.raises(SettingsError, match="leave --model out"):
        open_library(out, model="another")


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a\\b", "", "x" * 300, "nul\0", "trail.", "a:b", "ü" * 150])
def test_a_name_that_could_lead_out_of_the_folder_is_none(tmp_path: Path, name: str) -> None:
    from firth.serve.library import checked_name

    with pytest.raises(Refused):
        checked_name(name)


def test_what_was_accepted_is_answered_before_the_server_ends(tmp_path: Path, encoder: Any) -> None:
    slow = encoder.encode_counted
    inside = threading.Event()

    def waits(texts: Any, *, kind: Any = None) -> Any:
        inside.set()
        time.sleep(0.5)
        return slow(texts, kind=kind)

    encoder.encode_counted = waits
    with ThreadPoolExecutor(1) as pool:
        with started(Server(Library(tmp_path, Served(encoder, "hashed-words")), Settings(port=0))) as running:
            asked = pool.submit(ask, running.url, "POST", "/v1/embeddings", EMBED)
            inside.wait(10)
        assert asked.result()[0] == 200
        with pytest.raises(OSError):
            ask(running.url, "GET", "/healthz")


def test_the_command_serves_until_it_is_told_to_stop_and_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "firth.cli", "serve", str(tmp_path / "data"), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        url = line.rsplit(" ", 1)[1].strip()
        assert line.startswith("firth serves")
        ask(url, "PUT", "/collections/c", {"vectors": {"size": 2, "distance": "Dot"}})
        points = [{"id": i, "vector": [1, i]} for i in range(100)]
        assert ask(url, "PUT", "/collections/c/points", {"points": points})[0] == 200
        assert ask(url, "GET", "/readyz")[0] == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    with Collection.open(tmp_path / "data" / "collections" / "c") as collection:
        assert len(collection) == 100
        assert collection.check() == []
