"""Hidden states, both heads' scores and the loss equal transformers' to 1e-5, whoever saved the weights."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from firth.contextual.bert import BertSettings
from firth.contextual.pretraining import BertPretraining
from firth.text.vocabulary import train_wordpiece

transformers = pytest.importorskip("transformers")
LENGTHS = [9, 5, 5, 30]


def inputs(vocab: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, vocab, (sum(LENGTHS),), generator=generator)
    types = torch.cat([(torch.arange(length) > length // 2).long() for length in LENGTHS])
    return ids, types


@torch.no_grad()
def assert_same_scores(ours: BertPretraining, theirs: Any) -> None:
    ids, types = inputs(ours.bert.settings.vocab)
    found = ours.eval()(ids, torch.tensor(LENGTHS), types, torch.arange(len(ids)))
    hidden = ours.bert(ids, torch.tensor(LENGTHS), types).split(LENGTHS)
    words, start = found.words.split(LENGTHS), 0
    for i, length in enumerate(LENGTHS):
        rows = slice(start, start + length)
        expected = theirs.eval()(ids[None, rows], token_type_ids=types[None, rows], output_hidden_states=True)
        start += length
        assert (hidden[i] - expected.hidden_states[-1][0]).abs().max() <= 1e-5
        assert (words[i] - expected.prediction_logits[0]).abs().max() <= 1e-5
        assert (found.strange[i] - expected.seq_relationship_logits[0]).abs().max() <= 1e-5  # type: ignore[index]


def scattered(model: Any) -> Any:
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value), alpha=0.05)
    return model


def test_theirs_loads_here_with_both_heads(tmp_path: Path) -> None:
    torch.manual_seed(7)
    config = transformers.BertConfig(
        vocab_size=90, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    theirs = scattered(transformers.BertForPreTraining(config))
    theirs.save_pretrained(tmp_path)
    assert_same_scores(BertPretraining.load(tmp_path), theirs)


def test_ours_loads_there_and_misses_nothing(tmp_path: Path) -> None:
    torch.manual_seed(7)
    tokenizer = train_wordpiece(["some words to learn a vocabulary from"] * 3, size=100)
    settings = BertSettings(vocab=tokenizer.size, dims=32, layers=2, heads=4, hidden=64, positions=64, pooler=True)
    ours = scattered(BertPretraining(settings))
    ours.save(tmp_path / "out", tokenizer)
    theirs, info = transformers.BertForPreTraining.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values()), info
    assert_same_scores(ours, theirs)
    bare, info = transformers.BertModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"]
    ids, types = inputs(tokenizer.size)
    with torch.no_grad():
        expected = bare.eval()(ids[None, :9], token_type_ids=types[None, :9]).last_hidden_state[0]
        assert (ours.bert(ids[:9], torch.tensor([9]), types[:9]) - expected).abs().max() <= 1e-5


def test_ours_loads_in_sentence_transformers_pooled_by_the_mean(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    from firth.recipes.load import load

    torch.manual_seed(7)
    texts = ["some words to learn", "a vocabulary from these words"]
    tokenizer = train_wordpiece(texts * 3, size=100)
    settings = BertSettings(vocab=tokenizer.size, dims=32, layers=2, heads=4, hidden=64, positions=64, pooler=True)
    scattered(BertPretraining(settings)).save(tmp_path / "out", tokenizer)
    theirs = library.SentenceTransformer(str(tmp_path / "out"), device="cpu")
    expected = theirs.encode(texts, normalize_embeddings=True)
    assert abs(load(tmp_path / "out").encode(texts, precision="float32") - expected).max() <= 1e-5  # type: ignore[call-arg]


def test_ids_of_a_learnt_vocabulary_equal_theirs_on_every_line(data: Path, tmp_path: Path) -> None:
    with gzip.open(data / "text" / "wikinews.jsonl.gz", "rt", encoding="utf-8") as file:
        lines = [
            line for _, row in zip(range(1500), file, strict=False) for line in json.loads(row)["text"].split("\n")
        ]
    tokenizer = train_wordpiece(lines, size=2000)
    settings = BertSettings(vocab=tokenizer.size, dims=32, layers=1, heads=4, hidden=64, positions=64, pooler=True)
    BertPretraining(settings).save(tmp_path / "out", tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    for file in sorted((data / "bitext_tatoeba").iterdir()):
        lines += file.read_text(encoding="utf-8").splitlines()
    ragged = tokenizer.encode(lines)
    expected = theirs(lines, truncation=False)["input_ids"]
    assert [ragged.row(i).tolist() for i in range(len(lines))] == expected
