"""How fast are hard negatives mined, in how much memory, against sentence-transformers under the same rules?

Run:   make bench Q=mining            (2 min on 2 cores; --small 20 s)
Last:  2026-11-23, 16,384 queries, 50,000 documents, 384 dimensions, 2 threads, 2 cores Zen 5; three turns each
       system                         seconds  range         faster  megabytes  of its memory  same negatives
       sentence-transformers          8.00     7.99 - 10.85  1       3,265      1              all
       sentence-transformers, faiss   7.07     6.81 - 8.65   1.13    394        0.12           all
       firth                          1.62     1.60 - 1.71   4.95    220        0.067          all
       The vectors are given. Made by all-MiniLM-L6-v2 from texts they would take minutes on both sides, beside which
       neither search counts. Until many queries were searched in panels of bytes (native/flat_batch.cpp) it was 6.37 s.

Queries and documents are unit rows drawn around common centres; nothing is encoded. What is timed is the exact search
of each query's 100 nearest documents and the choice among them: at most 95 % of the answer's score, the best five of
what is left. sentence-transformers' mine_hard_negatives runs as it comes (torch) and with use_faiss. Each run is a
process of its own; memory is its highest resident set less that before mining, with vectors and libraries loaded.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import measure as ruler
from firth.arrays import Vectors, unit

SYSTEMS = ("sentence-transformers", "sentence-transformers, faiss", "firth")
NEAREST, NEGATIVES, MARGIN = 100, 5, 0.05
DIMS, CENTRES, SPREAD = 384, 2_000, 0.7
OURS = "firth"

Ids = NDArray[np.int64]


def vectors(queries: int, documents: int) -> tuple[Vectors, Vectors]:
    """(q, d) and (n, d) unit rows; document i answers query i."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CENTRES, DIMS)).astype(np.float32)
    of = rng.integers(0, CENTRES, documents)
    found = unit(centres[of] + SPREAD * rng.normal(size=(documents, DIMS)).astype(np.float32))
    asked = unit(found[:queries] + 0.6 / DIMS**0.5 * rng.normal(size=(queries, DIMS)).astype(np.float32))
    return asked, found


def mine_ours(asked: Vectors, found: Vectors, threads: int) -> Ids:
    """(q, NEGATIVES) rows of documents, -1 where there are fewer."""
    from firth import kernels
    from firth.arrays import Neighbours
    from firth.index import Flat
    from firth.sentence.mine import MineSettings, mine

    answers = np.arange(len(asked), dtype=np.int64)[:, None]
    positives = Neighbours(answers, kernels.scores(asked, found, answers))
    near = Flat.build(found).search(asked, k=NEAREST + 1, threads=threads)
    rules = MineSettings(negatives=NEGATIVES, relative=1 - MARGIN, depth=None, sampling="top", megabytes=64)
    return mine(near, positives, rules).negatives.ids


class Given:
    """A model whose vectors are there already, as mine_hard_negatives asks for them."""

    def __init__(self, asked: Vectors, found: Vectors) -> None:
        import torch

        self.asked, self.found, self.device = asked, found, torch.device("cpu")

    def encode_document(self, texts: list[str], **_: Any) -> Vectors:
        return self.found[[int(text[1:]) for text in texts]]

    def encode_query(self, texts: list[str], **_: Any) -> Vectors:
        return self.asked[[int(text[1:]) for text in texts]]

    def get_embedding_dimension(self) -> int:
        return DIMS

    def similarity(self, a: Any, b: Any) -> Any:
        import torch

        return torch.as_tensor(a) @ torch.as_tensor(b).T

    def similarity_pairwise(self, a: Any, b: Any) -> Any:
        import torch

        return (torch.as_tensor(a) * torch.as_tensor(b)).sum(-1)


def mine_theirs(model: Given, data: Any, *, faiss: bool) -> Ids:
    """The same, by mine_hard_negatives."""
    from sentence_transformers.util import mine_hard_negatives

    rows = mine_hard_negatives(
        data,
        model,
        corpus=[f"d{i}" for i in range(len(model.found))],
        range_max=NEAREST,
        relative_margin=MARGIN,
        num_negatives=NEGATIVES,
        sampling_strategy="top",
        output_format="triplet",
        use_faiss=faiss,
        verbose=False,
    )
    ids = np.full((len(model.asked), NEGATIVES), -1, np.int64)
    filled = np.zeros(len(model.asked), np.int64)
    for anchor, negative in zip(rows["anchor"], rows["negative"], strict=True):
        query = int(anchor[1:])
        ids[query, filled[query]] = int(negative[1:])
        filled[query] += 1
    return ids


def one(system: str, queries: int, documents: int, threads: int, out: Path) -> None:
    """Mine once; the ids to `out`, seconds and megabytes to stdout."""
    import torch

    torch.set_num_threads(threads)
    asked, found = vectors(queries, documents)
    if system == OURS:
        mine_ours(asked[:64], found[:1000], threads)  # libraries are loaded, kernels chosen
        before, start = _resident(), time.perf_counter()
        ids = mine_ours(asked, found, threads)
    else:
        import faiss
        from datasets import Dataset

        faiss.omp_set_num_threads(threads)
        names = [f"q{i}" for i in range(queries)]
        data = Dataset.from_dict({"anchor": names, "positive": [f"d{i}" for i in range(queries)]})
        with_faiss = "faiss" in system
        mine_theirs(Given(asked[:64], found[:1000]), data.select(range(64)), faiss=with_faiss)
        before, start = _resident(), time.perf_counter()
        ids = mine_theirs(Given(asked, found), data, faiss=with_faiss)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.save(out, ids)
    print(json.dumps({"seconds": seconds, "megabytes": peak - before}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", default="", help="(a process of its own)")
    parser.add_argument("--out", type=Path, default=ruler.CACHE / "mined.npy")
    asked = parser.parse_args()
    queries, documents = (2_000, 10_000) if asked.small else (16_384, 50_000)
    if asked.one:
        one(asked.one, queries, documents, asked.threads, asked.out)
        return
    ruler.CACHE.mkdir(exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    ids: dict[str, Ids] = {}
    for _ in range(1 if asked.small else asked.repeats):
        for system in SYSTEMS:
            words = [sys.executable, __file__, "--one", system, "--threads", str(asked.threads), "--out", asked.out]
            told = subprocess.run([*words, *(["--small"] if asked.small else [])], capture_output=True, check=True)
            found[system].append(json.loads(told.stdout.splitlines()[-1]))
            ids[system] = np.load(asked.out)
    rows = []
    fastest = ruler.spread([run["seconds"] for run in found[SYSTEMS[0]]])["median"]
    least = ruler.spread([run["megabytes"] for run in found[SYSTEMS[0]]])["median"]
    for system, runs in found.items():
        seconds = ruler.spread([run["seconds"] for run in runs])
        megabytes = ruler.spread([run["megabytes"] for run in runs])
        same = float(np.mean([set(a) == set(b) for a, b in zip(ids[OURS].tolist(), ids[system].tolist(), strict=True)]))
        rows.append(
            {
                "system": system,
                "seconds": round(seconds["median"], 2),
                "range": f"{seconds['low']:.2f} - {seconds['high']:.2f}",
                "faster": round(fastest / seconds["median"], 2),
                "megabytes": round(megabytes["median"]),
                "of its memory": round(megabytes["median"] / least, 3),
                "same negatives": round(same, 4),
            }
        )
    ruler.table(rows)
    size = {"queries": queries, "documents": documents, "dims": DIMS, "threads": asked.threads, "nearest": NEAREST}
    environment = ruler.environment("sentence-transformers", "torch", "faiss-cpu")
    ruler.save("mining_small" if asked.small else "mining", {**size, "rows": rows, "environment": environment})


def _resident() -> float:
    """Megabytes that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
