"""What word vectors answer to the published questions: which pairs are alike, and what is to b as c is to a.

    pairs        WS353, SimLex-999, MEN: "word word score" a line, tab or blank between
    analogies    the Google set: ": section" lines, then four words a line

Here the vectors answer; `firth.evaluate.words` grades the answers, and counts what they did not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from firth.errors import DataError, SettingsError
from firth.static.vectors import WordVectors

QUESTIONS_AT_ONCE = 1024
_SMALL = 1e-6  # as in WordVectors.most_similar


@dataclass(frozen=True)
class Rated:
    """Pairs of words, people's scores and the vectors'.

    Attributes:
        human: (n,) float64, on the file's scale.
        cosine: (n,) float64, NaN where a word is not known.
    """

    human: NDArray[np.float64]
    cosine: NDArray[np.float64]


@dataclass(frozen=True)
class Answered:
    """Analogy questions and what was answered.

    Attributes:
        sections: their names, in the order of the file.
        section: (n,) int64, the section of each question.
        known: (n,) bool, whether all four words are in the vocabulary.
        right: (n,) bool, whether the nearest word was the wanted one; False where not known.
    """

    sections: list[str]
    section: NDArray[np.int64]
    known: NDArray[np.bool_]
    right: NDArray[np.bool_]


def rated(vectors: WordVectors, path: Path | str, *, lower: bool = True) -> Rated:
    """The vectors' cosine for each pair of a file.

    Args:
        lower: bring the file's words to lower case, as gensim does.

    Raises:
        DataError: a line is not two words and a number; names it.
    """
    human, cosine = [], []
    for number, line in _lines(path):
        fields = line.split("\t") if "\t" in line else line.split()
        try:
            first, second, score = fields[0], fields[1], float(fields[2])
        except (IndexError, ValueError):
            raise DataError(f"expected two words and a number, got {line!r}", path=path, line=number) from None
        words = [word.strip().lower() if lower else word.strip() for word in (first, second)]
        human.append(score)
        cosine.append(vectors.similarity(*words) if all(word in vectors for word in words) else np.nan)
    if not human:
        raise DataError("the file holds no pairs", path=path)
    return Rated(np.array(human), np.array(cosine, np.float64))


def answered(
    vectors: WordVectors,
    path: Path | str,
    *,
    lower: bool = True,
    restrict: int | None = 300_000,
    method: str = "add",
) -> Answered:
    """The word nearest to b - a + c for each question "a b c d" of a file, the three asked words left out.

    Args:
        lower: bring the file's words to lower case.
        restrict: answer with one of the first so many words only, and know no others; gensim's default.
        method: "add" (3CosAdd) or "mul" (3CosMul).

    Raises:
        DataError: a line is neither a section nor four words, or a question stands before the first section.
    """
    if method not in ("add", "mul"):
        raise SettingsError(f'method {method!r}: expected "add" or "mul"')
    sections: list[str] = []
    section, ids = [], []
    for number, line in _lines(path):
        if line.startswith(":"):
            sections.append(line[1:].strip())
            continue
        words = (line.lower() if lower else line).split()
        if len(words) != 4 or not sections:
            what = "four words" if sections else 'a section like ": capital-common-countries" first'
            raise DataError(f"expected {what}, got {line!r}", path=path, line=number)
        section.append(len(sections) - 1)
        ids.append([vectors.ids.get(word, -1) for word in words])
    asked = np.array(ids, np.int64).reshape(-1, 4)
    if not len(asked):
        raise DataError("the file holds no questions", path=path)
    known = np.asarray(((asked >= 0) & (asked < (restrict or len(vectors)))).all(axis=1), bool)
    right = np.zeros(len(asked), bool)
    right[known] = nearest(vectors.unit[:restrict], asked[known, :3], method) == asked[known, 3]
    return Answered(sections, np.array(section), known, right)


def nearest(unit: NDArray[np.float32], asked: NDArray[np.int64], method: str = "add") -> NDArray[np.int64]:
    """(n,) the row nearest to b - a + c for each (a, b, c) of asked (n, 3), those three left out."""
    found = np.empty(len(asked), np.int64)
    for start in range(0, len(asked), QUESTIONS_AT_ONCE):
        a, b, c = asked[start : start + QUESTIONS_AT_ONCE].T
        if method == "add":
            scores = (unit[b] - unit[a] + unit[c]) @ unit.T
        else:
            near = [(unit[rows] @ unit.T + 1) / 2 for rows in (b, c, a)]
            scores = near[0] * near[1] / (near[2] + _SMALL)
        for rows in (a, b, c):
            scores[np.arange(len(rows)), rows] = -np.inf
        found[start : start + len(a)] = scores.argmax(axis=1)
    return found


def _lines(path: Path | str) -> list[tuple[int, str]]:
    """Numbered lines without blank ones and comments."""
    try:
        text = Path(path).read_bytes().decode()
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", path=path) from error
    except FileNotFoundError as error:
        raise DataError("there is no such file", path=path) from error
    numbered = enumerate((line.strip() for line in text.splitlines()), 1)
    return [(number, line) for number, line in numbered if line and not line.startswith("#")]
