"""ELMo: a bidirectional language model over characters, whose layers are word vectors in context. To train and to use.

Source: Peters et al. 2018, "Deep contextualized word representations", arXiv:1802.05365; constants as in bilm-tf.
Where we differ: a text is read from a state of zeros, not from the state that the text before left behind, so that
neither batch nor order changes a vector; there is one class, which trains and is used.

    words -> characters -> CharacterEncoder -> x0 (t, p) -> layer 1 -> layer 2 + layer 1
    layers (l + 1, t, 2p): x0 twice, then each layer's forward and backward half; Mix weighs them into (t, 2p)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from firth.arrays import Vectors, unit
from firth.contextual.characters import TEXT_BEGINS, TEXT_ENDS, CharacterEncoder, characters
from firth.contextual.lstm import Layer
from firth.contextual.weights import write_tensors
from firth.errors import FormatError, ModelError, SettingsError
from firth.files import read_json, write_folder, write_json, write_text
from firth.progress import bar

DESCRIPTION, WORDS, WEIGHTS = "elmo.json", "words.txt", "model.safetensors"
UNKNOWN = "<UNK>"
BUDGET = 4096  # words of a batch that is encoded
REMEMBERED = 1 << 17  # words whose character path is kept; 70 MB at the small size
KINDS = (None, "query", "document")  # ELMo sees no difference
_WORD = re.compile(r"\w+|[^\w\s]")
_MOST = {"size": 1024, "highways": 16, "projection": 65_536, "cells": 262_144, "layers": 64, "width": 1024}


@dataclass(frozen=True)
class ElmoSettings:
    """The shape of the network.

    Attributes:
        size: of a character's vector.
        filters: (window in characters, how many) of each convolution.
        highways: layers between convolutions and projection.
        projection: p, width of a direction's vector.
        cells: c of each LSTM.
        layers: LSTM layers; from the second on each adds what it reads to what it gives.
        cell_clip, projection_clip: largest size of a value.
        width: most symbols of a word, its two marks included.
    """

    size: int = 16
    filters: tuple[tuple[int, int], ...] = ((1, 32), (2, 32), (3, 64), (4, 64), (5, 64))
    highways: int = 1
    projection: int = 128
    cells: int = 512
    layers: int = 2
    cell_clip: float = 3.0
    projection_clip: float = 3.0
    width: int = 50

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
                raise ModelError(f"ELMo's {name} is {value!r}; expected a whole number from 1 to {most:,}")
        if not self.filters or any(not 1 <= w <= self.width or not 1 <= n <= 65_536 for w, n in self.filters):
            raise ModelError(f"ELMo's filters are {self.filters!r}; expected (window up to {self.width}, how many)")
        if self.width < 3 or min(self.cell_clip, self.projection_clip) <= 0:
            raise ModelError("ELMo's words have at least 3 symbols, and its clips are above 0")


def elmo_small() -> ElmoSettings:
    """256 filters, 512 cells projected to 128: learns on two cores; vectors of 256."""
    return ElmoSettings()


def elmo_paper() -> ElmoSettings:
    """The published size: 2,048 filters, 4,096 cells projected to 512; vectors of 1,024. For a GPU."""
    filters = ((1, 32), (2, 32), (3, 64), (4, 128), (5, 256), (6, 512), (7, 1024))
    return ElmoSettings(filters=filters, highways=2, projection=512, cells=4096)


SIZES = {"small": elmo_small, "paper": elmo_paper}


class Mix(nn.Module):
    """γ · Σ softmax(w)_l · layer_l: how a task weighs the layers; learnt with the task.

    Args:
        layers: how many there are, l + 1.
    """

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.gamma = nn.Parameter(torch.ones(()))

    def forward(self, layers: Tensor) -> Tensor:
        """(l + 1, t, 2p) -> (t, 2p)."""
        return self.gamma * torch.einsum("l,l...->...", self.weights.softmax(0), layers)


class Elmo(nn.Module):
    """The model. Weights are drawn from torch's generator: seed it before.

    Args:
        settings: the shape.
        words: what the language model predicts: "<S>", "</S>", "<UNK>", then by falling frequency. Any word has a
            vector, known or not, since it is read by its characters.

    Attributes:
        mix: weighs the layers; equal weights until a task has learnt others.
    """

    def __init__(self, settings: ElmoSettings, words: Sequence[str]) -> None:
        super().__init__()
        if tuple(words[:3]) != (TEXT_BEGINS, TEXT_ENDS, UNKNOWN):
            raise ModelError(f"ELMo's words begin with {list(words[:3])}; expected '<S>', '</S>', '<UNK>'")
        self.settings = settings
        self.words = tuple(words)
        s, p = settings, settings.projection
        self.characters = CharacterEncoder(s.size, s.filters, s.highways, p)
        self.layers = nn.ModuleList(Layer(p, s.cells, p, s.cell_clip, s.projection_clip) for _ in range(s.layers))
        self.softmax = nn.Parameter(torch.empty(len(words), p))  # shared by both directions
        nn.init.normal_(self.softmax, std=p**-0.5)
        self.softmax_bias = nn.Parameter(torch.zeros(len(words)))
        self.mix = Mix(s.layers + 1)
        self._kept: dict[str, Tensor] = {}

    def both_ways(
        self, x: Tensor, states: Sequence[tuple[Tensor, Tensor]] | None = None, dropout: float = 0.0
    ) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """Outputs (2, s, b, p) of each layer, each direction in its own reading order, and the states behind.

        Args:
            x: (2, s, b, p) words' vectors.
            states: of each layer before the first step; None = zeros.
            dropout: probability, before each layer and behind the last.
        """
        found, behind = [], []
        for number, layer in enumerate(self.layers):
            inner = nn.functional.dropout(x, dropout, dropout > 0)
            state = layer.start(x.shape[2]) if states is None else states[number]  # type: ignore[operator]
            y, state = layer(inner, state)
            x = y + x if number else y
            found.append(x)
            behind.append(state)
        return found, behind

    @torch.no_grad()
    def layers_of(self, texts: Sequence[Sequence[str]]) -> list[Tensor]:
        """(l + 1, t, 2p) of each text, in order; a text of no words gives t = 0.

        Args:
            texts: as words; see `split`.
        """
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        found: list[Tensor] = [torch.empty(0)] * len(texts)
        start = 0
        while start < len(order):
            end = start + max(1, BUDGET // (len(texts[order[start]]) + 2))
            for i, layers in zip(order[start:end], self._batch([texts[i] for i in order[start:end]]), strict=True):
                found[i] = layers
            start = end
        return found

    def remember(self, words: Iterable[str]) -> None:
        """Keep the character path of these words; later texts look them up instead of computing them."""
        new = [word for word in dict.fromkeys(words) if word not in self._kept]
        for start in range(0, len(new), BUDGET):
            part = new[start : start + BUDGET]
            self._kept |= dict(zip(part, self.word_vectors(part), strict=True))

    def forget(self) -> None:
        """Drop what `remember` keeps; needed when weights have changed."""
        self._kept = {}

    @torch.no_grad()
    def word_vectors(self, words: Sequence[str]) -> Tensor:
        """(n, p) by the characters, without context."""
        symbols = torch.from_numpy(characters(words, self.settings.width)).to(self.softmax.device)
        found: Tensor = self.characters(symbols)
        return found

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """(n, d) float32 unit rows: the mean of a text's word vectors, mixed over the layers; zeros without words.

        Args:
            kind: "query", "document" or None; all the same to ELMo.
            dims: keep only so many leading dimensions, brought back to unit length.
        """
        if isinstance(texts, str) or kind not in KINDS:
            raise SettingsError(
                f"encode: expected a list of texts and a kind of {KINDS}, got {type(texts).__name__}, {kind!r}"
            )
        if dims is not None and not 1 <= dims <= self.dims:
            raise SettingsError(f"dims={dims}: expected 1 to {self.dims}")
        rows = np.zeros((len(texts), self.dims), np.float32)
        with bar("encoding", shown=progress) as report:
            for start in range(0, len(texts), 256):
                part = [split(text) for text in texts[start : start + 256]]
                if len(self._kept) < REMEMBERED:
                    self.remember(word for words in part for word in words)
                for i, layers in enumerate(self.layers_of(part)):
                    if layers.shape[1]:
                        rows[start + i] = self.mix(layers).mean(0).detach().cpu().numpy()
                report(min(start + 256, len(texts)), len(texts), "texts")
        return unit(rows[:, :dims])

    @property
    def dims(self) -> int:
        """Width of a word's vector, both directions."""
        return 2 * self.settings.projection

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that the vectors depend on."""
        digest = hashlib.sha256(repr(self.settings).encode())
        for name, value in sorted(self.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | str) -> None:
        """Write a folder that `Elmo.load` and `firth.load` read; an old one is replaced in one step."""
        with write_folder(folder) as place:
            write_json(place / DESCRIPTION, asdict(self.settings))
            write_text(place / WORDS, "".join(f"{word}\n" for word in self.words))
            tensors = {name: value.detach().cpu().contiguous() for name, value in self.state_dict().items()}
            write_tensors(place / WEIGHTS, tensors)

    @staticmethod
    def load(folder: Path | str) -> Elmo:
        """A saved model, ready to use.

        Raises:
            ModelError: no ELMo there; FormatError: a damaged file, a tensor that is missing or of another shape.
        """
        folder = Path(folder)
        if not (folder / DESCRIPTION).is_file():
            raise ModelError(f"{folder}: no {DESCRIPTION}; expected a folder that firth pretrain elmo made")
        settings = _settings(folder / DESCRIPTION)
        words = (folder / WORDS).read_text(encoding="utf-8").splitlines()
        with torch.random.fork_rng():
            model = Elmo(settings, words)
        try:
            tensors = load_file(folder / WEIGHTS)
        except (SafetensorError, FileNotFoundError) as error:
            raise FormatError(f"damaged or truncated ({error}); copy it again", path=folder / WEIGHTS) from error
        for name, value in model.state_dict().items():
            if name not in tensors or tensors[name].shape != value.shape or not tensors[name].isfinite().all():
                there = tuple(tensors[name].shape) if name in tensors else "missing"
                raise FormatError(
                    f"tensor {name!r} is {there}, {DESCRIPTION} and {WORDS} ask for {tuple(value.shape)} of finite "
                    "numbers; are the three files of one model?",
                    path=folder / WEIGHTS,
                )
        model.load_state_dict(tensors)
        return model.eval()

    def _batch(self, texts: Sequence[Sequence[str]]) -> list[Tensor]:
        """Layers of a few texts, the longest first; a text is read between its two marks, which are left out again."""
        marked = [[TEXT_BEGINS, *text, TEXT_ENDS] for text in texts]
        lengths = [len(text) for text in marked]
        known, places = _numbered(marked)
        vectors = self.vectors(known)
        device, p = vectors.device, self.settings.projection
        padded = torch.zeros(2, lengths[0], len(texts), dtype=torch.int64, device=device)
        for column, row in enumerate(places):
            padded[0, : len(row), column] = torch.tensor(row, device=device)
            padded[1, : len(row), column] = torch.tensor(row[::-1], device=device)
        # Shorter texts run on into padding behind their end, which no step before it can see.
        found, _ = self.both_ways(vectors[padded])
        layers = []
        for column, length in enumerate(lengths):
            own = vectors[padded[0, :length, column]]
            each = [torch.cat([own, own], 1)]
            each += [torch.cat([y[0, :length, column], y[1, :length, column].flip(0)], 1) for y in found]
            layers.append(torch.stack(each)[:, 1:-1])
        assert not layers or layers[0].shape[2] == 2 * p
        return layers

    def vectors(self, words: Sequence[str]) -> Tensor:
        """(n, p), looked up where `remember` has been, else computed."""
        new = [i for i, word in enumerate(words) if word not in self._kept]
        if len(new) == len(words):
            return self.word_vectors(words)
        found = torch.empty(len(words), self.settings.projection, device=self.softmax.device)
        for i, word in enumerate(words):
            if word in self._kept:
                found[i] = self._kept[word]
        if new:
            found[torch.tensor(new)] = self.word_vectors([words[i] for i in new])
        return found


def split(text: str) -> list[str]:
    """Words and marks of a text, as ELMo reads it; case is kept."""
    return _WORD.findall(text)


def _numbered(texts: Sequence[Sequence[str]]) -> tuple[list[str], list[list[int]]]:
    """The different words, and each text as places among them."""
    known: dict[str, int] = {}
    places = [[known.setdefault(word, len(known)) for word in text] for text in texts]
    return list(known), places


def _settings(path: Path) -> ElmoSettings:
    described: Any = read_json(path)
    try:
        filters = tuple((int(window), int(count)) for window, count in islice(described["filters"], 64))
        return ElmoSettings(**{**described, "filters": filters})
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (TypeError, KeyError, ValueError) as error:
        raise FormatError(f"does not describe an ELMo ({error})", path=path) from error
