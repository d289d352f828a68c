"""BERT's masked words: which positions are hidden, and what stands there instead. Arrays in, arrays out.

Source: Devlin et al. 2018, arXiv:1810.04805, section 3.1: 15 % of the tokens; of those 80 % become [MASK], 10 % a
random token, 10 % stay. Whole words: the authors' release of May 2019. Where we differ: positions are drawn anew each
time a text is seen (as in RoBERTa, arXiv:1907.11692), and the 15 % hold in expectation for texts of any length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from firth.errors import ModelError
from firth.text.tokenizer import Tokenizer

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Vocabulary:
    """What masking must know of a vocabulary of v entries.

    Attributes:
        cls, sep, mask: ids of the special tokens.
        ordinary: ids of all entries that are not special; random replacements are drawn from them.
        special: (v,) bool; such tokens are never hidden.
        continues: (v,) bool, entries that go on with a word ("##ing").
    """

    cls: int
    sep: int
    mask: int
    ordinary: Integers
    special: NDArray[np.bool_]
    continues: NDArray[np.bool_]

    @staticmethod
    def of(tokenizer: Tokenizer) -> Vocabulary:
        """Raises ModelError where [MASK], [CLS] or [SEP] is missing; names it."""
        found = {name: tokenizer.id_of(name) for name in ("[CLS]", "[SEP]", "[MASK]")}
        missing = [name for name, id_ in found.items() if id_ is None]
        if missing:
            raise ModelError(
                f"the vocabulary of {tokenizer.size:,} entries has no {' and no '.join(missing)}, which masked-word "
                "training needs; add the entry to tokenizer.json, or let firth learn a vocabulary from the text"
            )
        names = tokenizer.tokens(np.arange(tokenizer.size))
        special = np.array([name is None or (name[:1] == "[" and name[-1:] == "]" and len(name) > 2) for name in names])
        continues = np.array([name is not None and name.startswith("##") for name in names])
        cls, sep, mask = (int(id_) for id_ in found.values() if id_ is not None)
        return Vocabulary(cls, sep, mask, np.flatnonzero(~special), special, continues)


def hide(
    ids: Integers,
    lengths: Integers,
    vocabulary: Vocabulary,
    random: np.random.Generator,
    *,
    share: float = 0.15,
    whole_words: bool = False,
) -> tuple[Integers, Integers]:
    """Hide some of the tokens.

    Args:
        ids: (t,) token ids, the texts end to end.
        lengths: (n,) tokens of each text; their sum is t.
        share: of each text's tokens that may be hidden.
        whole_words: a word's pieces are hidden together or not at all.

    Returns:
        ids: (t,) a copy with the hidden tokens replaced.
        places: (m,) ascending places of the hidden tokens; what stood there is the truth to be learnt.
    """
    text = np.repeat(np.arange(len(lengths)), lengths)
    open_ = np.flatnonzero(~vocabulary.special[ids])
    if not len(open_):
        return ids.copy(), open_
    # A unit is a word or a token; `unit` numbers them, `size` counts their tokens, `home` is their text.
    starts = np.ones(len(open_), bool)
    if whole_words:
        follows = np.diff(open_, prepend=-2) == 1
        starts = ~(vocabulary.continues[ids[open_]] & follows & (np.diff(text[open_], prepend=-1) == 0))
    unit = np.cumsum(starts) - 1
    size, home = np.bincount(unit), text[open_][starts]
    quota = share * np.bincount(home, weights=size, minlength=len(lengths))
    order = np.lexsort((random.random(len(size)), home))  # the units of each text in a random order
    ends = np.cumsum(size[order])
    before = ends - size[order]
    first = np.concatenate([[True], np.diff(home[order]) > 0])
    before = before - np.maximum.accumulate(np.where(first, before, 0))  # tokens of this text drawn earlier
    # A unit that crosses the quota is taken with the probability that makes the expectation right.
    taken = np.zeros(len(size), bool)
    taken[order] = before + random.random(len(size)) * size[order] < quota[home[order]]
    places = open_[taken[unit]]
    fate = random.random(len(places))
    hidden = ids.copy()
    hidden[places[fate < 0.8]] = vocabulary.mask
    strange = places[(fate >= 0.8) & (fate < 0.9)]
    hidden[strange] = vocabulary.ordinary[random.integers(0, len(vocabulary.ordinary), len(strange))]
    return hidden, places
