"""What does each codec keep of a search's quality, for how many bytes and at what speed?

Each codec is trained on the documents, and its codes are searched exactly: alone, and with the best OVER · 10 of them
scored again from float32. "kept" is the share of float32's nDCG@10 with its 95 % interval (the queries drawn with
replacement, both systems on the same draw); recall@10 here is of the judged documents. Queries a second are of a scan
of one thread in a batch, without the re-scoring; "as" is how many times smaller than float32 a vector is.

Run:   make bench Q=codecs             (3 min on 2 cores once the vectors are there; --small Cranfield, MiniLM, 20 s)
Last:  2026-11-23, nDCG@10 kept in %, 2 cores Zen 5 that other work kept busy (rates are rough); MiniLM
       codec             bytes      squad_sent (2,000)   again  SciFact (300)        again  Cranfield (225)      again
       sq8               384 (4x)   100.0 [99.9, 100.1]  100.0  100.1 [100.0, 100.5] 100.0  99.8 [99.5, 100.1]   100.0
       sq4               192 (8x)   99.7 [99.3, 100.1]   100.0  100.1 [99.4, 100.9]  100.0  100.1 [98.4, 101.8]  100.0
       axes192           192 (8x)   99.8 [99.6, 100.0]   100.0  99.8 [99.1, 100.6]   100.0  100.6 [99.6, 101.8]  100.0
       axes96            96 (16x)   98.9 [98.4, 99.4]    100.0  99.4 [98.1, 100.8]   100.0  99.7 [98.0, 101.3]   100.0
       axes48            48 (32x)   95.3 [94.4, 96.1]    100.0  95.4 [93.3, 97.6]    100.0  99.4 [97.2, 101.6]   100.0
       axes24            24 (64x)   84.5 [83.0, 86.0]    99.3   84.9 [80.4, 89.6]    99.2   91.7 [88.3, 94.7]    100.0
       pq96              96 (16x)   98.9 [98.3, 99.4]    100.0  99.2 [97.7, 100.6]   100.0  99.6 [97.7, 101.6]   100.0
       pq48              48 (32x)   95.7 [94.7, 96.6]    100.0  97.3 [94.6, 100.3]   100.1  101.2 [97.9, 104.5]  100.0
       opq48             48 (32x)   95.7 [94.9, 96.5]    100.0  97.0 [94.8, 99.5]    100.0  97.6 [94.9, 100.1]   100.0
       pq96x4            48 (32x)   96.8 [95.9, 97.7]    100.0  97.2 [94.4, 99.9]    99.9   95.4 [91.6, 99.0]    99.7
       binary            48 (32x)   96.0 [95.0, 96.9]    100.0  94.4 [91.0, 97.9]    99.7   87.2 [83.0, 91.5]    100.4
       rbinary           48 (32x)   95.9 [95.0, 96.8]    100.0  95.7 [93.0, 98.5]    100.0  95.2 [90.9, 99.3]    99.9
       pq24              24 (64x)   83.4 [81.9, 84.8]    99.1   85.5 [81.7, 89.5]    98.3   96.3 [91.7, 100.6]   100.2
       opq24             24 (64x)   89.7 [88.4, 91.0]    99.8   90.2 [86.7, 93.7]    99.3   97.5 [94.3, 100.6]   100.0
       prefix128+sq4     64 (24x)   92.5 [91.3, 93.6]    99.9   91.3 [87.6, 95.1]    98.9   90.8 [86.7, 95.3]    99.6
       prefix128+pq16    16 (96x)   81.2 [79.6, 82.8]    98.3   76.9 [72.4, 81.8]    96.7   86.2 [81.6, 91.2]    98.8
       prefix128+binary  16 (96x)   81.6 [80.0, 83.2]    98.4   74.8 [69.9, 80.1]    95.1   74.0 [68.2, 79.4]    93.8
       axes12            12 (128x)  63.0 [61.1, 65.0]    94.5   64.0 [58.2, 69.8]    88.2   80.6 [75.4, 86.0]    97.8
       mpnet, 768 dimensions
       sq8               768 (4x)   100.0 [99.9, 100.1]  100.0  100.2 [100.0, 100.6] 100.0  99.9 [99.6, 100.2]   100.0
       opq96             96 (32x)   97.1 [96.5, 97.8]    100.0  95.8 [93.8, 97.8]    100.0  99.5 [97.7, 101.4]   100.0
       opq192x4          96 (32x)   97.7 [97.1, 98.4]    100.0  98.7 [96.9, 100.5]   100.0  97.0 [94.8, 99.2]    100.1
       binary            96 (32x)   97.7 [97.0, 98.5]    100.0  97.1 [94.8, 99.7]    100.1  91.4 [87.1, 95.4]    100.5
       axes96            96 (32x)   97.8 [97.3, 98.4]    100.0  98.6 [97.1, 100.1]   100.0  99.2 [97.2, 100.9]   100.0
       opq48             48 (64x)   93.6 [92.7, 94.6]    100.0  93.7 [91.1, 96.4]    100.0  98.3 [95.6, 101.1]   100.0
       axes48            48 (64x)   92.9 [92.0, 93.9]    99.9   94.1 [91.4, 96.9]    99.8   98.4 [96.2, 100.4]   100.0
       prefix384+binary  48 (64x)   94.4 [93.4, 95.5]    99.8   91.0 [87.6, 94.5]    98.6   83.1 [78.2, 88.3]    100.6
       axes32            32 (96x)   88.0 [86.8, 89.3]    99.4   88.7 [85.5, 91.9]    99.7   96.1 [92.7, 99.1]    100.0
       "again": 40 rows scored again. Shares above 100 are chance. recall@10, queries/s and more: results/codecs.json.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

import measure
from firth.arrays import Neighbours, Vectors
from firth.compress import rescore, train
from firth.evaluate.retrieval import Scores
from firth.evaluate.retrieval import measure as judge
from firth.evaluate.statistics import bootstrap_of
from firth.index import Flat
from vectors import sampled, vectors

K, OVER = 10, 4  # neighbours, and how many times as many are scored again
REPEATS = 3  # of a timed scan; the fastest counts
SEED = 0
# set: documents, queries, folder of its judgements
SETS = {
    "scifact": ("scifact_docs", "scifact_queries", "scifact"),
    "cranfield": ("cranfield_docs", "cranfield_queries", "cranfield"),
    "squad_sent": ("squad_docs", "squad_sample", "squad_sent_test"),
}
MODELS = {"MiniLM": "", "mpnet": "@mpnet"}
MEASURES = ("ndcg@10", "recall@10")


def main() -> None:
    """Measure every codec on every set; each set is printed and saved when it is done."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--models", nargs="*", default=list(MODELS), choices=list(MODELS))
    flags.add_argument("--sets", nargs="*", default=list(SETS), choices=list(SETS))
    flags.add_argument("--codecs", nargs="*", help="measure these alone and keep the other lines of the last result")
    settings = flags.parse_args()
    cells = [("MiniLM", "cranfield")] if settings.small else _cells(settings.models, settings.sets)
    question = "codecs_small" if settings.small else "codecs"
    for model, name in cells:
        found = list(_measured(model, name, settings.codecs))
        print(f"\n{name}, {model}, {found[0]['queries']} queries, {found[0]['documents']} documents")
        measure.table([{key: line[key] for key in _SHOWN} for line in found])
        earlier = (measure.last_result(question) or {"table": []})["table"]
        again = {line["codec"] for line in found} if settings.codecs else {line["codec"] for line in earlier}
        cell = (model, name)
        kept = [line for line in earlier if (line["model"], line["set"]) != cell or line["codec"] not in again]
        lines = kept + found
        result = {"k": K, "over": OVER, "seed": SEED, "table": lines, "environment": measure.environment("numpy")}
        measure.save(question, result)


_SHOWN = ("codec", "bytes", "as", "ndcg@10", "kept", "re-scored", "kept, re-scored", "recall@10",
          "recall@10, re-scored", "queries/s")  # fmt: skip


def names(d: int) -> list[str]:
    """Codecs from 4 to 128 times smaller than float32 at d dimensions, smaller ones last."""
    half, third = d // 2, d // 3
    found = [
        "sq8",
        "sq4",
        *(f"axes{d // per}" for per in (2, 4, 8, 16)),
        f"pq{d // 4}",
        f"pq{d // 8}",
        f"opq{d // 8}",
        f"pq{d // 4}x4",
        f"opq{d // 4}x4",
    ]
    found += [f"pq{d // 16}", f"opq{d // 16}", f"pq{d // 8}x4", f"opq{d // 8}x4", "binary", "rbinary"]
    found += [f"prefix{half}+sq8", f"prefix{third}+sq8", f"prefix{half}+sq4", f"prefix{third}+sq4"]
    found += [f"prefix{half}+pq{half // 8}", f"prefix{half}+binary", f"prefix{third}+pq{third // 8}"]
    found += [f"prefix{third}+binary", f"prefix{half}+pq{half // 16}"]
    return [*found, *(f"axes{d // share}" for share in (2, 4, 8, 16, 24, 32))]


def _cells(models: list[str], sets: list[str]) -> list[tuple[str, str]]:
    return [(model, name) for model in models for name in sets]


def _measured(model: str, name: str, only: list[str] | None) -> Iterator[dict[str, Any]]:
    documents, queries, judgements = _load(model, name)
    keys, asked = list(judgements), np.ascontiguousarray(queries)
    exact = Flat.build(documents)
    whole = _judged(exact.search(asked, K), keys, judgements)
    base = whole.per_query["ndcg@10"]
    about = {"model": model, "set": name, "queries": len(keys), "documents": len(documents)}
    d = documents.shape[1]
    yield about | _line("float32", 4 * d, d, whole, whole, base, _rate(exact, asked))
    for codec_name in only or names(d):
        codec = train(codec_name, documents, seed=SEED)
        index = Flat.build(documents, codec=codec)
        found = index.search(asked, OVER * K)
        alone = _judged(Neighbours(found.ids[:, :K], found.scores[:, :K]), keys, judgements)
        again = _judged(rescore(asked, found, documents, K), keys, judgements)
        yield about | _line(codec_name, codec.bytes_per_vector, d, alone, again, base, _rate(index, asked))


def _line(
    codec: str, size: int, d: int, alone: Scores, again: Scores, base: NDArray[np.float64], rate: float
) -> dict[str, Any]:
    line: dict[str, Any] = {"codec": codec, "bytes": size, "as": f"{4 * d / size:.0f}x"}
    for scores, suffix, mark in ((alone, "", "ndcg@10"), (again, ", re-scored", "re-scored")):
        values = scores.per_query["ndcg@10"]
        kept = bootstrap_of(lambda some, all_: float(some.mean() / all_.mean()), [values, base], SEED)
        line[mark] = f"{scores.mean['ndcg@10']:.3f}"
        line[f"kept{suffix}"] = f"{100 * kept.value:.1f} [{100 * kept.low:.1f}, {100 * kept.high:.1f}]"
        line[f"share{suffix}"] = {"value": kept.value, "low": kept.low, "high": kept.high}
        line[f"recall@10{suffix}"] = f"{scores.mean['recall@10']:.3f}"
    return line | {"queries/s": float(f"{rate:.3g}")}


def _judged(found: Neighbours, keys: list[str], judgements: dict[str, dict[str, float]]) -> Scores:
    run = {
        key: {str(i): float(-place) for place, i in enumerate(row)}
        for key, row in zip(keys, found.ids.tolist(), strict=True)
    }
    return judge(run, judgements, MEASURES)


def _rate(index: Flat, asked: Vectors) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        index.search(asked, K, threads=1)
        seconds.append(time.perf_counter() - start)
    return len(asked) / min(seconds)


def _load(model: str, name: str) -> tuple[Vectors, Vectors, dict[str, dict[str, float]]]:
    """Documents, the judged queries, and query id -> row of the document -> grade."""
    of_documents, of_queries, folder = SETS[name]
    place = {key: str(i) for i, key in enumerate(_ids(folder, "corpus"))}
    queries = _ids(folder, "queries")
    if of_queries == "squad_sample":
        queries = [queries[i] for i in sampled(len(queries))]
    judgements: dict[str, dict[str, float]] = {}
    for line in (measure.DATA / "retrieval" / folder / "qrels" / "test.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")
        judgements.setdefault(query, {})[place[document]] = float(grade)
    rows = [i for i, key in enumerate(queries) if max(judgements.get(key, {}).values(), default=0) > 0]
    judged = {queries[i]: judgements[queries[i]] for i in rows}
    suffix = MODELS[model]
    return vectors(of_documents + suffix), vectors(of_queries + suffix)[rows], judged


def _ids(folder: str, part: str) -> list[str]:
    with gzip.open(measure.DATA / "retrieval" / folder / f"{part}.jsonl.gz", "rt") as file:
        return [json.loads(line)["_id"] for line in file]


if __name__ == "__main__":
    main()
