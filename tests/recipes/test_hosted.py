"""Hosted models against a local server that speaks their contracts, and fails in the ways that services do."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import firth
from firth.arrays import Encoder
from firth.errors import FormatError, ModelError, ServiceError, SettingsError
from firth.recipes import wire
from firth.recipes.eval import Measured, Settings, run
from firth.recipes.hosted import Hosted
from firth.recipes.remember import Remembering

KEY = "sk-very-secret"
DIMS = 6
Reply = tuple[int, dict[str, str], bytes]


def vector(text: str, dims: int = DIMS) -> list[float]:
    return [1.0 + text.count(letter) for letter in "etaoinshrdlu"[:dims]]


@dataclass
class Service:
    """Answers /embeddings and /embed; `faults` are given first, one a request."""

    address: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    faults: list[Callable[[dict[str, Any]], Reply | None]] = field(default_factory=list)
    always: Callable[[dict[str, Any]], Reply | None] | None = None

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Reply:
        self.asked.append((path, headers, body))
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None and (told := fault(body)) is not None:
            return told
        if path.endswith("/embed"):
            dims = body.get("output_dimension", DIMS)
            rows = [vector(text, dims) for text in body["texts"]]
            return ok({"embeddings": {"float": rows}, "meta": {"billed_units": {"input_tokens": 3 * len(rows)}}})
        dims = body.get("dimensions", body.get("output_dimension", DIMS))
        data = [
            {"index": i, "embedding": base64.b64encode(np.array(vector(text, dims), "<f4").tobytes()).decode()}
            for i, text in enumerate(body["input"])
        ]
        return ok({"data": data[::-1], "usage": {"prompt_tokens": 0, "total_tokens": 3 * len(data)}})


def ok(value: Any) -> Reply:
    return 200, {}, json.dumps(value).encode()


def refusal(status: int, message: str, code: str = "", **headers: str) -> Callable[[Any], Reply]:
    body = json.dumps({"error": {"message": message, "code": code}}).encode()
    return lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Service]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, content = told.answer(self.path, dict(self.headers), body)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    told.address = f"http://127.0.0.1:{server.server_port}"
    for name in ("OPENAI", "COHERE", "VOYAGE"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
        monkeypatch.setenv(f"{name}_BASE_URL", f"{told.address}/v1")
    monkeypatch.setenv("FIRTH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def unit_rows(texts: list[str], dims: int = DIMS) -> Any:
    rows = np.array([vector(text, dims) for text in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


NAMES = ["openai:text-embedding-3-small", "cohere:embed-v4.0", "voyage:voyage-3.5"]


@pytest.mark.parametrize("name", NAMES)
def test_each_contract_gives_unit_rows_in_the_order_of_the_texts(service: Service, name: str) -> None:
    texts = ["tea and toast", "", "rain", "ein längerer Satz"]
    hosted = Hosted(name)
    rows = hosted.encode(texts, kind="query")
    assert rows.dtype == np.float32
    assert np.allclose(rows[[0, 2, 3]], unit_rows([texts[0], texts[2], texts[3]]), atol=1e-6)
    assert not rows[1].any()
    assert hosted.dims == DIMS
    assert isinstance(hosted, Encoder)
    ((path, headers, body),) = service.asked
    assert path == ("/v1/embed" if name.startswith("cohere") else "/v1/embeddings")
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body["model"] == name.partition(":")[2]
    assert body.get("texts", body.get("input")) == [texts[0], texts[2], texts[3]]


def test_queries_and_documents_are_told_apart_where_the_service_does(service: Service) -> None:
    for kind in ("query", "document", None):
        Hosted(NAMES[1]).encode(["x"], kind=kind)
        Hosted(NAMES[2]).encode(["x"], kind=kind)
    bodies = [body for _, _, body in service.asked]
    assert [body["input_type"] for body in bodies[::2]] == ["search_query", "search_document", "clustering"]
    assert [body["input_type"] for body in bodies[1::2]] == ["query", "document", None]


@pytest.mark.parametrize("name", NAMES)
def test_fewer_dimensions_are_asked_of_the_service(service: Service, name: str) -> None:
    rows = Hosted(name).encode(["tea"], dims=4)
    assert np.allclose(rows, unit_rows(["tea"], 4), atol=1e-6)


def test_a_service_that_ignores_the_dimensions_is_noticed(service: Service) -> None:
    service.always = lambda _: ok({"data": [{"index": 0, "embedding": [1.0, 2.0]}], "usage": {"total_tokens": 1}})
    with pytest.raises(ServiceError, match="2 dimensions where 4 were asked for"):
        Hosted(NAMES[0]).encode(["tea"], dims=4)


def test_texts_are_sent_in_batches_that_the_service_takes(service: Service) -> None:
    texts = [f"text {i}" for i in range(200)]
    rows = Hosted(NAMES[1]).encode(texts)
    assert [len(body["texts"]) for _, _, body in service.asked] == [96, 96, 8]
    assert np.allclose(rows, unit_rows(texts), atol=1e-6)
    service.asked.clear()
    Hosted(NAMES[0]).encode(["word " * 36_000] * 3)  # 60,001 tokens each, by the estimate
    assert [len(body["input"]) for _, _, body in service.asked] == [3]
    service.asked.clear()
    Hosted(NAMES[2]).encode(["word " * 36_000] * 3)
    assert [len(body["input"]) for _, _, body in service.asked] == [1, 1, 1]


def test_a_refusal_that_may_pass_is_waited_for_as_long_as_it_says(service: Service) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=50), usegmt=True)
    service.faults = [
        refusal(429, "slow down", Retry_After="7"),
        refusal(503, "busy", retry_after_ms="250"),
        refusal(429, "slow down", Retry_After=date),
        refusal(500, "oops"),
    ]
    waits: list[float] = []
    rows = Hosted(NAMES[0], sleep=waits.append).encode(["tea"])
    assert np.allclose(rows, unit_rows(["tea"]), atol=1e-6)
    assert waits[:2] == [7.0, 0.25]
    assert 40 < waits[2] <= 50
    assert 4 <= waits[3] <= 5


def test_what_does_not_pass_is_told_with_how_often_it_was_tried(service: Service) -> None:
    service.always = refusal(500, "out of order")
    waits: list[float] = []
    with pytest.raises(ServiceError, match="answered 500: out of order; tried 6 times"):
        Hosted(NAMES[0], sleep=waits.append).encode(["tea"])
    assert len(waits) == wire.TRIES - 1
    assert len(service.asked) == wire.TRIES


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refusal(429, "quota", "insufficient_quota"), "insufficient_quota"),
        (refusal(429, "later", Retry_After="3600"), "asks to wait 3,600 s"),
        (refusal(404, "no such model"), "answered 404: no such model"),
        (refusal(302, "moved", Location="http://127.0.0.1:1/steal"), "answered 302"),
        (lambda _: (200, {}, b"<html>login</html>"), "the answer is not JSON"),
        (lambda _: ok([1]), "not one of this contract"),
        (lambda _: ok({"data": [], "usage": {"total_tokens": 0}}), "0 vectors of"),
        (lambda _: ok({"data": [{"index": 0, "embedding": "####"}], "usage": {"total_tokens": 0}}), "not one of this"),
        (lambda _: ok({"data": [{"index": 3, "embedding": [1.0]}], "usage": {"total_tokens": 0}}), "not one of this"),
        (lambda _: ok({"data": [{"index": 0, "embedding": ["a"]}], "usage": {"total_tokens": 0}}), "not one of this"),
    ],
)
def test_each_other_failure_is_told_at_once(service: Service, fault: Any, message: str) -> None:
    service.always = fault
    with pytest.raises(ServiceError, match=message):
        Hosted(NAMES[0], sleep=pytest.fail).encode(["tea"])
    assert len(service.asked) == 1


def test_a_refused_key_names_its_variable_and_is_never_shown(service: Service) -> None:
    service.always = refusal(401, f"Incorrect API key provided: {KEY}")
    with pytest.raises(ModelError, match="OPENAI_API_KEY is refused") as caught:
        Hosted(NAMES[0]).encode(["tea"])
    assert KEY not in str(caught.value)


def test_without_a_key_the_variable_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOYAGE_API_KEY")
    with pytest.raises(ModelError, match="export VOYAGE_API_KEY="):
        Hosted("voyage:voyage-3.5")


def test_a_key_is_not_sent_unencrypted(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://example.org/v1")
    with pytest.raises(SettingsError, match="over https only"):
        Hosted(NAMES[0]).encode(["tea"])


def test_a_service_that_is_not_there_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(ServiceError, match=r"no answer: .*tried 6 times"):
        Hosted(NAMES[0], sleep=lambda _: None).encode(["tea"])


def limited(most: int) -> Callable[[dict[str, Any]], Reply | None]:
    """Refuses more letters than `most` in one text, and more than two texts at once."""

    def fault(body: dict[str, Any]) -> Reply | None:
        if len(body["input"]) > 2 or max(map(len, body["input"])) > most:
            return refusal(400, "This model's maximum context length is 8192 tokens")(body)
        return None

    return fault


def test_a_request_that_is_too_long_is_halved_and_a_text_that_is_too_long_is_cut_once(service: Service) -> None:
    service.always = limited(100)
    hosted = Hosted(NAMES[0])
    texts = ["a tea", "b rain", "c" * 400, "d snow", "e sun"]
    with pytest.warns(UserWarning, match="longer than the model reads"):
        rows = hosted.encode(texts)
    assert np.allclose(rows[[0, 1, 3, 4]], unit_rows([texts[i] for i in (0, 1, 3, 4)]), atol=1e-6)
    assert hosted.usage.cut == 1
    assert hosted.usage.texts == 5


def test_the_cost_is_counted_and_told(service: Service) -> None:
    hosted = Hosted(NAMES[0])
    hosted.encode(["tea", "rain"])
    assert hosted.usage.tokens == 6
    assert hosted.usage.cost == pytest.approx(6 * 0.02 / 1e6)
    assert "2 texts, 6 tokens in 1 requests: $0.0000 at $0.02 a million (list price, read 20" in str(hosted.usage)
    assert "its price is not known here, --price MODEL=DOLLARS gives it" in str(Hosted("openai:new-model").usage)
    hosted.usage.at(5000.0)
    assert hosted.usage.cost == pytest.approx(0.03)
    assert str(hosted.usage).endswith("$0.0300 at $5000 a million (the price given)")
    with pytest.raises(SettingsError, match=r"price=-1\.0: expected US dollars a million tokens"):
        hosted.usage.at(-1.0)


def test_firth_eval_tells_what_a_hosted_model_cost_at_the_price_given(
    service: Service, domain: Callable[..., Path]
) -> None:
    data = domain()
    priced = Settings(NAMES[0], data, price=[f"{NAMES[0]}=1000"], quiet=True)
    done = run(priced)
    assert isinstance(done, Measured)
    sent = sum(len(body["input"]) for _, _, body in service.asked)
    assert f"${3 * sent * 1000 / 1e6:,.4f} at $1000 a million (the price given); 0 texts were known" in done.notes[0]
    again = run(priced)
    assert isinstance(again, Measured)
    assert f"0 texts, 0 tokens in 0 requests: $0.0000 at $1000 a million (the price given); {sent:,} " in again.notes[0]


def test_a_text_is_paid_for_once(service: Service) -> None:
    first = firth.load(NAMES[0])
    rows = first.encode(["tea", "rain", "tea"], kind="query")
    assert [body["input"] for _, _, body in service.asked] == [["tea", "rain"]]
    again = firth.load(NAMES[0])
    assert isinstance(again, Remembering)
    assert np.array_equal(again.encode(["rain", "tea", "tea"], kind="query"), rows[[1, 0, 2]])
    assert len(service.asked) == 1
    again.encode(["rain"], kind="document")
    assert len(service.asked) == 2
    assert (again.known, again.fresh) == (2, 1)


def test_what_was_paid_for_before_a_failure_is_kept(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firth.recipes.remember.AT_ONCE", 2)
    service.faults = [lambda _: None, refusal(404, "gone")]
    texts = ["a", "bb", "ccc", "dddd"]
    with pytest.raises(ServiceError, match="gone"):
        firth.load(NAMES[0]).encode(texts)
    service.asked.clear()
    rows = firth.load(NAMES[0]).encode(texts)
    assert [body["input"] for _, _, body in service.asked] == [["ccc", "dddd"]]
    assert np.allclose(rows, unit_rows(texts), atol=1e-6)


def test_a_damaged_memory_is_named(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "vectors.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(FormatError, match=r"vectors\.sqlite: is damaged .*delete it"):
        Remembering(Hosted(NAMES[0]), path).encode(["tea"])


@pytest.mark.parametrize("name", ["openai:", "azure:x", "openai"])
def test_a_name_that_is_no_hosted_model_is_refused(service: Service, name: str) -> None:
    with pytest.raises(ModelError, match="expected one of openai:MODEL, cohere:MODEL, voyage:MODEL"):
        Hosted(name)


def test_settings_of_local_models_are_refused(service: Service) -> None:
    with pytest.raises(SettingsError, match="is hosted"):
        firth.load(NAMES[0], max_tokens=12)
