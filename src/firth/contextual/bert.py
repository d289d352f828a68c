"""BERT and its relatives as one ragged encoder: packed token ids in, one vector a token out; to train and to use.

Sources: Devlin et al. 2018, "BERT", arXiv:1810.04805; Liu et al. 2019, "RoBERTa", arXiv:1907.11692 (positions start
after the padding id); Song et al. 2020, "MPNet", arXiv:2004.09297 (relative positions in buckets, after Raffel et al.
2019, arXiv:1910.10683); Sanh et al. 2019, "DistilBERT", arXiv:1910.01108 (no segments).
Where we differ: there is no padding and no attention mask. The texts of a batch lie end to end in one (t, d) array,
so that every product, norm and activation works on real tokens only, and attention runs once for each group of
neighbours of equal length. A token's vector therefore depends on its own text alone, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.errors import ModelError, ShapeError

FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")
_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "mpnet")  # first position = padding id + 1
ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu_fast": "tanh", "relu": "relu"}
_BUCKETS, _FARTHEST = 32, 128  # MPNet: distances from 128 tokens on share the last bucket of each direction
_SHORT = 512  # tokens; longer texts keep no length² probabilities while they train
# A size beyond these is damage or an attack; the largest published encoders stay 10 times below.
_MOST = {"vocab": 4_000_000, "dims": 65_536, "layers": 512, "heads": 1024, "hidden": 262_144, "positions": 4_000_000}


@dataclass(frozen=True)
class BertSettings:
    """The shape of the network, as `config.json` states it.

    Attributes:
        family: one of FAMILIES.
        vocab: rows of the word embedding.
        dims: width of a token vector.
        layers, heads, hidden: depth; attention heads; width inside the feed-forward part.
        positions: rows of the position embedding; the longest text is `longest` tokens.
        first_position: row of a text's first token: 0, or padding id + 1 in RoBERTa's line and MPNet.
        types: rows of the segment embedding; 0 = none.
        activation: name of the feed-forward part's activation.
        dropout, attention_dropout: probabilities, active in training only.
        eps: added to the variance in each layer norm.
    """

    family: str = "bert"
    vocab: int = 30_522
    dims: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 512
    first_position: int = 0
    types: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    eps: float = 1e-12
    pooler: bool = False

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ModelError(f"architecture {self.family!r} is not known; firth reads {', '.join(FAMILIES)}")
        if self.activation not in ACTIVATIONS:
            raise ModelError(f"activation {self.activation!r} is not known; firth reads {', '.join(ACTIVATIONS)}")
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ModelError(f"{name} is {getattr(self, name)}; expected 1 to {most:,}")
        if self.dims % self.heads:
            raise ModelError(f"{self.dims} dimensions do not divide into {self.heads} heads")
        if not 0 <= self.first_position < self.positions:
            raise ModelError(f"the first position {self.first_position} lies outside the {self.positions} positions")

    @property
    def longest(self) -> int:
        """Tokens of the longest text that has a position for each of them."""
        return self.positions - self.first_position

    @classmethod
    def from_config(cls, config: dict[str, Any], *, pooler: bool = False) -> BertSettings:
        """Settings from a published `config.json`.

        Raises:
            ModelError: an architecture that is not known, with the list of those that are; a size out of range.
        """
        family = str(config.get("model_type"))
        if family not in FAMILIES:
            raise ModelError(f"architecture {family!r} is not known; firth reads {', '.join(FAMILIES)}")
        kind = config.get("position_embedding_type", "absolute")
        if kind != "absolute":
            raise ModelError(f"position_embedding_type {kind!r} is not known; firth reads 'absolute'")
        names = _DISTILBERT_KEYS if family == "distilbert" else _KEYS
        values = {ours: _number(config, theirs, kind) for ours, (theirs, kind) in names.items() if theirs in config}
        padding = _number(config, "pad_token_id", int) if config.get("pad_token_id") is not None else 1
        if family in ("mpnet", "distilbert"):
            values["types"] = 0
        return cls(
            family=family,
            first_position=padding + 1 if family in _AFTER_PADDING else 0,
            activation=str(config.get("hidden_act", config.get("activation", "gelu"))),
            pooler=pooler,
            **values,
        )

    def to_config(self) -> dict[str, Any]:
        """The `config.json` that transformers reads; `from_config` of it gives these settings again."""
        names = _DISTILBERT_KEYS if self.family == "distilbert" else _KEYS
        config: dict[str, Any] = {"architectures": [_CLASSES[self.family]], "model_type": self.family}
        config |= {theirs: getattr(self, ours) for ours, (theirs, _) in names.items()}
        config["activation" if self.family == "distilbert" else "hidden_act"] = self.activation
        config["pad_token_id"] = self.first_position - 1 if self.family in _AFTER_PADDING else 0
        if self.family == "mpnet":
            config["relative_attention_num_buckets"] = _BUCKETS
            del config["type_vocab_size"]
        return config | {"dtype": "float32"}


class Bert(nn.Module):
    """The encoder: `bert(ids, lengths)` gives (t, d) hidden states of the last layer.

    Weights are drawn as in the paper (normal, deviation 0.02) from torch's generator: seed it before.

    Example: two texts of 3 and 2 tokens: ids (5,), lengths [3, 2]; rows 0-2 of the result belong to the first.
    """

    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.settings = settings
        self.words = _table(settings.vocab, settings.dims)
        self.positions = _table(settings.positions, settings.dims)
        self.types = _table(settings.types, settings.dims) if settings.types else None
        self.norm = nn.LayerNorm(settings.dims, settings.eps)
        self.layers = nn.ModuleList(_Layer(settings) for _ in range(settings.layers))
        self.relative = _table(_BUCKETS, settings.heads) if settings.family == "mpnet" else None
        # Not used by `forward`: next-sentence prediction reads it, and published folders carry it.
        self.pooler = nn.Linear(settings.dims, settings.dims) if settings.pooler else None
        self.passes = 0  # forward passes with gradient; see `state`
        self.apply(_draw)

    def forward(self, ids: Tensor, lengths: Tensor, types: Tensor | None = None) -> Tensor:
        """Hidden states of the last layer.

        Args:
            ids: (t,) integer token ids, the texts end to end.
            lengths: (n,) int64 on the CPU, tokens of each text, each at least 1; their sum is t.
            types: (t,) segment of each token; None = all in segment 0.

        Returns:
            (t, d), row i belongs to ids[i].

        Raises:
            ShapeError: the lengths do not add up to t, are not positive, or exceed the positions.
        """
        for hidden in self.walk(ids, lengths, types):  # noqa: B007  (the last one is wanted)
            pass
        return hidden

    def walk(self, ids: Tensor, lengths: Tensor, types: Tensor | None = None) -> Iterator[Tensor]:
        """Hidden states (t, d) of the embeddings and of each layer, in order; arguments and errors as `forward`."""
        sizes = self._checked(ids, lengths)
        self.passes += torch.is_grad_enabled()
        device = ids.device
        starts = torch.repeat_interleave(lengths.cumsum(0) - lengths, lengths)
        place = (torch.arange(len(ids)) - starts + self.settings.first_position).to(device)
        x = self.words(ids) + self.positions(place)
        if self.types is not None:
            x = x + (self.types.weight[0] if types is None else self.types(types))
        x = F.dropout(self.norm(x), self.settings.dropout, self.training)
        bias = self._bias(max(sizes, default=0), device)
        attention = _Padded(sizes, bias, device) if device.type == "cuda" else _Grouped(sizes, bias)
        yield x
        for layer in self.layers:
            x = layer(x, attention)
            yield x

    def state(self) -> tuple[object, ...]:
        """Changes whenever a weight may have; cheap, for whoever keeps something made of the weights.

        torch counts changes in place, but not those of its fused optimisers (2.13): hence the passes with gradient
        that come before such a step, and the first norm of each layer for a step that has been waiting since.
        """
        counted = tuple((value.data_ptr(), value._version) for value in self.parameters())
        layers = (layer for layer in self.layers if isinstance(layer, _Layer))
        sampled = tuple(layer.norm.bias.detach().cpu().numpy().tobytes() for layer in layers)
        return self.passes, counted, sampled

    def _checked(self, ids: Tensor, lengths: Tensor) -> list[int]:
        sizes: list[int] = lengths.tolist()
        if sum(sizes) != len(ids) or min(sizes, default=1) < 1:
            raise ShapeError(f"lengths: expected positive lengths that add up to {len(ids)} tokens, got {sizes[:8]}…")
        if max(sizes, default=0) > self.settings.longest:
            raise ShapeError(f"a text of {max(sizes)} tokens; this model has {self.settings.longest} positions")
        return sizes

    def _bias(self, longest: int, device: torch.device) -> Tensor | None:
        """(1, h, longest, longest) added to MPNet's attention scores; every shorter text uses its corner."""
        if self.relative is None:
            return None
        at = torch.arange(longest, device=device)
        bias: Tensor = self.relative(bucket(at[None, :] - at[:, None]))
        return bias.permute(2, 0, 1)[None]


class _Layer(nn.Module):
    """Attention and feed-forward part, each followed by residual and norm (post-norm, as published)."""

    def __init__(self, settings: BertSettings) -> None:
        super().__init__()
        self.settings = settings
        d = settings.dims
        self.qkv = nn.Linear(d, 3 * d)  # query, key and value in one product
        self.out = nn.Linear(d, d)
        self.norm = nn.LayerNorm(d, settings.eps)
        self.up = nn.Linear(d, settings.hidden)
        self.down = nn.Linear(settings.hidden, d)
        self.last_norm = nn.LayerNorm(d, settings.eps)

    def forward(self, x: Tensor, attention: _Grouped | _Padded) -> Tensor:
        s, training = self.settings, self.training
        qkv = self.qkv(x).view(len(x), 3, s.heads, s.dims // s.heads)
        mixed = attention(qkv, s.attention_dropout if training else 0.0).reshape(len(x), s.dims)
        x = self.norm(x + F.dropout(self.out(mixed), s.dropout, training))
        wide = self.up(x)
        approximate = ACTIVATIONS[s.activation]
        wide = F.relu(wide) if approximate == "relu" else F.gelu(wide, approximate=approximate)
        y: Tensor = self.last_norm(x + F.dropout(self.down(wide), s.dropout, training))
        return y


class _Grouped:
    """Attention of neighbours of equal length together: no padding, no mask. For the CPU."""

    def __init__(self, sizes: list[int], bias: Tensor | None) -> None:
        self.groups = [(length, len(list(run))) for length, run in groupby(sizes)]
        self.bias = bias

    def __call__(self, qkv: Tensor, dropout: float) -> Tensor:
        """(t, 3, h, d/h) -> (t, h, d/h)."""
        out = []
        # split, not slices: the gradient of each slice would be a whole (t, 3, h, d/h) array of zeros.
        parts = torch.split(qkv, [length * count for length, count in self.groups])
        for (length, count), part in zip(self.groups, parts, strict=True):
            q, k, v = part.view(count, length, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
            bias = None if self.bias is None else self.bias[..., :length, :length].to(q.dtype)
            if torch.is_grad_enabled() and length <= _SHORT:
                mixed = _products(q, k, v, bias, dropout)
            else:
                mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
            out.append(mixed.transpose(1, 2).reshape(-1, *qkv.shape[2:]))
        return torch.cat(out) if out else qkv[:, 0]


def _products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, dropout: float) -> Tensor:
    """Attention written out, (n, h, length, d/h): for training on a CPU.

    torch's fused kernel computes its gradient there at a quarter of the speed of plain products in bfloat16 (heads
    of 32, texts of 200 tokens), and with dropout it is not used at all. The price is that n·h·length² probabilities are
    kept for the way back: 1.5 MB for a text of 256 tokens, 12 heads.
    """
    n, h, length, _ = q.shape
    q, k, v = (x.reshape(n * h, length, -1) for x in (q, k, v))
    start = q.new_zeros(1) if bias is None else bias.expand(n, -1, -1, -1).reshape(n * h, length, length)
    scores = torch.baddbmm(start, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    kept = scores.softmax(-1)
    found = torch.bmm(F.dropout(kept, dropout) if dropout else kept, v)
    return found.view(n, h, length, -1)


class _Padded:
    """Attention over all texts at once, padded inside this step only. For a GPU, where one large call wins."""

    def __init__(self, sizes: list[int], bias: Tensor | None, device: torch.device) -> None:
        lengths = torch.tensor(sizes, device=device)
        real = torch.arange(max(sizes, default=0), device=device) < lengths[:, None]  # (n, longest)
        self.rows = real.flatten().nonzero()[:, 0]
        self.shape = tuple(real.shape)
        mask = real[:, None, None, :]
        self.mask = mask if bias is None else torch.where(mask, bias, -math.inf)

    def __call__(self, qkv: Tensor, dropout: float) -> Tensor:
        """(t, 3, h, d/h) -> (t, h, d/h)."""
        n, longest = self.shape
        padded = qkv.new_zeros(n * longest, *qkv.shape[1:]).index_copy(0, self.rows, qkv)
        q, k, v = padded.view(n, longest, *qkv.shape[1:]).permute(2, 0, 3, 1, 4)
        mask = self.mask if self.mask.dtype == torch.bool else self.mask.to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)
        return mixed.transpose(1, 2).reshape(n * longest, *qkv.shape[2:])[self.rows]


def bucket(distance: Tensor) -> Tensor:
    """MPNet's bucket of each key-minus-query distance: exact below 8 tokens, logarithmic up to 128, then shared."""
    half = _BUCKETS // 2
    exact = half // 2
    far = distance.abs()
    steps = torch.log(far.clamp(min=1).float() / exact) / math.log(_FARTHEST / exact) * (half - exact)
    near = torch.where(far < exact, far, (exact + steps.long()).clamp(max=half - 1))
    return near + half * (distance > 0)


def _table(rows: int, width: int) -> nn.Embedding:
    """An embedding without values yet: `_draw` or a file gives them.

    nn.Embedding itself draws them at once, which on the meta device imports torch's compiler: 1.5 s and 60 MB.
    """
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)  # type: ignore[no-untyped-call]
    return table


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding) and not module.weight.is_meta:
        nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _number(config: dict[str, Any], key: str, kind: type) -> Any:
    value = config[key]
    wanted = int if kind is int else int | float
    if isinstance(value, bool) or not isinstance(value, wanted) or (kind is float and not 0 <= value < 1):
        expected = "a whole number" if kind is int else "a number from 0 to below 1"
        raise ModelError(f"config.json: {key} is {value!r}; expected {expected}")
    return kind(value)


_CLASSES = {
    "bert": "BertModel",
    "roberta": "RobertaModel",
    "xlm-roberta": "XLMRobertaModel",
    "camembert": "CamembertModel",
    "mpnet": "MPNetModel",
    "distilbert": "DistilBertModel",
}
_KEYS: dict[str, tuple[str, type]] = {
    "vocab": ("vocab_size", int),
    "dims": ("hidden_size", int),
    "layers": ("num_hidden_layers", int),
    "heads": ("num_attention_heads", int),
    "hidden": ("intermediate_size", int),
    "positions": ("max_position_embeddings", int),
    "types": ("type_vocab_size", int),
    "dropout": ("hidden_dropout_prob", float),
    "attention_dropout": ("attention_probs_dropout_prob", float),
    "eps": ("layer_norm_eps", float),
}
_DISTILBERT_KEYS: dict[str, tuple[str, type]] = {
    "vocab": ("vocab_size", int),
    "dims": ("dim", int),
    "layers": ("n_layers", int),
    "heads": ("n_heads", int),
    "hidden": ("hidden_dim", int),
    "positions": ("max_position_embeddings", int),
    "dropout": ("dropout", float),
    "attention_dropout": ("attention_dropout", float),
}
