"""What one build measured, as plain data: the recipe fills it, `report` writes it, `compare` and gates read it back.

A `BuildReport` is a tree of frozen dataclasses of numbers and texts: nothing here computes, and everything here can
be left out except the base model's scores. `report.json` is this tree under keys that stay; see `as_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from firth.evaluate.statistics import Interval, Paired

Number = int | float


@dataclass(frozen=True)
class Point:
    """One measured way to store and search the vectors.

    Attributes:
        dims: dimensions kept.
        codec: how each vector is stored: "float32", "sq8", …
        index: "flat" or "hnsw", or what the caller names it.
        settings: of the index, those that the search depends on included: {"m": 16, "ef_construction": 200, "ef": 96}.
        recall: share of the exact float32 neighbours at full width that this configuration returns, at `recall_k`.
        queries_per_second: one thread unless `threads` of the report says otherwise.
        bytes_per_vector: codes, graph and keys together.
        score: the report's main measure on the test set with this configuration, where it was measured.
        milliseconds: 95th percentile of one query's latency, where it was measured.
    """

    dims: int
    codec: str
    index: str
    settings: Mapping[str, Number]
    recall: float
    queries_per_second: float
    bytes_per_vector: float
    score: float | None = None
    milliseconds: float | None = None

    @property
    def name(self) -> str:
        """What stays fixed along one curve: "256 dims, sq8, hnsw m=16 ef_construction=200"."""
        fixed = " ".join(f"{key}={value}" for key, value in self.settings.items() if key != "ef")
        return f"{self.dims} dims, {self.codec}, {self.index} {fixed}".rstrip()

    @property
    def storage(self) -> tuple[int, str]:
        """What decides the bytes: dimensions and codec."""
        return self.dims, self.codec


@dataclass(frozen=True)
class Shown:
    """One document in a ranking, as a reader sees it.

    Attributes:
        rank: from 1; None for a relevant document that was not among those asked for.
        score: of the search; None where there is no rank.
        grade: its judgement; None where nobody judged it.
    """

    rank: int | None
    id: str
    title: str
    snippet: str
    score: float | None = None
    grade: float | None = None


@dataclass(frozen=True)
class Flip:
    """A query whose score changed, with both rankings, best first."""

    query_id: str
    query: str
    before: float
    after: float
    base: Sequence[Shown]
    tuned: Sequence[Shown]


@dataclass(frozen=True)
class Step:
    """The training loss at one step; `loss` is the mean since the step before."""

    step: int
    loss: float


@dataclass(frozen=True)
class Epoch:
    """The main measure on the dev part after one epoch; `step` is the last step of it."""

    epoch: int
    step: int
    score: float


@dataclass(frozen=True)
class Training:
    """How the loss fell and what the dev part said; `best` is the epoch that was kept."""

    steps: Sequence[Step] = ()
    epochs: Sequence[Epoch] = ()
    best: int | None = None
    measure: str = "ndcg@10"


@dataclass(frozen=True)
class Truncation:
    """What the model's maximum length cost: texts seen, texts cut, and tokens cut off in all."""

    texts: int
    cut: int
    tokens: int


@dataclass(frozen=True)
class Stage:
    """One step on the way to what is returned.

    Attributes:
        name: what was done, for instance "256 dimensions".
        recall: share of the first stage's k neighbours that this stage returns among its k, over the queries.
        step: change of that share from the stage before, query by query; None for the first.
        score: the measure on the test set; None without judgements.
        score_step: change of the measure from the stage before; None for the first and without judgements.
    """

    name: str
    recall: Interval
    step: Paired | None = None
    score: Interval | None = None
    score_step: Paired | None = None


@dataclass(frozen=True)
class Histogram:
    """How the cosines of one kind of pair are spread under one model.

    Attributes:
        kind: "answer" (query and relevant document), "hard" (query and its nearest not relevant documents), "random".
        low, high: the first bin's left edge and the last one's right edge; all bins are equally wide.
        counts: pairs in each bin.
        mean: over all pairs; None where there are none.
    """

    model: str
    kind: str
    low: float
    high: float
    counts: Sequence[int]
    mean: float | None

    @property
    def n(self) -> int:
        """Pairs."""
        return sum(self.counts)


@dataclass(frozen=True)
class Slice:
    """Some of the queries, with their scores before and after.

    Attributes:
        kind: what the queries are sliced by, for instance "query length".
        base, tuned: measure -> Interval; `tuned` is None where nothing was tuned.
        paired: measure -> Paired, tuned against base on these queries.
    """

    kind: str
    name: str
    base: Mapping[str, Interval]
    tuned: Mapping[str, Interval] | None = None
    paired: Mapping[str, Paired] | None = None


@dataclass(frozen=True)
class Width:
    """The main measure with the first `dims` dimensions of a model's vectors, by exact search."""

    model: str
    dims: int
    score: Interval


@dataclass(frozen=True)
class Dot:
    """One document under both models, in one plane.

    Attributes:
        before, after: x and y under the base model, turned into the tuned model's space, and under the tuned model.
        moved: 1 - cosine of the two vectors after turning; 0 = where it was.
        kept: share of its nearest neighbours under the base model that are its nearest under the tuned one.
    """

    id: str
    before: tuple[float, float]
    after: tuple[float, float]
    moved: float
    kept: float
    title: str = ""


@dataclass(frozen=True)
class Atlas:
    """Two models' vectors of the same documents in one plane.

    Attributes:
        dots: a sample of the documents.
        shown: share of the vectors' variance that the plane shows, 0 to 1.
        k: neighbours that `Dot.kept` counts.
    """

    dots: Sequence[Dot]
    shown: float
    k: int


@dataclass(frozen=True)
class BuildReport:
    """All that one build measured.

    Attributes:
        title: name of the domain, for instance of its folder.
        base: measure -> Interval of the model as it came.
        base_model, tuned_model: names shown for the two.
        tuned: the same of the tuned model; None where nothing was tuned.
        paired: measure -> Paired, tuned against base on the same queries.
        chosen: the configuration that was written; None where no index was built.
        points: every configuration that was measured, the chosen one included.
        stages: where the recall went, from exact search to what is returned; see `waterfall`.
        target_recall: what was asked for.
        recall_k: neighbours that recall in `points` is counted over.
        threads: threads behind each point's queries_per_second.
        measure: the main measure: of `Point.score`, of flips, of the headline.
        per_query: measure -> query id -> score of the model that ships, for later comparisons.
        flips: queries that gained or lost most.
        training: loss and dev score; None where nothing was tuned.
        similarities: how near queries are to their answers, to what looks like one, and to anything.
        slices: scores of parts of the queries.
        widths: what fewer dimensions cost.
        atlas: where the documents lie before and after; None where nothing was tuned.
        mining: counts of the negatives that were mined, by name.
        truncation: "documents", "queries" -> Truncation.
        data: counts and sizes of what was read, by name.
        timings: stage -> seconds.
        environment: firth, Python, platform, CPU level, threads, … by name.
        notes: what the reader must know: what was missing, what was left out and why.
        seed: of everything random in the build.
        created: time of the build, ISO 8601; the recipe's, empty where it is not known.
        command: the command line that makes this report again.
    """

    title: str
    base: Mapping[str, Interval]
    base_model: str = "base"
    tuned_model: str = "tuned"
    tuned: Mapping[str, Interval] | None = None
    paired: Mapping[str, Paired] | None = None
    chosen: Point | None = None
    points: Sequence[Point] = ()
    stages: Sequence[Stage] = ()
    target_recall: float | None = None
    recall_k: int = 10
    threads: int = 1
    measure: str = "ndcg@10"
    per_query: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    flips: Sequence[Flip] = ()
    training: Training | None = None
    similarities: Sequence[Histogram] = ()
    slices: Sequence[Slice] = ()
    widths: Sequence[Width] = ()
    atlas: Atlas | None = None
    mining: Mapping[str, Number] = field(default_factory=dict)
    truncation: Mapping[str, Truncation] = field(default_factory=dict)
    data: Mapping[str, Number | str] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)
    environment: Mapping[str, Number | str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    seed: int = 0
    created: str = ""
    command: str = ""


def as_json(report: BuildReport) -> dict[str, Any]:
    """The tree under the keys of `report.json`, which stay: base, tuned, paired, chosen, environment; more are added.

    `chosen` and each of `points` hold dims, codec, index {"kind", and its settings}, recall, bytes_per_vector and
    queries_per_second. What was not measured is null or empty, never absent.
    """
    tree = asdict(report)
    tree["chosen"] = None if report.chosen is None else point_json(report.chosen)
    tree["points"] = [point_json(point) for point in report.points]
    tree["version"] = 1
    return tree


def point_json(point: Point) -> dict[str, Any]:
    """One configuration as JSON, the index's name among its settings."""
    tree = asdict(point)
    tree["index"] = {"kind": point.index, **tree.pop("settings")}
    return tree
