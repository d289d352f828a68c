"""The life of a collection's folder: made, opened, copied, re-embedded, compacted, checked, closed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from firth.arrays import Encoder
from firth.errors import SettingsError, StorageError
from firth.files import write_folder
from firth.progress import Progress, silent
from firth.store import check, reembed, snapshot
from firth.store.database import Database
from firth.store.intake import Models, check_model
from firth.store.keep import Keeper
from firth.store.lock import WriterLock
from firth.store.moment import Ground, Moment
from firth.store.reembed import Reembedding
from firth.store.schema import IndexSettings, VectorSettings
from firth.store.space import add_space

DEFAULT = ""  # name of the vectors that have no name
# FTS5: folds case and accents, stems English: worth 0.018 nDCG@10 on SciFact and COVID FAQ, 0.024 on Cranfield.
TOKENIZE = "porter unicode61 remove_diacritics 2"


class Life:
    """What `Collection` can do with its folder as a whole.

    Attributes:
        path: the folder.
    """

    def __init__(self, ground: Ground, models: Models, keeper: Keeper | None) -> None:
        self.path = ground.folder
        self._ground = ground
        self._models = models
        self._keeper = keeper  # None = readonly
        self._growth: Reembedding | None = None

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
        background: bool = True,
    ) -> Self:
        """A new, empty collection in the folder `path`, opened for writing.

        Args:
            encoder: embeds the texts and the queries; without one the caller brings vectors.
            dims: width of the stored vectors; smaller than the encoder's = their first `dims`, brought to length one.
            codec: what the index compares: "sq8" = one byte a dimension, None = float32.
            index: how the index is built.
            vectors: further sets of vectors by name; the one made of `encoder` and `dims` is called "".
            durable: wait for the disk at each write; without, a loss of power may take the last writes (kill -9 not).
            background: index and compact in a thread of its own; without, at the end of the writes that make it due.

        Raises:
            StorageError: the path exists, or cannot be written.
            SettingsError: no vectors at all, or dims beyond the encoder's.
        """
        path = Path(path)
        spaces = dict(vectors or {})
        width = dims or (encoder.dims if encoder is not None else None)
        if width is not None:
            spaces[DEFAULT] = VectorSettings(width, "cosine", codec, "full", index or IndexSettings())
        if not spaces:
            raise SettingsError("a collection needs an encoder, or dims, or vectors")
        for name, settings in spaces.items():
            if settings.embeds is not None and encoder is not None and settings.dims > encoder.dims:
                raise SettingsError(f"vectors {name!r}: dims={settings.dims}, but the encoder gives {encoder.dims}")
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise StorageError(f"{path}: exists already; open it with Collection.open, or choose another path")
        with write_folder(path) as folder:
            (folder / "vectors").mkdir()
            (folder / "index").mkdir()
            Database.create(folder, tokenize=TOKENIZE)
            database = Database(folder, writer=True)
            try:
                with database.writing() as db:
                    for name, settings in sorted(spaces.items()):
                        made_by = None if encoder is None or settings.embeds is None else encoder.fingerprint
                        add_space(db, name, settings, made_by, "live")
            finally:
                database.close()
        return cls.open(path, encoder=encoder, durable=durable, background=background)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        encoder: Encoder | None = None,
        readonly: bool = False,
        durable: bool = True,
        background: bool = True,
    ) -> Self:
        """The collection in the folder `path`, wherever it was moved to.

        Args:
            encoder: the model that made its vectors; only needed to embed texts and text queries.
            readonly: any number of processes may; without it this process becomes the one writer.
            durable, background: see `create`.

        Raises:
            FormatError: no collection, damaged, or of another format.
            LockedError: another process is the writer.
            ModelError: another model than the one which made the vectors.
        """
        path = Path(path)
        if not path.is_dir():
            raise StorageError(f"{path}: no such collection; make one with Collection.create")
        lock = None if readonly else WriterLock(path / "lock")
        ground = None
        try:
            ground = Ground(path, lock=lock, durable=durable)
            if encoder is not None:
                check_model(ground, encoder)
        except BaseException:
            if ground is not None:
                ground.close()
            elif lock is not None:
                lock.release()
            raise
        return cls(ground, Models(encoder), None if readonly else Keeper(ground, background=background))

    def close(self) -> None:
        """Do the upkeep that is due, let go of the files and of the writer's lock; harmless when called twice.

        After a large upsert that is some time for the graph; with Ctrl-C it is left for another day.
        """
        self._close(finish=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close(finish=kind is None)

    @property
    def encoder(self) -> Encoder | None:
        """The model that embeds texts and queries; after a `cut_over` the new one."""
        return self._models.first

    def vector_settings(self) -> dict[str, VectorSettings]:
        """The sets of vectors that are searched, by name; the unnamed one is called ""."""
        return self._ground.read(lambda moment: {name: space.settings for name, space in moment.live.items()})

    def fingerprints(self) -> dict[str, str | None]:
        """Of the model that made each set of vectors; None where the caller brought them and nobody said."""
        return self._ground.read(lambda moment: {name: s.facts.fingerprint for name, s in moment.live.items()})

    def indexed(self) -> dict[str, int]:
        """How many rows of each set of vectors the graph finds; the others are scanned."""

        def graphs(moment: Moment) -> dict[str, int]:
            views = {name: space.at(moment.db, moment.version) for name, space in moment.live.items()}
            return {name: 0 if view.mark is None else len(view.mark.index) for name, view in views.items()}

        return self._ground.read(graphs)

    def snapshot(self, path: Path | str, *, progress: Progress = silent) -> None:
        """A copy as of now in the new folder `path`, while others write and search on; it opens by itself.

        Raises:
            StorageError: the path exists, or the disk is full; then nothing is left there.
        """
        self._ground.read(lambda moment: snapshot.take(moment, self.path, Path(path), progress))

    @classmethod
    def restore(
        cls, snapshot_path: Path | str, path: Path | str, *, encoder: Encoder | None = None, readonly: bool = False
    ) -> Self:
        """Copy a snapshot to the new folder `path`, checking every byte, and open that.

        Raises:
            FormatError: not a snapshot, or not as it was written.
            StorageError: the path exists, or the disk is full.
        """
        snapshot.restore(Path(snapshot_path), Path(path))
        return cls.open(path, encoder=encoder, readonly=readonly)

    def compact(self) -> None:
        """Do now what upkeep would do in time: all rows into the graph, the graph to the disk, free room given back."""
        self._needs_writer("compact").work(thorough=True)

    def check(self) -> list[str]:
        """What does not agree between rows, vectors and indexes, one sentence each; reads everything once.

        An empty list is good news. A damaged graph is derived and heals with its removal from index/; damaged rows or
        vectors need a snapshot.
        """
        found = check.problems(self._ground)
        failed = None if self._keeper is None else self._keeper.failed
        return found if failed is None else [*found, f"upkeep ended with {failed!r}"]

    def reembed(self, encoder: Encoder, *, dims: int | None = None, progress: Progress = silent) -> Reembedding:
        """Embed all texts with another model, in the background, while the collection goes on with the present one.

        `wait()` for what is returned, then `cut_over()`. Closing and reopening interrupts it; calling this again goes
        on where it was.

        Args:
            dims: width of the new vectors; the encoder's if None.

        Raises:
            ModelError: the model is the present one, or another one is growing.
        """
        self._needs_writer("re-embed")
        self._models.add(encoder)
        self._growth = reembed.begin(self._ground, encoder, dims, progress)
        return self._growth

    def cut_over(self, *, encoder: Encoder | None = None) -> None:
        """From one moment to the next, search the new model's vectors; the old ones are kept for `roll_back`.

        Args:
            encoder: the new model, where this process did not begin the re-embedding.

        Raises:
            SettingsError: nothing was re-embedded.
            ModelError: the new model is not at hand.
        """
        self._change("growing", encoder)

    def roll_back(self, *, encoder: Encoder | None = None) -> None:
        """Search the vectors from before the `cut_over` again; rows that came since are embedded with that model.

        Args:
            encoder: the model from before, where this process was opened after the cut-over.

        Raises:
            SettingsError: there was no cut-over, or its old vectors were dropped.
            ModelError: the model is not at hand.
        """
        self._change("retired", encoder)

    def drop_others(self) -> int:
        """Give up the vectors that are not live: an unfinished re-embedding, or a roll back; how many sets."""
        keeper = self._needs_writer("drop vectors")
        if self._growth is not None:
            self._growth.stop()
        dropped = reembed.drop(self._ground)
        keeper.poke()
        return dropped

    def _close(self, *, finish: bool) -> None:
        keeper, self._keeper = self._keeper, None
        try:
            if self._growth is not None:
                self._growth.stop()
            if keeper is not None and finish:
                keeper.finish()
        finally:
            if keeper is not None:
                keeper.stop()
            self._ground.close()

    def _change(self, state: str, encoder: Encoder | None) -> None:
        keeper = self._needs_writer("change the model")
        if encoder is not None:
            self._models.add(encoder)
        if self._growth is not None:
            self._growth.stop()
        self._models.prefer(reembed.cut_over(self._ground, self._models, state))
        keeper.poke()

    def _needs_writer(self, what: str) -> Keeper:
        self._ground.database.check_open()
        if self._keeper is None:
            raise StorageError(f"{self.path}: was opened with readonly=True; open it without to {what}")
        return self._keeper
