"""SentenceEncoder: texts to unit vectors, without padding, in an order and a batch that change nothing.

Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084; the folder is that of sentence-transformers.
Where we differ: texts are grouped by their length in tokens up to a token budget, not padded to a batch of 32; what a
text loses by being cut is counted and told; every vector has length one.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from firth.arrays import Ids, Vectors, unit
from firth.contextual.bert import Bert
from firth.contextual.weights import load_bert, save_bert
from firth.errors import SettingsError, ShapeError
from firth.files import write_folder
from firth.progress import Progress, bar, silent
from firth.sentence.dense import Dense
from firth.sentence.folder import EncoderSettings, Layout, read_layout, write_layout
from firth.sentence.network import Inference, Network
from firth.sentence.shards import Shards, encode_shards
from firth.text.records import Ragged
from firth.text.tokenizer import Tokenizer

BLOCK = 4096  # texts tokenised and sorted by length at once; more would only cost memory
_KINDS = {"document": ("document", "passage", "corpus")}  # names under which published models keep this prompt


class CutWarning(UserWarning):
    """Texts were longer than the model reads, and their ends were left out."""


@dataclass(frozen=True)
class Cut:
    """What was not read.

    Attributes:
        texts: how many texts were cut.
        tokens: how many tokens they lost together.
        rows: (texts,) int64, which they are.
    """

    texts: int
    tokens: int
    rows: Ids


@dataclass(frozen=True)
class Encoded:
    """Vectors (n, d) float32 unit rows in the order of the texts, what was cut, and (n,) int64 tokens read of each."""

    vectors: Vectors
    cut: Cut
    tokens: Ids


class SentenceEncoder:
    """An encoder of texts, to use and to train.

    Attributes:
        module: the nn.Module that holds all parameters; `module.train()` switches dropout on for `embed`.
        tokenizer: the model's own.
        settings: pooling, prompts, longest text.
    """

    def __init__(
        self,
        bert: Bert,
        tokenizer: Tokenizer,
        settings: EncoderSettings | None = None,
        *,
        dense: Sequence[Dense] = (),
        layout: Layout | None = None,
    ) -> None:
        """An encoder of parts; `SentenceEncoder.load` is the usual way.

        Raises:
            ShapeError: the tokenizer has more entries than the model has words, or layers do not fit together.
        """
        self.settings = settings or EncoderSettings()
        self.module = Network(bert, self.settings.pooling.modes, dense).eval()
        self._inference = Inference(self.module)
        self.tokenizer = tokenizer
        self._layout = layout
        self._told: set[str] = set()
        self._fingerprint: tuple[object, str] | None = None
        if self.dims > self.module.width:
            raise ShapeError(f"vectors are to be cut to {self.dims} dimensions, the model has {self.module.width}")
        if tokenizer.size > bert.settings.vocab:
            raise ShapeError(
                f"the tokenizer has {tokenizer.size:,} entries, the model {bert.settings.vocab:,} words; "
                "are both from the same model?"
            )

    @staticmethod
    def load(
        folder: Path | str,
        *,
        prompts: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
        device: str | None = None,
    ) -> SentenceEncoder:
        """The encoder of a sentence-transformers folder (older or version 6), or of a plain BERT folder.

        Args:
            prompts: text before every text of a kind, in place of the folder's: {"query": "query: ", …}.
            max_tokens: longest text, in place of the folder's.
            device: as torch names it; None = a GPU where there is one.

        Raises:
            ModelError: no model there, or one that firth does not read; FormatError: a damaged file.
            SettingsError: max_tokens beyond the model's positions.
        """
        layout = read_layout(folder)
        bert = load_bert(layout.bert)
        settings = layout.settings
        if prompts is not None:
            settings = replace(settings, prompts=dict(prompts), default_prompt=None)
        if max_tokens is not None:
            if not 3 <= max_tokens <= bert.settings.longest:
                raise SettingsError(f"max_tokens={max_tokens}: this model reads 3 to {bert.settings.longest}")
            settings = replace(settings, max_tokens=max_tokens)
        dense = [Dense.load(path) for path in layout.dense]
        encoder = SentenceEncoder(bert, Tokenizer.load(layout.bert), settings, dense=dense, layout=layout)
        encoder.module.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        return encoder

    def save(self, folder: Path | str) -> None:
        """Write a folder that firth and sentence-transformers read; an old one is replaced in one step."""
        files = {} if self._layout is None else self._layout.tokenizer_files
        names = tuple(Path(f"{2 + i}_Dense") for i in range(len(self.module.dense)))
        with write_folder(folder) as place:
            save_bert(self.module.bert, place)
            for name, layer in zip(names, self.module.steps, strict=True):
                layer.save(place / name)
            self.tokenizer.save(place / "tokenizer.json")
            layout = Layout(self.settings, place, names, files)
            width = self.module.bert.settings.dims
            write_layout(place, layout, width=width, max_tokens=self.max_tokens, pad=self._pad)

    @property
    def dims(self) -> int:
        """Width of the vectors that `encode` gives."""
        return self.settings.dims or self.module.width

    @property
    def max_tokens(self) -> int:
        """Tokens of the longest text that is read whole, special tokens included."""
        longest = self.module.bert.settings.longest
        return min(longest, self.settings.max_tokens or longest)

    @property
    def prompts(self) -> dict[str, str]:
        """Text put before every text of a kind."""
        return dict(self.settings.prompts)

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Prefixes whose quality was trained, ascending; the full width is always among them."""
        return tuple(sorted({*self.settings.trained_dims, self.module.width}))

    @trained_dims.setter
    def trained_dims(self, dims: Sequence[int]) -> None:
        if wrong := [size for size in dims if not 1 <= size <= self.module.width]:
            raise SettingsError(f"trained_dims: {wrong} are not between 1 and {self.module.width}")
        self.settings = replace(self.settings, trained_dims=tuple(sorted(set(dims))))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.module.device

    @property
    def fingerprint(self) -> str:
        """Hex SHA-256 of all that decides the vectors: weights, tokenizer, pooling, prompts, longest text."""
        state = (self.module.state(), repr(self.settings))
        if self._fingerprint is None or self._fingerprint[0] != state:
            digest = hashlib.sha256(self.tokenizer.fingerprint.encode())
            shape = replace(self.module.bert.settings, dropout=0.0, attention_dropout=0.0)
            digest.update(repr((replace(self.settings, trained_dims=()), shape, self.max_tokens)).encode())
            for name, value in sorted(self.module.state_dict().items()):
                digest.update(f"{name}{tuple(value.shape)}".encode())
                digest.update(value.detach().cpu().contiguous().numpy().data)
            self._fingerprint = (state, digest.hexdigest())
        return self._fingerprint[1]

    def tokenize(self, texts: Sequence[str], kind: str | None = None) -> Ragged:
        """Token ids of the texts behind the prompt of their kind, each cut to `max_tokens`.

        Raises:
            SettingsError: a kind that is neither "query" nor "document" nor one of the model's prompts.
        """
        prompt = self._prompt(kind)
        lower = self.settings.lower_case
        ready = [(prompt + text).lower() if lower else prompt + text for text in texts] if prompt or lower else texts
        return self.tokenizer.encode(ready, self.max_tokens)

    def embed(self, ragged: Ragged, kind: str | None = None) -> Tensor:
        """(n, width) unit rows on the model's device, with gradient; dropout where the module trains.

        Args:
            ragged: of `tokenize`.
            kind: as given to `tokenize`; matters only to a model that leaves its prompt out of the pooling.
        """
        return F.normalize(self.module.pooled(ragged, self._skip(kind)), dim=1)

    def encode(
        self,
        texts: Sequence[str],
        *,
        kind: str | None = None,
        dims: int | None = None,
        precision: str = "auto",
        progress: bool = False,
    ) -> Vectors:
        """Vectors of the texts, in their order; warns once where texts were cut (`encode_counted` returns how many).

        Args:
            texts: n texts.
            kind: "query", "document" or a prompt of this model; None = the model's default.
            dims: width of the vectors; the first `dims` values, brought back to length one. None = `self.dims`.
            precision: "float32"; "bfloat16"; "auto" = bfloat16 where the processor has it natively, else float32.
            progress: whether a progress line is shown on stderr.

        Returns:
            (n, dims) float32 unit rows.

        Raises:
            SettingsError: one string instead of several, an unknown kind or precision, dims out of range.
        """
        with bar("encoding", shown=progress) as report:
            encoded = self._encode(texts, kind, dims, precision, report)
        self._tell(encoded.cut.texts, encoded.cut.tokens, len(texts))
        return encoded.vectors

    def encode_counted(
        self,
        texts: Sequence[str],
        *,
        kind: str | None = None,
        dims: int | None = None,
        precision: str = "auto",
        progress: Progress = silent,
    ) -> Encoded:
        """As `encode`, with what was cut."""
        return self._encode(texts, kind, dims, precision, progress)

    def encode_to(
        self,
        folder: Path | str,
        texts: Iterable[str],
        ids: Iterable[str] | None = None,
        *,
        kind: str | None = None,
        dims: int | None = None,
        precision: str = "auto",
        total: int = 0,
        progress: Progress = silent,
    ) -> Shards:
        """Encode any number of texts into a folder of shards, or go on with one that was interrupted.

        Args:
            folder: see `firth.sentence.shards`; shards of the same texts and encoder are kept.
            texts: read once, a shard at a time; a resumed run must give the same texts from the start.
            ids: of the texts; None = their row numbers.
            total: how many texts there are, for the progress; 0 = not known.

        Raises:
            StorageError: the disk is full; finished shards stay.
            ShapeError: not as many ids as texts.
        """
        width = self._width(dims)
        maker = {"fingerprint": self.fingerprint, "kind": kind, "dims": width}
        if precision != "auto":
            maker["precision"] = precision

        def encode(block: Sequence[str]) -> tuple[Vectors, int, int]:
            found = self._encode(block, kind, width, precision, silent)
            return found.vectors, found.cut.texts, found.cut.tokens

        rows = _named(texts, ids)
        shards = encode_shards(encode, rows, folder, maker=maker, total=total, progress=progress)
        self._tell(*shards.cut, len(shards))
        return shards

    def _encode(
        self, texts: Sequence[str], kind: str | None, dims: int | None, precision: str, progress: Progress
    ) -> Encoded:
        if isinstance(texts, str):
            raise SettingsError("texts: expected a list of texts, got one string; write [text]")
        width = self._width(dims)
        forward, budget = self._inference.forward(precision, self._skip(kind))
        out = np.empty((len(texts), width), np.float32)
        cut, tokens = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
        done = 0
        for start in range(0, len(texts), BLOCK):
            ragged = self.tokenize(texts[start : start + BLOCK], kind)
            cut[start : start + BLOCK] = ragged.cut
            tokens[start : start + BLOCK] = ragged.lengths
            for rows in batches(ragged.lengths, budget):
                out[start + rows] = unit(forward(ragged.take(rows))[:, :width])
                done += len(rows)
                progress(done, len(texts))
        rows = np.flatnonzero(cut)
        return Encoded(out, Cut(len(rows), int(cut.sum()), rows), tokens)

    def _prompt(self, kind: str | None) -> str:
        prompts = self.settings.prompts
        if kind is None:
            return prompts[self.settings.default_prompt] if self.settings.default_prompt else ""
        for name in _KINDS.get(kind, (kind,)):
            if name in prompts:
                return prompts[name]
        if kind not in ("query", "document"):
            raise SettingsError(f"kind {kind!r}: expected 'query', 'document' or one of {sorted(prompts)}")
        return ""

    def _skip(self, kind: str | None) -> int:
        """Leading tokens that the pooling leaves out."""
        prompt = self._prompt(kind)
        if self.settings.pooling.include_prompt or not prompt:
            return 0
        prompt = prompt.lower() if self.settings.lower_case else prompt
        return int(self.tokenizer.count([prompt])[0]) + len(self.tokenizer.prefix)

    def _width(self, dims: int | None) -> int:
        if dims is None:
            return self.dims
        if not 1 <= dims <= self.module.width:
            raise SettingsError(f"dims={dims}: this model's vectors have {self.module.width}")
        if dims not in self.trained_dims:
            trained = ", ".join(map(str, self.trained_dims))
            self._warn_once(UserWarning, f"dims={dims} was not trained (trained: {trained}); expect some loss")
        return dims

    def _tell(self, cut: int, tokens: int, n: int) -> None:
        if cut:
            message = f"{cut:,} of {n:,} texts were cut to {self.max_tokens} tokens; {tokens:,} tokens "
            self._warn_once(CutWarning, message + f"{'was' if tokens == 1 else 'were'} not read")

    def _warn_once(self, category: type[Warning], message: str) -> None:
        what = category.__name__ if category is CutWarning else message
        if what not in self._told:
            self._told.add(what)
            warnings.warn(message, category, stacklevel=_callers_level())

    @property
    def _pad(self) -> str | None:
        return None if self.tokenizer.pad is None else self.tokenizer.tokens([self.tokenizer.pad])[0]


def _callers_level() -> int:
    """Frames from the function that asks up to the first that is not firth's: the user's line, however it came here."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "firth":
        frame, level = frame.f_back, level + 1
    return level


def _named(texts: Iterable[str], ids: Iterable[str] | None) -> Iterator[tuple[str, str]]:
    if ids is None:
        yield from ((str(i), text) for i, text in enumerate(texts))
        return
    for id_, text in zip_longest(ids, texts):
        if id_ is None or text is None:
            raise ShapeError("ids: expected as many as there are texts")
        yield id_, text


def batches(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Rows by falling length in batches of at most `budget` tokens, at least one row each.

    The longest come first, so that what memory is needed is needed at once.
    """
    order = np.argsort(-lengths, kind="stable")
    start, tokens = 0, 0
    for i, row in enumerate(order):
        if tokens and tokens + lengths[row] > budget:
            yield order[start:i]
            start, tokens = i, 0
        tokens += int(lengths[row])
    if start < len(order):
        yield order[start:]
