"""Learning from texts alone by repairing them: TSDAE, a denoising auto-encoder of sentences.

    text with 60 % of its tokens left out -> encoder -> one vector -> decoder -> the whole text, token after token

The decoder sees nothing of the text but the vector, so that the vector must hold what the text says. It is thrown away.
Source: Wang, Reimers and Gurevych 2021, "TSDAE", arXiv:2104.06979; deletion at 0.6 was their best.
Where we differ: the decoder is one layer from random weights, not a copy of the encoder tied to it: a weak decoder
leaves the work to the vector (Xiao et al. 2022, "RetroMAE", arXiv:2205.12035), and trains at a third of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from firth.errors import SettingsError
from firth.fit.processes import place
from firth.sentence.course import Trainable, at_least_float32, longest
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.examples import Rows, texts_alone
from firth.text.records import Ragged

if TYPE_CHECKING:
    from firth.sentence.tune import TuneSettings

DELETED = 0.6  # share of a text's tokens
LOGITS = 512  # tokens whose distribution over the vocabulary is held at once: 62 MB at BERT's 30,522


@dataclass(frozen=True)
class Texts:
    """One batch: rows of the texts, and the seed of what is deleted from them."""

    rows: Rows
    seed: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.rows)


class Denoising:
    """Texts as an encoder is taught them: what `Course` is for pairs.

    Raises:
        DataError: no texts, or an empty one.
        SettingsError: an encoder without a transformer.
    """

    def __init__(self, encoder: Trainable, texts: Iterable[str], settings: TuneSettings) -> None:
        if not isinstance(encoder, SentenceEncoder):
            raise SettingsError("tsdae needs a transformer; word vectors are learnt from texts by firth words train")
        self.encoder, self.settings = encoder, settings
        with longest(encoder, settings.max_tokens):
            self.found = texts_alone(texts, encoder.tokenize)
        torch_random = torch.Generator().manual_seed(settings.seed)
        self.decoder = Decoder(encoder.module.bert.words, encoder.module.width, settings.dropout, torch_random)
        self.decoder.to(encoder.device, encoder.module.bert.words.weight.dtype)
        self.module = nn.ModuleDict({"encoder": encoder.module, "decoder": self.decoder})
        self.edges = len(encoder.tokenizer.prefix), len(encoder.tokenizer.suffix)
        self.first = self.drawn(0)

    @property
    def size(self) -> int:
        """Different texts."""
        return len(self.found)

    @property
    def identity(self) -> str:
        """Digest of the texts."""
        return self.found.identity

    def batches(self, epoch: int) -> Sequence[Texts]:
        """Those of an epoch."""
        return self.drawn(epoch) if epoch else self.first

    def drawn(self, epoch: int) -> list[Texts]:
        seed, size = self.settings.seed, self.settings.batch
        order = np.random.default_rng([seed, epoch]).permutation(len(self.found))
        return [Texts(order[i : i + size], (seed, epoch, i)) for i in range(0, len(order), size)]

    def loss_of(self, batch: Texts) -> Tensor:
        """Mean surprise a token; of several processes each repairs its share of the texts."""
        rank, processes = place()
        whole = self.found.texts.take(batch.rows)
        noisy = deleted(whole, self.edges, np.random.default_rng(batch.seed))
        # Each process takes 1/processes of what it returns here; texts too few to divide are repaired by all.
        divided = len(batch) >= processes
        own = np.arange(rank, len(batch), processes) if divided else np.arange(len(batch))
        share = int((whole.lengths[own] - 1).sum()) / int((whole.lengths - 1).sum()) * (processes if divided else 1)
        vectors = self.encoder.embed(noisy.take(own), "document")
        with torch.autocast(vectors.device.type, enabled=False):
            loss: Tensor = share * self.decoder(vectors.to(at_least_float32(vectors)), whole.take(own))
        return loss


class Decoder(nn.Module):
    """One transformer layer that tells a text from its vector; words are embedded by the encoder's own table.

    Args:
        words: the encoder's word embeddings, trained along.
        width: of the vectors.
        dropout: of the layer.
        random: of the first weights.
    """

    def __init__(self, words: nn.Embedding, width: int, dropout: float, random: torch.Generator) -> None:
        super().__init__()
        d = words.embedding_dim
        heads = next(heads for heads in (12, 8, 4, 2, 1) if d % heads == 0)
        self.words = [words]  # in a list, so that the table is not a parameter of two modules
        self.memory = nn.Linear(width, d)
        self.layer = nn.TransformerDecoderLayer(
            d, heads, 4 * d, dropout, functional.gelu, batch_first=True, norm_first=True
        )
        self.norm = nn.LayerNorm(d)
        for name, value in self.named_parameters():
            if value.ndim > 1:
                nn.init.normal_(value, std=0.02, generator=random)
            elif name.endswith("bias"):
                nn.init.zeros_(value)  # torch draws some, which would differ from process to process

    def forward(self, vectors: Tensor, texts: Ragged) -> Tensor:
        """Mean surprise of each next token, in nats.

        Args:
            vectors: (n, width).
            texts: n rows of at least two tokens.
        """
        table = self.words[0].weight
        lengths = torch.from_numpy(texts.lengths)
        real = torch.arange(int(lengths.max()) - 1) < (lengths - 1)[:, None]
        ids = torch.from_numpy(texts.ids.astype(np.int64))
        ends = lengths.cumsum(0)
        last, first = torch.zeros(len(ids), dtype=torch.bool), torch.zeros(len(ids), dtype=torch.bool)
        last[ends - 1] = True
        first[ends - lengths] = True
        given, wanted = ids[~last].to(table.device), ids[~first].to(table.device)
        t = real.shape[1]
        x = vectors.new_zeros(len(lengths), t, table.shape[1])
        x[real.to(table.device)] = functional.embedding(given, table).to(x.dtype)
        x = x + _places(t, table.shape[1]).to(x)
        mask = nn.Transformer.generate_square_subsequent_mask(t, device=x.device, dtype=x.dtype)
        hidden = self.layer(x, self.memory(vectors)[:, None], tgt_mask=mask, tgt_is_causal=True)
        told = self.norm(hidden)[real.to(table.device)]
        # A slice of tokens at a time, computed again on the way back: a whole (tokens, vocabulary) table is too large.
        losses = [
            checkpoint(_surprise, told[i : i + LOGITS], table, wanted[i : i + LOGITS], use_reentrant=False)
            for i in range(0, len(told), LOGITS)
        ]
        return torch.stack(losses).sum() / len(told)


def deleted(texts: Ragged, edges: tuple[int, int], random: np.random.Generator, share: float = DELETED) -> Ragged:
    """Each text without a share of its tokens; its first and last special tokens stay, and one of the others.

    Args:
        texts: rows of at least the special tokens.
        edges: how many special tokens stand in front and behind.
        random: of the draw.
        share: of the tokens that go.
    """
    keep = random.random(len(texts.ids)) >= share
    for start, end in zip(texts.offsets[:-1].tolist(), texts.offsets[1:].tolist(), strict=True):
        inner = slice(start + edges[0], end - edges[1])
        if inner.start < inner.stop and not keep[inner].any():
            keep[int(random.integers(inner.start, inner.stop))] = True
        keep[start : inner.start] = keep[inner.stop : end] = True
    offsets = np.concatenate([[0], np.cumsum(keep)])[texts.offsets]
    return Ragged(texts.ids[keep], offsets, texts.cut)


def _surprise(hidden: Tensor, table: Tensor, wanted: Tensor) -> Tensor:
    return functional.cross_entropy(hidden @ table.T.to(hidden.dtype), wanted, reduction="sum")


def _places(t: int, d: int) -> Tensor:
    """(t, d) the fixed places of Vaswani et al. 2017, arXiv:1706.03762: a decoder that is thrown away learns none."""
    angles = torch.arange(t)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
    return 0.02 * torch.stack([angles.sin(), angles.cos()], 2).reshape(t, -1)[:, :d]
