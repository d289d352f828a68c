"""The state of a word2vec training: what an interrupted one needs to go on, and a new one to start warm."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors
from firth.errors import SettingsError
from firth.files import read_arrays, write_arrays
from firth.kernels import word2vec as kernel
from firth.kernels.words import joined
from firth.static.corpus import Corpus, Vocabulary

KIND, VERSION = "word2vec", 1
DRAWN = 4096  # rows at a time: the peak of memory is the model, not its draws

Paths = tuple[NDArray[np.int64], NDArray[np.int32]]


class Settings(Protocol):
    """What a state needs to know of `Word2Vec`."""

    @property
    def dims(self) -> int: ...
    @property
    def architecture(self) -> str: ...
    @property
    def objective(self) -> str: ...


@dataclass(frozen=True)
class State:
    """A training after a whole number of epochs.

    Attributes:
        vocabulary: words in the order of the rows; counts over all text trained on.
        input, output: (v, dims padded to 16) float32; inputs are the word vectors. Output rows belong to words, or in
            hierarchical softmax to inner nodes.
        paths: each word's way down the Huffman tree; empty without hierarchical softmax.
        epoch: passes done; losses: the mean loss of each.
        settings, corpus: of the training that this is the state of; corpus is the checksum of its ids.
    """

    vocabulary: Vocabulary
    input: Vectors
    output: Vectors
    paths: Paths
    epoch: int
    losses: list[float]
    settings: dict[str, Any]
    corpus: int

    def save(self, path: Path | str) -> None:
        """Write the state, whole or not at all."""
        text, offsets = joined(self.vocabulary.words)
        write_arrays(
            path,
            kind=KIND,
            version=VERSION,
            meta={"epoch": self.epoch, "losses": self.losses, "settings": self.settings, "corpus": self.corpus},
            arrays={
                "input": self.input,
                "output": self.output,
                "path_starts": self.paths[0],
                "paths": self.paths[1],
                "counts": self.vocabulary.counts,
                "words": text,
                "word_offsets": offsets,
            },
        )

    @classmethod
    def load(cls, path: Path | str) -> State:
        """Read a state into memory.

        Raises:
            FormatError: damaged, or of a newer version.
        """
        held = read_arrays(path, kind=KIND, version=VERSION)
        arrays, meta = held.arrays, held.meta
        text, offsets = arrays["words"].tobytes(), arrays["word_offsets"].tolist()
        words = [text[a:b].decode() for a, b in pairwise(offsets)]
        rows = {name: _writable(arrays[name]) for name in ("input", "output")}
        return cls(
            vocabulary=Vocabulary(words, np.array(arrays["counts"])),
            paths=(np.array(arrays["path_starts"]), np.array(arrays["paths"])),
            epoch=int(meta["epoch"]),
            losses=list(meta["losses"]),
            settings=dict(meta["settings"]),
            corpus=int(meta["corpus"]),
            **rows,
        )

    @classmethod
    def resume(cls, path: Path | str, settings: dict[str, Any], corpus: Corpus) -> State:
        """The state in `path`, if it belongs to these settings and this corpus.

        Raises:
            SettingsError: it belongs to others; names the first difference.
        """
        state = cls.load(path)
        for name, value in settings.items():
            if state.settings.get(name) != value:
                raise SettingsError(
                    f"{path} was trained with {name}={state.settings.get(name)!r}, not {value!r}: "
                    "use the same settings, remove it, name another state file, or pass it as start"
                )
        if state.corpus != corpus.checksum:
            raise SettingsError(
                f"{path} was trained on another corpus: remove it, name another state file, or pass it as start"
            )
        return state


def begin(corpus: Corpus, settings: Settings, rng: np.random.Generator) -> State:
    """The state before the first epoch: small random inputs, outputs of zero, as word2vec."""
    v = len(corpus.vocabulary)
    rows, outputs = kernel.aligned(v, settings.dims), kernel.aligned(v, settings.dims)
    _draw(rows, settings, rng)
    paths = _no_paths(v) if settings.objective != "hierarchical" else kernel.huffman(corpus.vocabulary.counts)
    return State(corpus.vocabulary, rows, outputs, paths, 0, [], {}, 0)


def extended(old: State, corpus: Corpus, settings: Settings, rng: np.random.Generator) -> State:
    """An earlier training's rows under a vocabulary that begins with its own; new words get small random rows.

    Raises:
        SettingsError: other dimensions, another kind of objective, or a corpus that was not counted with
            `known=old.vocabulary.words`.
    """
    known, v = len(old.vocabulary), len(corpus.vocabulary)
    if corpus.vocabulary.words[:known] != old.vocabulary.words:
        raise SettingsError("the corpus must be counted with known=start.vocabulary.words, so that ids keep their rows")
    trained_dims, tree = old.settings.get("dims"), settings.objective == "hierarchical"
    if trained_dims != settings.dims or tree != (len(old.paths[1]) > 0 and known > 1):
        raise SettingsError(
            f"start holds {trained_dims} dimensions trained with {old.settings.get('objective')!r}, "
            f"these settings ask for {settings.dims} and {settings.objective!r}"
        )
    rows, outputs = kernel.aligned(v, settings.dims), kernel.aligned(v, settings.dims)
    rows[:known], outputs[:known] = old.input, old.output
    _draw(rows[known:], settings, rng)
    counts = corpus.vocabulary.counts.copy()
    counts[:known] += old.vocabulary.counts
    paths = _grafted(old.paths, known, counts[known:]) if tree else _no_paths(v)
    return State(Vocabulary(corpus.vocabulary.words, counts), rows, outputs, paths, 0, [], {}, 0)


def _draw(rows: Vectors, settings: Settings, rng: np.random.Generator) -> None:
    """word2vec's small random rows; twice as large for CBOW, since the mean of several is smaller again."""
    d, width = settings.dims, 2 if settings.architecture == "cbow" else 1
    for begin in range(0, len(rows), DRAWN):
        block = rows[begin : begin + DRAWN, :d]
        block[:] = (rng.random(block.shape, np.float32) - 0.5) * (width / d)


def _no_paths(v: int) -> Paths:
    return np.zeros(v + 1, np.int64), np.empty(0, np.int32)


def _grafted(paths: Paths, known: int, counts: NDArray[np.int64]) -> Paths:
    """A new root with the old tree to the left and a tree of the new words to the right; old nodes keep their rows."""
    if not len(counts):
        return paths
    starts, path = paths
    new_starts, new_path = kernel.huffman(counts)
    root = known + len(counts) - 2
    left = np.insert(path, starts[:-1], root * 2)
    right = np.insert(new_path + 2 * (known - 1), new_starts[:-1], root * 2 + 1)
    steps = np.concatenate([np.diff(starts), np.diff(new_starts)]) + 1
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.int64), np.concatenate([left, right]).astype(np.int32)


def _writable(rows: Vectors) -> Vectors:
    copy = kernel.aligned(*rows.shape)
    copy[:] = rows
    return copy
