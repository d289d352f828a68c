"""Indexes and vectors of other programs, read and written without them: hnswlib, faiss, .npy, .fvecs, .bvecs.

A graph is taken over as it is, link by link: nothing is built again, and a walk finds the same neighbours. What a
file says is checked against its size before it is used; see `bytes` and `graph`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import numpy as np

from firth.errors import DataError, SettingsError
from firth.index.flat import Flat
from firth.index.foreign import faiss, hnswlib
from firth.index.foreign.graph import ForeignGraph, adopt, given
from firth.index.foreign.rows import KINDS, read_rows, write_rows
from firth.index.hnsw import HNSW
from firth.index.metric import Metric, check_metric

Program = Literal["hnswlib", "faiss", "rows"]

__all__ = ["KINDS", "ForeignGraph", "Program", "read", "read_rows", "recognise", "write", "write_rows"]


def recognise(path: Path | str) -> Program:
    """Whose file this is, by its name or its first bytes.

    Raises:
        DataError: no such file.
    """
    path = Path(path)
    if path.suffix.lower() in KINDS:
        return "rows"
    if not path.is_file():
        raise DataError("no such file", path=path)
    with path.open("rb") as file:
        return "faiss" if file.read(4) in faiss.LETTERS else "hnswlib"


def read(
    path: Path | str,
    *,
    program: Program | None = None,
    metric: Metric | None = None,
    codec: Literal["sq8"] | None = "sq8",
    seed: int = 0,
) -> HNSW | Flat:
    """An index from another program's file: its graph as it is; bare rows become a `Flat`.

    Args:
        path: a file of hnswlib or faiss, or bare rows.
        program: whose file it is; recognised by its first bytes if None.
        metric: hnswlib's files do not say: the default is "cosine" for them and for bare rows. faiss's do: its inner
            product is "dot", which may be named "cosine" where the rows are unit rows.
        codec: what the walk compares, as of `HNSW.build`.

    Raises:
        DataError: no such file.
        FormatError: truncated, damaged, or a class of index that firth does not read.
        SettingsError: another metric than the file's, or cosine over rows that are not unit rows.
    """
    if metric is not None:
        check_metric(metric)
    program = program or recognise(path)
    if program not in get_args(Program):
        raise SettingsError(f"program={program!r}: expected one of {', '.join(get_args(Program))}")
    if program == "rows":
        return Flat.build(read_rows(path), metric=metric or "cosine")
    if program == "hnswlib":
        return adopt(hnswlib.read(path), metric or "cosine", codec=codec, seed=seed)
    found, said = faiss.read(path)
    if metric is not None and metric != said and (metric, said) != ("cosine", "dot"):
        raise SettingsError(f"metric={metric}: {path} was built for {said}")
    if isinstance(found, ForeignGraph):
        return adopt(found, metric or said, codec=codec, seed=seed)
    rows, keys = found
    return Flat.build(rows, keys=keys, metric=metric or said)


def write(index: HNSW | Flat, path: Path | str, *, program: Program | None = None) -> None:
    """An index of ours as a file of another program; removed vectors are mended away first.

    hnswlib's labels and faiss's ids are integer keys; string keys become their serial numbers, and
    `index.names(...)` gives the strings. A `Flat` over codes is written as what its codes stand for.

    Args:
        program: "hnswlib", "faiss", or "rows" for the vectors alone (.npy, .fvecs); by the file's name if None.

    Raises:
        SettingsError: a name that says nothing, or hnswlib for an index without a graph.
    """
    path = Path(path)
    if program is None:
        suffix = path.suffix.lower()
        program = "rows" if suffix in KINDS else "faiss" if suffix == ".faiss" else "hnswlib"
        if program == "hnswlib" and suffix not in (".hnswlib", ".bin"):
            raise SettingsError(f"{path}: say which program's file this becomes, or end it in .faiss, .hnswlib, .npy")
    if isinstance(index, Flat):
        if program == "hnswlib":
            raise SettingsError("hnswlib's files hold a graph; this index is flat: build an HNSW of its rows")
        if program == "rows":
            write_rows(path, index.rows)
        else:
            faiss.write_flat(np.ascontiguousarray(index.rows), index.ids, index.metric, path)
        return
    graph = given(index)
    if program == "rows":
        write_rows(path, graph.rows)
    elif program == "hnswlib":
        hnswlib.write(graph, path)
    else:
        faiss.write_graph(graph, index.metric, path)
