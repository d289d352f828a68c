"""PostgreSQL with pgvector: one table, written by binary COPY, with an HNSW index of the same m and ef_construction.

    id bigint or text primary key, title text, text text, payload jsonb, embedding vector(d), embedding_<name> vector(d)

pgvector indexes `vector` up to 2,000 dimensions; wider rows are indexed as halfvec, up to 4,000. A query that filters
wants `SET hnsw.iterative_scan = relaxed_order`, without which pgvector may return fewer rows than asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from firth.arrays import Vectors
from firth.errors import DataError, MissingExtraError, SettingsError, StorageError
from firth.store.exchange.plan import Plan
from firth.store.records import Key, Record
from firth.store.schema import IndexSettings, Metric, VectorSettings

PAGE = 1_000
WIDEST_INDEX = 2_000  # dimensions of an index over `vector`
WIDEST_HALF = 4_000  # over halfvec
EF_SEARCH = 200  # of the comparison
OPERATORS: Mapping[Metric, tuple[str, str]] = {
    "cosine": ("<=>", "cosine"),
    "dot": ("<#>", "ip"),
    "euclid": ("<->", "l2"),
}
COLUMNS = ("id", "title", "text", "payload")


class _Table:
    """A connection, and the table that is meant."""

    def __init__(self, url: str, table: str) -> None:
        for package in ("psycopg", "pgvector"):
            if find_spec(package) is None:
                raise MissingExtraError(package, "export", "PostgreSQL")
        import psycopg
        from pgvector.psycopg import register_vector

        try:
            self.db = psycopg.connect(url, autocommit=True, connect_timeout=10)
            self.db.execute("CREATE EXTENSION IF NOT EXISTS vector")
            register_vector(self.db)
        except psycopg.Error as error:
            raise StorageError(f"{_shown(url)}: {str(error).strip()}") from error
        self.name = table
        self.where = f"pgvector:{_shown(url)}#{table}"

    def run(self, statement: str, values: Sequence[Any] = (), **names: str) -> list[tuple[Any, ...]]:
        """Rows of a statement whose {names} are identifiers."""
        import psycopg
        from psycopg import sql

        filled = sql.SQL(statement).format(
            t=sql.Identifier(self.name), **{key: sql.Identifier(value) for key, value in names.items()}
        )
        try:
            cursor = self.db.execute(filled, values)
            return cursor.fetchall() if cursor.description else []
        except psycopg.errors.DiskFull as error:
            raise StorageError(f"{self.where}: the server's disk is full; what was written stays") from error
        except psycopg.OperationalError as error:
            raise StorageError(f"{self.where}: {str(error).strip()}; the next run goes on from here") from error

    def columns(self) -> dict[str, str]:
        """Name -> type of the table's columns; empty where there is no table."""
        found = self.run(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
            "WHERE a.attrelid = to_regclass(quote_ident(%s)) AND a.attnum > 0 AND NOT a.attisdropped",
            [self.name],
        )
        return {str(name): str(kind) for name, kind in found}

    def close(self) -> None:
        """Let go of the connection."""
        self.db.close()


class PgvectorTarget(_Table):
    """A table that is made, or goes on being filled."""

    def __init__(self, url: str, table: str) -> None:
        super().__init__(url, table)
        self._plan = Plan({})

    def prepare(self, plan: Plan, *, fresh: bool) -> None:
        """CREATE TABLE with the columns of the plan."""
        self._plan = plan
        for name, settings in plan.vectors.items():
            if settings.dims > WIDEST_HALF:
                raise SettingsError(
                    f"vectors {name!r} have {settings.dims:,} dimensions; pgvector indexes up to {WIDEST_HALF:,}"
                )
        if fresh:
            self.run("DROP TABLE IF EXISTS {t}")
        wanted = {"id": "bigint" if plan.numbered else "text", "title": "text", "text": "text", "payload": "jsonb"}
        wanted |= {_column(name): f"vector({settings.dims})" for name, settings in plan.vectors.items()}
        there = self.columns()
        if there and there != wanted:
            raise SettingsError(f"{self.where}: the table is there and has columns {there}; --fresh replaces it")
        if not there:
            described = ", ".join(
                f'"{name.replace(chr(34), chr(34) * 2)}" {kind} NOT NULL' for name, kind in wanted.items()
            )
            self.run(f"CREATE TABLE {{t}} ({_braced(described)}, PRIMARY KEY (id))")

    def write(self, records: Sequence[Record]) -> None:
        """Binary COPY into a table of the transaction, and from there over what is known."""
        from psycopg import sql
        from psycopg.types.json import Jsonb

        kept = {_key(r.id, self._plan): r for r in records}
        for record in records:
            _refuse_nul(record)
        names = [*COLUMNS, *(_column(name) for name in self._plan.vectors)]
        listed = sql.SQL(", ").join(map(sql.Identifier, names))
        news = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names[1:])
        types = [
            "int8" if self._plan.numbered else "text",
            "text",
            "text",
            "jsonb",
            *["vector"] * len(self._plan.vectors),
        ]
        table = sql.Identifier(self.name)
        with self.db.transaction(), self.db.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE TEMP TABLE firth_page (LIKE {}) ON COMMIT DROP").format(table))
            with cursor.copy(sql.SQL("COPY firth_page ({}) FROM STDIN (FORMAT BINARY)").format(listed)) as copy:
                copy.set_types(types)
                for key, r in kept.items():
                    copy.write_row(
                        [key, r.title, r.text, Jsonb(r.payload), *(r.vectors[n] for n in self._plan.vectors)]
                    )
            cursor.execute(
                sql.SQL("INSERT INTO {} ({}) SELECT {} FROM firth_page ON CONFLICT (id) DO UPDATE SET {}").format(
                    table, listed, listed, news
                )
            )

    def finish(self) -> None:
        """The HNSW indexes, and one over the payload for filters."""
        for name, settings in self._plan.vectors.items():
            kind = OPERATORS[settings.metric][1]
            column, index = _column(name), f"{self.name}_{_column(name)}_hnsw"
            half = settings.dims > WIDEST_INDEX
            what = f"({{c}}::halfvec({settings.dims})) halfvec_{kind}_ops" if half else f"{{c}} vector_{kind}_ops"
            m = min(settings.index.m, 100)  # pgvector's limits
            construction = min(max(settings.index.ef_construction, 2 * m), 1000)
            self.run(
                f"CREATE INDEX IF NOT EXISTS {{i}} ON {{t}} USING hnsw ({what}) "
                f"WITH (m = {m}, ef_construction = {construction})",
                c=column,
                i=index,
            )
        self.run("CREATE INDEX IF NOT EXISTS {i} ON {t} USING gin (payload)", i=f"{self.name}_payload")
        self.run("ANALYZE {t}")

    def count(self) -> int:
        """Rows of the table."""
        return int(self.run("SELECT count(*) FROM {t}")[0][0])

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Vectors by primary key."""
        wanted = {_key(key, self._plan): key for key in keys}
        found = self.run("SELECT id, {c} FROM {t} WHERE id = ANY(%s)", [list(wanted)], c=_column(name))
        return {wanted[id_]: _floats(vector) for id_, vector in found}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the index, with hnsw.ef_search = 200."""
        return _nearest(self, queries, k, _column(name), self._plan.vectors[name])


class PgvectorSupply(_Table):
    """A table with a column of type vector or halfvec; every other column is a field of the payload."""

    def plan(self) -> Plan:
        """By the types of the columns.

        Raises:
            DataError: no such table, no primary key, or no column of vectors.
        """
        there = self.columns()
        widths = {name: _dims(kind) for name, kind in there.items() if kind.startswith(("vector(", "halfvec("))}
        if not widths:
            raise DataError(f"{self.where}: no such table, or it has no column of type vector(d); columns: {there}")
        count = int(self.run("SELECT count(*) FROM {t}")[0][0])
        vectors = {_name(column): self._settings(column, dims) for column, dims in widths.items()}
        if "" not in vectors and len(vectors) == 1:
            vectors = {"": next(iter(vectors.values()))}
        return Plan(vectors, count=count, numbered=there[self._key_column()] in ("bigint", "integer", "smallint"))

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Pages in the order of the primary key, each asked for by the key it starts behind."""
        there, key = self.columns(), self._key_column()
        spaces = {name: name for name, kind in there.items() if kind.startswith(("vector(", "halfvec("))}
        plan = self.plan()
        named = {column: _name(column) if _name(column) in plan.vectors else "" for column in spaces}
        order = "{k}" if plan.numbered else '{k} COLLATE "C"'
        while True:
            behind = "" if after is None else f"WHERE {order} > %s"
            rows = self.run(
                f"SELECT * FROM {{t}} {behind} ORDER BY {order} LIMIT {PAGE}", [] if after is None else [after], k=key
            )
            if not rows:
                return
            columns = list(there)
            yield (
                [self._record(dict(zip(columns, row, strict=True)), key, named) for row in rows],
                (after := rows[-1][columns.index(key)]),
            )

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Vectors by primary key."""
        wanted = {str(key): key for key in keys}
        statement = "SELECT {k}::text, {c} FROM {t} WHERE {k}::text = ANY(%s)"  # a key may be a uuid, say
        found = self.run(statement, [list(wanted)], k=self._key_column(), c=self._column_of(name))
        return {wanted[key]: _floats(vector) for key, vector in found}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """By the table's own index, where it has one."""
        settings = self.plan().vectors[name]
        return _nearest(self, queries, k, self._column_of(name), settings, key=self._key_column())

    def _column_of(self, name: str) -> str:
        columns = [column for column, kind in self.columns().items() if kind.startswith(("vector(", "halfvec("))]
        return next((c for c in columns if _name(c) == name), columns[0])

    def _record(self, row: dict[str, Any], key: str, named: Mapping[str, str]) -> Record:
        vectors = {}
        for column, name in named.items():
            value = row.pop(column)
            if value is None:
                raise DataError(f"{self.where}: row {row[key]!r} has no {column}")
            vectors[name] = _floats(value)
        id_ = row.pop(key)
        text, title = row.pop("text", None) or row.pop("content", None) or "", row.pop("title", None) or ""
        payload = row.pop("payload", None) if isinstance(row.get("payload"), dict) else {}
        plain = {name: _json_able(value) for name, value in row.items() if value is not None}
        return Record(
            id_ if isinstance(id_, int) else str(id_), str(text), str(title), {**plain, **(payload or {})}, vectors
        )

    def _key_column(self) -> str:
        found = self.run(
            "SELECT a.attname FROM pg_index i "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
            "WHERE i.indrelid = to_regclass(quote_ident(%s)) AND i.indisprimary",
            [self.name],
        )
        if len(found) != 1:
            raise DataError(f"{self.where}: expected a primary key of one column, got {len(found)} columns")
        return str(found[0][0])

    def _settings(self, column: str, dims: int) -> VectorSettings:
        """Metric, m and ef_construction of the column's HNSW index; cosine and our own where it has none."""
        found = self.run(
            "SELECT indexdef FROM pg_indexes WHERE tablename = %s AND indexdef ~ 'USING hnsw'", [self.name]
        )
        for (definition,) in found:
            if column not in definition:
                continue
            metric: Metric = "dot" if "_ip_ops" in definition else "euclid" if "_l2_ops" in definition else "cosine"
            m, construction = _option(definition, "m", 16), _option(definition, "ef_construction", 64)
            return VectorSettings(dims, metric, index=IndexSettings(m=m, ef_construction=construction))
        return VectorSettings(dims)


def _nearest(
    table: _Table, queries: Vectors, k: int, column: str, settings: VectorSettings, key: str = "id"
) -> list[list[Key]]:
    operator = OPERATORS[settings.metric][0]
    half = settings.dims > WIDEST_INDEX
    left, right = (f"{{c}}::halfvec({settings.dims})", "%s::halfvec") if half else ("{c}", "%s")
    table.run(f"SET hnsw.ef_search = {max(EF_SEARCH, k)}")
    ask = f"SELECT {{k}} FROM {{t}} ORDER BY {left} {operator} {right} LIMIT {k}"
    return [[row[0] for row in table.run(ask, [query], c=column, k=key)] for query in queries]


def _column(name: str) -> str:
    return f"embedding_{name}" if name else "embedding"


def _name(column: str) -> str:
    return "" if column == "embedding" else column.removeprefix("embedding_")


def _dims(kind: str) -> int:
    return int(kind.partition("(")[2].rstrip(")"))


def _option(definition: str, name: str, default: int) -> int:
    for part in definition.partition("WITH (")[2].rstrip(")").split(","):
        key, _, value = part.partition("=")
        if key.strip() == name:
            return int(value.strip(" '"))
    return default


def _floats(value: Any) -> Vectors:
    return np.asarray(value.to_numpy() if hasattr(value, "to_numpy") else value, np.float32)


def _key(key: Key, plan: Plan) -> Key:
    return key if plan.numbered else str(key)


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _refuse_nul(record: Record) -> None:
    if "\0" in record.text or "\0" in record.title:
        raise DataError(f"text of {record.id!r} holds a NUL character, which PostgreSQL cannot; take it out")


def _json_able(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict) else str(value)


def _shown(url: str) -> str:
    """The address without its password."""
    head, at, tail = url.rpartition("@")
    scheme, slashes, user = head.partition("://")
    return f"{scheme}{slashes}{user.partition(':')[0]}{at}{tail}" if at else url
