"""A collection: a folder of texts with payloads and vectors, searched by meaning, by word and by payload.

    rows.db        SQLite, the truth: keys, texts, payloads, and which slot holds whose vector (schema.py)
    vectors/       one file of float32 rows for each set of vectors (vectors.py)
    index/         derived from the rows, may be deleted at any time
    lock           held by the one writer

What an `upsert` or `delete` returned from survives kill -9 and, unless `durable=False`, the loss of power. One process
writes; any number read, each search in one committed moment, and no reader ever waits for the writer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firth.arrays import Vectors, as_vectors
from firth.errors import ModelError, SettingsError, ShapeError
from firth.progress import Progress, silent
from firth.store import fields
from firth.store import rows as table
from firth.store.ask import Question, answered, grouped, worded
from firth.store.hybrid import Hybrid
from firth.store.intake import Batch, checked, embedded, given_vectors
from firth.store.life import DEFAULT, Life
from firth.store.moment import Moment
from firth.store.records import Group, Hit, Key, Page, Record, checked_key
from firth.store.space import Space
from firth.store.where import compiled

BATCH = 8_192  # documents a transaction: bounds memory, and what an interruption takes of one call
ENCODED = 512  # documents a transaction where they have to be embedded, which is a thousand times slower

Filter = Mapping[str, Any]


class Collection(Life):
    """Texts on disk that can be searched. Make one with `create`, or `open` one that exists.

    >>> notes = Collection.create("notes.firth", encoder=encoder)
    >>> notes.upsert([1, "two"], ["The cat sat.", "Dogs bark."], [{"kind": "cat"}, {"kind": "dog"}])
    >>> notes.search("a sleeping cat", k=1, filter={"kind": "cat"})[0].id
    1
    """

    def __len__(self) -> int:
        return self.count()

    def __contains__(self, key: Key) -> bool:
        return bool(self.get([key]))

    def __iter__(self) -> Iterator[Record]:
        page = self.scroll(limit=BATCH)
        yield from page.records
        while page.next is not None:
            page = self.scroll(limit=BATCH, start=page.next)
            yield from page.records

    def upsert(
        self,
        ids: Sequence[Key],
        texts: Sequence[str],
        payloads: Sequence[Mapping[str, Any] | None] | None = None,
        *,
        titles: Sequence[str] | None = None,
        vectors: ArrayLike | Mapping[str, ArrayLike] | None = None,
        made_by: str | None = None,
        progress: Progress = silent,
    ) -> None:
        """Add documents, replacing those whose ids are known; they are on the disk when this returns.

        Args:
            ids: n integers or strings; of an id given twice the last one counts.
            texts: n texts; title and text are embedded together as documents, unless their vectors are given.
            payloads: n JSON objects.
            vectors: (n, d) rows for the unnamed vectors, or a dict by name; rows as wide as the encoder's are cut to
                the collection's dims.
            made_by: fingerprint of the model that made `vectors`, checked against the collection's.

        Documents are committed 8,192 at a time (512 where they are embedded), in order; what is wrong with the values
        is found before anything is written.

        Raises:
            DataError: a wrong key, text or payload; names it.
            ShapeError: lengths differ, or vectors of another width.
            ModelError: vectors are needed and there is no encoder; or another model made them.
            StorageError: the disk is full; the batches that were committed stay.
        """
        live = self._ground.read(lambda moment: moment.live)
        given = given_vectors(vectors, live, self.encoder, DEFAULT, made_by)
        batch = checked(ids, texts, payloads, titles, given)
        embeds = any(space.settings.embeds is not None for name, space in live.items() if name not in given)
        step = ENCODED if embeds else BATCH
        for begin in range(0, len(batch), step):
            part = batch.part(begin, begin + step)
            while not self._put(part, live, embedded(part, live, self._models)):
                live = self._ground.read(lambda moment: moment.live)
            progress(min(begin + step, len(batch)), len(batch))
            self._poke()

    def delete(self, ids: Sequence[Key] | None = None, *, filter: Filter | None = None) -> int:
        """Remove documents by their ids, or those that satisfy `filter`; how many there were."""
        with self._ground.write() as moment:
            where, values = self._chosen(moment, ids, filter)
            gone = moment.db.execute(f"DELETE FROM rows WHERE {where}", values).rowcount
        self._poke()
        return gone

    def set_payload(
        self,
        payload: Mapping[str, Any],
        ids: Sequence[Key] | None = None,
        *,
        filter: Filter | None = None,
        replace: bool = False,
    ) -> int:
        """Set these fields of the payloads of some documents, or `replace` their payloads; how many there were."""
        with self._ground.write() as moment:
            where, values = self._chosen(moment, ids, filter)
            return table.set_payload(moment.db, dict(payload), where, values, replace=replace)

    def declare(self, field: str, kind: fields.Kind) -> None:
        """Keep the values of a payload field in order, which makes filters on it fast; it changes no answer.

        Args:
            field: a path as in filters, for instance "lang" or "authors[].name".
            kind: "keyword" (strings), "number", or "time" (RFC 3339 strings).
        """
        with self._ground.write() as moment:
            fields.declare(moment.db, field, kind)

    def undeclare(self, field: str) -> bool:
        """Take a declaration back; whether there was one."""
        with self._ground.write() as moment:
            return fields.undeclare(moment.db, field)

    @property
    def declared(self) -> list[tuple[str, str]]:
        """The payload fields whose values are kept in order: their paths and kinds."""
        return self._ground.read(lambda moment: sorted(fields.declared(moment.db)))

    def get(self, ids: Sequence[Key], *, with_vectors: bool = False) -> list[Record]:
        """The documents with these ids, in this order; those that do not exist are left out."""
        keys = [checked_key(key) for key in ids]

        def found(moment: Moment) -> list[Record]:
            rows = table.by_keys(moment.db, keys)
            return _records(moment, [rows[key] for key in keys if key in rows], with_vectors)

        return self._ground.read(found)

    def scroll(
        self,
        filter: Filter | None = None,
        *,
        limit: int = 100,
        start: Key | None = None,
        with_vectors: bool = False,
    ) -> Page:
        """Documents in the order of their ids (integers before strings), `limit` a page, from `start` on."""
        if limit < 1:
            raise SettingsError(f"scroll: limit={limit}: expected at least 1")

        def page(moment: Moment) -> Page:
            where, values = compiled(filter, fields.declared(moment.db))
            rows, following = table.page(moment.db, where, values, start=start, limit=limit)
            return Page(_records(moment, rows, with_vectors), following)

        return self._ground.read(page)

    def sample(
        self, n: int, *, filter: Filter | None = None, seed: int | None = None, with_vectors: bool = False
    ) -> list[Record]:
        """At most n documents drawn at random from those that satisfy `filter`; with a seed always the same ones."""

        def drawn(moment: Moment) -> list[Record]:
            where, values = compiled(filter, fields.declared(moment.db))
            ids = np.sort(table.column(moment.db, f"id FROM rows WHERE {where}", values))
            chosen = np.random.default_rng(seed).permutation(ids)[:n].tolist()
            rows = table.by_ids(moment.db, chosen)
            return _records(moment, [rows[id_] for id_ in chosen], with_vectors)

        if n < 1:
            raise SettingsError(f"sample: n={n}: expected at least 1")
        return self._ground.read(drawn)

    def count(self, filter: Filter | None = None) -> int:
        """How many documents there are, or satisfy `filter`."""
        return self._ground.read(lambda moment: table.count(moment.db, *compiled(filter, fields.declared(moment.db))))

    def search(
        self,
        query: str | ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        hybrid: bool | Hybrid = False,
        ef: int | None = None,
        recall: float | None = None,
        vector: str = DEFAULT,
        explain: bool = False,
        diversity: float | None = None,
        least: float | None = None,
    ) -> list[Hit]:
        """The k documents nearest to a text or to a vector (d,), best first; fewer where fewer exist.

        Args:
            filter: only documents whose payload satisfies it, see docs/collection.md.
            hybrid: join what the words find (BM25) to what the vectors find; `Hybrid` sets the weights.
            ef: candidates the index looks at; or
            recall: the share of the true k nearest that it should find.
            vector: which set of vectors, by name.
            explain: fill `Hit.sources`, also with what a source says of hits that it did not find.
            diversity: 0 … 1, prefer hits unlike those before them (maximal marginal relevance).
            least: only hits that score at least this.

        Raises:
            FilterError: the filter is not understood.
            ModelError: a text, and no encoder; or vectors that another model made.
            SettingsError: a setting out of range, no such vectors, or hybrid without a text.
        """
        question = Question(k, filter, hybrid, ef, recall, explain, diversity, least)
        return self._ask([query] if isinstance(query, str) else _one(query), question, vector)[0]

    def search_many(
        self,
        queries: Sequence[str] | ArrayLike,
        k: int = 10,
        *,
        filter: Filter | None = None,
        hybrid: bool | Hybrid = False,
        ef: int | None = None,
        recall: float | None = None,
        vector: str = DEFAULT,
        explain: bool = False,
    ) -> list[list[Hit]]:
        """`search` for q texts or vectors (q, d) in one go, all in the same committed moment."""
        return self._ask(queries, Question(k, filter, hybrid, ef, recall, explain), vector)

    def search_both(
        self, text: str, row: ArrayLike, k: int = 10, *, hybrid: Hybrid | None = None, **settings: Any
    ) -> list[Hit]:
        """Hybrid search with a row (d,) that was made of the text already; `settings` as of `search`."""
        name = settings.pop("vector", DEFAULT)
        question = Question(k, hybrid=hybrid or Hybrid(), **settings)

        def found(moment: Moment) -> list[Hit]:
            space = moment.space(name)
            return answered(moment, space, [text], space.prepared(_one(row), "query"), question)[0]

        return self._ground.read(found)

    def search_words(
        self, query: str, k: int = 10, *, filter: Filter | None = None, title: float = 1.0, least: float | None = None
    ) -> list[Hit]:
        """The k documents that hold the words of `query` best, by BM25 alone; no model takes part.

        Args:
            title: how much more a word in the title counts than one in the text.
            least: only hits that score at least this.
        """
        question = Question(k, filter, Hybrid(title=title), least=least)
        return self._ground.read(lambda moment: worded(moment, query, question))

    def facet(self, field: str, *, filter: Filter | None = None, limit: int = 10) -> list[tuple[str | int | bool, int]]:
        """The most frequent values of a payload field, and how many documents hold each, most frequent first."""
        if limit < 1:
            raise SettingsError(f"facet: limit={limit}: expected at least 1")
        return self._ground.read(
            lambda moment: fields.counted(moment.db, field, *compiled(filter, fields.declared(moment.db)), limit)
        )

    def search_groups(
        self,
        query: str | ArrayLike,
        by: str,
        k: int = 10,
        *,
        size: int = 3,
        filter: Filter | None = None,
        hybrid: bool | Hybrid = False,
        vector: str = DEFAULT,
    ) -> list[Group]:
        """The k best values of the payload field `by`, each with its best `size` hits; hits without it are left out."""
        if size < 1:
            raise SettingsError(f"search_groups: size={size}: expected at least 1")
        question = Question(k, filter, hybrid)
        space = self._ground.read(lambda moment: moment.space(vector))
        texts, rows = self._queries([query] if isinstance(query, str) else _one(query), space)
        return self._ground.read(
            lambda moment: grouped(moment, moment.space(vector), texts, rows, question, by=by, size=size)
        )

    def _poke(self) -> None:
        if self._keeper is not None:
            self._keeper.poke()

    def _put(self, batch: Batch, live: Mapping[str, Space], rows: Mapping[str, tuple[list[int], Vectors]]) -> bool:
        """Store the batch; False if a cut-over came between, so that the vectors are of the wrong model."""
        with self._ground.write() as moment:
            db, now = moment.db, moment.live
            if any(now[name].number != live[name].number for name in rows):
                if batch.given:
                    raise ModelError("upsert: the collection was re-embedded meanwhile; bring the new model's vectors")
                return False
            first = table.put(db, batch.keys, batch.texts, batch.titles, batch.payloads)
            for name, (present, vectors) in rows.items():
                now[name].append(db, [first + i for i in present], vectors, sync=self._ground.durable)
        return True

    def _ask(self, queries: Sequence[str] | ArrayLike, question: Question, vector: str) -> list[list[Hit]]:
        # The model runs before the moment begins, so that no moment lasts as long as a model.
        space = self._ground.read(lambda moment: moment.space(vector))
        texts, rows = self._queries(queries, space)
        return self._ground.read(lambda moment: answered(moment, moment.space(vector), texts, rows, question))

    def _queries(self, queries: Sequence[str] | ArrayLike, space: Space) -> tuple[list[str] | None, Vectors]:
        if isinstance(queries, Sequence) and all(isinstance(query, str) for query in queries):
            texts = [str(query) for query in queries]
            if not texts:
                return texts, np.empty((0, space.settings.dims), np.float32)
            encoded = self._models.of(space).encode(texts, kind="query", dims=space.settings.dims)
            return texts, space.prepared(encoded, "queries")
        return None, space.prepared(queries, "queries")

    @staticmethod
    def _chosen(moment: Moment, ids: Sequence[Key] | None, filter_: Filter | None) -> tuple[str, list[Any]]:
        if (ids is None) == (filter_ is None):
            raise SettingsError("expected either ids or filter; an empty filter {} means every document")
        if ids is not None:
            return table.with_keys([checked_key(key) for key in ids])
        return compiled(filter_, fields.declared(moment.db))


def _one(query: ArrayLike) -> Vectors:
    rows = as_vectors(query, name="query")
    if len(rows) != 1:
        raise ShapeError(f"query: expected one vector (d,), got {len(rows)}; use search_many")
    return rows


def _records(moment: Moment, found: Sequence[table.Row], with_vectors: bool) -> list[Record]:
    vectors: dict[int, dict[str, Vectors]] = {row.id: {} for row in found}
    for name, space in moment.live.items() if with_vectors else ():
        for id_, vector in space.fetch(moment.db, list(vectors)).items():
            vectors[id_][name] = vector
    return [Record(row.key, row.text, row.title, row.payload, vectors[row.id]) for row in found]
