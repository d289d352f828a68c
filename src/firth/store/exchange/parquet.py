"""Parquet: a folder of part files that every data tool reads, and a manifest with their checksums.

    manifest.json        {"format": 1, "plan": …, "parts": {"part-00000.parquet": sha256, …}}
    part-00000.parquet   id (int64 or string), title, text, payload (JSON), vector and vector_<name> (lists of float32)

A single .parquet file, or a folder without a manifest, is read too: the columns `id`, `text` and `vector` are then
found by name, and every other column becomes a field of the payload.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from firth.arrays import NO_ID, Vectors, unit
from firth.errors import DataError, FormatError, MissingExtraError, SettingsError, StorageError
from firth.files import read_json, sha256, write_json, write_whole
from firth.kernels.flat import flat
from firth.store.exchange.plan import Plan
from firth.store.records import Key, Record
from firth.store.schema import VectorSettings

FORMAT = 1
MANIFEST = "manifest.json"
ROWS_A_BATCH = 1_000  # read at once
TEXTS = ("text", "page_content", "content", "document")  # columns that hold the text, where there is no manifest
KEYS = ("id", "_id", "key")
VECTORS = ("vector", "embedding", "vectors", "embeddings")


class ParquetTarget:
    """Writes a folder of parts, one a page; parts that a run before finished stay."""

    def __init__(self, folder: Path) -> None:
        _need_pyarrow()
        self.folder = folder
        self.where = f"parquet:{folder.resolve()}"
        self._plan: Plan | None = None

    def prepare(self, plan: Plan, *, fresh: bool) -> None:
        """Make the folder; refuse one that holds another export unless `fresh`."""
        self._plan = plan
        manifest = self.folder / MANIFEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.folder}: {error.strerror}") from error
        if fresh or (manifest.exists() and Plan.from_json(_held(manifest)["plan"], str(manifest)) != plan):
            if not fresh:
                raise SettingsError(f"{self.folder}: holds an export of another shape; --fresh replaces it")
            for path in [manifest, *self._parts()]:
                path.unlink(missing_ok=True)
        if not manifest.exists():
            write_json(manifest, {"format": FORMAT, "plan": plan.as_json(), "parts": {}})

    def write(self, records: Sequence[Record]) -> None:
        """The next part; one that holds the same first key, of a run that was stopped, is replaced."""
        import pyarrow
        from pyarrow import parquet

        assert self._plan is not None
        if not records:
            return
        numbered = self._plan.numbered
        columns: dict[str, Any] = {
            "id": pyarrow.array([r.id if numbered else str(r.id) for r in records]),
            "title": pyarrow.array([r.title for r in records], pyarrow.string()),
            "text": pyarrow.array([r.text for r in records], pyarrow.string()),
            "payload": pyarrow.array([json.dumps(r.payload, ensure_ascii=False) for r in records], pyarrow.string()),
        }
        for name, settings in self._plan.vectors.items():
            flat_values = pyarrow.array(np.concatenate([r.vectors[name] for r in records]), pyarrow.float32())
            columns[_column(name)] = pyarrow.FixedSizeListArray.from_arrays(flat_values, settings.dims)
        manifest = _held(self.folder / MANIFEST)
        first = records[0].id if numbered else str(records[0].id)
        again = [part for part, told in manifest["parts"].items() if told["first"] == first]
        name = again[0] if again else f"part-{len(manifest['parts']):05d}.parquet"
        with write_whole(self.folder / name) as file:
            parquet.write_table(pyarrow.table(columns), file)
        manifest["parts"][name] = {"sha256": sha256(self.folder / name), "rows": len(records), "first": first}
        write_json(self.folder / MANIFEST, manifest)

    def finish(self) -> None:
        """Take away parts of an earlier run that the manifest does not name."""
        named = _held(self.folder / MANIFEST)["parts"]
        for path in self._parts():
            if path.name not in named:
                path.unlink()

    def count(self) -> int:
        """Rows that the manifest names."""
        return sum(told["rows"] for told in _held(self.folder / MANIFEST)["parts"].values())

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """Read back what was written."""
        return ParquetSupply(self.folder).fetch(keys, name)

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """The exact nearest, by looking at every row: what files can answer."""
        return ParquetSupply(self.folder).nearest(queries, k, name)

    def close(self) -> None:
        """There is nothing open."""

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob("part-*.parquet"))


class ParquetSupply:
    """Reads such a folder, or any Parquet file with a column of vectors."""

    def __init__(self, path: Path) -> None:
        _need_pyarrow()
        self.path = path
        self.where = f"parquet:{path.resolve()}"
        manifest = path / MANIFEST
        self._made = _held(manifest) if manifest.is_file() else None
        if self._made is not None:
            self._files = [_inside(path, name) for name in sorted(self._made["parts"])]
            for file in self._files:
                if sha256(file) != self._made["parts"][file.name]["sha256"]:
                    raise FormatError("is not as it was written (SHA-256 differs); export again", path=file)
        else:
            self._files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
        if not self._files or not all(file.is_file() for file in self._files):
            raise DataError("no .parquet file there", path=path)

    def plan(self) -> Plan:
        """Of the manifest, or by the columns of the first file."""
        if self._made is not None:
            return Plan.from_json(self._made["plan"], str(self.path / MANIFEST))
        rows = sum(self._open(file).metadata.num_rows for file in self._files)
        schema = self._open(self._files[0]).schema_arrow
        column = _named(schema.names, VECTORS)
        if column is None:
            raise DataError(
                f"no column of vectors ({', '.join(VECTORS)}) among {', '.join(schema.names)}", path=self.path
            )
        first = next(self.read(None), ([], None))[0]
        if not first:
            raise DataError("holds no rows", path=self.path)
        return Plan({"": VectorSettings(len(first[0].vectors[""]))}, count=rows)

    def read(self, after: Any) -> Iterator[tuple[list[Record], Any]]:
        """Pages; the mark is [file, rows read in it]."""
        number, row = after or (0, 0)
        for i, file in enumerate(self._files[number:], number):
            seen, skip = 0, row if i == number else 0
            for batch in self._open(file).iter_batches(batch_size=ROWS_A_BATCH):
                seen += batch.num_rows
                if seen <= skip:
                    continue
                start = max(0, skip - (seen - batch.num_rows))
                yield self._records(file, batch.slice(start), seen - batch.num_rows + start), [i, seen]

    def fetch(self, keys: Sequence[Key], name: str) -> dict[Key, Vectors]:
        """By reading every row."""
        wanted = {str(key): key for key in keys}
        return {wanted[str(r.id)]: r.vectors[name] for page, _ in self.read(None) for r in page if str(r.id) in wanted}

    def nearest(self, queries: Vectors, k: int, name: str) -> list[list[Key]]:
        """The exact nearest, by looking at every row: what a file can answer."""
        metric = self.plan().vectors[name].metric
        best: list[list[tuple[float, Key]]] = [[] for _ in queries]
        for records, _ in self.read(None):
            rows = np.stack([r.vectors[name] for r in records])
            rows = unit(rows) if metric == "cosine" else rows  # a file from elsewhere may hold rows of any length
            near = flat(queries, rows, min(k, len(records)), euclid=metric == "euclid")
            for i, (ids, scores) in enumerate(zip(near.ids.tolist(), near.scores.tolist(), strict=True)):
                more = [(score, records[j].id) for j, score in zip(ids, scores, strict=True) if j != NO_ID]
                best[i] = sorted([*best[i], *more], key=lambda one: -one[0])[:k]
        return [[key for _, key in row] for row in best]

    def close(self) -> None:
        """There is nothing open."""

    def _open(self, file: Path) -> Any:
        from pyarrow import ArrowException, parquet

        try:
            return parquet.ParquetFile(file)
        except (ArrowException, OSError) as error:
            raise FormatError(f"not a Parquet file: {error}", path=file) from error

    def _records(self, file: Path, batch: Any, first: int) -> list[Record]:
        names = batch.schema.names
        if self._made is not None:
            plan = self.plan()
            columns = {name: _column(name) for name in plan.vectors}
            text, title, key = "text", "title", "id"
        else:
            columns = {"": str(_named(names, VECTORS))}
            text, title, key = str(_named(names, TEXTS)), "title", str(_named(names, KEYS))
        vectors = {name: _matrix(batch, column, file) for name, column in columns.items()}
        rows = batch.drop_columns(list(columns.values())).to_pylist()
        records = []
        for i, row in enumerate(rows):
            payload = _payload(row, {key, text, title}, made=self._made is not None, file=file)
            here = {name: matrix[i] for name, matrix in vectors.items()}
            records.append(Record(row.get(key, first + i), row.get(text) or "", row.get(title) or "", payload, here))
        return records


def _payload(row: Mapping[str, Any], known: set[str], *, made: bool, file: Path) -> dict[str, Any]:
    if not made:
        return {name: value for name, value in row.items() if name not in known and value is not None}
    try:
        payload = json.loads(row["payload"])
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"payload of {row.get('id')!r} is not JSON: {error}", path=file) from error
    return dict(payload)


def _matrix(batch: Any, column: str, file: Path) -> Vectors:
    """(n, d) float32 of a column of lists, all as long."""
    if column not in batch.schema.names:
        raise FormatError(f"has no column {column!r}", path=file)
    values = batch.column(column)
    if values.null_count:
        raise DataError(f"{values.null_count:,} rows have no {column}", path=file)
    flat_values = values.flatten().to_numpy(zero_copy_only=False)
    if not batch.num_rows or len(flat_values) % batch.num_rows:
        raise DataError(f"{column}: the vectors are of different lengths", path=file)
    matrix = np.asarray(flat_values, np.float32).reshape(batch.num_rows, -1)
    if any(len(row) != matrix.shape[1] for row in values):
        raise DataError(f"{column}: the vectors are of different lengths", path=file)
    return matrix


def _held(manifest: Path) -> dict[str, Any]:
    held = read_json(manifest)
    if not isinstance(held, dict) or held.get("format") != FORMAT or not isinstance(held.get("parts"), dict):
        raise FormatError(
            f"not a manifest of format {FORMAT}; upgrade firth, or name the .parquet files", path=manifest
        )
    return held


def _inside(folder: Path, name: str) -> Path:
    """A part of this folder; a manifest from outside may not name any other file."""
    if Path(name).name != name or not name.endswith(".parquet"):
        raise FormatError(f"names the part {name!r}, which is no file of this folder", path=folder / MANIFEST)
    return folder / name


def _column(name: str) -> str:
    return f"vector_{name}" if name else "vector"


def _named(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _need_pyarrow() -> None:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", "parquet", "reading and writing Parquet")
