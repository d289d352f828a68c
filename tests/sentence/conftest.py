"""A tiny encoder with a real tokenizer, made here: no network, a few milliseconds a text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer as Library
from tokenizers import models, normalizers, pre_tokenizers, processors

from firth.contextual.bert import Bert, BertSettings
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.folder import EncoderSettings
from firth.text.tokenizer import Tokenizer

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "big", "small", "##s", "query", ":", "."]
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]


@pytest.fixture
def tokenizer() -> Tokenizer:
    """WordPiece over a few words and all letters."""
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *LETTERS, *(f"##{c}" for c in LETTERS)]
    library = Library(models.WordPiece(vocab={word: i for i, word in enumerate(entries)}, unk_token="[UNK]"))
    library.normalizer = normalizers.BertNormalizer(lowercase=True)
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    library.add_special_tokens(entries[:5])
    return Tokenizer(library)


@pytest.fixture
def make(tokenizer: Tokenizer) -> Callable[..., SentenceEncoder]:
    """`make(**settings)`: an encoder of 32 dimensions whose weights are drawn from seed 0."""

    def encoder(family: str = "bert", **settings: object) -> SentenceEncoder:
        torch.manual_seed(0)
        first = 2 if family in ("mpnet", "roberta") else 0
        types = 0 if family in ("mpnet", "distilbert") else 2
        shape = BertSettings(family, tokenizer.size, 32, 2, 4, 64, 64, first, types)
        bert = Bert(shape).eval()
        with torch.no_grad():
            for value in bert.parameters():
                value.add_(torch.randn_like(value), alpha=0.3)  # norms and biases too
        return SentenceEncoder(bert, tokenizer, EncoderSettings(**settings))  # type: ignore[arg-type]

    return encoder


@pytest.fixture
def tiny(make: Callable[..., SentenceEncoder]) -> SentenceEncoder:
    return make()


@pytest.fixture
def texts() -> list[str]:
    """Forty texts of 1 to 40 words, some twice, one empty."""
    rows = [" ".join(WORDS[(i * j + j) % 12] for j in range(1 + (i * 7) % 40)) for i in range(38)]
    return [*rows, rows[3], ""]
