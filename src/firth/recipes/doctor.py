"""`firth doctor`: what this machine and installation can do, what is missing, and the command that adds it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from firth import __version__, kernels

if TYPE_CHECKING:
    from rich.console import Console

# module that is imported, distribution that holds it, the extra that adds it, what it is for
OPTIONAL = (
    ("torch", "torch", "torch", "training and tuning sentence models"),
    ("tokenizers", "tokenizers", "torch", "sub-word tokenizers of published models"),
    ("huggingface_hub", "huggingface-hub", "torch", "loading models from the hub"),
    ("altair", "altair", "report", "plots in report.html"),
    ("vl_convert", "vl-convert-python", "report", "plots without a browser"),
    ("matplotlib", "matplotlib", "report", "plots as PNG"),
    ("pyarrow", "pyarrow", "parquet", "Parquet files"),
    ("pypdfium2", "pypdfium2", "documents", ".pdf documents"),
    ("docx", "python-docx", "documents", ".docx documents"),
    ("selectolax", "selectolax", "documents", ".html documents"),
    ("sklearn", "scikit-learn", "tasks", "classification and clustering in firth eval --suite"),
    ("py3langid", "py3langid", "languages", "telling languages apart in test sets and probes"),
    ("zstandard", "zstandard", "zstd", ".zst text"),
)


@dataclass(frozen=True)
class Settings:
    """`firth doctor` has no settings of its own."""


@dataclass(frozen=True)
class Part:
    """One optional dependency: its version, or the command that adds it."""

    name: str
    version: str | None
    purpose: str
    remedy: str


@dataclass(frozen=True)
class Health:
    """What was found."""

    firth: str
    python: str
    platform: str
    level: str
    levels: tuple[str, ...]
    forced_level: str | None
    bfloat16: bool
    threads: int
    cache: str
    parts: tuple[Part, ...]

    @property
    def fallback(self) -> str | None:
        """Why the level that FIRTH_LEVEL asks for is not the one in use, if so."""
        if self.forced_level in (None, self.level):
            return None
        return f"FIRTH_LEVEL={self.forced_level} does not run here; fell back to {self.level}"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"fallback": self.fallback}


def run(settings: Settings) -> Health:  # noqa: ARG001 - every recipe is called with its settings
    """Look around; changes nothing."""
    return Health(
        firth=__version__,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        level=kernels.native.level,
        levels=kernels.levels(),
        forced_level=os.environ.get("FIRTH_LEVEL") or None,
        bfloat16=kernels.native.level == "v4",
        threads=kernels.default_threads(),
        cache=str(Path(os.environ.get("FIRTH_CACHE") or "~/.cache/firth").expanduser()),
        parts=tuple(_part(*row) for row in OPTIONAL),
    )


def show(health: Health, console: Console) -> None:
    """Two short tables, with what is missing last in each line."""
    from rich.table import Table

    console.print(f"firth {health.firth}   Python {health.python}   {health.platform}   {sys.prefix}")
    console.print(
        f"CPU level {health.level} (this machine runs {', '.join(health.levels)}; FIRTH_LEVEL forces one)   "
        f"bfloat16 {'native' if health.bfloat16 else 'not native: float32 is used'}   {health.threads} threads"
    )
    if health.fallback:
        console.print(f"note: {health.fallback}", style="yellow")
    console.print(f"models are cached in {health.cache}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for part in health.parts:
        found = part.version or "missing"
        table.add_row(
            part.name, found, part.purpose, "" if part.version else part.remedy, style="" if part.version else "yellow"
        )
    console.print(table)


def _part(module: str, distribution: str, extra: str, purpose: str) -> Part:
    version = metadata.version(distribution) if find_spec(module) else None
    return Part(distribution, version, purpose, f"pip install 'firth[{extra}]'")
