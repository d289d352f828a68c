"""Pre-training learns, goes on to the bit, stops at NaN, shares its batches among processes; what is saved loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from firth.contextual.bert import BertSettings
from firth.contextual.masking import Vocabulary
from firth.contextual.pretrain import Pretrained, assembled, pretrain_bert
from firth.contextual.pretraining import SIZES, BertPretraining
from firth.contextual.sequences import TokenCorpus, rows_of_epoch
from firth.contextual.settings import PretrainSettings
from firth.contextual.weights import load_bert
from firth.errors import DataError, ModelError, SettingsError, TrainingError
from firth.text.tokenizer import Tokenizer

SMALL = PretrainSettings(
    longest=32, tokens=256, steps=12, held_out=0.1, rate=3e-3, precision="float32", checkpoint_seconds=0.0
)


def model(tokenizer: Tokenizer, *, seed: int = 0, next_sentence: bool = True, dims: int = 32) -> BertPretraining:
    torch.manual_seed(seed)
    shape = BertSettings(vocab=tokenizer.size, dims=dims, layers=2, heads=2, hidden=64, positions=64, pooler=True)
    return BertPretraining(shape, next_sentence=next_sentence)


def weights(found: BertPretraining) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in found.state_dict().items()}


def test_masked_words_and_next_sentences_are_learnt(trained: tuple[BertPretraining, Pretrained]) -> None:
    _, result = trained
    assert result.held_out is not None
    assert result.held_out["masked_accuracy"] > 0.5  # the commonest word stands at 0.25 of the places
    assert result.held_out["next_accuracy"] > 0.65
    assert result.fitted.curve[-1].measures["masked_loss"] < result.fitted.curve[0].measures["masked_loss"] / 2
    assert result.filled >= 0.98
    assert result.tokens <= 250 * 1024


def test_switched_off_there_is_neither_head_nor_accuracy(documents: list[list[str]], tokenizer: Tokenizer) -> None:
    found = model(tokenizer, next_sentence=False)
    result = pretrain_bert(found, tokenizer, documents, settings=replace(SMALL, next_sentence=False))
    assert result.held_out is not None
    assert set(result.held_out) == {"masked_loss", "masked_accuracy"}


def test_an_interrupted_training_goes_on_to_the_bit(
    documents: list[list[str]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    whole, parts = model(tokenizer), model(tokenizer)
    settings = replace(SMALL, accumulate=2, epochs=2, steps=6)
    straight = pretrain_bert(whole, tokenizer, documents, settings=settings)

    def stopped(done: int, total: int, what: str = "") -> None:
        if what.startswith("loss") and done > 0.4 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain_bert(parts, tokenizer, documents, settings=settings, folder=tmp_path, progress=stopped)
    other = model(tokenizer, seed=9)  # what it starts from does not matter any more
    resumed = pretrain_bert(other, tokenizer, documents, settings=settings, folder=tmp_path)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(other)[name]), name
    assert resumed.held_out == straight.held_out
    assert [point.measures for point in resumed.fitted.curve] == [point.measures for point in straight.fitted.curve]


def test_a_checkpoint_of_another_size_is_refused(
    documents: list[list[str]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    pretrain_bert(model(tokenizer), tokenizer, documents, settings=SMALL, folder=tmp_path)
    with pytest.raises(SettingsError, match=r"belongs to another training: shapes\..* train into another folder"):
        pretrain_bert(model(tokenizer, dims=64), tokenizer, documents, settings=SMALL, folder=tmp_path)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_sound_checkpoint(
    documents: list[list[str]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    found, seen = model(tokenizer), []

    def poison(_: object, __: object, out: Tensor) -> Tensor:
        seen.append(out)
        return out * torch.nan if len(seen) > 7 else out

    found.transform.register_forward_hook(poison)
    with pytest.raises(TrainingError, match=r"epoch 1, batch 8 \(step 8,.*the loss is nan; the last sound state is"):
        pretrain_bert(found, tokenizer, documents, settings=SMALL, folder=tmp_path)
    fresh = model(tokenizer)
    pretrain_bert(fresh, tokenizer, documents, settings=SMALL, folder=tmp_path)
    assert all(value.isfinite().all() for value in weights(fresh).values())


def test_a_text_shorter_than_a_batch_is_refused_with_both_numbers(tokenizer: Tokenizer) -> None:
    short = [["the cat purred .", "the dog barked ."]] * 3
    with pytest.raises(DataError, match=r"the text has 24 tokens to train on, fewer than one batch of 256"):
        pretrain_bert(model(tokenizer), tokenizer, short, settings=replace(SMALL, held_out=0.0))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"longest": 512, "tokens": 512}, "longest=512: this model has 64 positions"),
        ({"tokens": 16}, "a sequence has at least 8 tokens, a batch one sequence"),
        ({"masked": 0.0}, "expected shares below 1"),
        ({"steps": -1}, "steps=-1"),
        ({"rate": 0.0}, "rate: expected a positive number"),
    ],
)
def test_settings_out_of_range_are_refused_by_value(
    settings: dict[str, float], message: str, documents: list[list[str]], tokenizer: Tokenizer
) -> None:
    with pytest.raises(SettingsError, match=message):
        pretrain_bert(model(tokenizer), tokenizer, documents, settings=replace(SMALL, **settings))  # type: ignore[arg-type]


def test_packed_neighbours_do_not_see_each_other(documents: list[list[str]], tokenizer: Tokenizer) -> None:
    corpus, vocabulary = TokenCorpus.of(documents, tokenizer), Vocabulary.of(tokenizer)
    row = next(iter(rows_of_epoch(corpus, longest=32, tokens=256, next_sentence=True, seed="0", steps=1)))
    batch = assembled(row, corpus, vocabulary, SMALL, np.random.default_rng(0))
    found = model(tokenizer).eval()
    ids, types = torch.from_numpy(batch.ids), torch.from_numpy(batch.types)
    lengths = torch.from_numpy(batch.lengths)
    together = found.bert(ids, lengths, types).split(batch.lengths.tolist())
    for part, kind, expected in zip(
        ids.split(batch.lengths.tolist()), types.split(batch.lengths.tolist()), together, strict=True
    ):
        alone = found.bert(part, torch.tensor([len(part)]), kind)
        torch.testing.assert_close(alone, expected, atol=1e-5, rtol=0)
        assert tokenizer.tokens(part[:1].numpy()) == ["[CLS]"]
        assert sorted(set(kind.tolist())) == [0, 1]


def test_the_word_head_at_some_places_is_the_head_at_all_of_them(tokenizer: Tokenizer) -> None:
    found = model(tokenizer).eval()
    ids, lengths = torch.randint(5, tokenizer.size, (12,)), torch.tensor([7, 5])
    everywhere = found(ids, lengths, None, torch.arange(12)).words
    torch.testing.assert_close(found(ids, lengths, None, torch.tensor([2, 9])).words, everywhere[[2, 9]])
    assert found.bert.words.weight.data_ptr() in {value.data_ptr() for value in found.parameters()}
    assert not any(name.startswith("decoder") for name, _ in found.named_parameters())


def test_what_is_saved_is_what_is_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = model(tokenizer)
    found.save(tmp_path / "out", tokenizer)
    back = BertPretraining.load(tmp_path / "out")
    for name, value in weights(found).items():
        assert torch.equal(weights(back)[name], value), name
    assert Tokenizer.load(tmp_path / "out").fingerprint == tokenizer.fingerprint


def test_what_is_saved_is_a_sentence_encoder(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from firth.recipes.load import load

    found = model(tokenizer).eval()
    found.save(tmp_path / "out", tokenizer)
    vector = load(tmp_path / "out").encode(["the cat purred"], precision="float32")[0]  # type: ignore[call-arg]
    ragged = tokenizer.encode(["the cat purred"])
    hidden = found.bert(torch.from_numpy(ragged.ids), torch.from_numpy(ragged.lengths)).mean(0)
    expected = (hidden / hidden.norm()).detach().numpy()
    assert np.abs(vector - expected).max() < 1e-5


def test_published_weights_without_heads_get_new_ones_and_keep_their_own(tokenizer: Tokenizer, tmp_path: Path) -> None:
    from firth.contextual.weights import save_bert

    torch.manual_seed(1)
    found = model(tokenizer)
    save_bert(found.bert, tmp_path)
    first, again = (BertPretraining.load(tmp_path, next_sentence=True, seed=3) for _ in range(2))
    for name, value in load_bert(tmp_path).state_dict().items():
        assert torch.equal(first.bert.state_dict()[name], value), name
    assert torch.equal(first.transform.weight, again.transform.weight)
    assert BertPretraining.load(tmp_path).next_sentence is None


def test_training_goes_on_from_published_weights(
    documents: list[list[str]],
    tokenizer: Tokenizer,
    trained: tuple[BertPretraining, Pretrained],
    tmp_path: Path,
) -> None:
    found, before = trained
    found.save(tmp_path / "out", tokenizer)
    back = BertPretraining.load(tmp_path / "out")
    further = pretrain_bert(back, tokenizer, documents, settings=replace(SMALL, seed=1, rate=1e-4, dropout=0.0))
    last = before.fitted.curve[-1].measures["masked_loss"]
    assert further.fitted.curve[0].measures["masked_loss"] < last + 0.5 < 0.6 * np.log(tokenizer.size)


def test_another_family_is_refused() -> None:
    with pytest.raises(ModelError, match="'mpnet' is not pre-trained by firth"):
        BertPretraining(BertSettings("mpnet", types=0, first_position=2), next_sentence=False)
    with pytest.raises(ModelError, match="needs a pooler and two segments"):
        BertPretraining(BertSettings(pooler=False))


def test_the_sizes_are_those_of_their_papers() -> None:
    shapes = {name: (size().layers, size().dims, size().heads, size().hidden) for name, size in SIZES.items()}
    assert shapes == {
        "tiny": (2, 128, 2, 512),
        "mini": (4, 256, 4, 1024),
        "small": (4, 512, 8, 2048),
        "base": (12, 768, 12, 3072),
    }


WORKER = """
import json, sys, torch
from firth.contextual.bert import BertSettings
from firth.contextual.pretrain import pretrain_bert
from firth.contextual.settings import PretrainSettings
from firth.contextual.pretraining import BertPretraining
from firth.fit import joined
from firth.text.tokenizer import Tokenizer

torch.set_num_threads(1)
folder, documents = sys.argv[1], json.load(open(sys.argv[2]))
tokenizer = Tokenizer.load(folder)
torch.manual_seed(0)
shape = BertSettings(vocab=tokenizer.size, dims=32, layers=2, heads=2, hidden=64, positions=64, pooler=True)
model = BertPretraining(shape)
settings = PretrainSettings(longest=32, tokens=256, steps=8, accumulate=2, dropout=0.0, precision="float32")
with joined() as first:
    found = pretrain_bert(model, tokenizer, documents, settings=settings, folder=sys.argv[3])
if first:
    model.save(sys.argv[4], tokenizer)
    print(json.dumps([found.tokens, found.fitted.curve[-1].loss]))
"""


@pytest.mark.slow
def test_two_processes_of_torchrun_learn_what_one_learns(
    documents: list[list[str]], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    (tmp_path / "documents.json").write_text(json.dumps(documents))
    (tmp_path / "worker.py").write_text(WORKER)
    told = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        names = [tmp_path, tmp_path / "documents.json", out / "checkpoints", out / "model"]
        run = subprocess.run(
            [*launcher, str(tmp_path / "worker.py"), *map(str, names)],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert run.returncode == 0, run.stderr[-2000:]
        told.append(json.loads(run.stdout.strip().splitlines()[-1]))
    assert told[0][0] == told[1][0]
    assert told[0][1] == pytest.approx(told[1][1], abs=1e-4)
    one, two = (BertPretraining.load(tmp_path / str(count) / "model") for count in (1, 2))
    for name, value in weights(one).items():
        torch.testing.assert_close(weights(two)[name], value, atol=1e-4, rtol=0)
