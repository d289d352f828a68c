"""Vectors for the commands that take them: a folder of `firth encode`, or a .npy, .fvecs or .bvecs file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import Vectors, as_vectors, unit
from firth.errors import DataError
from firth.index.foreign.rows import KINDS, read_rows
from firth.sentence.shards import MANIFEST, Shards

HELD_OUT = 500  # rows that stand in for queries where there are none
FEWEST = 100  # vectors: fewer give no figures worth a choice


@dataclass(frozen=True)
class Trial:
    """What codecs and settings are measured on; rows and queries are unit rows.

    Attributes:
        rows: (n, d) float32.
        queries: (q, d) float32.
        notes: what the reader of the figures must know.
    """

    rows: Vectors
    queries: Vectors
    notes: tuple[str, ...]


def read_vectors(path: Path) -> tuple[Vectors, list[Any] | None]:
    """(n, d) float32, and the ids of a folder that firth encoded; None where a file has none.

    Raises:
        DataError: neither such a folder nor such a file.
        ShapeError: not (n, d) finite numbers.
    """
    if (path / MANIFEST).is_file():
        shards = Shards.load(path)
        return as_vectors(shards.vectors, name=str(path)), list(shards.ids)
    if not path.is_file():
        raise DataError(f"neither a folder with {MANIFEST} nor a file ({', '.join(KINDS)})", path=path)
    return read_rows(path), None


def trial(vectors: Path, queries: Path | None, *, most: int, most_queries: int, seed: int) -> Trial:
    """A sample of the vectors, and of the queries; without queries some rows are held out and take their place.

    Args:
        most, most_queries: rows and queries to take; more are drawn by `seed`.

    Raises:
        DataError: fewer than `FEWEST` vectors.
        ShapeError: queries of another width.
    """
    rows, _ = read_vectors(vectors)
    rng, notes = np.random.default_rng(seed), []
    if len(rows) < FEWEST:
        raise DataError(f"{len(rows)} vectors are too few to measure on; at least {FEWEST}", path=vectors)
    if queries is not None:
        asked = as_vectors(read_vectors(queries)[0], dims=rows.shape[1], name=str(queries))
        asked = _sample(asked, most_queries, rng)
    else:
        held = np.zeros(len(rows), bool)
        held[rng.choice(len(rows), min(HELD_OUT, len(rows) // 10), replace=False)] = True
        asked, rows = rows[held], rows[~held]
        notes.append(f"{len(asked):,} rows stand in for queries; real ones (--queries) may need a wider search")
    if len(rows) > most:
        notes.append(f"measured on {most:,} of {len(rows):,} vectors, drawn by seed {seed}")
        rows = _sample(rows, most, rng)
    return Trial(unit(rows), unit(asked), tuple(notes))


def _sample(rows: Vectors, most: int, rng: np.random.Generator) -> Vectors:
    if len(rows) <= most:
        return rows
    return np.ascontiguousarray(rows[np.sort(rng.choice(len(rows), most, replace=False))])
