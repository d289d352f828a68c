"""A build's report as a real one looks, with hostile texts where a domain's own texts would stand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from firth.evaluate.page import page
from firth.evaluate.records import (
    Atlas,
    BuildReport,
    Dot,
    Epoch,
    Flip,
    Histogram,
    Point,
    Shown,
    Slice,
    Stage,
    Step,
    Training,
    Truncation,
    Width,
)
from firth.evaluate.statistics import Interval, Paired

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)> & "quoted" \'too\''

BASE = {"ndcg@10": 0.650, "recall@10": 0.792, "recall@100": 0.925, "mrr@10": 0.613, "map@100": 0.605}
TUNED = {"ndcg@10": 0.694, "recall@10": 0.834, "recall@100": 0.946, "mrr@10": 0.655, "map@100": 0.648}
P = {"ndcg@10": 0.0002, "recall@10": 0.0041, "recall@100": 0.0912, "mrr@10": 0.0009, "map@100": 0.0003}


def interval(value: float) -> Interval:
    return Interval(value, value - 0.045, min(1.0, value + 0.044), 300)


def sweep() -> tuple[Point, ...]:
    """Three widths, two codecs, eight values of ef each, and the flat index."""
    points = []
    for dims, ceiling in ((384, 1.0), (256, 0.993), (128, 0.962), (64, 0.9)):
        for codec, loss, width in (("float32", 0.0, 4), ("sq8", 0.002, 1)):
            for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192):
                recall = (ceiling - loss) * (1 - 0.42 * float(np.exp(-ef / 22)))
                speed = 5.2e5 / (ef + 12) * (384 / dims) ** 0.35 * (1.7 if codec == "sq8" else 1.0)
                settings = {"m": 16, "ef_construction": 200, "ef": ef}
                score = 0.694 * (1 - 2.2 * (1 - ceiling) ** 1.4) * (recall / ceiling) ** 0.5
                points.append(Point(dims, codec, "hnsw", settings, recall, speed, dims * width + 136, score))
    points.append(Point(384, "float32", "flat", {}, 1.0, 890.0, 1544.0, 0.694))
    return tuple(points)


def shown(rank: int | None, id_: str, title: str, grade: float | None = None) -> Shown:
    text = (
        "Low serum vitamin D was associated with risk in a large cohort followed over twelve years, after adjustment."
    )
    return Shown(rank, id_, title, text, None if rank is None else 0.9 - 0.05 * rank, grade)


def flip(query: str, before: float, after: float) -> Flip:
    titles = ["Vitamin D and mortality", HOSTILE, "Trans-fatty acids " * 9, "", "α-synuclein 分析 в клетках"]
    base = tuple(shown(i, f"d{i}", title) for i, title in enumerate(titles, 1))
    return Flip(
        "q" + query[:3], query, before, after,
        base=(*base, shown(17, "31715818", "Serum 25-hydroxyvitamin D and incident events", 1)),
        tuned=(shown(1, "31715818", "Serum 25-hydroxyvitamin D and incident events", 1), *base[1:4],
               shown(None, "missed", "A relevant document that neither asked for", 2)),
    )  # fmt: skip


def stages() -> tuple[Stage, ...]:
    """From exact search through dimensions, codec, re-scoring and graph."""
    names = ["exact float32", "256 dimensions", "sq8 codes", "re-scored", "graph, ef=128"]
    recalls, scores = [1.0, 0.962, 0.941, 0.958, 0.951], [0.694, 0.692, 0.690, 0.692, 0.691]
    made = []
    for i, (name, recall, score) in enumerate(zip(names, recalls, scores, strict=True)):
        spread = 0.0 if i == 0 else 0.009
        step = None if i == 0 else Paired(recall - recalls[i - 1], 0.0001, 0, 0, 300, 0.004)
        change = None if i == 0 else Paired(score - scores[i - 1], 0.41, 0, 0, 300, 0.012)
        made.append(Stage(name, Interval(recall, recall - spread, recall + spread, 300), step, interval(score), change))
    return tuple(made)


def parts() -> tuple[Slice, ...]:
    """Slices of three kinds, one of which tuning made worse."""
    made = []
    for i, (kind, name, n) in enumerate([
        ("query length", "1 to 5", 41), ("query length", "6 to 12", 188),
        ("query length", "over 12", 71), ("words shared", "0 to 1/3", 62), ("words shared", "2/3 to 1", 97),
        ("language", "en", 290), ("language", "de " + HOSTILE, 10),
    ]):  # fmt: skip
        wide = 0.35 / n**0.5
        base = {m: Interval(v - 0.06 * i / 2, v - 0.06 * i / 2 - wide, min(1.0, v - 0.06 * i / 2 + wide), n)
                for m, v in BASE.items()}  # fmt: skip
        gain = -0.05 if i == 3 else 0.05
        tuned = {m: Interval(v.value + gain, v.low + gain, min(1.0, v.high + gain), n) for m, v in base.items()}
        paired = {m: Paired(gain, 0.004 * (i + 1), gain - wide, gain + wide, n, wide) for m in BASE}
        made.append(Slice(kind, name, base, tuned, paired))
    return tuple(made)


def spreads() -> tuple[Histogram, ...]:
    """Answers, hard negatives and random documents under two models."""
    rng = np.random.default_rng(1)
    made = []
    for model, gap in (("all-MiniLM-L6-v2", 0.1), ("tuned on scifact", 0.2)):
        for kind, mean, n in (("answer", 0.45 + gap, 339), ("hard", 0.5, 1500), ("random", 0.05, 6000)):
            values = np.clip(rng.normal(mean, 0.1, n), -0.2, 1)
            counts = np.histogram(values, 50, (-0.2, 1.0))[0].tolist()
            made.append(Histogram(model, kind, -0.2, 1.0, counts, float(values.mean())))
    return tuple(made)


def shortened() -> tuple[Width, ...]:
    """The score of both models with fewer dimensions."""
    return tuple(
        Width(model, dims, interval(top * (1 - fall * (16 / dims) ** 0.9)))
        for model, top, fall in (("all-MiniLM-L6-v2", 0.65, 0.9), ("tuned on scifact", 0.694, 0.5))
        for dims in (16, 32, 64, 96, 128, 192, 256, 384)
    )


def moved() -> Atlas:
    """Six groups of documents, of which one moved."""
    rng = np.random.default_rng(2)
    dots = []
    for i in range(400):
        centre = np.array([np.cos(i % 6), np.sin(i % 6)])
        before = centre + rng.normal(scale=0.2, size=2)
        shift = rng.normal(scale=0.03, size=2) + (0.6 if i % 6 == 2 else 0)
        after = before + shift
        dots.append(Dot(f"d{i}", (before[0], before[1]), (after[0], after[1]), float(shift @ shift), 0.7,
                        HOSTILE if i == 2 else f"Title of document {i}"))  # fmt: skip
    return Atlas(dots, 0.31, 10)


@pytest.fixture(scope="session")
def report() -> BuildReport:
    points = sweep()
    chosen = next(p for p in points if p.dims == 256 and p.codec == "sq8" and p.settings["ef"] == 128)
    return BuildReport(
        title="scifact " + HOSTILE,
        base={name: interval(value) for name, value in BASE.items()},
        tuned={name: interval(value) for name, value in TUNED.items()},
        paired={
            name: Paired(TUNED[name] - BASE[name], P[name], 0.021, 0.067, 300, 0.033) for name in BASE
        },
        base_model="all-MiniLM-L6-v2",
        tuned_model="tuned on scifact",
        chosen=chosen,
        points=points,
        stages=stages(),
        target_recall=0.98,
        flips=(
            flip("0-dimensional biomaterials show inductive properties.", 0.0, 1.0),
            flip(HOSTILE, 0.2, 0.63),
            flip("Aspirin inhibits PGE2 in an unbrokenwordthatislongerthananyscreen" + "x" * 90, 1, 0.39),
        ),
        training=Training(
            steps=tuple(Step(2 * i, 1.9 * float(np.exp(-i / 12)) + 0.05 * float(np.sin(i * 7))) for i in range(38)),
            epochs=(Epoch(0, 0, 0.641), Epoch(1, 25, 0.679), Epoch(2, 50, 0.691), Epoch(3, 75, 0.688)),
            best=2,
        ),
        slices=parts(),
        similarities=spreads(),
        widths=shortened(),
        atlas=moved(),
        mining={"queries": 809, "candidates": 40_450, "too near the positive": 1_204, "negatives kept": 5_663},
        truncation={"documents": Truncation(5183, 1432, 71_204), "queries": Truncation(300, 0, 0)},
        data={"folder": "examples/data/scifact", "documents": 5183, "train queries": 809, "test queries": 300},
        timings={"encode": 41.2, "mine": 2.1, "tune": 186.0, "encode again": 40.3, "index": 3.4, "measure": 12.9},
        environment={"firth": "0.1.0", "python": "3.11.9", "CPU level": "v4", "threads": 2, "torch": "2.13.0"},
        notes=("No dev split in the folder: 81 of the 809 train queries were held out.",),
        seed=0,
        created="2026-11-23T09:30:00+00:00",
        command="firth build examples/data/scifact -o demo-out",
    )  # fmt: skip


@pytest.fixture(scope="session")
def html(report: BuildReport) -> str:
    """The report's page with all its figures, drawn once."""
    pytest.importorskip("altair")
    pytest.importorskip("vl_convert")
    return page(report)


@pytest.fixture(scope="session")
def untuned(report: BuildReport) -> BuildReport:
    """What a folder without pairs gives: one model, no comparison."""
    mine = report.base_model
    return replace(
        report,
        tuned=None,
        paired=None,
        flips=(),
        training=None,
        mining={},
        atlas=None,
        slices=tuple(replace(part, tuned=None, paired=None) for part in report.slices),
        similarities=tuple(each for each in report.similarities if each.model == mine),
        widths=tuple(each for each in report.widths if each.model == mine),
    )
