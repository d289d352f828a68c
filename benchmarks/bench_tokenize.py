"""How many tokens a second does BERT's tokenizer give, natively against the library that knows Unicode?

Both give the same ids (tests/text/test_wordpiece.py). The library runs on all its threads, firth on one; rows are cut
at 256 tokens and packed without padding by both. "nothing remembered": firth forgets the segments beyond ASCII between
two turns, as if each corpus were its first.

Run:   make bench Q=tokenize          (1 min on 2 cores; --small 10 s)
Last:  2026-11-23, --small, 2 cores Zen 5 that other work kept busy: only the ratios mean something
       corpus                      system                      tokens/s   ratio
       SciFact abstracts           tokenizers 0.23              190,000     1.0
                                   firth, nothing remembered  1,930,000    10.2
                                   firth                      2,611,000    13.7
       sentences in 20 languages   tokenizers 0.23              201,000     1.0
                                   firth, nothing remembered    215,000     1.1
                                   firth                        984,000     4.9
"""

from __future__ import annotations

import argparse
import gzip
import json
from typing import Any

from firth.text.tokenizer import Tokenizer, _Library
from measure import DATA, environment, interleaved, save, spread, table

TOKENS = 256  # a row, what MiniLM reads


def main() -> None:
    small = _arguments().small
    file = DATA / "tokenizer" / "bert-base-uncased-tokenizer.json"
    firth, library = Tokenizer.load(file), Tokenizer.load(file)
    library._engine = _Library(library._backend)
    rows: list[dict[str, Any]] = []
    for corpus, texts in _corpora(500 if small else 5_000).items():
        tokens = int(firth.count(texts).sum())

        def forgetful(texts: list[str] = texts) -> None:
            firth._engine._known.clear()  # type: ignore[union-attr]
            firth.encode(texts, TOKENS)

        seconds = interleaved(
            {
                "tokenizers": lambda texts=texts: library.encode(texts, TOKENS),
                "firth, nothing remembered": forgetful,
                "firth": lambda texts=texts: firth.encode(texts, TOKENS),
            },
            repeats=3 if small else 7,
        )
        base = spread(seconds["tokenizers"])["median"]
        for name, values in seconds.items():
            found = spread(values)
            rate = tokens / found["median"]
            rows.append({"corpus": corpus, "system": name, "tokens/s": rate, "ratio": base / found["median"], **found})
    table(rows)
    if not small:
        save("tokenize", {"environment": environment("tokenizers"), "rows": rows})


def _corpora(most: int) -> dict[str, list[str]]:
    with gzip.open(DATA / "retrieval" / "scifact" / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        abstracts = [json.loads(line)["text"] for line in lines]
    sentences = [
        line
        for path in sorted((DATA / "bitext_tatoeba").iterdir())
        if path.suffix != ".eng"
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    return {"SciFact abstracts": abstracts[:most], "sentences in 20 languages": sentences[: 4 * most]}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--small", action="store_true", help="a tenth of the texts, nothing saved")
    return parser.parse_args()


if __name__ == "__main__":
    main()
