"""An encoder's vectors: their order, their batch, what was cut, prompts, widths, and the way to disk and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from firth import kernels
from firth.arrays import Encoder
from firth.contextual.bert import Bert, BertSettings
from firth.errors import SettingsError, ShapeError
from firth.sentence import encoder, network
from firth.sentence.encoder import CutWarning, SentenceEncoder, batches
from firth.sentence.pool import Pooling
from firth.text.tokenizer import Tokenizer

Make = Callable[..., SentenceEncoder]
F32 = "float32"


def test_an_encoder_is_what_the_other_rooms_call_an_encoder(tiny: SentenceEncoder) -> None:
    assert isinstance(tiny, Encoder)


def test_vectors_are_unit_rows_in_the_order_of_the_texts(tiny: SentenceEncoder, texts: list[str]) -> None:
    found = tiny.encode(texts)
    assert found.shape == (40, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    backwards = tiny.encode(texts[::-1])
    np.testing.assert_array_equal(found, backwards[::-1])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_of_one_gives_the_bits_of_a_batch_of_many(
    tiny: SentenceEncoder, texts: list[str], precision: str
) -> None:
    together = tiny.encode(texts, precision=precision)
    alone = np.concatenate([tiny.encode([text], precision=precision) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_one_thread_gives_the_vectors_of_many(tiny: SentenceEncoder, texts: list[str]) -> None:
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 4):
            torch.set_num_threads(count)
            found.append(tiny.encode(texts))
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)


def test_more_texts_than_a_block_keep_their_order(
    tiny: SentenceEncoder, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny.encode(texts, precision=F32)
    monkeypatch.setattr(encoder, "BLOCK", 7)
    monkeypatch.setattr(network, "NATIVE_BUDGET", 30)
    np.testing.assert_allclose(tiny.encode(texts, precision=F32), whole, atol=1e-6)


def test_no_texts_give_no_rows(tiny: SentenceEncoder) -> None:
    assert tiny.encode([]).shape == (0, 32)


def test_one_string_in_place_of_a_list_is_refused(tiny: SentenceEncoder) -> None:
    with pytest.raises(SettingsError, match=r"write \[text\]"):
        tiny.encode("one text")


def test_a_cut_is_counted_and_told_once(make: Make) -> None:
    enc = make(max_tokens=6)
    texts = ["cat", "the cat sat on the mat", "big dog ran under a small tree"]
    with pytest.warns(CutWarning, match="2 of 3 texts were cut to 6 tokens; 5 tokens were not read"):
        enc.encode(texts)
    cut = enc.encode_counted(texts).cut  # a second warning would fail this test
    assert (cut.texts, cut.tokens, cut.rows.tolist()) == (2, 5, [1, 2])


def test_a_warning_points_to_the_users_line_from_however_deep_within(make: Make) -> None:
    from firth.sentence.shared import encode_shared

    for ask in (lambda enc, texts: enc.encode(texts), lambda enc, texts: encode_shared(enc.encode, texts)):
        with pytest.warns(CutWarning) as told:
            ask(make(max_tokens=6), ["big dog ran under a small tree"])
        assert told[0].filename == __file__


def test_a_text_is_never_longer_than_the_models_positions(make: Make) -> None:
    assert make(max_tokens=500).max_tokens == 64
    assert make().max_tokens == 64
    assert make("mpnet").max_tokens == 62


def test_a_prompt_is_put_before_texts_of_its_kind_only(make: Make) -> None:
    plain, prompted = make(), make(prompts={"query": "query: "})
    np.testing.assert_array_equal(prompted.encode(["cat"], kind="query"), plain.encode(["query: cat"]))
    np.testing.assert_array_equal(prompted.encode(["cat"], kind="document"), plain.encode(["cat"]))
    np.testing.assert_array_equal(prompted.encode(["cat"]), plain.encode(["cat"]))


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_a_documents_prompt_is_found_under_its_published_names(make: Make, name: str) -> None:
    found = make(prompts={name: "a "}).encode(["cat"], kind="document")
    np.testing.assert_array_equal(found, make().encode(["a cat"]))


def test_the_default_prompt_is_used_where_no_kind_is_asked_for(make: Make) -> None:
    enc = make(prompts={"query": "query: "}, default_prompt="query")
    np.testing.assert_array_equal(enc.encode(["cat"]), enc.encode(["cat"], kind="query"))


def test_an_unknown_kind_is_refused_with_those_that_exist(make: Make) -> None:
    with pytest.raises(SettingsError, match=r"kind 'qeury': expected 'query', 'document' or one of \['title'\]"):
        make(prompts={"title": "title: "}).encode(["cat"], kind="qeury")


def test_a_prompt_can_be_left_out_of_the_pooling(make: Make) -> None:
    counted = make(prompts={"query": "query: "})
    left_out = make(prompts={"query": "query: "}, pooling=Pooling(include_prompt=False))
    texts = ["cat", "the dog ran"]
    assert np.abs(counted.encode(texts, kind="query") - left_out.encode(texts, kind="query")).max() > 0.01
    ragged = left_out.tokenize(texts, "query")
    with torch.no_grad():
        hidden = left_out.module.bert(torch.from_numpy(ragged.ids), torch.from_numpy(ragged.lengths))
        rows = [hidden[3:5].mean(0), hidden[8:].mean(0)]  # [CLS] query : | cat [SEP] … | the dog ran [SEP]
        expected = torch.nn.functional.normalize(torch.stack(rows), dim=1)
    np.testing.assert_allclose(left_out.encode(texts, kind="query", precision=F32), expected, atol=1e-6)


def test_texts_are_lower_cased_where_the_folder_says_so(make: Make) -> None:
    enc = make(lower_case=True)
    np.testing.assert_array_equal(enc.tokenize(["CAT"]).ids, make().tokenize(["cat"]).ids)


def test_fewer_dims_are_the_first_ones_brought_back_to_length_one(make: Make) -> None:
    enc = make(trained_dims=(8, 16))
    whole, part = enc.encode(["cat", "dog"], precision=F32), enc.encode(["cat", "dog"], dims=8, precision=F32)
    np.testing.assert_allclose(part, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-6)


def test_dims_that_were_not_trained_are_told_once(make: Make) -> None:
    enc = make(trained_dims=(16,))
    with pytest.warns(UserWarning, match=r"dims=8 was not trained \(trained: 16, 32\)"):
        enc.encode(["cat"], dims=8)
    enc.encode(["cat"], dims=8)
    enc.encode(["cat"], dims=16)


@pytest.mark.parametrize("dims", [0, -1, 33])
def test_dims_out_of_range_are_refused(tiny: SentenceEncoder, dims: int) -> None:
    with pytest.raises(SettingsError, match="have 32"):
        tiny.encode(["cat"], dims=dims)


def test_an_unknown_precision_is_refused_with_the_list(tiny: SentenceEncoder) -> None:
    with pytest.raises(SettingsError, match="auto, float32, bfloat16"):
        tiny.encode(["cat"], precision="float16")


@pytest.mark.skipif("v4" not in kernels.levels(), reason="no native bfloat16 here: it is computed in float32")
def test_bfloat16_is_near_float32_and_not_the_same(tiny: SentenceEncoder, texts: list[str]) -> None:
    exact, rounded = (tiny.encode(texts, precision=name) for name in (F32, "bfloat16"))
    assert (exact * rounded).sum(1).min() > 0.999
    assert np.abs(exact - rounded).max() > 0


def test_encoding_leaves_a_training_module_in_training_and_ignores_its_dropout(tiny: SentenceEncoder) -> None:
    still = tiny.encode(["the cat sat"], precision=F32)
    tiny.module.train()
    np.testing.assert_array_equal(tiny.encode(["the cat sat"], precision=F32), still)
    assert tiny.module.training


def test_embedding_equals_encoding_and_has_a_gradient(tiny: SentenceEncoder, texts: list[str]) -> None:
    rows = tiny.embed(tiny.tokenize(texts))
    np.testing.assert_allclose(rows.detach(), tiny.encode(texts, precision=F32), atol=1e-6)
    (rows @ rows.T).sum().backward()
    lacking = [name for name, value in tiny.module.named_parameters() if value.grad is None]
    assert lacking == []


def test_dropout_acts_in_training_and_follows_the_seed(tiny: SentenceEncoder) -> None:
    ragged = tiny.tokenize(["the cat sat", "a dog"])
    tiny.module.train()
    found = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        found.append(tiny.embed(ragged).detach())
    torch.testing.assert_close(found[0], found[1])
    assert (found[0] - found[2]).abs().max() > 1e-3


def test_a_saved_encoder_gives_the_vectors_of_the_one_in_memory(make: Make, tmp_path: Path, texts: list[str]) -> None:
    enc = make(
        prompts={"query": "query: "},
        default_prompt="query",
        max_tokens=60,
        lower_case=True,
        pooling=Pooling(("mean", "cls"), include_prompt=False),
        trained_dims=(16,),
    )
    enc.save(tmp_path / "model")
    back = SentenceEncoder.load(tmp_path / "model")
    np.testing.assert_array_equal(back.encode(texts, precision=F32), enc.encode(texts, precision=F32))
    assert back.fingerprint == enc.fingerprint
    assert back.settings == enc.settings
    assert back.trained_dims == (16, 64)


def test_prompts_and_the_longest_text_can_be_set_where_the_folder_lacks_them(make: Make, tmp_path: Path) -> None:
    make().save(tmp_path / "model")
    enc = SentenceEncoder.load(tmp_path / "model", prompts={"query": "query: "}, max_tokens=9)
    assert (enc.prompts, enc.max_tokens) == ({"query": "query: "}, 9)
    enc.save(tmp_path / "model")
    assert SentenceEncoder.load(tmp_path / "model").fingerprint == enc.fingerprint
    with pytest.raises(SettingsError, match="max_tokens=65: this model reads 3 to 64"):
        SentenceEncoder.load(tmp_path / "model", max_tokens=65)


def test_the_fingerprint_changes_with_all_that_changes_the_vectors(make: Make) -> None:
    prints = {make().fingerprint, make(prompts={"query": "a "}).fingerprint, make(max_tokens=9).fingerprint}
    prints |= {make(pooling=Pooling(("cls",))).fingerprint, make("mpnet").fingerprint}
    enc = make()
    assert enc.fingerprint in prints
    before = enc.encode(["the"])
    with torch.no_grad():
        enc.module.bert.words.weight[5] *= 2  # adding a constant would vanish in the norm
    assert len(prints | {enc.fingerprint}) == 6
    assert np.abs(enc.encode(["the"]) - before).max() > 0


def test_weights_that_have_changed_are_those_that_encode(tiny: SentenceEncoder) -> None:
    before = tiny.encode(["the cat"], precision=F32)
    other = {name: value + 0.1 for name, value in tiny.module.state_dict().items()}
    tiny.module.load_state_dict(other)
    after = tiny.encode(["the cat"], precision=F32)
    assert np.abs(after - before).max() > 0.01
    np.testing.assert_allclose(tiny.embed(tiny.tokenize(["the cat"])).detach(), after, atol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_a_training_step_changes_what_encodes_and_the_fingerprint(tiny: SentenceEncoder, fused: bool) -> None:
    optimizer = torch.optim.AdamW(tiny.module.parameters(), lr=0.01, fused=fused)
    ragged, seen = tiny.tokenize(["the cat", "a dog"]), set()
    for between in (False, True):  # also where something is encoded between the gradient and the step
        tiny.embed(ragged).pow(3).sum().backward()
        if between:
            seen.add((tiny.encode(["the"], precision=F32).tobytes(), tiny.fingerprint))
        optimizer.step()
        seen.add((tiny.encode(["the"], precision=F32).tobytes(), tiny.fingerprint))
    vectors, prints = map(set, zip(*seen, strict=True))
    assert len(vectors) == len(prints) == 2
    np.testing.assert_allclose(
        tiny.embed(tiny.tokenize(["the"])).detach(), tiny.encode(["the"], precision=F32), atol=1e-5
    )


def test_a_tokenizer_larger_than_the_model_is_refused(tokenizer: Tokenizer) -> None:
    bert = Bert(BertSettings("bert", tokenizer.size - 1, 32, 1, 4, 64, 64))
    with pytest.raises(ShapeError, match=r"71 entries, the model 70 words; are both from the same model"):
        SentenceEncoder(bert, tokenizer)


def test_batches_hold_the_budget_and_every_row_once(rng: np.random.Generator) -> None:
    lengths = rng.integers(1, 60, 200)
    found = list(batches(lengths, 100))
    assert sorted(np.concatenate(found)) == list(range(200))
    assert all(lengths[rows].sum() <= 100 for rows in found)
    longest = [lengths[rows].max() for rows in found]
    assert longest == sorted(longest, reverse=True)


def test_a_text_beyond_the_budget_is_a_batch_of_its_own() -> None:
    assert [rows.tolist() for rows in batches(np.array([3, 500, 2]), 100)] == [[1], [0, 2]]


def test_nothing_is_told_where_nothing_was_cut(tiny: SentenceEncoder) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tiny.encode_counted(["cat"]).cut.texts == 0
