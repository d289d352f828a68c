"""How many words a second do word2vec and GloVe learn, against gensim and Stanford's C, at equal quality?

Run:   make bench Q="words --stanford FOLDER"     (the whole corpus, 3 seeds: about 1.5 h on 2 cores; --small 4 min)
       --rows sg100,cbow100,…  --tokens 3000000  --seeds 1 --first 0      some rows, a slice of the corpus, some seeds;
       rows that are not run again stay in the result file
Last:  2026-11-23, 2 threads, 2 cores Zen 5 that other work shared at a lower priority; ± is half the 95 % interval
       row (words, seeds)   system      words/s     ratio  peak MB  WS353       SimLex-999  MEN         analogies
       sg100   (17.8 M, 1)  gensim        391,037   1      203      .641 ±.062  .321 ±.059  .614 ±.022  .299 ±.007
                            firth       5,577,925   14.3   191      .663 ±.055  .316 ±.059  .623 ±.022  .302 ±.007
       cbow100 (17.8 M, 3)  gensim      1,282,495   1      203      .601 ±.069  .272 ±.059  .552 ±.025  .260 ±.007
                            firth       5,958,116   4.7    191      .636 ±.063  .290 ±.060  .595 ±.023  .277 ±.007
       hs100   (17.8 M, 1)  gensim        662,661   1      224      .645 ±.058  .276 ±.062  .636 ±.021  .301 ±.007
                            firth       2,236,415   3.4    218      .655 ±.060  .277 ±.062  .632 ±.022  .300 ±.007
       sg300   (3 M, 3)     gensim        232,476   1      194      .488 ±.086  .249 ±.061  .414 ±.035  .109 ±.006
                            firth       2,435,524   10.5   137      .501 ±.084  .241 ±.060  .430 ±.033  .108 ±.006
       glove   (3 M, 1)     Stanford C    295,677   1      643      .377 ±.097  .128 ±.060  .334 ±.036  .070 ±.005
                            firth       5,425,500   18.3   223      .353 ±.099  .132 ±.059  .321 ±.037  .072 ±.005
       glove   (17.8 M, 1)  Stanford C  not timed   1    1,537      .447 ±.092  .220 ±.057  .469 ±.028  .259 ±.007
                            firth                  23.1   747      .457 ±.092  .213 ±.059  .457 ±.028  .264 ±.007
       count   (17.8 M)     gensim      5,067,171   1      170      5 repeats
                            firth      42,718,887   8.3    191      (7.6 - 8.8; busier runs: 6.8, 6.8, 7.3)
       threads (17.8 M, 3)  1 thread    4,192,773   1      190
                            2 threads   7,742,184   1.85   191      (1.38 - 1.88); two processes of bare matrix products
                                                                    reach 1.95 of one
       glove's parts on 3 M words: pairs counted and shuffled 20.9x, cells trained 18.6x. On 17.8 M Stanford's had
       little of the machine: the ratio is that of processor time. By that sg100 is 18.5x, cbow100 5.5x. sg100's peak
       was 208 MB before the first vectors were drawn in pieces.

Every system starts from the same text file in a process of its own and ends with vectors in a file; words/s are the raw
words of the corpus times the epochs over all of that. On a busy machine the ratio of processor times says more than
that of wall times; for 2 threads over 1 it is twice the ratio: the gain if no thread waited for a core. Peak memory is
the process's. Vectors of both are graded by the same code. The corpus is enwiki2015 (files 00 to 10 of the shared data)
lower-cased to a-z, 17.8 M words, made on the first run. Stanford's four programs are looked for in FOLDER; without it
their rows are left out.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import measure
from firth import files

SOURCES = [measure.DATA / "text" / f"enwiki2015-{i:02}.jsonl.gz" for i in range(11)]
SMALL_TOKENS = 1_000_000
THREADS = 2
EPOCHS, GLOVE_EPOCHS = 5, 15
COMMON = {"window": 5, "min_count": 5, "subsample": 1e-3, "epochs": EPOCHS}
# row -> what is trained; the names of firth's own settings
ROWS: dict[str, dict[str, Any]] = {
    "sg100": {"dims": 100, "architecture": "skipgram", "objective": "negative", **COMMON},
    "sg300": {"dims": 300, "architecture": "skipgram", "objective": "negative", **COMMON},
    "cbow100": {"dims": 100, "architecture": "cbow", "objective": "negative", **COMMON},
    "hs100": {"dims": 100, "architecture": "skipgram", "objective": "hierarchical", **COMMON},
    "count": {"min_count": 5},
    "glove": {"dims": 100, "window": 10, "x_max": 10.0, "epochs": GLOVE_EPOCHS, "min_count": 5},
    "threads": {"dims": 100, "architecture": "skipgram", "objective": "negative", **COMMON},
}
AT_LEAST = {"sg100": 6.0, "sg300": 6.0, "cbow100": 4.0, "hs100": 3.0, "count": 8.0, "threads": 1.85}
NOWHERE = Path(os.devnull)
COUNT_REPEATS = 5  # it takes half a second
PAIRS = ("WS353", "SimLex-999", "MEN")


def corpus(tokens: int) -> tuple[Path, int]:
    """The text file of at least so many words (0 = all), and how many it has."""
    path = measure.CACHE / ("enwiki-az.txt" if not tokens else f"enwiki-az-{tokens}.txt")
    if not path.exists():
        with files.write_whole(path) as out:
            for line in _lines(tokens):
                out.write(line)
    return path, sum(line.count(b" ") + 1 for line in path.open("rb"))


def _lines(tokens: int) -> Iterator[bytes]:
    """Titles and paragraphs as words of a-z, a line each."""
    written = 0
    for source in SOURCES:
        with gzip.open(source, "rt", encoding="utf-8") as articles:
            for record in map(json.loads, articles):
                for paragraph in f"{record['title']}\n{record['text']}".split("\n"):
                    words = re.findall("[a-z]+", paragraph.lower())
                    if words:
                        yield (" ".join(words) + "\n").encode()
                        written += len(words)
                        if tokens and written >= tokens:
                            return


def run(job: dict[str, Any]) -> dict[str, Any]:
    """One system on one row, in a process of its own: seconds, peak memory, and what it says of its parts."""
    told = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)], capture_output=True, text=True, check=False
    )
    if told.returncode:
        raise SystemExit(f"{job}: {told.stderr[-2000:]}")
    return dict(json.loads(told.stdout.splitlines()[-1]))


def child(job: dict[str, Any]) -> dict[str, Any]:
    """What the process does. Imports come before the clock starts."""
    work = {"firth": _firth, "gensim": _gensim, "stanford": _stanford}[job["system"]](job)
    before, start = time.process_time(), time.perf_counter()
    parts = work()
    seconds = time.perf_counter() - start
    ours = resource.getrusage(resource.RUSAGE_SELF)
    theirs = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = ours.ru_utime + ours.ru_stime + theirs.ru_utime + theirs.ru_stime - before
    return {"seconds": seconds, "processor s": busy, "peak MB": peak(children=job["system"] == "stanford"), **parts}


def peak(*, children: bool) -> float:
    """Most memory of this process, or of the largest that it started, in megabytes."""
    if children:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    status = Path("/proc/self/status").read_text()  # getrusage's figure begins with that of the process before exec
    return int(re.search(r"VmHWM:\s*(\d+)", status)[1]) / 1024  # type: ignore[index]


def _firth(job: dict[str, Any]) -> Any:
    from firth.static import Counting, GloVe, Word2Vec, count

    made, seed, threads = ROWS[job["row"]], job["seed"], job["threads"]

    def work() -> dict[str, Any]:
        began = time.perf_counter()
        counted = count(job["text"], Counting(min_count=made["min_count"]), threads=threads)
        parts: dict[str, Any] = {"count s": time.perf_counter() - began}
        if job["row"] == "count":
            return parts
        marks: list[float] = []  # when the first and the last cell was reported

        def progress(done: int, total: int, what: str = "") -> None:
            if what.startswith("epoch"):
                marks.append(time.perf_counter())
                parts["cells"] = total // GLOVE_EPOCHS
            else:
                parts["pairs s"] = time.perf_counter() - began - parts["count s"]

        if job["row"] == "glove":
            vectors = GloVe(**made, seed=seed, threads=threads).train(counted, progress=progress)
            training = marks[-1] - began - parts["count s"] - parts["pairs s"]
            parts["cells/s"] = parts["cells"] * GLOVE_EPOCHS / training
            parts["loss"] = vectors.about["losses"][-1]
        else:
            vectors = Word2Vec(**made, seed=seed, threads=threads).train(counted)
        vectors.save(job["out"], "word2vec-binary")
        return parts

    return work


def _gensim(job: dict[str, Any]) -> Any:
    from gensim.models import Word2Vec

    made = ROWS[job["row"]]

    def work() -> dict[str, Any]:
        began = time.perf_counter()
        if job["row"] == "count":
            model = Word2Vec(min_count=made["min_count"], workers=job["threads"])
            model.build_vocab(corpus_file=job["text"])
            return {"count s": time.perf_counter() - began}
        model = Word2Vec(
            vector_size=made["dims"], window=made["window"], min_count=made["min_count"], sample=made["subsample"],
            sg=int(made["architecture"] == "skipgram"), hs=int(made["objective"] == "hierarchical"),
            negative=0 if made["objective"] == "hierarchical" else 5, workers=job["threads"], seed=job["seed"] + 1,
        )  # fmt: skip
        model.build_vocab(corpus_file=job["text"])
        counted = time.perf_counter() - began
        model.train(
            corpus_file=job["text"], epochs=made["epochs"], total_words=model.corpus_total_words,
            total_examples=model.corpus_count,
        )  # fmt: skip
        model.wv.save_word2vec_format(job["out"], binary=True)
        return {"count s": counted}

    return work


def _stanford(job: dict[str, Any]) -> Any:
    """vocab_count, cooccur, shuffle and glove, as its demo.sh runs them."""
    made, programs = ROWS["glove"], Path(job["stanford"])

    def work() -> dict[str, Any]:
        parts: dict[str, Any] = {}
        says: dict[str, str] = {}
        with tempfile.TemporaryDirectory(prefix="stanford-") as place:
            folder = Path(place)

            def step(program: str, *flags: str, read: Path | None = None, write: Path | None = None) -> float:
                start = time.perf_counter()
                with (read or NOWHERE).open("rb") as source, (write or NOWHERE).open("wb") as target:
                    command = [str(programs / program), *flags]
                    told = subprocess.run(command, stdin=source, stdout=target, stderr=subprocess.PIPE, check=True)
                says[program] = told.stderr.decode(errors="replace")
                return time.perf_counter() - start

            vocabulary, cells = folder / "vocab.txt", folder / "cells.bin"
            shuffled = folder / "shuffled.bin"
            parts["count s"] = step("vocab_count", "-min-count", "5", read=Path(job["text"]), write=vocabulary)
            gather = ("-memory", "4.0", "-vocab-file", str(vocabulary), "-window-size", str(made["window"]))
            parts["pairs s"] = step("cooccur", *gather, "-overflow-file", str(folder / "overflow"),
                                    read=Path(job["text"]), write=cells)  # fmt: skip
            parts["shuffle s"] = step("shuffle", "-memory", "4.0", "-temp-file", str(folder / "temporary"),
                                      "-seed", str(job["seed"] + 1), read=cells, write=shuffled)  # fmt: skip
            training = step(
                "glove", "-save-file", str(folder / "vectors"), "-threads", str(job["threads"]), "-input-file",
                str(shuffled), "-x-max", str(made["x_max"]), "-iter", str(made["epochs"]), "-vector-size",
                str(made["dims"]), "-binary", "0", "-vocab-file", str(vocabulary), "-seed", str(job["seed"] + 1),
            )  # fmt: skip
            parts["cells"] = shuffled.stat().st_size // 16
            parts["cells/s"] = parts["cells"] * made["epochs"] / training
            parts["loss"] = float(re.findall(r"cost: ([0-9.]+)", says["glove"])[-1])
            Path(job["out"]).write_bytes((folder / "vectors.txt").read_bytes())
        return parts

    return work


def grades(path: Path) -> dict[str, Any]:
    """WS353, SimLex-999, MEN and analogies of a file of vectors, with their intervals."""
    from firth.recipes.word_grades import ANALOGIES, RATED, SHIPPED, graded_analogies, graded_pairs
    from firth.static import WordVectors

    vectors = WordVectors.load(path)
    found = {name: vars(graded_pairs(vectors, SHIPPED / RATED[name]).spearman) for name in PAIRS}
    sections = {each.name: each.accuracy for each in graded_analogies(vectors, SHIPPED / ANALOGIES)}
    return found | {name: vars(sections[name]) for name in ("total", "semantic", "syntactic")}


def systems(row: str, stanford: str) -> list[tuple[str, dict[str, Any]]]:
    """Contenders of a row: a name and what is special about its job."""
    if row == "threads":
        return [("firth, 1 thread", {"system": "firth", "threads": 1}), ("firth", {"system": "firth"})]
    if row == "glove":
        peer = [("Stanford C", {"system": "stanford", "stanford": stanford})] if stanford else []
        return [*peer, ("firth", {"system": "firth"})]
    return [("gensim", {"system": "gensim"}), ("firth", {"system": "firth"})]


def compared(row: str, text: Path, tokens: int, seeds: range, stanford: str, folder: Path) -> dict[str, Any]:
    """One row: each seed of each system, taking turns; then the grades of what came out."""
    turns: dict[str, list[dict[str, Any]]] = {}
    for seed, (name, special) in itertools.product(
        range(COUNT_REPEATS) if row == "count" else seeds, systems(row, stanford)
    ):
        out = folder / f"{row}-{seed}-{name.replace(' ', '-')}.{'txt' if name == 'Stanford C' else 'bin'}"
        job = {"row": row, "seed": seed, "threads": THREADS, "text": str(text), "out": str(out), **special}
        told = run(job)
        told["words/s"] = tokens * ROWS[row].get("epochs", 1) / told["seconds"]
        if out.exists() and row != "threads":
            told["grades"] = grades(out)
        out.unlink(missing_ok=True)
        turns.setdefault(name, []).append(told)
        print(f"{row} {name} seed {seed}: {told['seconds']:.1f} s, {told['words/s']:,.0f} words/s", flush=True)
    first = next(iter(turns))
    busy = [a["processor s"] / b["processor s"] for a, b in zip(turns[first], turns["firth"], strict=True)]
    busy = [THREADS * each for each in busy] if row == "threads" else busy  # had no thread waited for a core
    ratios = [b["words/s"] / a["words/s"] for a, b in zip(turns[first], turns["firth"], strict=True)]
    result = {"row": row, "tokens": tokens, "seeds": list(seeds), "settings": ROWS[row], "turns": turns}
    if len(turns) > 1:
        result |= {
            "ratio": statistics.median(ratios),
            "ratios": ratios,
            "processor ratio": statistics.median(busy),
            "at least": AT_LEAST.get(row),
        }
    if row == "threads":
        result["ceilings"] = [ceiling() for _ in range(5)]
    if row == "glove" and len(turns) > 1:
        both = list(zip(turns[first], turns["firth"], strict=True))
        counted = [(a["pairs s"] + a["shuffle s"]) / b["pairs s"] for a, b in both]
        trained = [b["cells/s"] / a["cells/s"] for a, b in both]
        result |= {"counting ratios": counted, "training ratios": trained}
    return result


def ceiling() -> float:
    """What this machine's second core has to give: two processes of bare matrix products at once over one alone."""
    program = (
        "import numpy as np, time; a = np.ones((128, 128), np.float32); a @ a; start = time.perf_counter()\n"
        "for _ in range(20_000): a @ a\n"
        "print(time.perf_counter() - start)"
    )
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

    def seconds(processes: int) -> float:
        command = [sys.executable, "-c", program]
        running = [subprocess.Popen(command, stdout=subprocess.PIPE, env=one_thread) for _ in range(processes)]
        return max(float(each.communicate()[0]) for each in running)

    return THREADS * seconds(1) / seconds(THREADS)


def shown(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The lines of a row's table."""
    lines = []
    for name, turns in result["turns"].items():
        speeds = [turn["words/s"] for turn in turns]
        line = {"row": result["row"], "system": name, "words/s": f"{statistics.median(speeds):,.0f}"}
        line["ratio"] = f"{result['ratio']:.2f}" if name == "firth" and "ratio" in result else "1"
        line["by processor time"] = f"{result['processor ratio']:.2f}" if name == "firth" and "ratio" in result else "1"
        line["peak MB"] = f"{max(turn['peak MB'] for turn in turns):,.0f}"
        for measured in (*PAIRS, "total"):
            values = [turn["grades"][measured] for turn in turns if "grades" in turn]
            mean = f"{statistics.mean(v['value'] for v in values):.3f}" if values else ""
            half = f" ±{statistics.mean((v['high'] - v['low']) / 2 for v in values):.3f}" if values else ""
            line["analogies" if measured == "total" else measured] = mean + half
        lines.append(line)
    return lines


def main() -> None:
    """Make the corpus, run the rows, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--child", default="", help=argparse.SUPPRESS)
    flags.add_argument("--rows", default=",".join(ROWS))
    flags.add_argument("--tokens", type=int, default=0, help="words of the corpus; 0 = all")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--first", type=int, default=0, help="the first seed")
    flags.add_argument("--stanford", default="", help="folder of Stanford's vocab_count, cooccur, shuffle and glove")
    flags.add_argument("--small", action="store_true")
    flags.add_argument("--save", default="words", help="name of the result file")
    settings = flags.parse_args()
    if settings.child:
        print(json.dumps(child(json.loads(settings.child))))
        return
    if settings.small:
        settings.tokens, settings.seeds, settings.save = SMALL_TOKENS, 1, "words_small"
    text, tokens = corpus(settings.tokens)
    seeds = range(settings.first, settings.first + settings.seeds)
    measure.CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="vectors-", dir=measure.CACHE) as folder:
        for row in settings.rows.split(","):
            result = compared(row, text, tokens, seeds, settings.stanford, Path(folder))
            result["environment"] = measure.environment("gensim", "numpy")
            measure.table(shown(result))
            measure.save(settings.save, {"rows": [*others(settings.save, result), result]})


def others(name: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the result file that this one does not replace: of other rows, words or seeds."""
    path = measure.RESULTS / f"{name}.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    key = ("row", "tokens", "seeds")
    return [each for each in known if [each[k] for k in key] != [result[k] for k in key]]


if __name__ == "__main__":
    main()
