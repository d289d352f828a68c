"""A collection's folder: the graph and its upkeep, snapshots, another model, what `check` finds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import FormatError, ModelError, SettingsError, StorageError
from firth.store import Collection, IndexSettings
from store.conftest import HashedWords

SMALL = IndexSettings(m=8, ef_construction=40, exact_below=500, recall=0.95)  # graphs from 1,000 rows on


@pytest.fixture(scope="module")
def rows() -> Vectors:
    """(3000, 16) float32 in clusters."""
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(40, 16))
    return unit((centres[rng.integers(0, 40, 3000)] + 0.5 * rng.normal(size=(3000, 16))).astype(np.float32))


@pytest.fixture
def graphed(tmp_path: Path, rows: Vectors) -> Iterator[Collection]:
    """2,500 rows in the graph, 500 in the tail."""
    with Collection.create(tmp_path / "c", dims=16, index=SMALL, background=False) as made:
        made.upsert(range(2500), [f"row {i}" for i in range(2500)], vectors=rows[:2500])
        made.upsert(range(2500, 3000), [f"row {i}" for i in range(2500, 3000)], vectors=rows[2500:])
        yield made


def recall(collection: Collection, queries: Vectors, k: int = 10) -> float:
    found, exact = collection.search_many(queries, k), collection.search_many(queries, k, recall=1)
    shares = [len({h.id for h in a} & {h.id for h in b}) / len(b) for a, b in zip(found, exact, strict=True)]
    return float(np.mean(shares))


def test_rows_go_into_a_graph_and_the_newest_are_found_beside_it(graphed: Collection, rows: Vectors) -> None:
    assert len(list((graphed.path / "index").iterdir())) == 1
    assert recall(graphed, rows[::50]) >= 0.95
    for i in (0, 2499, 2500, 2999):
        assert graphed.search(rows[i], k=1)[0].id == i
    assert graphed.check() == []


def test_what_was_deleted_or_replaced_is_not_found_in_the_graph(graphed: Collection, rows: Vectors) -> None:
    graphed.delete(range(0, 2000, 2))
    graphed.upsert([1], ["replaced"], vectors=-rows[1:2])
    found = graphed.search_many(rows[:200], k=10)
    assert all(hit.id % 2 or hit.id >= 2000 for hits in found for hit in hits)
    assert all(len(hits) == 10 for hits in found)
    assert graphed.search(rows[1], k=1)[0].id != 1
    assert graphed.search(-rows[1], k=1)[0].text == "replaced"
    assert recall(graphed, rows[::50]) >= 0.95


def test_a_reader_with_an_old_graph_finds_what_the_writer_finds(graphed: Collection, rows: Vectors) -> None:
    with Collection.open(graphed.path, readonly=True) as reader:
        assert reader.search(rows[5], k=1)[0].id == 5
        graphed.delete([5, 6])
        graphed.upsert([7], ["new"], vectors=-rows[7:8])
        assert 5 not in [hit.id for hit in reader.search(rows[5], k=10)]
        assert reader.search(-rows[7], k=1)[0].text == "new"
        graphed.compact()
        assert 5 not in [hit.id for hit in reader.search(rows[5], k=10)]
        assert recall(reader, rows[::50]) >= 0.95
        assert reader.check() == []


def test_a_filter_is_kept_to_in_the_graph_and_in_the_tail(graphed: Collection, rows: Vectors) -> None:
    with graphed._ground.write() as moment:
        moment.db.execute("UPDATE rows SET payload = json_object('third', key % 3 = 0, 'n', key)")
    for filter_, allowed in [({"n": {"$gte": 2400}}, range(2400, 3000)), ({"n": {"$lt": 2990}}, range(2990))]:
        found = graphed.search_many(rows[::100], k=10, filter=filter_)
        assert all(len(hits) == 10 for hits in found)
        assert all(hit.id in allowed for hits in found for hit in hits)


@pytest.mark.parametrize("damage", ["remove", "truncate", "overwrite"])
def test_a_graph_that_is_lost_is_built_again_and_nothing_else_with_it(
    graphed: Collection, rows: Vectors, damage: str
) -> None:
    graphed.compact()
    graphed.close()
    (file,) = (graphed.path / "index").iterdir()
    if damage == "remove":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(file.read_bytes()[:1000])
    else:
        file.write_bytes(b"no graph")
    with Collection.open(graphed.path, readonly=True) as reader:
        assert reader.search(rows[5], k=1)[0].id == 5
    with Collection.open(graphed.path, background=False) as again:
        again.compact()
        assert recall(again, rows[::50]) >= 0.95
        assert again.check() == []
    assert len(list((graphed.path / "index").iterdir())) == 1


def test_the_background_keeper_does_what_the_foreground_one_does(tmp_path: Path, rows: Vectors) -> None:
    with Collection.create(tmp_path / "c", dims=16, index=SMALL) as collection:
        for begin in range(0, 3000, 250):
            part = range(begin, begin + 250)
            collection.upsert(part, ["" for _ in part], vectors=rows[begin : begin + 250])
            assert collection.search(rows[begin], k=1)[0].id == begin
            collection.delete([begin])
        collection.compact()
        assert recall(collection, rows[::50]) >= 0.95
        assert collection.check() == []
        assert len(collection) == 2988


def test_closing_leaves_a_graph_for_those_who_only_read(tmp_path: Path, rows: Vectors) -> None:
    with Collection.create(tmp_path / "c", dims=16, index=SMALL) as collection:
        collection.upsert(range(3000), ["" for _ in range(3000)], vectors=rows)
    assert len(list((tmp_path / "c" / "index").iterdir())) == 1
    with Collection.open(tmp_path / "c", readonly=True) as reader:
        assert recall(reader, rows[::50]) >= 0.95


def test_searches_beside_a_writer_see_whole_moments(graphed: Collection, rows: Vectors) -> None:
    """Each upsert moves row 0 and row 1 together: no search may see one of them moved and not the other."""
    torn: list[str] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            hits = graphed.search(rows[0], k=3000, ef=3000)
            texts = {hit.text for hit in hits if hit.id in (0, 1)}
            if len(hits) != 3000 or len(texts) != 1:
                torn.append(f"{len(hits)} hits, {texts}")

    graphed.upsert([0, 1], ["at 0", "at 0"], vectors=rows[:2])
    readers = [threading.Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for i in range(1, 40):
        graphed.upsert([0, 1], [f"at {i}"] * 2, vectors=rows[i : i + 2])
        if i % 10 == 0:
            graphed.compact()
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_room_of_dead_vectors_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: Vectors) -> None:
    for module in ("vectors", "keep", "snapshot"):
        monkeypatch.setattr(f"firth.store.{module}.SEGMENT", 256)
    with Collection.create(tmp_path / "c", dims=16, index=SMALL, background=False) as collection:
        for _ in range(4):
            collection.upsert(range(1500), ["" for _ in range(1500)], vectors=rows[:1500])
        kept = sum(path.stat().st_size for path in (collection.path / "vectors").iterdir())
        assert kept < 2.5 * 1500 * 16 * 4  # four generations were written
        collection.delete(range(0, 1500, 3))
        collection.compact()
        kept = sum(path.stat().st_size for path in (collection.path / "vectors").iterdir())
        assert kept < 1.2 * 1000 * 16 * 4 + 8 * 64
        stored = {r.id: r.vectors[""] for r in collection.get(range(1500), with_vectors=True)}
        np.testing.assert_array_equal(np.stack([stored[i] for i in stored]), unit(rows[list(stored)]))
        assert recall(collection, rows[1:1500:60]) >= 0.95
        assert collection.check() == []


def test_a_snapshot_is_the_collection_as_it_was_and_opens_by_itself(graphed: Collection, rows: Vectors) -> None:
    before = [(r.id, r.text) for r in graphed]
    graphed.snapshot(graphed.path.with_name("s"))
    graphed.delete(range(100))
    graphed.upsert([7], ["later"], vectors=rows[:1])
    restored = Collection.restore(graphed.path.with_name("s"), graphed.path.with_name("r"))
    for copy in (restored, Collection.open(graphed.path.with_name("s"))):
        with copy:
            assert [(r.id, r.text) for r in copy] == before
            assert copy.search(rows[7], k=1)[0].id == 7
            assert copy.check() == []


def test_a_damaged_snapshot_is_refused_and_leaves_nothing(graphed: Collection, tmp_path: Path) -> None:
    graphed.snapshot(tmp_path / "s")
    victim = next((tmp_path / "s" / "vectors").iterdir())
    data = bytearray(victim.read_bytes())
    data[500] ^= 1
    victim.write_bytes(data)
    with pytest.raises(FormatError, match=f"{victim.name}.*not as the snapshot was written"):
        Collection.restore(tmp_path / "s", tmp_path / "r")
    assert not (tmp_path / "r").exists()
    with pytest.raises(FormatError, match="not a snapshot"):
        Collection.restore(graphed.path, tmp_path / "r")
    with pytest.raises(StorageError, match="exists already"):
        graphed.snapshot(tmp_path / "s")


def test_check_finds_a_changed_vector_and_a_stray_row(graphed: Collection) -> None:
    victim = next((graphed.path / "vectors").iterdir())
    with victim.open("r+b") as file:
        file.seek(64 + 16 * 4 * 10)
        file.write(b"\x00\x00\x80\x3f")
    assert any("checksums of 1 vectors do not match, the first is slot 10" in p for p in graphed.check())
    with graphed._ground.write() as moment:
        moment.db.execute("DELETE FROM slots WHERE id = 3")
    assert any("1 rows have no vector" in problem for problem in graphed.check())


TEXTS = [f"word{i} word{i % 7} word{i % 3}" for i in range(700)]


@pytest.fixture
def embedded(tmp_path: Path, encoder: HashedWords) -> Iterator[Collection]:
    with Collection.create(tmp_path / "e", encoder=encoder, index=SMALL, background=False) as made:
        made.upsert(range(700), TEXTS)
        yield made


def test_another_model_takes_over_from_one_moment_to_the_next_and_back(embedded: Collection) -> None:
    old, new = embedded.encoder, HashedWords("new", dims=24)
    job = embedded.reembed(new)
    assert embedded.search(TEXTS[5], k=1)[0].id == 5
    assert job.wait()
    assert job.done == 700
    embedded.upsert([700, 5], ["late comer", "changed five"])
    embedded.delete([6])
    assert embedded.encoder is old
    embedded.cut_over()
    assert embedded.encoder is new
    assert embedded.search("late comer", k=1)[0].id == 700
    assert embedded.search("changed five", k=1)[0].id == 5
    np.testing.assert_allclose(
        embedded.get([8], with_vectors=True)[0].vectors[""], new.encode(TEXTS[8:9])[0], atol=1e-6
    )
    embedded.upsert([701], ["after the change"])
    assert embedded.check() == []
    embedded.roll_back()
    assert embedded.encoder is old
    assert embedded.search("after the change", k=1)[0].id == 701
    assert embedded.get([701], with_vectors=True)[0].vectors[""].shape == (32,)
    assert embedded.check() == []
    assert embedded.drop_others() == 1
    with pytest.raises(SettingsError, match="no vectors are retired"):
        embedded.roll_back()


def test_a_reembedding_goes_on_after_reopening(embedded: Collection, encoder: HashedWords) -> None:
    new = HashedWords("new")
    job = embedded.reembed(new)
    job.stop()
    embedded.close()
    with Collection.open(embedded.path, encoder=encoder) as again:
        with pytest.raises(ModelError, match="are growing"):
            again.reembed(HashedWords("third"))
        count = len(new.kinds)
        again.reembed(new).wait()
        again.cut_over()
        assert len(new.kinds) - count <= 3  # 700 rows are three batches; those done before are not done again
        assert again.search(TEXTS[5], k=1)[0].id == 5
    with pytest.raises(ModelError, match="made by the model"):
        Collection.open(embedded.path, encoder=encoder)
    with Collection.open(embedded.path, encoder=new) as again:
        with pytest.raises(ModelError, match="pass it as encoder="):
            again.upsert([900], ["x"])
            again.roll_back()
        again.roll_back(encoder=encoder)
        assert again.search("x", k=1)[0].id == 900


def test_an_encoder_that_fails_ends_the_reembedding_and_nothing_else(embedded: Collection) -> None:
    class Broken(HashedWords):
        def encode(self, texts, *, kind=None, dims=None, progress=False):  # type: ignore[no-untyped-def]
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        embedded.reembed(Broken("broken")).wait()
    assert embedded.search(TEXTS[5], k=1)[0].id == 5
    assert embedded.drop_others() == 1
    assert embedded.check() == []


def test_vectors_of_unknown_origin_are_compared_with_the_encoder_before_it_is_taken(
    tmp_path: Path, encoder: HashedWords
) -> None:
    with Collection.create(tmp_path / "c", dims=32) as collection:
        collection.upsert(range(20), TEXTS[:20], vectors=encoder.encode(TEXTS[:20]))
    with pytest.raises(ModelError, match=r"at cosine -?0\.[0-4]\d to the stored ones"):
        Collection.open(tmp_path / "c", encoder=HashedWords("another"))
    with Collection.open(tmp_path / "c", encoder=encoder) as collection:
        assert collection.search(TEXTS[3], k=1)[0].id == 3
        with pytest.raises(ModelError, match="were made by the model"):
            collection.upsert([1], ["x"], vectors=np.ones((1, 32)), made_by="somebody else")


def test_a_reader_can_do_nothing_that_writes(graphed: Collection, tmp_path: Path) -> None:
    with Collection.open(graphed.path, readonly=True) as reader:
        for call in (reader.compact, reader.cut_over, reader.roll_back, reader.drop_others):
            with pytest.raises(StorageError, match="readonly=True"):
                call()
        with pytest.raises(StorageError, match="readonly=True"):
            reader.upsert([1], [""], vectors=np.ones((1, 16)))
    graphed.close()
    with pytest.raises(StorageError, match="was closed"):
        graphed.compact()
