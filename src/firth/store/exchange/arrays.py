"""Files of vectors: .npy, .fvecs, .bvecs, and indexes of faiss and hnswlib, read without those programs.

Such a file holds numbers only. Its texts come from beside it: the vector whose key is n belongs to the n-th document,
counted from 0, and is stored under that document's id. In a .npy the key is the row; in an index of hnswlib it is the
label, in one of faiss the id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import NO_ID, Ids, Vectors, unit
from firth.errors import DataError, SettingsError
from firth.index import foreign
from firth.index.foreign import faiss, hnswlib
from firth.index.foreign.graph import UNIT_WITHIN, ForeignGraph, adopt
from firth.kernels.flat import flat
from firth.store.exchange.plan import Plan
from firth.store.records import Key, Record
from firth.store.schema import IndexSettings, Metric, VectorSettings

PAGE = 1_000  # documents read at once
EF_SEARCH = 200  # of the comparison


class ArraySupply:
    """Vectors of one file, with the texts that stand beside it.

    Args:
        path: the file.
        program: "rows", "faiss" or "hnswlib"; recognised by the file's name or first bytes if None.
        metric: hnswlib's files do not say theirs, nor do bare rows: cosine if None. faiss's do: its inner product is
            "dot", which may be named "cosine" where the rows are unit rows.
        texts: the documents; without them texts are empty, and keys are the file's own.

    Raises:
        DataError: no such file, or a vector that has no document.
        FormatError: damaged, or a class of index that firth does not read.
        SettingsError: a metric that the file contradicts.
    """

    def __init__(
        self,
        path: Path,
        *,
        program: foreign.Program | None = None,
        metric: Metric | None = None,
        texts: Sequence[Record] | None = None,
    ) -> None:
        self.program = program or foreign.recognise(path)
        self.where = f"{self.program}:{path.resolve()}"
        self.metric: Metric = metric or "cosine"
        self._graph: ForeignGraph | None = None
        self._texts = texts
        if self.program == "rows":
            self.rows: Vectors = foreign.read_rows(path)
            self.keys: Ids = np.arange(len(self.rows))
        else:
            self._open_index(path, metric)
        if texts is not None and self.program == "rows" and len(texts) != len(self.rows):
            raise DataError(f"{len(self.rows):,} vectors and {len(texts):,} documents; expected as many", path=path)
        if texts is not None and len(self.keys) and self.keys.max() >= len(texts):
            raise DataError(
                f"vector {self.keys.max():,} has no text: there are {len(texts):,} documents, and the vector with the "
                "key n belongs to the n-th, counted from 0",
                path=path,
            )

    def plan(self) -> Plan:
        """Width, metric, and for a graph its m and ef_construction."""
        if not len(self.rows):
            raise DataError(f"{self.where}: holds no vectors")
        index = IndexSettings()
        if self._graph is not None:
            index = IndexSettings(m=self._graph.m, ef_construction=self._graph.ef_construction)
        settings = VectorSettings(self.rows.shape[1], self.metric, index=index)
        return Plan({"": settings}, count=len(self.rows), numbered=self._texts is None)

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Pages in the file's order; the mark is the number of vectors read."""
        for begin in range(after or 0, len(self.rows), PAGE):
            end = min(begin + PAGE, len(self.rows))
            yield [self._record(i) for i in range(begin, end)], end

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Rows by their keys."""
        assert name == "", "such a file holds one set of vectors"
        row_of = {self._key(int(key)): i for i, key in enumerate(self.keys)}
        return {key: np.array(self.rows[row_of[key]], np.float32) for key in keys if key in row_of}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the file's own graph at ef = 200; exact where it has none."""
        assert name == "", "such a file holds one set of vectors"
        if self._graph is not None:
            ids = adopt(self._graph, self.metric, codec=None).search(queries, k, ef=max(EF_SEARCH, k)).ids
        else:
            rows = unit(self.rows) if self.metric == "cosine" else np.ascontiguousarray(self.rows)
            ids = flat(queries, rows, min(k, len(rows)), euclid=self.metric == "euclid").ids
            ids = np.where(ids == NO_ID, NO_ID, self.keys[ids])
        return [[self._key(int(id_)) for id_ in row if id_ != NO_ID] for row in ids]

    def close(self) -> None:
        """There is nothing open."""

    def _open_index(self, path: Path, metric: Metric | None) -> None:
        if self.program == "hnswlib":
            found: ForeignGraph | tuple[Vectors, Ids] = hnswlib.read(path)
        else:
            found, said = faiss.read(path)
            if metric is not None and metric != said and (metric, said) != ("cosine", "dot"):
                raise SettingsError(f"metric={metric}: {path} was built for {said}")
            self.metric = metric or said
        if isinstance(found, ForeignGraph):
            self._graph = found
            self.rows, self.keys = found.rows[~found.hidden], found.keys[~found.hidden]
        else:
            self.rows, self.keys = found
        if self.metric == "cosine" and not _unit(self.rows):
            raise SettingsError(
                f"{path}: its rows are not unit rows, so that cosine is not its metric; name it: --metric dot or euclid"
            )

    def _record(self, i: int) -> Record:
        n, vector = int(self.keys[i]), {"": np.array(self.rows[i], np.float32)}
        if self._texts is None:
            return Record(n, "", "", {}, vector)
        document = self._texts[n]
        return Record(document.id, document.text, document.title, document.payload, vector)

    def _key(self, n: int) -> Key:
        return n if self._texts is None else self._texts[n].id


def _unit(rows: Vectors) -> bool:
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    return bool((np.abs(lengths - 1) <= UNIT_WITHIN).all())
