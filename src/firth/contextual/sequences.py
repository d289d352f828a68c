"""A corpus of token ids, and the sequences that BERT reads of it: pairs of neighbours, or of strangers, packed.

Source: Devlin et al. 2018, arXiv:1810.04805 (next-sentence prediction, one sequence in ten shorter); packing without
attention across sequences after Krell et al. 2021, arXiv:2107.02027.
Where we differ: a pair that is too long loses the beginning of A and the end of B, so that true neighbours stay
neighbours; exactly half of the pairs are true in expectation; and a packed row needs no mask, since the encoder is
ragged and computes real tokens only.

    >>> corpus.ids                [the cat sat . | it purr ##ed . | the bank fail ##ed .]      (t,)
    >>> corpus.sentences          [0, 4, 8, 13]    where sentences begin; corpus.documents  [0, 2, 3]
    one sequence                  [CLS] the cat sat . [SEP] it purr ##ed . [SEP]      strange = False
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError
from firth.progress import Progress, silent
from firth.text.tokenizer import Tokenizer

SHORT = 0.1  # of the sequences aim at a random length, so that the model knows short texts too
OPEN = 16  # rows that are filled side by side; a longer queue fills them no better
AT_ONCE = 4096  # sentences tokenised at once

Span = tuple[int, int, int, int, bool]  # A from, to; B from, to (empty without B); B is from another document


@dataclass(frozen=True)
class TokenCorpus:
    """A text as token ids without special tokens.

    Attributes:
        ids: (t,) int32.
        sentences: (s + 1,) int64, where each begins in ids; the last is t.
        documents: (d + 1,) int64, where each begins in sentences; the last is s.
    """

    ids: NDArray[np.int32]
    sentences: NDArray[np.int64]
    documents: NDArray[np.int64]

    @staticmethod
    def of(documents: Sequence[Sequence[str]], tokenizer: Tokenizer, *, progress: Progress = silent) -> TokenCorpus:
        """The sentences of each document as ids; sentences without tokens are left out."""
        flat = [sentence for document in documents for sentence in document]
        parts, lengths = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        front, back = len(tokenizer.prefix), len(tokenizer.suffix)
        for start in range(0, len(flat), AT_ONCE):
            ragged = tokenizer.encode(flat[start : start + AT_ONCE])
            place = np.arange(len(ragged.ids)) - np.repeat(ragged.offsets[:-1], ragged.lengths)
            inner = (place >= front) & (place < np.repeat(ragged.lengths - back, ragged.lengths))
            parts.append(ragged.ids[inner])
            lengths.append(ragged.lengths - front - back)
            progress(min(start + AT_ONCE, len(flat)), len(flat), "sentences")
        size = np.concatenate(lengths)
        home = np.repeat(np.arange(len(documents)), [len(document) for document in documents])[size > 0]
        counts = np.bincount(home, minlength=len(documents))
        return TokenCorpus(np.concatenate(parts), _offsets(size[size > 0]), _offsets(counts[counts > 0]))

    def __len__(self) -> int:
        return len(self.documents) - 1

    @property
    def identity(self) -> str:
        """Hex digest of the ids and of where sentences and documents end."""
        digest = hashlib.sha256()
        for array in (self.ids, self.sentences, self.documents):
            digest.update(array.tobytes())
        return digest.hexdigest()

    def part(self, first: int, last: int) -> TokenCorpus:
        """Documents first … last - 1 as a corpus of their own."""
        begin, end = self.documents[first], self.documents[last]
        start, stop = self.sentences[begin], self.sentences[end]
        sentences = self.sentences[begin : end + 1] - start
        return TokenCorpus(self.ids[start:stop], sentences, self.documents[first : last + 1] - begin)


def pairs(corpus: TokenCorpus, longest: int, seed: str) -> Iterator[Span]:
    """Without end: sequences of next-sentence prediction, the documents in a new order each time round.

    Args:
        longest: tokens of a sequence, the three special ones included.
        seed: the same one gives the same sequences.

    Raises:
        DataError: fewer than two documents, or none with two sentences: nothing could be a neighbour or a stranger.
    """
    counts = np.diff(corpus.documents)
    if len(corpus) < 2 or counts.max(initial=0) < 2:
        raise DataError(
            f"next-sentence prediction needs two documents, one of them of two sentences; the text has {len(corpus)} "
            f"of at most {counts.max(initial=0)}: put blank lines between documents, or switch it off "
            "(next_sentence=False, --no-next-sentence)"
        )
    drawn = random.Random(seed)
    room = longest - 3
    starts, firsts = corpus.sentences.tolist(), corpus.documents.tolist()
    order = list(range(len(corpus)))
    while True:
        drawn.shuffle(order)
        for document in order:
            yield from _pairs_of(document, starts, firsts, room, drawn)


def _pairs_of(document: int, starts: list[int], firsts: list[int], room: int, drawn: random.Random) -> Iterator[Span]:
    """The pairs of one document: A is the front of a stretch of sentences, B its rest or a part of another document."""
    begin, last = firsts[document], firsts[document + 1]
    while last - begin > 1:
        aim = drawn.randint(2, room) if drawn.random() < SHORT else room
        end = begin + 2
        while end < last and starts[end] - starts[begin] < aim:
            end += 1
        cut = drawn.randint(begin + 1, end - 1)
        a = starts[begin], starts[cut]
        strange = drawn.random() < 0.5
        if strange:
            other = (document + drawn.randint(1, len(firsts) - 2)) % (len(firsts) - 1)
            place = drawn.randint(firsts[other], firsts[other + 1] - 1)
            b = starts[place], min(starts[firsts[other + 1]], starts[place] + max(aim - (a[1] - a[0]), 1))
            begin = cut  # the sentences behind A come again
        else:
            b = starts[cut], starts[end]
            begin = end
        yield (*_fitted(a, b, room), strange)


def _fitted(a: tuple[int, int], b: tuple[int, int], room: int) -> tuple[int, int, int, int]:
    """A without its beginning and B without its end, the longer one shortened first, until both fit."""
    long_a, long_b = a[1] - a[0], b[1] - b[0]
    if long_a + long_b > room:
        half = room // 2
        keep_a = min(long_a, max(half, room - long_b))
        long_a, long_b = keep_a, min(long_b, room - keep_a)
    return a[1] - long_a, a[1], b[0], b[0] + long_b


def stretches(corpus: TokenCorpus, longest: int, seed: str) -> Iterator[Span]:
    """Without end: sequences of one segment, each document cut at other places each time round."""
    drawn = random.Random(seed)
    room = longest - 2
    starts, firsts = corpus.sentences.tolist(), corpus.documents.tolist()
    order = list(range(len(corpus)))
    while True:
        drawn.shuffle(order)
        for document in order:
            begin, end = starts[firsts[document]], starts[firsts[document + 1]]
            stop = begin + drawn.randint(1, room) if end - begin > room else end
            while begin < end:
                yield begin, stop, stop, stop, False
                begin, stop = stop, min(stop + room, end)


def packed(spans: Iterator[Span], tokens: int, *, special: int) -> Iterator[list[Span]]:
    """Sequences gathered into rows of at most `tokens`; none is cut, none waits for more than OPEN rows.

    Args:
        spans: without end, or not.
        tokens: of a row; at least those of the longest sequence.
        special: special tokens of a sequence.

    Of the open rows that have room the fullest takes a sequence; a row is given when it is full within a hundredth.
    """
    rows: list[tuple[int, list[Span]]] = []
    for span in spans:
        size = span[1] - span[0] + span[3] - span[2] + special
        fitting = [i for i, (used, _) in enumerate(rows) if used + size <= tokens]
        if fitting:
            best = max(fitting, key=lambda i: rows[i][0])
            rows[best] = rows[best][0] + size, [*rows[best][1], span]
        else:
            rows.append((size, [span]))
        fullest = max(range(len(rows)), key=lambda i: rows[i][0])
        # A row within a hundredth of full waits for nobody; else the fullest goes when too many are open.
        if tokens - rows[fullest][0] <= tokens // 100 or len(rows) > OPEN:
            yield rows.pop(fullest)[1]
    yield from (row for _, row in rows)


def rows_of_epoch(
    corpus: TokenCorpus, *, longest: int, tokens: int, next_sentence: bool, seed: str, steps: int
) -> Iterator[list[Span]]:
    """`steps` packed rows of a corpus, the same for the same seed."""
    spans = pairs(corpus, longest, seed) if next_sentence else stretches(corpus, longest, seed)
    made = packed(spans, tokens, special=3 if next_sentence else 2)
    return islice(made, steps)


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets
