"""A collection: a folder of texts with payloads and vectors, searched by meaning, by word and by payload.

    rows.db        SQLite, the truth: keys, texts, payloads, and which slot holds whose vector (schema.py)
    vectors/       one file of float32 rows for each set of vectors (vectors.py)
    index/         derived from the rows, may be deleted at any time
    lock           held by the one writer

What an `upsert` or `delete` returned from survives kill -9 and, unless `durable=False`, the loss of power. One process
writes; any number read, each search in one committed moment, and no reader ever waits for the writer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firth.arrays import NO_ID, Encoder, Vectors, as_vectors, unit
from firth.errors import ModelError, SettingsError, ShapeError, StorageError
from firth.files import write_folder
from firth.progress import Progress, silent
from firth.store import rows as table
from firth.store.database import Database, fact
from firth.store.hybrid import Hybrid, Ranking, by_words, fused
from firth.store.lock import WriterLock
from firth.store.records import Hit, Key, Page, Record, Source, checked_key, checked_text
from firth.store.schema import IndexSettings, VectorSettings
from firth.store.space import Space, add_space, read_spaces
from firth.store.where import compiled

BATCH = 2_000  # rows a transaction: bounds memory and what an interruption can lose of one call
DEFAULT = ""  # name of the vectors that have no name
TOKENIZE = "porter unicode61 remove_diacritics 2"  # FTS5: folds case and accents, stems English


class Collection:
    """Texts on disk that can be searched. Make one with `create`, or `open` one that exists.

    >>> notes = Collection.create("notes.firth", encoder=encoder)
    >>> notes.upsert([1, "two"], ["The cat sat.", "Dogs bark."], [{"kind": "cat"}, {"kind": "dog"}])
    >>> notes.search("a sleeping cat", k=1, filter={"kind": "cat"})[0].id
    1
    """

    def __init__(
        self, folder: Path, encoder: Encoder | None, *, lock: WriterLock | None, durable: bool
    ) -> None:  # use `create` or `open`
        self.path = folder
        self.encoder = encoder
        self._lock = lock
        self._durable = durable
        self._database = Database(folder, writer=lock is not None, durable=durable)
        try:
            with self._database.reading() as db:
                self._spaces = {facts.name: Space(folder, facts) for facts in read_spaces(db) if facts.state == "live"}
            self._check_encoder()
        except BaseException:
            self._database.close()
            raise

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        encoder: Encoder | None = None,
        dims: int | None = None,
        codec: str | None = "sq8",
        index: IndexSettings | None = None,
        vectors: Mapping[str, VectorSettings] | None = None,
        durable: bool = True,
    ) -> Collection:
        """A new, empty collection in the folder `path`, opened for writing.

        Args:
            encoder: embeds the texts and the queries; without one the caller brings vectors.
            dims: width of the stored vectors; smaller than the encoder's = their first `dims`, brought to length one.
            codec: how the index codes the vectors; None = float32.
            index: how the index is built.
            vectors: further sets of vectors by name; the one made of `encoder` and `dims` is called "".
            durable: wait for the disk at each write; without, a loss of power may take the last writes (not kill -9).

        Raises:
            StorageError: the path exists, or cannot be written.
            SettingsError: no vectors at all, or dims beyond the encoder's.
        """
        path = Path(path)
        spaces = dict(vectors or {})
        width = dims or (encoder.dims if encoder is not None else None)
        if width is not None:
            embeds = None if encoder is None else "full"
            spaces[DEFAULT] = VectorSettings(width, "cosine", codec, embeds, index or IndexSettings())  # type: ignore[arg-type]
        if not spaces:
            raise SettingsError("a collection needs an encoder, or dims, or vectors")
        for name, settings in spaces.items():
            if settings.embeds is not None and encoder is None:
                raise SettingsError(f"vectors {name!r}: embeds={settings.embeds!r} needs an encoder")
            if settings.embeds is not None and encoder is not None and settings.dims > encoder.dims:
                raise SettingsError(f"vectors {name!r}: dims={settings.dims}, but the encoder gives {encoder.dims}")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StorageError(f"{path}: exists already; open it with Collection.open, or choose another path")
        with write_folder(path) as folder:
            (folder / "vectors").mkdir()
            (folder / "index").mkdir()
            Database.create(folder, tokenize=TOKENIZE)
            database = Database(folder, writer=True)
            with database.writing() as db:
                for name, settings in sorted(spaces.items()):
                    made_by = encoder.fingerprint if encoder is not None and settings.embeds is not None else None
                    add_space(db, folder, name, settings, made_by, "live")
            database.close()
        return cls.open(path, encoder=encoder, durable=durable)

    @classmethod
    def open(
        cls, path: Path | str, *, encoder: Encoder | None = None, readonly: bool = False, durable: bool = True
    ) -> Collection:
        """The collection in the folder `path`, wherever it was moved to.

        Args:
            encoder: the model that made its vectors; only needed to embed texts and text queries.
            readonly: any number of processes may; without it this process becomes the one writer.

        Raises:
            FormatError: no collection, damaged, or of another format.
            LockedError: another process is the writer.
            ModelError: another model than the one which made the vectors.
        """
        path = Path(path)
        if not path.is_dir():
            raise StorageError(f"{path}: no such collection; make one with Collection.create")
        lock = None if readonly else WriterLock(path / "lock")
        try:
            return cls(path, encoder, lock=lock, durable=durable)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Let go of the files and of the writer's lock; harmless when called twice."""
        self._database.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, key: Key) -> bool:
        return bool(self.get([key]))

    def upsert(
        self,
        ids: Sequence[Key],
        texts: Sequence[str],
        payloads: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        titles: Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        progress: Progress = silent,
    ) -> None:
        """Add documents, replacing those whose ids are known; they are on the disk when this returns.

        Args:
            ids: n integers or strings; of an id given twice the last one counts.
            texts: n texts; title and text are embedded together as documents, unless their vectors are given.
            payloads: n JSON objects.
            vectors: (n, d) rows for the unnamed vectors, or a dict by name; rows as wide as the encoder's are cut to
                the collection's dims.

        Rows are committed 2,000 at a time, in order; an error in the values is found before anything is written.

        Raises:
            DataError: a wrong key, text or payload; names it.
            ShapeError: lengths differ, or vectors of another width.
            ModelError: vectors are needed and there is no encoder.
            StorageError: the disk is full; the batches that were committed stay.
        """
        keys = [checked_key(key) for key in ids]
        titles = [""] * len(keys) if titles is None else titles
        _same_lengths(keys, texts=texts, titles=titles, payloads=payloads)
        texts = [checked_text(text, "text", key) for key, text in zip(keys, texts, strict=True)]
        titles = [checked_text(title, "title", key) for key, title in zip(keys, titles, strict=True)]
        stored = [
            table.payload_json(payload, key) for key, payload in zip(keys, payloads or [None] * len(keys), strict=True)
        ]
        given = self._given(vectors, len(keys))
        last = {key: i for i, key in enumerate(keys)}
        order = sorted(last.values())
        for begin in range(0, len(order), BATCH):
            part = order[begin : begin + BATCH]
            of_part = [keys[i] for i in part], [texts[i] for i in part], [titles[i] for i in part]
            rows = {
                name: given[name][part] if name in given else self._embedded(space, of_part[1], of_part[2])
                for name, space in self._spaces.items()
                if name in given or space.settings.embeds is not None
            }
            with self._database.writing() as db:
                first = table.put(db, *of_part, [stored[i] for i in part])
                for name, block in rows.items():
                    self._spaces[name].append(db, first, range(len(part)), block, sync=self._durable)
            progress(begin + len(part), len(order))

    def delete(self, ids: Sequence[Key] | None = None, *, filter: Mapping[str, Any] | None = None) -> int:  # noqa: A002
        """Remove documents by their ids, or those that satisfy `filter`; how many there were."""
        if (ids is None) == (filter is None):
            raise SettingsError("delete: expected either ids or filter")
        with self._database.writing() as db:
            if ids is not None:
                return table.remove(db, [checked_key(key) for key in ids])
            where, values = compiled(filter)
            return db.execute(f"DELETE FROM rows WHERE {where}", values).rowcount

    def get(self, ids: Sequence[Key], *, with_vectors: bool = False) -> list[Record]:
        """The documents with these ids, in this order; those that do not exist are left out."""
        keys = [checked_key(key) for key in ids]
        with self._database.reading() as db:
            found = table.by_keys(db, keys)
            return self._records(db, [found[key] for key in keys if key in found], with_vectors)

    def scroll(
        self,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        *,
        limit: int = 100,
        start: Key | None = None,
        with_vectors: bool = False,
    ) -> Page:
        """Documents in the order of their ids (integers before strings), `limit` a page, from `start` on."""
        if limit < 1:
            raise SettingsError(f"scroll: limit={limit}: expected at least 1")
        where, values = compiled(filter)
        with self._database.reading() as db:
            found, following = table.page(db, where, values, start=start, limit=limit)
            return Page(self._records(db, found, with_vectors), following)

    def __iter__(self) -> Iterator[Record]:
        page = self.scroll(limit=BATCH)
        yield from page.records
        while page.next is not None:
            page = self.scroll(limit=BATCH, start=page.next)
            yield from page.records

    def count(self, filter: Mapping[str, Any] | None = None) -> int:  # noqa: A002
        """How many documents there are, or satisfy `filter`."""
        where, values = compiled(filter)
        with self._database.reading() as db:
            return table.count(db, where, values)

    def search(
        self,
        query: str | ArrayLike,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        hybrid: bool | Hybrid = False,
        ef: int | None = None,
        recall: float | None = None,
        vector: str = DEFAULT,
    ) -> list[Hit]:
        """The k documents nearest to a text or to a vector (d,), best first; fewer where fewer exist.

        Args:
            filter: only documents whose payload satisfies it; see `firth.store.where`.
            hybrid: join what the words find (BM25) to what the vectors find; `Hybrid` sets the weights.
            ef: candidates the index looks at; or
            recall: the share of the true k nearest that it should find.
            vector: which set of vectors, by name.

        Raises:
            FilterError: the filter is not understood.
            ModelError: a text, and no encoder; or vectors that another model made.
            SettingsError: k below 1, no such vectors, or hybrid without a text.
        """
        queries = [query] if isinstance(query, str) else as_vectors(query, name="query")
        if len(queries) != 1:
            raise ShapeError(f"query: expected one vector (d,), got {len(queries)}; use search_many")
        asked = {"filter": filter, "hybrid": hybrid, "ef": ef, "recall": recall, "vector": vector}
        return self.search_many(queries, k, **asked)[0]  # type: ignore[arg-type]

    def search_many(
        self,
        queries: Sequence[str] | ArrayLike,
        k: int = 10,
        *,
        filter: Mapping[str, Any] | None = None,  # noqa: A002
        hybrid: bool | Hybrid = False,
        ef: int | None = None,
        recall: float | None = None,
        vector: str = DEFAULT,
    ) -> list[list[Hit]]:
        """`search` for q texts or vectors (q, d) in one go, all in the same committed moment."""
        if k < 1:
            raise SettingsError(f"search: k={k}: expected at least 1")
        if ef is not None and (ef < 1 or recall is not None):
            raise SettingsError(f"search: ef={ef}, recall={recall}: expected one of them, ef at least 1")
        space = self._space(vector)
        texts, rows = self._queries(queries, space)
        joined = Hybrid() if hybrid is True else hybrid
        if joined and texts is None:
            raise SettingsError("search: hybrid needs the query as a text; a vector has no words")
        where, values = compiled(filter)
        with self._database.reading() as db:
            version = int(fact(db, "version"))
            allow = table.ids_where(db, where, values) if filter else None
            wide = max(k, joined.candidates) if joined else k
            near = space.search(db, version, rows, wide, allow=allow)
            answers = []
            for i in range(len(near)):
                known = near.ids[i] != NO_ID
                dense = Ranking(near.ids[i][known], near.scores[i][known])
                if joined and texts is not None:
                    words = by_words(db, texts[i], wide, title=joined.title, allow=allow)
                    weights = {"dense": joined.dense, "bm25": joined.words}
                    answers.append(fused({"dense": dense, "bm25": words}, weights, k=joined.k)[:k])
                else:
                    answers.append(
                        [(id_, score, {}) for id_, score in zip(dense.ids.tolist(), dense.scores.tolist(), strict=True)]
                    )
            found = table.by_ids(db, {id_ for answer in answers for id_, _, _ in answer})
        return [[_hit(found[id_], score, sources) for id_, score, sources in answer] for answer in answers]

    def _queries(self, queries: Sequence[str] | ArrayLike, space: Space) -> tuple[list[str] | None, Vectors]:
        if isinstance(queries, Sequence) and all(isinstance(query, str) for query in queries):
            texts = [str(query) for query in queries]
            if not texts:
                return texts, np.empty((0, space.settings.dims), np.float32)
            encoder = self._needed_encoder()
            encoded = encoder.encode(texts, kind="query", dims=space.settings.dims)
            return texts, space.prepared(encoded, "queries")
        return None, space.prepared(queries, "queries")

    def _given(self, vectors: ArrayLike | Mapping[str, ArrayLike] | None, n: int) -> dict[str, Vectors]:
        """The caller's vectors by name, checked and as wide as they are stored."""
        named = vectors if isinstance(vectors, Mapping) else {} if vectors is None else {DEFAULT: vectors}
        given = {}
        for name, values in named.items():
            space = self._space(name)
            rows = as_vectors(values, name=f"vectors {name!r}")
            width = space.settings.dims
            if self.encoder is not None and width < self.encoder.dims == rows.shape[1]:
                rows = unit(np.ascontiguousarray(rows[:, :width]))
            if len(rows) != n:
                raise ShapeError(f"vectors {name!r}: expected {n} rows, one for each id, got {len(rows)}")
            given[name] = space.prepared(rows, f"vectors {name!r}")
        return given

    def _embedded(self, space: Space, texts: Sequence[str], titles: Sequence[str]) -> Vectors:
        embeds = space.settings.embeds
        if embeds == "full":
            texts = [f"{title} {text}".strip() for title, text in zip(titles, texts, strict=True)]
        encoder = self._needed_encoder()
        encoded = encoder.encode(titles if embeds == "title" else texts, kind="document", dims=space.settings.dims)
        return space.prepared(encoded, "encoded texts")

    def _needed_encoder(self) -> Encoder:
        if self.encoder is None:
            raise ModelError(
                f"{self.path}: a text has to be embedded and no encoder was given; open the collection with "
                "encoder=, or pass vectors"
            )
        return self.encoder

    def _check_encoder(self) -> None:
        if self.encoder is None:
            return
        for space in self._spaces.values():
            made_by = space.facts.fingerprint
            if made_by is not None and made_by != self.encoder.fingerprint:
                raise ModelError(
                    f"{self.path}: its vectors were made by the model {made_by[:12]}, the encoder is "
                    f"{self.encoder.fingerprint[:12]}; open it with the model that made them"
                )

    def _space(self, name: str) -> Space:
        if name not in self._spaces:
            raise SettingsError(f"no vectors called {name!r}; this collection has {sorted(self._spaces)}")
        return self._spaces[name]

    def _records(self, db: sqlite3.Connection, found: Sequence[table.Row], with_vectors: bool) -> list[Record]:
        vectors: dict[int, dict[str, Vectors]] = {row.id: {} for row in found}
        for name, space in self._spaces.items() if with_vectors else ():
            for id_, vector in space.fetch(db, list(vectors)).items():
                vectors[id_][name] = vector
        return [Record(row.key, row.text, row.title, row.payload, vectors[row.id]) for row in found]


def _hit(row: table.Row, score: float, sources: dict[str, Source]) -> Hit:
    return Hit(row.key, score, row.text, row.title, row.payload, sources)


def _same_lengths(keys: Sequence[Key], **columns: Sequence[Any] | None) -> None:
    for name, column in columns.items():
        if column is not None and len(column) != len(keys):
            raise ShapeError(f"upsert: {len(keys):,} ids and {len(column):,} {name}; expected as many of each")
