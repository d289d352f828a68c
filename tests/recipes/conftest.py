"""A domain that is made here, and an encoder small enough to be tuned in a second."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, processors

from firth.contextual.bert import Bert, BertSettings
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.folder import EncoderSettings
from firth.text.tokenizer import Tokenizer

TOPICS = [f"{a}{b}" for a in ("lark", "oak", "iron", "salt", "moon", "fern", "clay", "wolf") for b in "abcdefgh"]
FILLERS = ["the", "and", "with", "near", "some", "old", "new"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: 32 dimensions, one layer, weights drawn from seed 0."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *TOPICS, *FILLERS]
    library = Library(models.WordPiece(vocab={word: i for i, word in enumerate(entries)}, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    library.add_special_tokens(entries[:5])
    torch.manual_seed(0)
    bert = Bert(BertSettings("bert", len(entries), 32, 1, 4, 64, 64, 0, 2)).eval()
    folder = tmp_path_factory.mktemp("models") / "tiny"
    SentenceEncoder(bert, Tokenizer(library), EncoderSettings()).save(folder)
    return folder


@pytest.fixture
def domain(tmp_path: Path) -> Callable[..., Path]:
    """Writes a BEIR folder of n documents; queries name two of the three topics of the document that answers them."""

    def write(*, queries: bool = True, corpus: Callable[[list[str]], list[str]] = list, n: int = 120) -> Path:
        rng = np.random.default_rng(0)
        folder = tmp_path / "domain"
        (folder / "qrels").mkdir(parents=True, exist_ok=True)
        rows, asked, judged = [], [], []
        for i in range(n):
            topics = rng.choice(TOPICS, 3, replace=False)
            words = rng.permutation([*topics, *rng.choice(FILLERS, 6)])
            rows.append(_line({"_id": f"d{i}", "title": f"About {topics[0]}", "text": " ".join(words)}))
            asked.append(_line({"_id": f"q{i}", "text": f"{topics[1]} and {topics[2]}"}))
            judged.append(f"q{i}\td{i}\t1\n")
        (folder / "corpus.jsonl").write_text("".join(corpus(rows)))
        if queries:
            header = "query-id\tcorpus-id\tscore\n"
            (folder / "queries.jsonl").write_text("".join(asked))
            (folder / "qrels" / "train.tsv").write_text(header + "".join(judged[:80]))
            (folder / "qrels" / "test.tsv").write_text(header + "".join(judged[80:]))
        return folder

    return write


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
