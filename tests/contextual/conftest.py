"""A small text with something to learn, its vocabulary, and a small model."""

from __future__ import annotations

import random

import pytest
import torch

from firth.contextual.bert import BertSettings
from firth.contextual.pretrain import Pretrained, pretrain_bert
from firth.contextual.pretraining import BertPretraining
from firth.contextual.settings import PretrainSettings
from firth.text.tokenizer import Tokenizer
from firth.text.vocabulary import train_wordpiece

SUBJECTS = {"cat": "purred", "dog": "barked", "cow": "mooed", "duck": "quacked", "bee": "buzzed", "pig": "grunted"}
PLACES = ("house", "garden", "street", "river", "field", "forest")


@pytest.fixture(scope="session")
def documents() -> list[list[str]]:
    """200 documents of 6 sentences; a document speaks of one animal in one place, and each animal has its verb."""
    drawn = random.Random(0)
    found = []
    for _ in range(200):
        animal, place = drawn.choice(sorted(SUBJECTS)), drawn.choice(PLACES)
        found.append([f"the {animal} {SUBJECTS[animal]} near the {place} {drawn.choice('abc')} ." for _ in range(6)])
    return found


@pytest.fixture(scope="session")
def tokenizer(documents: list[list[str]]) -> Tokenizer:
    return train_wordpiece((sentence for document in documents for sentence in document), size=200)


@pytest.fixture(scope="session")
def trained(documents: list[list[str]], tokenizer: Tokenizer) -> tuple[BertPretraining, Pretrained]:
    """A small model that has read the text about 30 times, and what its training told."""
    torch.manual_seed(0)
    shape = BertSettings(vocab=tokenizer.size, dims=32, layers=2, heads=2, hidden=64, positions=64, pooler=True)
    model = BertPretraining(shape)
    settings = PretrainSettings(
        longest=32, tokens=1024, steps=250, held_out=0.1, rate=5e-3, dropout=0.0, precision="float32"
    )
    return model, pretrain_bert(model, tokenizer, documents, settings=settings)
