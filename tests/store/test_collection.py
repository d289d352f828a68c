"""What a collection promises to somebody who only holds the public face."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from firth.arrays import unit
from firth.errors import DataError, FormatError, LockedError, ModelError, SettingsError, ShapeError, StorageError
from firth.store import Collection, Hybrid, Record
from store.conftest import HashedWords

TEXTS = ["the cat sat on the mat", "dogs bark at night", "the night is dark", "stocks fell on monday"]


def filled(collection: Collection) -> Collection:
    collection.upsert([1, 2, "three", "four"], TEXTS, [{"n": i} for i in range(4)], titles=["", "", "Night", ""])
    return collection


def test_a_text_finds_the_document_that_shares_its_words(collection: Collection) -> None:
    hits = filled(collection).search("dogs at night", k=2)
    assert [hit.id for hit in hits] == [2, "three"]
    assert hits[0].text == TEXTS[1]
    assert hits[0].payload == {"n": 1}
    assert hits[0].score > hits[1].score


def test_queries_are_embedded_as_queries_and_texts_as_documents(collection: Collection, encoder: HashedWords) -> None:
    filled(collection).search("cat")
    assert encoder.kinds == ["document", "query"]


def test_the_title_is_embedded_with_the_text(collection: Collection, encoder: HashedWords) -> None:
    stored = filled(collection).get(["three"], with_vectors=True)[0].vectors[""]
    np.testing.assert_allclose(stored, encoder.encode(["Night the night is dark"])[0], atol=1e-6)


def test_a_search_for_more_than_exist_returns_all_of_them(collection: Collection) -> None:
    assert len(filled(collection).search("cat", k=50)) == 4


def test_a_search_of_an_empty_collection_returns_nothing(collection: Collection) -> None:
    assert collection.search("cat") == []
    assert len(collection) == 0


def test_the_order_is_that_of_an_exact_search(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = unit(rng.normal(size=(500, 24)).astype(np.float32))
    queries = unit(rng.normal(size=(7, 24)).astype(np.float32))
    with Collection.create(tmp_path / "c", dims=24) as collection:
        collection.upsert(range(500), ["" for _ in rows], vectors=rows)
        found = collection.search_many(queries, k=10)
    expected = np.argsort(-(queries.astype(np.float64) @ rows.T.astype(np.float64)), axis=1)[:, :10]
    assert [[hit.id for hit in hits] for hits in found] == expected.tolist()


def test_an_upsert_of_a_known_id_replaces_the_document_and_its_vector(collection: Collection) -> None:
    filled(collection).upsert([1], ["wolves howl"], [{"new": True}])
    assert len(collection) == 4
    assert collection.get([1]) == [Record(1, "wolves howl", "", {"new": True})]
    assert collection.search("wolves", k=1)[0].id == 1
    assert 1 not in [hit.id for hit in collection.search("cat mat", k=1)]


def test_of_an_id_given_twice_in_one_call_the_last_counts(collection: Collection) -> None:
    collection.upsert(["a", "a"], ["first", "second"])
    assert [record.text for record in collection] == ["second"]


def test_one_and_the_string_one_are_two_documents(collection: Collection) -> None:
    collection.upsert([1, "1"], ["number", "string"])
    assert collection.delete(["1"]) == 1
    assert [record.text for record in collection.get([1, "1"])] == ["number"]


def test_delete_says_how_many_there_were_and_they_are_no_longer_found(collection: Collection) -> None:
    assert filled(collection).delete([2, 99]) == 1
    assert 2 not in collection
    assert 2 not in [hit.id for hit in collection.search("dogs bark", k=10)]


def test_pages_of_a_scroll_hold_every_document_once_integers_first(collection: Collection) -> None:
    filled(collection)
    first = collection.scroll(limit=3)
    rest = collection.scroll(limit=3, start=first.next)
    assert [record.id for record in first.records + rest.records] == [1, 2, "four", "three"]
    assert rest.next is None


def test_what_was_upserted_is_there_after_reopening(collection: Collection, encoder: HashedWords) -> None:
    before = filled(collection).search("dogs", k=4)
    collection.close()
    with Collection.open(collection.path, encoder=encoder) as again:
        assert again.search("dogs", k=4) == before


def test_a_moved_folder_opens(collection: Collection, encoder: HashedWords, tmp_path: Path) -> None:
    before = filled(collection).search("dogs", k=4)
    collection.close()
    moved = collection.path.rename(tmp_path / "elsewhere")
    with Collection.open(moved, encoder=encoder) as again:
        assert again.search("dogs", k=4) == before


def test_readers_see_what_the_writer_wrote_after_they_opened(collection: Collection, encoder: HashedWords) -> None:
    with Collection.open(collection.path, encoder=encoder, readonly=True) as reader:
        assert reader.search("dogs") == []
        filled(collection)
        assert reader.search("dogs", k=1)[0].id == 2
        collection.delete([2])
        assert 2 not in [hit.id for hit in reader.search("dogs", k=9)]


def test_a_second_writer_is_refused_and_told_who_holds_the_lock(collection: Collection) -> None:
    import os

    with pytest.raises(LockedError, match=f"process {os.getpid()}.*readonly=True"):
        Collection.open(collection.path)


def test_a_reader_cannot_write(collection: Collection) -> None:
    with Collection.open(collection.path, readonly=True) as reader, pytest.raises(StorageError, match="readonly"):
        reader.delete([1])


def test_another_models_collection_is_refused(collection: Collection) -> None:
    collection.close()
    with pytest.raises(ModelError, match="made by the model"):
        Collection.open(collection.path, encoder=HashedWords("another"))


def test_vectors_as_wide_as_the_encoder_are_cut_to_the_collections_dims(tmp_path: Path, encoder: HashedWords) -> None:
    full = encoder.encode(TEXTS)
    with Collection.create(tmp_path / "c", encoder=encoder, dims=16) as collection:
        collection.upsert(range(4), TEXTS, vectors=full)
        stored = np.stack([record.vectors[""] for record in collection.get(range(4), with_vectors=True)])
        assert collection.search(TEXTS[2], k=1)[0].id == 2
    np.testing.assert_allclose(stored, unit(full[:, :16]), atol=1e-6)


def test_named_vectors_are_searched_by_their_name(tmp_path: Path, encoder: HashedWords) -> None:
    from firth.store import VectorSettings

    titles = {"title": VectorSettings(32, embeds="title")}
    with Collection.create(tmp_path / "c", encoder=encoder, vectors=titles) as collection:
        collection.upsert([1, 2], ["cat", "dog"], titles=["moon", "sun"])
        assert collection.search("sun", k=1, vector="title")[0].score == pytest.approx(1, abs=1e-5)
        with pytest.raises(SettingsError, match="no vectors called 'body'"):
            collection.search("sun", vector="body")


def test_hybrid_finds_the_rare_word_that_the_vectors_miss(tmp_path: Path) -> None:
    rows = np.eye(4, dtype=np.float32)

    class Blind(HashedWords):  # every query looks like the first document
        def encode(self, texts, *, kind=None, dims=None, progress=False):  # type: ignore[no-untyped-def]
            return np.repeat(rows[:1], len(texts), axis=0)

    with Collection.create(tmp_path / "c", encoder=Blind(dims=4)) as collection:
        collection.upsert(range(4), TEXTS, vectors=rows)
        assert collection.search("stocks", k=1)[0].id == 0
        hit = collection.search("stocks", k=1, hybrid=Hybrid(words=3))[0]
    assert hit.id == 3
    assert hit.sources["bm25"].rank == 1
    assert hit.score == pytest.approx(sum(source.share for source in hit.sources.values()))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda c: c.upsert([1.5], ["x"]), DataError, "key 1.5"),
        (lambda c: c.upsert([True], ["x"]), DataError, "key True"),
        (lambda c: c.upsert([2**63], ["x"]), DataError, "64 bits"),
        (lambda c: c.upsert([""], ["x"]), DataError, "0 characters"),
        (lambda c: c.upsert([1], [None]), DataError, "text of 1"),
        (lambda c: c.upsert([1], ["\ud800"]), DataError, "surrogate"),
        (lambda c: c.upsert([1], ["x"], [{"a": float("nan")}]), DataError, "payload of 1"),
        (lambda c: c.upsert(["a\0"], ["x"]), DataError, "NUL"),
        (lambda c: c.upsert([1], ["x"], [{"a": "\0"}]), DataError, "NUL"),
        (lambda c: c.upsert([1], ["x"], [{"a": {1, 2}}]), DataError, "payload of 1"),
        (lambda c: c.upsert([1, 2], ["x"]), ShapeError, "2 ids and 1 texts"),
        (lambda c: c.upsert([1], ["x"], vectors=np.ones((1, 7))), ShapeError, "expected 32 dimensions, got 7"),
        (lambda c: c.upsert([1], ["x"], vectors=np.zeros((1, 32))), DataError, "all zeros"),
        (lambda c: c.search("x", k=0), SettingsError, "k=0"),
        (lambda c: c.search(np.ones(7)), ShapeError, "expected 32 dimensions, got 7"),
        (lambda c: c.search(np.ones(32), hybrid=True), SettingsError, "no words"),
        (lambda c: c.delete(), SettingsError, "either ids or filter"),
    ],
)
def test_a_wrong_value_is_named_and_nothing_is_written(collection, call, error, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=says):
        call(collection)
    assert len(collection) == 0


def test_a_folder_that_is_no_collection_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such collection"):
        Collection.open(tmp_path / "absent")
    (tmp_path / "other").mkdir()
    with pytest.raises(FormatError, match=r"rows\.db is missing"):
        Collection.open(tmp_path / "other")


def test_a_closed_collection_says_so(collection: Collection) -> None:
    collection.close()
    with pytest.raises(StorageError, match="closed"):
        collection.search("x")
