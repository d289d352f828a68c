"""From what a person writes to an engine: `pgvector:postgresql://me@host/db#notes`, `milvus:notes.db#notes`, ….

    parquet:FOLDER                          or any path that ends in .parquet
    pgvector:postgresql://user@host/db#table  or postgresql://…#table
    milvus:http://host:19530#collection     or milvus:FILE.db#collection (Milvus Lite)
    qdrant:http://host:6333#collection      or qdrant:FOLDER#collection (the client's local mode)

and, to read from only:

    FILE.npy  .fvecs  .bvecs                bare vectors
    faiss:FILE  hnswlib:FILE                indexes of these; the words may be left out before .faiss and .hnswlib

Passwords stay out of command lines: PGPASSWORD, and QDRANT_API_KEY. What stands behind # is "firth" if left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from firth.errors import SettingsError
from firth.index.foreign import KINDS as ROWS
from firth.store.exchange.plan import Supply, Target
from firth.store.records import Record
from firth.store.schema import Metric

NAME = "firth"  # of a table or collection that is not named
KINDS = ("parquet", "pgvector", "milvus", "qdrant")
FILES = ("rows", "faiss", "hnswlib")  # that can be read and not written


def target(place: str) -> Target:
    """The engine to write to.

    Raises:
        SettingsError: not understood; MissingExtraError: its client is not installed.
        StorageError: it does not answer.
    """
    kind, address, name = parsed(place)
    if kind in FILES:
        raise SettingsError(f"{place!r}: a collection is not written as a bare index; parquet:FOLDER keeps its vectors")
    if kind == "parquet":
        from firth.store.exchange.parquet import ParquetTarget

        return ParquetTarget(Path(address).expanduser())
    if kind == "pgvector":
        from firth.store.exchange.pgvector import PgvectorTarget

        return PgvectorTarget(address, name)
    if kind == "milvus":
        from firth.store.exchange.milvus import MilvusTarget

        return MilvusTarget(address, name)
    from firth.store.exchange.qdrant import QdrantTarget

    return QdrantTarget(address, name, api_key=os.environ.get("QDRANT_API_KEY"))


def supply(
    place: str,
    *,
    text_field: str | None = None,
    texts: Sequence[Record] | None = None,
    metric: Metric | None = None,
) -> Supply:
    """The engine or file to read from.

    Args:
        text_field: of Qdrant's payload, where the text is kept under a name of its own.
        texts: documents of bare vectors and of indexes, which hold none; see `arrays`.
        metric: of such a file, where it does not say.

    Raises:
        As `target`; SettingsError also for `texts` or `metric` of an engine that has its own.
    """
    kind, address, name = parsed(place)
    if kind in FILES:
        from firth.store.exchange.arrays import ArraySupply

        return ArraySupply(Path(address).expanduser(), program=kind, metric=metric, texts=texts)  # type: ignore[arg-type]
    if texts is not None or metric is not None:
        raise SettingsError(f"{place!r}: has texts and a metric of its own; --texts and --metric are for bare vectors")
    if kind == "parquet":
        from firth.store.exchange.parquet import ParquetSupply

        return ParquetSupply(Path(address).expanduser())
    if kind == "pgvector":
        from firth.store.exchange.pgvector import PgvectorSupply

        return PgvectorSupply(address, name)
    if kind == "milvus":
        from firth.store.exchange.milvus import MilvusSupply

        return MilvusSupply(address, name)
    from firth.store.exchange.qdrant import QdrantSupply

    return QdrantSupply(address, name, api_key=os.environ.get("QDRANT_API_KEY"), text_field=text_field)


def parsed(place: str) -> tuple[str, str, str]:
    """Kind, address and name.

    >>> parsed("milvus:notes.db#papers")
    ('milvus', 'notes.db', 'papers')
    """
    kind, colon, rest = place.partition(":")
    if kind in ("postgresql", "postgres"):
        kind, rest = "pgvector", place
    elif kind not in (*KINDS, *FILES) and (known := _by_name(place)) is not None:
        kind, rest = known, place
    elif not colon or kind not in (*KINDS, *FILES) or not rest:
        raise SettingsError(
            f"{place!r}: expected parquet:FOLDER, pgvector:postgresql://…#table, milvus:ADDRESS#collection or "
            "qdrant:ADDRESS#collection; to read from also a .npy, .fvecs, .bvecs, faiss:FILE or hnswlib:FILE"
        )
    if kind in ("parquet", *FILES):
        return kind, rest, ""
    address, _, name = rest.rpartition("#") if "#" in rest else (rest, "", NAME)
    if not address or not name:
        raise SettingsError(f"{place!r}: nothing stands before or behind the #")
    return kind, address, name


def _by_name(place: str) -> str | None:
    kinds = {".parquet": "parquet", ".faiss": "faiss", ".hnswlib": "hnswlib", **dict.fromkeys(ROWS, "rows")}
    return kinds.get(Path(place).suffix.lower())
