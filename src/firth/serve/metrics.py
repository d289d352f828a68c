"""What /metrics tells: Prometheus text, names with their unit, and labels that cannot grow with what callers send."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
KEPT = 200  # sampled searches that the recall gauge is the mean of
KIND = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The numbers of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        labels = ("route", "status")
        self.requests = Counter("firth_requests", "Requests answered.", labels, registry=registry)
        self.seconds = Histogram(
            "firth_request_seconds",
            "From the first byte to the answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self.refused = Counter("firth_refused", "Requests turned away.", ("reason",), registry=registry)
        self.texts = Counter("firth_encoded_texts", "Texts that the model encoded.", registry=registry)
        self.tokens = Counter("firth_encoded_tokens", "Tokens that the model read.", registry=registry)
        self.cut = Counter("firth_truncated_texts", "Texts whose end the model did not read.", registry=registry)
        self.batch = Histogram("firth_batch_texts", "Texts of a batch.", buckets=TEXTS, registry=registry)
        self.waited = Histogram("firth_queue_seconds", "Waiting for the model.", buckets=SECONDS, registry=registry)
        self.encoding = Histogram("firth_encode_seconds", "Encoding a batch.", buckets=SECONDS, registry=registry)
        self.searching = Histogram(
            "firth_search_seconds", "Searching, without the model.", ("collection",), buckets=SECONDS, registry=registry
        )
        self.samples = Counter("firth_recall_samples", "Searches repeated exactly.", ("collection",), registry=registry)
        self.recall = Gauge(
            "firth_recall_sampled",
            f"Share of the exact neighbours that was found, mean of the last {KEPT} sampled searches.",
            ("collection",),
            registry=registry,
        )
        self._shares: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def encoded(self, texts: int, tokens: int, cut: int, waited: float, seconds: float) -> None:
        """A batch went through the model."""
        self.texts.inc(texts)
        self.tokens.inc(tokens)
        self.cut.inc(cut)
        self.batch.observe(texts)
        self.waited.observe(waited)
        self.encoding.observe(seconds)

    def sampled(self, collection: str, share: float) -> None:
        """A search was repeated exactly; `share` of the exact answer had been found."""
        with self._lock:
            shares = self._shares.setdefault(collection, deque(maxlen=KEPT))
            shares.append(share)
            self.recall.labels(collection).set(sum(shares) / len(shares))
        self.samples.labels(collection).inc()

    def watch(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """A gauge that is asked when somebody looks."""
        Gauge(name, help_, registry=self.registry).set_function(value)

    def watch_each(self, name: str, help_: str, label: str, values: Callable[[], dict[str, float]]) -> None:
        """A gauge for each of some things that come and go, asked when somebody looks."""
        self.registry.register(_Each(name, help_, label, values))

    def forget(self, collection: str) -> None:
        """A collection is gone."""
        with self._lock:
            self._shares.pop(collection, None)
            for metric in (self.recall, self.samples, self.searching):
                metric.remove_by_labels({"collection": collection})

    def text(self) -> bytes:
        """The whole, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Each:
    """A family of gauges, one for each thing that is there now."""

    def __init__(self, name: str, help_: str, label: str, values: Callable[[], dict[str, float]]) -> None:
        self._name, self._help, self._label, self._values = name, help_, label, values

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._help, labels=[self._label])
        for name, value in self._values().items():
            family.add_metric([name], value)
        yield family

    def describe(self) -> Iterable[Metric]:
        return [GaugeMetricFamily(self._name, self._help, labels=[self._label])]
