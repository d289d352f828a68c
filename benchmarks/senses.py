"""Sentences of ambiguous words whose sense their own wording gives away, and how well vectors keep the senses apart.

A sense is told by phrases that stand within AROUND characters of the word; a sentence in which both senses' phrases
stand is left out. The phrases are context that a contextual model may use and a static vector cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

from firth.arrays import Vectors, unit
from firth.evaluate.statistics import Interval, bootstrap

AROUND = 60  # characters on each side
K = 5  # neighbours asked
SENSES: dict[str, tuple[str, str]] = {
    "bank": (r"central|investment|commercial|savings|loans?|account", r"river|stream|north|south|left|right|opposite"),
    "bass": (r"guitars?|drums|vocals|player|keyboards", r"fish|largemouth|striped|trout|lake|fishing"),
    "bar": (r"restaurant|drinks?|beer|pub|cafe|hotel", r"steel|iron|metal|gold|chocolate|weight"),
    "board": (r"directors|governors|education|trustees|members", r"chess|game|surf|wooden|squares|pieces|circuit"),
    "capital": (r"city|cities|province|largest|moved", r"investment|venture|financial|labou?r|profit|market"),
    "cell": (r"blood|stem|membrane|protein|dna|cancer|nucleus", r"prison|phone|jail|solar|fuel|prisoner"),
    "charge": (r"electric|particles?|electrons?|proton|ions?", r"police|murder|guilty|arrest\w*|criminal|court"),
    "club": (r"football|league|cup|season|fans", r"night|dance|jazz|music|performed|band"),
    "court": (r"supreme|judges?|appeals?|law|trial", r"royal|king|queen|prince|emperor|tennis"),
    "current": (r"electric\w*|voltage|circuit|resistance|wire", r"ocean|water|sea|gulf|coast|river"),
    "field": (r"magnetic|electric|quantum|particle|vector", r"football|baseball|players?|ball|goal|corn|crops?"),
    "party": (r"democratic|communist|elections?|political|republican", r"birthday|dinner|wedding|guests|dance|drunk"),
    "plant": (r"species|leaves|flowers?|flowering|seeds?|soil", r"power|nuclear|factory|manufacturing|assembly|coal"),
    "race": (r"cars?|driver|lap|horse|formula|grand prix", r"racial|ethnic|white|black|human|slavery"),
    "record": (r"album|label|studio|songs?|contract", r"world|fastest|goals|wins|season|olympic"),
    "rock": (r"band|music|punk|album|guitar|roll", r"limestone|volcanic|sedimentary|granite|geolog\w*|layers"),
    "spring": (r"summer|autumn|winter|season|april|march", r"water|hot|mineral|wells?|coil|thermal"),
    "star": (r"film|movie|actors?|actress|television|hollywood", r"solar|galaxy|mass|planets?|neutron|sun"),
}  # fmt: skip


def labelled(texts: Iterable[str], *, most: int = 50) -> dict[str, tuple[list[str], list[int], list[int]]]:
    """Word -> its sentences, where the word begins in each, and the sense (0 or 1); up to `most` of each sense."""
    patterns = {word: re.compile(rf"(?<!\w){word}(?!\w)", re.IGNORECASE) for word in SENSES}
    cues = {word: [re.compile(rf"\b(?:{cue})\b", re.IGNORECASE) for cue in both] for word, both in SENSES.items()}
    found: dict[str, tuple[list[str], list[int], list[int]]] = {word: ([], [], []) for word in SENSES}
    for text in texts:
        if len(text) > 400:
            continue
        low = text.lower()
        for word, (sentences, starts, senses) in found.items():
            if word not in low or (match := patterns[word].search(text)) is None:
                continue
            near = text[max(0, match.start() - AROUND) : match.start()] + " " + text[match.end() : match.end() + AROUND]
            told = [bool(cue.search(near)) for cue in cues[word]]
            if sum(told) == 1 and senses.count(told.index(True)) < most:
                sentences.append(text)
                starts.append(match.start())
                senses.append(told.index(True))
    return {word: one for word, one in found.items() if min(one[2].count(0), one[2].count(1)) >= 10}


def balanced(senses: list[int], seed: int = 0) -> np.ndarray:
    """Rows of equally many sentences of each sense, so that chance is one half."""
    random = np.random.default_rng(seed)
    each = min(senses.count(0), senses.count(1))
    rows = [random.permutation(np.flatnonzero(np.array(senses) == sense))[:each] for sense in (0, 1)]
    return np.sort(np.concatenate(rows))


def chance(senses: list[list[int]]) -> float:
    """What `separation` gives for neighbours drawn by chance: of 2n - 1 others, n - 1 share the sense."""
    shares = [(len(labels) / 2 - 1) / (len(labels) - 1) for labels in senses for _ in labels]
    return float(np.mean(shares))


def separation(vectors: list[Vectors], senses: list[list[int]]) -> Interval:
    """Share of the K nearest other occurrences of the same word that have its sense; `chance` is just under one half.

    Args:
        vectors: of each word (n, d), one row an occurrence.
        senses: of each word the sense of each row.
    """
    shares = []
    for rows, labels in zip(vectors, senses, strict=True):
        near = unit(rows) @ unit(rows).T
        np.fill_diagonal(near, -np.inf)
        truth = np.array(labels)
        best = np.argsort(-near, axis=1, kind="stable")[:, :K]
        shares += (truth[best] == truth[:, None]).mean(1).tolist()
    return bootstrap(np.array(shares), 0)
