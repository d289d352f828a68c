"""How many texts a second does MiniLM encode on 2 threads, in how much memory, against the runtimes people use?

Run:   make bench Q=encode                     (6 min on 2 idle cores; --small 2 min)
       make bench Q="encode --quality"         (SciFact's nDCG@10 instead, 4 min)
Last:  2026-11-23, 1,000 texts, 2 threads, 2 cores Zen 5
       system                  x sentence-transformers   by processor time   peak MB   texts/s
       sentence-transformers   1.0                       1.0                 1,047     42
       onnxruntime float32     2.2                       2.1                 1,084     90
       openvino float32        2.7                       2.9                 558       116
       openvino bfloat16       4.8                       5.1                 452       208
       firth by torch          3.5                       3.4                 785       152
       firth float32           3.8                       3.7                 426       157
       firth bfloat16          7.1                       6.9                 381       295
       SciFact test, nDCG@10: sentence-transformers 0.6492, firth float32 0.6492 (equal in six digits), bfloat16 0.6500.

Tried around the kernel (native/transformer.cpp names its own trials):
       torch without padding, texts in groups of equal length, bfloat16 by autocast: 2.9 x, kept as the reference
       calls of 1,024, 4,096 and 32,768 tokens, and texts unsorted: within 10 % of each other, the noise of a busy
         machine; so the longest that still lets Ctrl-C and progress through each second
       mean in the kernel in place of torch's pooling of all states: within that noise, and the states are never stored
       no drawing of weights that are read next (it imported torch's compiler), no copies to find NaN: 75 MB, 2.5 s less

Texts: chunks of 1 to 8 sentences and whole abstracts of SciFact. Every system in a process of its own, taking turns
with the same texts; the runtimes get them sorted by length in batches of 32. Peak memory is the process's own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

import measure
from encode_worker import SYSTEMS
from firth.evaluate import retrieval
from firth.index import Flat
from firth.recipes.load import load
from firth.sentence.published import resolve
from firth.text.testset import TestSet

SCIFACT = measure.ROOT / "examples" / "data" / "scifact"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PEER = "sentence-transformers"


class Worker:
    """One system in its own process."""

    def __init__(self, system: str, model: Path, texts: Path, threads: int) -> None:
        self.system = system
        self.target = measure.CACHE / f"encode-{system.replace(' ', '-')}.npy"
        command = [sys.executable, Path(__file__).parent / "encode_worker.py", system, model, measure.CACHE, texts]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "true"}
        self._process = subprocess.Popen(
            [*command, self.target],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self._answer("ready")
        self.turns: list[dict[str, float]] = []

    def turn(self, texts: int, *, counts: bool) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{texts}\n")
        self._process.stdin.flush()
        found = json.loads(self._answer("{"))
        if counts:
            self.turns.append(found)

    def vectors(self) -> Any:
        """What it gave last, once it has ended."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait():
            raise RuntimeError(f"{self.system} ended with {self._process.returncode}")
        found = np.load(self.target)
        self.target.unlink()
        return found

    def _answer(self, start: str) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(start):
                return line
        raise RuntimeError(f"{self.system} ended with {self._process.wait()}")

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()


def mixed(count: int, seed: int = 0) -> list[str]:
    """Chunks of 1 to 8 neighbouring sentences, and every tenth a whole abstract."""
    draw = random.Random(seed)
    with gzip.open(SCIFACT / "corpus.jsonl.gz", "rt") as lines:
        abstracts = [json.loads(line)["text"] for line in lines]
    draw.shuffle(abstracts)
    texts: list[str] = []
    for abstract in abstracts:
        sentences = re.split(r"(?<=[.!?])\s+", abstract)
        if len(texts) % 10 == 9:
            texts.append(abstract)
        while sentences:
            size = draw.randint(1, 8)
            texts.append(" ".join(sentences[:size]))
            sentences = sentences[size:]
        if len(texts) >= count:
            break
    return texts[:count]


def speed(systems: list[str], texts: list[str], repeats: int, threads: int) -> list[dict[str, Any]]:
    model = resolve(MODEL)
    source = measure.CACHE / "encode-texts.json"
    source.parent.mkdir(exist_ok=True)
    source.write_text(json.dumps(texts))
    command = [sys.executable, Path(__file__).parent / "encode_worker.py", "export", model, measure.CACHE, "-", "-"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    workers = [Worker(system, model, source, threads) for system in systems]
    try:
        for repeat in range(repeats + 1):
            for worker in workers:
                worker.turn(len(texts) if repeat else 20, counts=repeat > 0)
        found = {worker.system: worker.vectors() for worker in workers}
    finally:
        for worker in workers:
            worker.__exit__(None, None, None)
    reference = found[PEER]
    base = next(worker for worker in workers if worker.system == PEER)
    return [_row(worker, base, len(texts), (found[worker.system] * reference).sum(1).min()) for worker in workers]


def _row(worker: Worker, base: Worker, texts: int, cosine: float) -> dict[str, Any]:
    rates = [texts / turn["seconds"] for turn in worker.turns]
    pairs = list(zip(worker.turns, base.turns, strict=True))
    ratios = [other["seconds"] / own["seconds"] for own, other in pairs]
    return {
        "system": worker.system,
        "texts_per_second": measure.spread(rates),
        "ratio": measure.spread(ratios),
        # On a shared machine wall time holds the neighbours' work too; seconds of processor do not.
        "ratio_cpu": measure.spread([other["cpu_seconds"] / own["cpu_seconds"] for own, other in pairs]),
        "peak_mb": worker.turns[-1]["peak_mb"],
        "least_cosine": float(cosine),
    }


def quality(threads: int) -> dict[str, float]:
    """nDCG@10 on SciFact's test queries, ours in both precisions and sentence-transformers', all texts alike."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")  # some abstracts are cut, by both alike
    test = TestSet.load(SCIFACT)
    documents = [document.full for document in test.documents.values()]
    keys, queries = list(test.documents), list(test.queries.values())
    encoder, theirs = load(MODEL), SentenceTransformer(str(resolve(MODEL)), device="cpu")
    ways = {
        f"firth {name}": lambda texts, name=name: encoder.encode(texts, precision=name) for name in ("float32", "auto")
    }
    ways[PEER] = lambda texts: theirs.encode(texts, normalize_embeddings=True)
    scores = {}
    for name, encode in ways.items():
        found = Flat.build(encode(documents)).search(encode(queries), k=10)
        run = {
            query: {keys[i]: float(score) for i, score in zip(ids, row, strict=True)}
            for query, ids, row in zip(test.queries, found.ids, found.scores, strict=True)
        }
        scores[name] = retrieval.measure(run, test.judgements, ("ndcg@10",)).mean["ndcg@10"]
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="100 texts, 2 repeats")
    parser.add_argument("--quality", action="store_true", help="nDCG@10 on SciFact in place of speed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--systems", nargs="*", default=list(SYSTEMS))
    settings = parser.parse_args()
    environment = measure.environment("torch", "sentence-transformers", "onnxruntime", "openvino")
    if settings.quality:
        scores = quality(settings.threads)
        print(scores)
        measure.save("encode_quality", {"environment": environment, "scifact_ndcg@10": scores})
        return
    texts = mixed(100 if settings.small else 1000)
    rows = speed(settings.systems, texts, 2 if settings.small else 5, settings.threads)
    result: dict[str, Any] = {
        "environment": environment,
        "texts": len(texts),
        "threads": settings.threads,
        "systems": rows,
    }
    measure.table([{k: v["median"] if isinstance(v, dict) else v for k, v in row.items()} for row in rows])
    measure.save("encode_small" if settings.small else "encode", result)


if __name__ == "__main__":
    main()
