"""Pooling: the token vectors of each text to one vector, six ways that may be joined.

Source: Reimers and Gurevych 2019, "Sentence-BERT", arXiv:1908.10084 (cls, max, mean); weighted mean after Muennighoff
2022, "SGPT", arXiv:2202.08904. Sums run over one text at a time, so that a batch changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from firth.errors import ModelError

# The order in which several are joined, as sentence-transformers joins those of its older folders.
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True)
class Pooling:
    """How token vectors become one.

    Attributes:
        modes: one or more of MODES; several are joined end to end in the order given.
        include_prompt: whether the tokens of a prompt count (False in the INSTRUCTOR family).
    """

    modes: tuple[str, ...] = ("mean",)
    include_prompt: bool = True

    def __post_init__(self) -> None:
        unknown = [mode for mode in self.modes if mode not in MODES]
        if unknown or not self.modes:
            raise ModelError(f"pooling mode {unknown or 'none'!r} is not known; firth reads {', '.join(MODES)}")


def pool(hidden: Tensor, lengths: Tensor, modes: tuple[str, ...], *, skip: int = 0) -> Tensor:
    """One vector for each text, in float32, or float64 where the token vectors are.

    Args:
        hidden: (t, d) token vectors, the texts end to end.
        lengths: (n,) int64 on the CPU, tokens of each text, each at least 1.
        modes: some of MODES.
        skip: leading tokens of each text that do not count; a text that has no others counts them all.

    Returns:
        (n, d · len(modes)).
    """
    first = (lengths.cumsum(0) - lengths).to(hidden.device)
    lengths = lengths.to(hidden.device)
    left_out = torch.where(lengths > skip, skip, 0)
    hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
    found = []
    for mode in modes:
        if mode == "cls":
            found.append(hidden[first + left_out])
        elif mode == "lasttoken":
            found.append(hidden[first + lengths - 1])
        elif mode == "max":
            counted = _places(lengths) >= left_out.repeat_interleave(lengths)
            values = torch.where(counted[:, None], hidden, -torch.inf)
            found.append(torch.segment_reduce(values, "max", lengths=lengths))
        else:
            found.append(_mean(hidden, lengths, left_out, mode))
    return found[0] if len(found) == 1 else torch.cat(found, dim=1)


def _mean(hidden: Tensor, lengths: Tensor, left_out: Tensor, mode: str) -> Tensor:
    weighted = mode == "weightedmean"
    if weighted or left_out.any():
        places = _places(lengths)
        weights = (places >= left_out.repeat_interleave(lengths)).to(hidden.dtype) * (places + 1 if weighted else 1)
        hidden = hidden * weights[:, None]
        total = torch.segment_reduce(weights, "sum", lengths=lengths)
    else:
        total = lengths.to(hidden.dtype)
    if mode == "mean_sqrt_len_tokens":
        total = total.sqrt()
    return torch.segment_reduce(hidden, "sum", lengths=lengths) / total[:, None]


def _places(lengths: Tensor) -> Tensor:
    """(t,) place of each token in its own text, from 0."""
    starts = (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    return torch.arange(len(starts), device=lengths.device) - starts
