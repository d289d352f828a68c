"""TREC run files scored straight from their bytes: no dictionary of documents is ever built.

Six columns a line, `query Q0 document rank score tag`, between spaces or tabs; rank and tag are not read. The file is
mapped, not loaded, and only scored queries are kept: 24 bytes a ranked document while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, islice
from pathlib import Path

import numpy as np

from firth.errors import DataError
from firth.kernels.runs import Bytes, Integers, run_ranks

_FAULTS = {
    "columns": "expected 6 columns, query Q0 document rank score tag, got: {line}",
    "number": "the score is not a number: {line}",
    "infinite": "the score is not a finite float32 number, so the order has no meaning: {line}",
    "twice": "this document was ranked for this query before: {line}",
}
_SHOWN = 120  # characters of a faulty line


def ranks_in_file(path: Path, scored: Mapping[str, Mapping[str, float]], owner: Integers) -> tuple[Integers, Integers]:
    """Where a run file ranks the judged documents.

    Args:
        scored: query id -> document id -> grade, h documents in all.
        owner: (h,) number of the query of each.

    Returns:
        (h,) rank from 1, 0 where not ranked; (q,) documents ranked for each query.

    Raises:
        DataError: a malformed line; names it by number.
    """
    text: Bytes = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.empty(0, np.uint8)
    documents = list(chain.from_iterable(scored.values()))
    rank, ranked, fault, offset = run_ranks(text, list(scored), documents, owner)
    if fault:
        before = bytes(text[:offset])
        line = bytes(text[before.rfind(b"\n") + 1 : offset + 10 * _SHOWN]).split(b"\n", 1)[0]
        shown = line.decode(errors="replace")[:_SHOWN]
        raise DataError(_FAULTS[fault].format(line=repr(shown)), path=path, line=before.count(b"\n") + 1)
    return rank, ranked


def queries_of(path: Path, most: int = 4) -> list[str]:
    """The first few query ids of a run file, to be shown in an error."""
    with path.open("rb") as file:
        fields = [line.split(maxsplit=1) for line in islice(file, 10_000)]
    return list(dict.fromkeys(each[0].decode(errors="replace") for each in fields if each))[:most]
