"""What an upsert was given, checked before anything is written, and made into vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from firth.arrays import Encoder, Vectors, as_vectors, unit
from firth.errors import ModelError, ShapeError
from firth.store.moment import Ground, Moment, spaces_changed
from firth.store.records import Key, checked_key, checked_payload, checked_text
from firth.store.rows import Row, by_ids, column
from firth.store.space import Space

SAMPLED = 8  # stored texts that a model of unknown origin is tried on
SAME_MODEL = 0.5  # mean cosine; another model's vectors are near 0, the same one's with another prompt above 0.8


class Models:
    """The encoders at hand; which of them embeds for a space is decided by the fingerprint of its vectors."""

    def __init__(self, first: Encoder | None) -> None:
        self.first = first
        self._known: dict[str, Encoder] = {}
        if first is not None:
            self.add(first)

    def add(self, encoder: Encoder) -> None:
        """Have one more at hand."""
        self._known[encoder.fingerprint] = encoder

    def know(self, space: Space) -> bool:
        """Whether the encoder that made this space's vectors is at hand."""
        return space.facts.fingerprint in self._known

    def prefer(self, fingerprint: str) -> None:
        """Make one of them the first."""
        self.first = self._known.get(fingerprint, self.first)

    def of(self, space: Space) -> Encoder:
        """The encoder that makes this space's vectors.

        Raises:
            ModelError: there is none, it is another one, or it is too narrow.
        """
        name, made_by = f"vectors {space.facts.name!r}", space.facts.fingerprint
        encoder = self.first if made_by is None else self._known.get(made_by)
        if self.first is None and encoder is None:
            raise ModelError(
                f"{name}: a text has to be embedded and no encoder was given; open the collection with encoder=, or "
                "pass vectors"
            )
        if encoder is None:
            raise another(space, self.first.fingerprint if self.first else "")
        if encoder.dims < space.settings.dims:
            raise ModelError(f"{name}: have {space.settings.dims} dimensions, the encoder gives {encoder.dims}")
        return encoder


@dataclass(frozen=True, slots=True)
class Batch:
    """n documents with distinct keys: payloads are JSON, `given` holds the caller's vectors (n, d) by name."""

    keys: list[Key]
    texts: list[str]
    titles: list[str]
    payloads: list[str]
    given: dict[str, Vectors]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, begin: int, end: int) -> Batch:
        """Documents begin … end - 1."""
        cut = slice(begin, end)
        given = {name: rows[cut] for name, rows in self.given.items()}
        return Batch(self.keys[cut], self.texts[cut], self.titles[cut], self.payloads[cut], given)


def checked(
    ids: Sequence[Key],
    texts: Sequence[str],
    payloads: Sequence[Mapping[str, Any] | None] | None,
    titles: Sequence[str] | None,
    given: Mapping[str, Vectors],
) -> Batch:
    """The documents of an upsert; of a key that comes twice the last one counts.

    Raises:
        DataError: a key, text, title or payload that cannot be stored; names it.
        ShapeError: not as many of each.
    """
    columns = {
        "texts": texts,
        "titles": titles,
        "payloads": payloads,
        **{f"vectors {n!r}": v for n, v in given.items()},
    }
    for name, values in columns.items():
        if values is not None and len(values) != len(ids):
            raise ShapeError(f"upsert: {len(ids):,} ids and {len(values):,} {name}; expected as many of each")
    keys = [checked_key(key) for key in ids]
    kept = sorted({key: i for i, key in enumerate(keys)}.values())
    return Batch(
        [keys[i] for i in kept],
        [checked_text(texts[i], "text", keys[i]) for i in kept],
        ["" if titles is None else checked_text(titles[i], "title", keys[i]) for i in kept],
        ["{}" if payloads is None else checked_payload(payloads[i], keys[i]) for i in kept],
        dict(given) if len(kept) == len(keys) else {name: rows[kept] for name, rows in given.items()},
    )


def given_vectors(
    vectors: ArrayLike | Mapping[str, ArrayLike] | None,
    live: Mapping[str, Space],
    encoder: Encoder | None,
    default: str,
    made_by: str | None,
) -> dict[str, Vectors]:
    """The caller's vectors by name, checked and as they are stored.

    Raises:
        ShapeError: of another width than is stored (the encoder's own width is cut to it), or no such vectors.
        ModelError: `made_by` is not the model of the collection.
    """
    named = vectors if isinstance(vectors, Mapping) else {} if vectors is None else {default: vectors}
    given = {}
    for name, values in named.items():
        if name not in live:
            raise ShapeError(f"no vectors called {name!r}; this collection has {sorted(live)}")
        space, rows = live[name], as_vectors(values, name=f"vectors {name!r}")
        if made_by is not None and space.facts.fingerprint not in (None, made_by):
            raise another(space, made_by)
        width = space.settings.dims
        if encoder is not None and width < encoder.dims == rows.shape[1]:
            rows = unit(np.ascontiguousarray(rows[:, :width]))
        given[name] = space.prepared(rows, f"vectors {name!r}")
    return given


def embedded(batch: Batch, live: Mapping[str, Space], models: Models) -> dict[str, tuple[list[int], Vectors]]:
    """For each space: which documents of the batch have a vector there, and the vectors.

    Given ones are taken as they are; the rest is encoded, the same texts only once.

    Raises:
        ModelError: texts have to be embedded and there is no encoder, or another one than has made the others.
    """
    rows: dict[str, tuple[list[int], Vectors]] = {}
    for name, space in live.items():
        if name in batch.given:
            rows[name] = (list(range(len(batch))), batch.given[name])
        elif space.settings.embeds is not None:
            texts = embedded_texts(space, batch.texts, batch.titles)
            present = [i for i, text in enumerate(texts) if text or space.settings.embeds != "title"]
            if present:
                wanted = [texts[i] for i in present]
                encoded = models.of(space).encode(wanted, kind="document", dims=space.settings.dims)
                rows[name] = (present, space.prepared(encoded, "encoded texts"))
    return rows


def embedded_texts(space: Space, texts: Sequence[str], titles: Sequence[str]) -> list[str]:
    """What a space embeds of each document."""
    if space.settings.embeds == "full":
        return [f"{title} {text}".strip() for title, text in zip(titles, texts, strict=True)]
    return list(titles if space.settings.embeds == "title" else texts)


def check_model(ground: Ground, encoder: Encoder) -> None:
    """Is this the model that made the vectors? Where nobody said which did, some stored texts are encoded to see.

    Raises:
        ModelError: it is another one.
    """
    for space in ground.read(lambda moment: list(moment.live.values())):
        if space.settings.embeds is None:
            continue
        Models(encoder).of(space)
        if space.facts.fingerprint is None:
            _check_by_sample(ground, space, encoder)
            if ground.lock is not None:
                with ground.write() as moment:
                    line = (encoder.fingerprint, space.number)
                    moment.db.execute("UPDATE spaces SET fingerprint = ? WHERE space = ?", line)
                    spaces_changed(moment.db)


def _check_by_sample(ground: Ground, space: Space, encoder: Encoder) -> None:
    def sampled(moment: Moment) -> tuple[list[Row], dict[int, Vectors]]:
        ids = column(moment.db, "id FROM (SELECT id FROM slots WHERE space = ? LIMIT ?)", (space.number, SAMPLED))
        return list(by_ids(moment.db, ids).values()), space.fetch(moment.db, ids.tolist())

    rows, stored = ground.read(sampled)
    if not rows or space.settings.metric == "euclid":
        return
    texts = embedded_texts(space, [row.text for row in rows], [row.title for row in rows])
    known = unit(np.stack([stored[row.id] for row in rows]))
    encoded = unit(encoder.encode(texts, kind="document", dims=space.settings.dims))
    likeness = float(np.einsum("nd,nd->n", known, encoded).mean())
    if likeness < SAME_MODEL:
        raise ModelError(
            f"vectors {space.facts.name!r}: the encoder's vectors of {len(rows)} stored texts are at cosine "
            f"{likeness:.2f} to the stored ones; another model made those"
        )


def another(space: Space, fingerprint: str) -> ModelError:
    return ModelError(
        f"vectors {space.facts.name!r}: were made by the model {str(space.facts.fingerprint)[:12]}, this one is "
        f"{fingerprint[:12]}; open the collection with the model that made them, or re-embed it"
    )
