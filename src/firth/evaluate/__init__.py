"""arrays -> report: how good a search is, on the owner's own test set, and how sure we are.

    retrieval    nDCG, recall, precision, MRR, MAP, hit rate at k, equal to trec_eval's
    statistics   intervals, paired tests, several comparisons, how many queries are needed
    similarity   STS, pair classification, bitext mining, summarization
    tasks        classification, several labels, clustering, re-ranking
    judge        an encoder or a collection, and a test set, in; scores out
    records      what one build measured, as plain data
    flips        the queries that a change turned, with both rankings
    adapter      our encoders and collections as models of mteb
    overlap      texts that two sets share, and the scores on what is left; benchmarks: fingerprints of public ones
    probes       where an encoder fails: cases made from the documents, multilingual ones from shipped questions;
                 perturb changes texts, language tells theirs
    anatomy      why a score is what it is: spread of the cosines, slices, fewer dimensions, what tuning moved
    waterfall    where the recall went, from exact search to what is returned
    draft        a test set of one's own: drafted, reviewed by a person, read back; checks: what is wrong with one
    gates        a bar that a score must reach, a baseline that it must not fall below
    report       records -> report.json, report.md (summary) and a self-contained report.html: page and sections,
                 figures and drawings, ink

The room can be called: `firth.evaluate(encoder, testset)` is `firth.evaluate.judge.evaluate(encoder, testset)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from firth.evaluate.judge import Report


class _Room(ModuleType):
    """This package, which answers to a call as well; nothing is imported before it is called."""

    def __call__(self, subject: Any, testset: Any, **settings: Any) -> Report:
        from firth.evaluate.judge import evaluate

        return evaluate(subject, testset, **settings)


sys.modules[__name__].__class__ = _Room
