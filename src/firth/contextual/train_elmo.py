"""Train ELMo's language model: both directions predict the next word, over text that flows past in parallel streams.

Source: Peters et al. 2018, arXiv:1802.05365; Jean et al. 2014, arXiv:1412.2007, and bilm-tf (sampled softmax with
log-uniform candidates). Loss = half the forward plus half the backward cross-entropy.
Where we differ: the backward direction reads the same streams from their end, so that its state too goes on from batch
to batch; candidates are shared by both directions; each different word of a batch passes the characters once.

    stream   <S> the cat sat </S> <S> it purred </S> …      b streams side by side, `unroll` words of each a batch
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from firth.contextual.characters import TEXT_BEGINS, TEXT_ENDS, characters
from firth.contextual.elmo import UNKNOWN, Elmo, ElmoSettings, split
from firth.contextual.settings import ElmoTraining
from firth.contextual.softmax import sampled_losses
from firth.errors import DataError, SettingsError
from firth.fit import FitSettings, Fitted, Measures, Task, adamw, fit
from firth.fit.processes import place
from firth.progress import Progress, silent

Documents = Sequence[Sequence[str]]
DEV_WORDS = 200_000  # most that the held-out part is scored on
ROWS = 4096  # words scored at once against the whole vocabulary


@dataclass(frozen=True)
class Stream:
    """Texts as one flow of words.

    Attributes:
        places: (t,) int32 place of each word among `spellings`.
        sentences: (s + 1,) int64 where each begins.
        spellings: every different word, in order of first appearance, "<S>" and "</S>" first.
        targets: (spellings,) int64 id of each in the vocabulary that is predicted.
        symbols: (spellings, width) characters of each.
    """

    places: NDArray[np.int32]
    sentences: NDArray[np.int64]
    spellings: tuple[str, ...]
    targets: NDArray[np.int64]
    symbols: NDArray[np.int16]

    @staticmethod
    def of(documents: Documents, words: Sequence[str], width: int) -> Stream:
        """The sentences of all documents, each between its marks."""
        known: dict[str, int] = {TEXT_BEGINS: 0, TEXT_ENDS: 1}
        flow: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        lengths = [0]
        for document in documents:
            for sentence in document:
                row = [0, *(known.setdefault(word, len(known)) for word in split(sentence)), 1]
                flow.append(np.array(row, np.int32))
                lengths.append(len(row))
        ids = {word: i for i, word in enumerate(words)}
        unknown = ids[UNKNOWN]
        targets = np.array([ids.get(word, unknown) for word in known], np.int64)
        symbols = characters(list(known), width).astype(np.int16)
        return Stream(np.concatenate(flow), np.cumsum(lengths), tuple(known), targets, symbols)


@dataclass(frozen=True)
class Window:
    """A batch: what both directions read next, each in its own order.

    Attributes:
        places: (2, unroll + 1, streams) words; the last row is only predicted, the first only read.
        first: whether the streams begin here, from a state of zeros.
        candidates: (k,) vocabulary ids of the sampled softmax; empty = all.
    """

    places: NDArray[np.int32]
    first: bool
    candidates: NDArray[np.int64]


@dataclass(frozen=True)
class Trained:
    """What training gave; `held_out` has forward and backward perplexity of the whole vocabulary, None without."""

    fitted: Fitted
    held_out: dict[str, float] | None
    words: int
    vocabulary: int


def vocabulary(documents: Documents, settings: ElmoTraining) -> list[str]:
    """The words that are predicted: three special ones, then by falling frequency, equal ones by spelling."""
    counts = Counter(word for document in documents for sentence in document for word in split(sentence))
    often = sorted((-count, word) for word, count in counts.items() if count >= settings.min_count)
    if not often:
        raise DataError(f"no word stands {settings.min_count} times in the text; give more text, or a lower min_count")
    return [TEXT_BEGINS, TEXT_ENDS, UNKNOWN, *(word for _, word in often[: settings.vocabulary])]


def train_elmo(
    documents: Documents,
    shape: ElmoSettings | None = None,
    *,
    settings: ElmoTraining | None = None,
    folder: Path | str | None = None,
    progress: Progress = silent,
) -> tuple[Elmo, Trained]:
    """Train a model on a text.

    Args:
        documents: of each its sentences; see `firth.text.sentences.read_documents`.
        shape: of the network; None = elmo_small().
        settings: how.
        folder: where checkpoints are kept; an interrupted training goes on from there to the bit.
        progress: told words done and in all, loss and perplexities.

    Raises:
        DataError: the text is shorter than a batch, or has no word often enough.
        SettingsError: a setting out of range, a checkpoint of another training or size, or several processes.
        TrainingError: the loss is not a number; says at which step, and where the last sound checkpoint is.
    """
    settings, shape = settings or ElmoTraining(), shape or ElmoSettings()
    if place()[1] > 1:
        raise SettingsError(
            "ELMo's streams go on from batch to batch, so that one process trains it; leave torchrun out"
        )
    count = round(settings.held_out * len(documents))
    kept, dev = documents[: len(documents) - count], documents[len(documents) - count :]
    words = vocabulary(kept, settings)
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model = Elmo(shape, words)
    course = Course(model, Stream.of(kept, words, shape.width), settings)
    task = Task(
        module=course,
        loss=course.loss,
        batches=course.batches,
        steps=course.steps,
        rows=lambda window: window.places[0, 1:].size,
        optimizer=adagrad if settings.optimizer == "adagrad" else adamw,
        identity=f"elmo {course.identity} {asdict(replace(settings, checkpoint_seconds=0.0))} {shape}",
        measures=course.measures,
    )
    fitted = fit(task, settings.fit, folder=folder, progress=progress)
    model.eval()
    held_out = perplexities(model, dev) if dev else None
    return model, Trained(fitted, held_out, fitted.rows, len(words))


class Course(nn.Module):
    """What is learnt; the states of the streams are buffers, so that checkpoints hold them."""

    sampled = staticmethod(sampled_losses)

    def __init__(self, model: Elmo, stream: Stream, settings: ElmoTraining) -> None:
        super().__init__()
        self.model, self.stream, self.settings = model, stream, settings
        rows, length = settings.streams, len(stream.places) // settings.streams
        own = (length - 1) // settings.unroll
        if own < 1:
            raise DataError(
                f"the text has {len(stream.places):,} words to train on, fewer than one batch of {settings.streams} "
                f"streams of {settings.unroll + 1}; give more text, or a smaller batch (streams=, --streams)"
            )
        self.steps = min(settings.steps, own) if settings.steps else own
        self.measures = Measures(told)
        for number, layer in enumerate(model.layers):
            h, c = layer.start(rows)  # type: ignore[operator]
            self.register_buffer(f"h{number}", h)
            self.register_buffer(f"c{number}", c)
        counts = np.bincount(stream.targets[stream.places], minlength=len(model.words))
        with torch.no_grad():  # the first steps need not learn which words are frequent
            model.softmax_bias.copy_(torch.from_numpy(np.log((counts + 1) / (counts.sum() + len(counts)))))
        self.chances = log_uniform(len(model.words))
        self.expected = inclusion(self.chances, settings.candidates)

    @property
    def identity(self) -> str:
        """Hex digest of the text and of the words that are predicted."""
        digest = hashlib.sha256("\n".join((*self.stream.spellings, "", *self.model.words)).encode())
        digest.update(self.stream.places.tobytes())
        return digest.hexdigest()

    def batches(self, epoch: int) -> Iterator[Window]:
        """Those of an epoch: the sentences in a new order, cut into streams."""
        settings = self.settings
        flow = ordered(self.stream, np.random.default_rng([settings.seed, epoch]))
        length = len(flow) // settings.streams
        ahead = flow[: length * settings.streams].reshape(settings.streams, length).T  # (length, streams)
        both = np.stack([ahead, ahead[::-1]])
        for number in range(self.steps):
            start = number * settings.unroll
            random = np.random.default_rng([settings.seed, epoch, number])
            drawn = self.drawn(random)
            yield Window(both[:, start : start + settings.unroll + 1], number == 0, drawn)

    def drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """Different candidates, frequent words likelier; none where the whole vocabulary is scored."""
        count, size = self.settings.candidates, len(self.model.words)
        if count == 0 or count >= size:
            return np.zeros(0, np.int64)
        # The k largest of log p + Gumbel noise are k draws without putting back.
        keys = np.log(self.chances) + random.gumbel(size=size)
        return np.sort(np.argpartition(keys, size - count)[size - count :])

    def loss(self, window: Window) -> Tensor:
        """Half of forward and backward cross-entropy, a mean over words."""
        model, settings = self.model, self.settings
        used, inverse = np.unique(window.places, return_inverse=True)
        places = torch.from_numpy(inverse.reshape(window.places.shape))
        device = model.softmax.device
        words = model.characters(torch.from_numpy(self.stream.symbols[used].astype(np.int64)).to(device))
        x = words[places[:, :-1].to(device)].float()
        states = [
            (self.state(f"h{i}", window.first), self.state(f"c{i}", window.first)) for i in range(len(model.layers))
        ]
        found, behind = model.both_ways(x, states, settings.dropout if self.training else 0.0)
        for number, (h, c) in enumerate(behind):
            self.get_buffer(f"h{number}").copy_(h)
            self.get_buffer(f"c{number}").copy_(c)
        y = F.dropout(found[-1], settings.dropout, self.training).flatten(1, 2)  # (2, n, p)
        targets = torch.from_numpy(self.stream.targets[window.places[:, 1:]]).to(device).flatten(1)
        losses = self.cross_entropies(y, targets, torch.from_numpy(window.candidates).to(device))
        for side, value in zip(("forward", "backward"), losses.detach().tolist(), strict=True):
            self.measures.add(f"{side}_loss", value * targets.shape[1], targets.shape[1])
        return losses.mean()

    def state(self, name: str, first: bool) -> Tensor:
        """A copy of what the streams left behind; zeros where they begin."""
        kept = self.get_buffer(name)
        return torch.zeros_like(kept) if first else kept.clone()

    def cross_entropies(self, y: Tensor, targets: Tensor, candidates: Tensor) -> Tensor:
        """(2,) mean of each direction; y (2, n, p), targets (2, n)."""
        model = self.model
        if not len(candidates):
            scores = F.linear(y, model.softmax, model.softmax_bias).float()
            return torch.stack([F.cross_entropy(scores[side], targets[side]) for side in range(2)])
        bias = model.softmax_bias - torch.from_numpy(np.log(self.expected)).float().to(y.device)
        losses = self.sampled(y.flatten(0, 1), model.softmax, bias, candidates, targets.flatten())
        return losses.view_as(targets).mean(1)


@torch.no_grad()
def perplexities(model: Elmo, documents: Documents) -> dict[str, float]:
    """Forward and backward perplexity over the whole vocabulary, each sentence read from its own beginning.

    Every word and </S> is predicted, from <S> on (backward: every word and <S>); <UNK> counts as the word that it is.
    """
    ids = {word: i for i, word in enumerate(model.words)}
    sums, count = np.zeros(2), 0
    sentences = sorted((split(sentence) for document in documents for sentence in document), key=len)
    model.forget()
    model.remember(word for sentence in sentences for word in sentence)
    start = 0
    while start < len(sentences) and count < DEV_WORDS:
        end = start + max(1, ROWS // (len(sentences[start]) + 2))
        part = sentences[start:end][::-1]
        start = end
        found, targets = last_layer(model, part, ids)
        for side in range(2):
            scores = F.linear(found[side], model.softmax, model.softmax_bias).float()
            sums[side] += float(F.cross_entropy(scores, targets[side], reduction="sum"))
        count += len(targets[0])
    model.forget()
    forward, backward = np.exp(sums / max(count, 1)).tolist()
    return {"forward_perplexity": forward, "backward_perplexity": backward, "words": float(count)}


def last_layer(
    model: Elmo, sentences: Sequence[Sequence[str]], ids: Mapping[str, int]
) -> tuple[list[Tensor], list[Tensor]]:
    """Of each direction: (n, p) last layer at every predicting place, and (n,) what comes there."""
    rows = [[TEXT_BEGINS, *sentence, TEXT_ENDS] for sentence in sentences]
    known = list(dict.fromkeys(word for row in rows for word in row))
    vectors = dict(zip(known, model.vectors(known), strict=True))
    longest = max(map(len, rows))
    found, targets = [], []
    x = torch.zeros(2, longest, len(rows), model.settings.projection, device=model.softmax.device)
    for column, row in enumerate(rows):
        own = torch.stack([vectors[word] for word in row])
        x[0, : len(row), column], x[1, : len(row), column] = own, own.flip(0)
    last = model.both_ways(x)[0][-1]
    for side in range(2):
        found.append(torch.cat([last[side, : len(row) - 1, column] for column, row in enumerate(rows)]))
        order = [row if side == 0 else row[::-1] for row in rows]
        flat = [ids.get(word, ids[UNKNOWN]) for row in order for word in row[1:]]
        targets.append(torch.tensor(flat, device=x.device))
    return found, targets


def ordered(stream: Stream, random: np.random.Generator) -> NDArray[np.int32]:
    """The whole flow with its sentences in a random order."""
    count = len(stream.sentences) - 1
    order = random.permutation(count)
    lengths = np.diff(stream.sentences)[order]
    ends = np.cumsum(lengths)
    inner = np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)
    flow: NDArray[np.int32] = stream.places[np.repeat(stream.sentences[:-1][order], lengths) + inner]
    return flow


def log_uniform(size: int) -> NDArray[np.float64]:
    """(v,) chance of each word by its rank, as bilm-tf draws: log((r + 2) / (r + 1)) / log(v + 1)."""
    rank = np.arange(size)
    chances: NDArray[np.float64] = np.log((rank + 2) / (rank + 1)) / math.log(size + 1)
    return chances


def inclusion(chances: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """(v,) chance of each word to be among `count` different draws: 1 - (1 - p)^n, n the draws that this takes."""
    if not 0 < count < len(chances):
        return np.ones(len(chances))
    low, high = 0.0, 1.0
    found = chances
    while -np.expm1(high * np.log1p(-chances)).sum() < count:
        high *= 2
    for _ in range(60):
        draws = (low + high) / 2
        found = -np.expm1(draws * np.log1p(-chances))
        low, high = (draws, high) if found.sum() < count else (low, draws)
    return found


def adagrad(module: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """As published: accumulators begin at 1."""
    return torch.optim.Adagrad(module.parameters(), lr=settings.rate, initial_accumulator_value=1.0)


def told(means: Mapping[str, float]) -> str:
    """Both perplexities as a line of progress shows them; of a sampled softmax they are those among the candidates."""
    names = [name for name in ("forward_loss", "backward_loss") if name in means]
    return ", ".join(f"{name.partition('_')[0]} perplexity {math.exp(min(means[name], 50)):,.1f}" for name in names)
