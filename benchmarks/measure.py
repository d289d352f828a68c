"""What every benchmark shares: contenders interleaved in one run, median and range, a result file with its machine.

Absolute times drift on shared machines, so contenders take turns and the claim is the ratio of their medians.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from firth import files, kernels

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / ".bench"  # vectors, exported models, corpora: made once, never committed
DATA = ROOT.parent / "shared" / "data"


def interleaved(contenders: Mapping[str, Callable[[], object]], *, repeats: int = 5) -> dict[str, list[float]]:
    """Seconds of each repeat of each contender, taking turns; one unmeasured turn comes first."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 1):
        for name, work in contenders.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median and range, as they stand in a result file."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": len(values)}


def environment(*packages: str) -> dict[str, Any]:
    """The machine, the commit and the versions that the figures belong to."""
    versions = {name: metadata.version(name) for name in packages}
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": _git("rev-parse", "--short", "HEAD"),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "level": kernels.LEVEL,
        "python": platform.python_version(),
        "versions": versions,
    }


def save(question: str, result: Mapping[str, Any]) -> Path:
    """benchmarks/results/<question>.json, written whole."""
    path = RESULTS / f"{question}.json"
    files.write_json(path, dict(result))
    print(f"written: {path.relative_to(ROOT)}")
    return path


def table(rows: list[Mapping[str, Any]]) -> None:
    """Rows of equal keys as aligned text."""
    if not rows:
        return
    cells = [list(rows[0])] + [[f"{v:,.4g}" if isinstance(v, float) else str(v) for v in row.values()] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def last_result(question: str) -> dict[str, Any] | None:
    """What an earlier run of this benchmark saved; None where there is none."""
    path = RESULTS / f"{question}.json"
    return json.loads(path.read_text()) if path.exists() else None


def own_memory(process: int) -> float:
    """Megabytes that belong to a process alone: anonymous memory, without mapped files."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("RssAnon"))) / 1024


def _git(*words: str) -> str:
    run = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
    return run.stdout.strip() or "unknown"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
