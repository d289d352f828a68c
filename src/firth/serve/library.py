"""What is served: a model, and the collections of a folder by name, with their aliases.

What the server itself has to remember lies in the folder's server.json: aliases, how Qdrant clients made a collection,
and which model embedded their texts.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from firth import files
from firth.errors import FormatError, ModelError
from firth.serve.batcher import Served
from firth.serve.wire import Refused
from firth.store import Collection, VectorSettings
from firth.store.schema import ROWS

COLLECTIONS, SNAPSHOTS, REMEMBERED = "collections", "snapshots", "server.json"
LAYOUT = 1
LONGEST_NAME = 200  # bytes; file systems take 255
NAME = re.compile(r"\w[\w. +@-]*")


@dataclass(slots=True)
class Shelf:
    """One open collection.

    Attributes:
        recall: what a search aims at unless told otherwise; None = what the collection says.
        made: how a Qdrant client made it, echoed to Qdrant clients; None = not by one.
        embedded_by: fingerprint of the model that embedded its texts for clients that bring vectors otherwise.
        fields: payload fields that Qdrant clients have indexed, and how.
        changing: held by whoever reads, changes and writes a document.
    """

    name: str
    collection: Collection
    recall: float | None = None
    made: dict[str, Any] | None = None
    embedded_by: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    changing: threading.RLock = field(default_factory=threading.RLock)

    @property
    def spaces(self) -> dict[str, VectorSettings]:
        """The settings of its sets of vectors, by name."""
        return self.collection.vector_settings()


class Library:
    """Collections by name; made, opened and removed while others are searched.

    Args:
        root: the folder that is served; None = nothing but the model.
        served: the model; None = clients bring vectors.
        base: the model that it was tuned from, for collections that this one embedded; see `twin`.
        fixed: collections that lie elsewhere in it, which nobody removes over HTTP: name -> (folder, recall).
        grows: whether clients may make collections, below `root`/collections.
        report: the report of the build, if there is one.
    """

    def __init__(
        self,
        root: Path | None,
        served: Served | None,
        *,
        base: Served | None = None,
        fixed: Mapping[str, tuple[Path, float | None]] | None = None,
        grows: bool = False,
        readonly: bool = False,
        report: Path | None = None,
    ) -> None:
        self.root = root
        self.served = served
        self.base = base
        self.readonly = readonly
        self.grows = grows and not readonly
        self.report = report
        self._lock = threading.RLock()
        self._shelves: dict[str, Shelf] = {}
        self._fixed = dict(fixed or {})
        self._aliases: dict[str, str] = {}
        try:
            self._open_all()
        except BaseException:
            self.close()
            raise

    @property
    def names(self) -> list[str]:
        """All collections."""
        return sorted(self._shelves)

    @property
    def aliases(self) -> dict[str, str]:
        """Alias -> collection."""
        return dict(self._aliases)

    def get(self, name: str) -> Shelf:
        """The collection of this name or alias.

        Raises:
            Refused: 404.
        """
        shelf = self._shelves.get(self._aliases.get(name, name))
        if shelf is None:
            raise Refused(404, f"Not found: Collection `{name[:LONGEST_NAME]}` doesn't exist!")
        return shelf

    def model_of(self, shelf: Shelf) -> Served:
        """The model whose queries find in this collection: the one that embedded its texts.

        Raises:
            Refused: 400, the server has no model; 409, another one embedded the texts.
        """
        models = [model for model in (self.served, self.base) if model is not None]
        if not models:
            raise Refused(400, "this server has no model; send a vector, or mode words", param="query")
        if shelf.embedded_by is not None:
            models = [model for model in models if model.fingerprint == shelf.embedded_by]
        elif shelf.collection.encoder is not self.served:
            models = [model for model in models if model is shelf.collection.encoder]
        if not models:
            raise Refused(409, f"the texts of {shelf.name!r} were embedded by another model; serve it with that one")
        return models[0]

    def has(self, name: str) -> bool:
        """Whether there is one of this name or alias."""
        return self._aliases.get(name, name) in self._shelves

    def create(
        self,
        name: str,
        vectors: Mapping[str, VectorSettings],
        *,
        made: dict[str, Any] | None,
        model: Served | None = None,
    ) -> Shelf:
        """A new collection that holds these sets of vectors; without any, those that `model` or the served one makes.

        Raises:
            Refused: 400 a name that is none, 403 nothing may be made here, 409 it exists.
        """
        checked_name(name)
        with self._lock:
            if not self.grows:
                why = "it only reads" if self.readonly else "it serves one collection; serve a folder of them instead"
                raise Refused(403, f"this server makes no collections: {why}")
            if self.has(name):
                raise Refused(409, f"Wrong input: Collection `{name}` already exists!")
            path = self._folder(name)
            if vectors:  # made without the model, which would add vectors of its own; its queries may still be texts
                Collection.create(path, vectors=vectors).close()
                collection = self._opened(path)
            else:
                collection = Collection.create(path, encoder=_needed(model or self.served))
            shelf = Shelf(name, collection, made=made)
            self._shelves[name] = shelf
            self._remember()
            return shelf

    def remove(self, name: str) -> bool:
        """Delete a collection and its aliases; whether there was one.

        Raises:
            Refused: 403, it belongs to the folder that is served.
        """
        with self._lock:
            if name not in self._shelves:
                return False
            if self.readonly or name in self._fixed:
                raise Refused(403, f"collection `{name}` belongs to what is served; remove it with the server stopped")
            shelf = self._shelves.pop(name)
            self._aliases = {alias: to for alias, to in self._aliases.items() if to != name}
            with shelf.changing:
                shelf.collection.close()
            shutil.rmtree(self._folder(name))
            self._remember()
            return True

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """The folder of a collection, closed and gone, for another one to be put there; opened when the block ends."""
        with self._lock:
            shelf = self.get(name)
            if self.readonly or shelf.name in self._fixed:
                raise Refused(403, f"collection `{name}` belongs to what is served; restore it with the server stopped")
            path = self._folder(shelf.name)
            with shelf.changing:
                shelf.collection.close()
                old = path.with_name(f".{path.name}.old")
                shutil.rmtree(old, ignore_errors=True)
                path.rename(old)
                try:
                    yield path
                except BaseException:
                    shutil.rmtree(path, ignore_errors=True)
                    old.rename(path)
                    raise
                else:
                    shutil.rmtree(old)
                finally:
                    shelf.collection = self._opened_by_one(path)

    def change_aliases(self, actions: list[tuple[str, str, str]]) -> None:
        """("create", alias, collection), ("delete", alias, "") or ("rename", old, new), all of them or none.

        Raises:
            Refused: 404 or 409.
        """
        with self._lock:
            if self.readonly:
                raise Refused(403, "this server only reads")
            new = dict(self._aliases)
            for what, name, to in actions:
                if what != "create" and name not in new:
                    raise Refused(404, f"Not found: Alias `{name[:LONGEST_NAME]}` doesn't exist!")
                if what == "create":
                    self._check_alias(name)
                    if to not in self._shelves:
                        raise Refused(404, f"Not found: Collection `{to[:LONGEST_NAME]}` doesn't exist!")
                    new[name] = to
                elif what == "rename":
                    self._check_alias(to)
                    new[to] = new.pop(name)
                else:
                    del new[name]
            self._aliases = new
            self._remember()

    def remember(self) -> None:
        """Keep what was changed about a shelf."""
        with self._lock:
            self._remember()

    def snapshots(self, name: str) -> Path:
        """Where snapshots of a collection lie.

        Raises:
            Refused: 403, this server keeps none.
        """
        if self.root is None or self.readonly:
            raise Refused(403, "this server only reads; it keeps no snapshots")
        return self.root / SNAPSHOTS / self.get(name).name

    def close(self) -> None:
        """Close every collection; harmless when called twice."""
        with self._lock:
            shelves, self._shelves = list(self._shelves.values()), {}
            for shelf in shelves:
                shelf.collection.close()

    def _open_all(self) -> None:
        known = self._remembered()
        self._aliases = dict(known["aliases"])
        for name, (path, recall) in self._fixed.items():
            self._shelves[name] = Shelf(name, self._opened(path), recall)
        folder = None if self.root is None else self.root / COLLECTIONS
        for path in sorted(folder.iterdir()) if folder is not None and folder.is_dir() else ():
            if (path / ROWS).is_file() and not path.name.startswith("."):
                self._shelves[path.name] = Shelf(path.name, self._opened_by_one(path))
        for name, about in known["collections"].items():
            if name in self._shelves:
                self._shelves[name].made = about.get("made")
                self._shelves[name].embedded_by = about.get("embedded_by")
                self._shelves[name].fields = dict(about.get("fields", {}))
        self._aliases = {alias: to for alias, to in self._aliases.items() if to in self._shelves}

    def _opened(self, path: Path) -> Collection:
        try:
            return Collection.open(path, encoder=self.served, readonly=self.readonly)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error

    def _opened_by_one(self, path: Path) -> Collection:
        """With the model that embedded it: the served one, the base, or none of them, and then texts cannot ask it."""
        for model in [self.served] if self.base is None else [self.served, self.base]:
            try:
                return Collection.open(path, encoder=model, readonly=self.readonly)
            except ModelError:
                continue
        return Collection.open(path, readonly=self.readonly)

    def _folder(self, name: str) -> Path:
        if self.root is None:
            raise Refused(403, "this server has no folder for collections")
        return self.root / COLLECTIONS / name

    def _check_alias(self, alias: str) -> None:
        checked_name(alias)
        if alias in self._shelves:
            raise Refused(409, f"Wrong input: a collection `{alias}` exists already")

    def _remembered(self) -> dict[str, Any]:
        nothing: dict[str, Any] = {"layout": LAYOUT, "aliases": {}, "collections": {}}
        path = None if self.root is None else self.root / REMEMBERED
        if path is None or not path.is_file():
            return nothing
        known = files.read_json(path)
        if not isinstance(known, dict) or known.get("layout") != LAYOUT:
            raise FormatError(f"expected layout {LAYOUT}; made by a newer firth?", path=path)
        return nothing | known

    def _remember(self) -> None:
        if self.root is None or self.readonly:
            return
        about = {
            name: {"made": shelf.made, "embedded_by": shelf.embedded_by, "fields": shelf.fields}
            for name, shelf in self._shelves.items()
            if shelf.made is not None or shelf.embedded_by is not None or shelf.fields
        }
        known = {"layout": LAYOUT, "aliases": self._aliases, "collections": about}
        files.write_json(self.root / REMEMBERED, known)


def checked_name(name: str) -> str:
    """A name that is safe as a folder's.

    Raises:
        Refused: 400.
    """
    if not NAME.fullmatch(name) or len(name.encode("utf-8", "replace")) > LONGEST_NAME or name.endswith((".", " ")):
        raise Refused(
            400,
            f"the name {name[:80]!r} is none: expected letters, digits, _ . + @ - within, at most {LONGEST_NAME} bytes",
        )
    return name


def _needed(encoder: Served | None) -> Served:
    if encoder is None:
        raise ModelError("this server has no model; give vectors a size, or start it with --model")
    return encoder
