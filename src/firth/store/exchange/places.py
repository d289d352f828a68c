"""From what a person writes to an engine: `pgvector:postgresql://me@host/db#notes`, `milvus:notes.db#notes`, ….

    parquet:FOLDER                          or any path that ends in .parquet
    pgvector:postgresql://user@host/db#table  or postgresql://…#table
    milvus:http://host:19530#collection     or milvus:FILE.db#collection (Milvus Lite)
    qdrant:http://host:6333#collection      or qdrant:FOLDER#collection (the client's local mode)

Passwords stay out of command lines: PGPASSWORD, and QDRANT_API_KEY. What stands behind # is "firth" if left out.
"""

from __future__ import annotations

import os
from pathlib import Path

from firth.errors import SettingsError
from firth.store.exchange.plan import Supply, Target

NAME = "firth"  # of a table or collection that is not named
KINDS = ("parquet", "pgvector", "milvus", "qdrant")


def target(place: str) -> Target:
    """The engine to write to.

    Raises:
        SettingsError: not understood; MissingExtraError: its client is not installed.
        StorageError: it does not answer.
    """
    kind, address, name = parsed(place)
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


def supply(place: str, *, text_field: str | None = None) -> Supply:
    """The engine or file to read from.

    Args:
        text_field: of Qdrant's payload, where the text is kept under a name of its own.

    Raises:
        As `target`.
    """
    kind, address, name = parsed(place)
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
    elif place.endswith(".parquet") and kind not in KINDS:
        kind, rest = "parquet", place
    elif not colon or kind not in KINDS or not rest:
        raise SettingsError(
            f"{place!r}: expected parquet:FOLDER, pgvector:postgresql://…#table, milvus:ADDRESS#collection or "
            "qdrant:ADDRESS#collection"
        )
    if kind == "parquet":
        return kind, rest, ""
    address, _, name = rest.rpartition("#") if "#" in rest else (rest, "", NAME)
    if not address or not name:
        raise SettingsError(f"{place!r}: nothing stands before or behind the #")
    return kind, address, name
