"""What an upsert returned from is there: after kill -9, on a full disk, after any sequence of operations."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firth.errors import FirthError, FormatError, LockedError, StorageError
from firth.store import Collection, IndexSettings
from store.conftest import HashedWords
from store.torture import MODELS, expected, operation, perform, shrink

KILLS = 20  # in CI; tests/store/torture.py --kills 1000 takes ten minutes
OPERATIONS = int(os.environ.get("FIRTH_OPERATIONS", "400"))  # of the model test; benchmarks/bench_siege.py does 50,000
DISKS = int(os.environ.get("FIRTH_DISKS", "4"))  # that are full at random moments
SEED = int(os.environ.get("FIRTH_SEED", "7"))
SOURCE = Path(__file__).resolve().parents[2] / "src"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every threshold of the upkeep small, and as it was afterwards."""
    from firth.store import keep, reembed, shelf, snapshot, vectors

    for module in (keep, reembed, shelf, snapshot, vectors):
        for name in [name for name in vars(module) if name.isupper()]:
            monkeypatch.setattr(module, name, getattr(module, name))
    shrink()


def test_a_writer_killed_at_random_moments_loses_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("torture.py")), "--kills", str(KILLS)]
    seed = str(random.randrange(10**6))
    command += ["--seed", seed, "--folder", str(tmp_path)]
    paths = os.pathsep.join([str(SOURCE), str(Path(__file__).parents[1])])
    # One thread: those of the matrix product would not survive the forks.
    environment = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB, of which the log of SQLite takes up to four before it is folded in; needs root."""
    where = tmp_path / "disk"
    where.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(where)], capture_output=True).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.mark.parametrize("seed", range(1000 * SEED, 1000 * SEED + DISKS))
def test_a_full_disk_is_a_clear_error_and_loses_nothing(tiny_disk: Path, small: None, seed: int) -> None:
    chance = random.Random(seed)
    path, ballast = tiny_disk / "c", tiny_disk / "ballast"
    encoder, state, failures = MODELS[0], {}, 0
    index = IndexSettings(m=4, ef_construction=16, exact_below=30, threads=1)
    collection = Collection.create(path, encoder=encoder, index=index, background=False)
    for serial in range(120):
        if serial % 8 == 4:  # fill the disk up to a few KB
            free = os.statvfs(tiny_disk)
            ballast.write_bytes(b"x" * max(0, free.f_bavail * free.f_frsize - chance.choice([0, 20_000, 60_000])))
        if serial % 8 == 0:
            ballast.unlink(missing_ok=True)
        op = operation(chance, serial)
        op["kind"] = op["kind"] if op["kind"] not in ("reembed", "change") else "upsert"
        try:
            perform(collection, op, tiny_disk)
            state = expected(state, op)
        except StorageError:
            failures += 1
            seen = stored(collection)  # readable on the full disk, and the failed one is there wholly or not at all
            assert seen in (state, expected(state, op))
            state = seen
    assert failures > 3
    ballast.unlink(missing_ok=True)
    collection.close()
    with Collection.open(path, encoder=encoder, background=False) as again:
        assert stored(again) == state
        again.compact()
        assert again.check() == []


def test_a_limit_on_the_size_of_files_is_a_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    script = f"""
import resource, sys
import numpy as np
sys.path.insert(0, {str(SOURCE)!r})
from firth.errors import StorageError
from firth.store import Collection
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
collection = Collection.create({str(tmp_path / "c")!r}, dims=64, background=False)
rows = np.random.default_rng(0).normal(size=(5000, 64))
done = 0
try:
    for i in range(0, 5000, 50):
        collection.upsert(range(i, i + 50), ["some text"] * 50, vectors=rows[i : i + 50])
        done = i + 50
except StorageError as error:
    print(done, len(collection), error)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    done, size, *says = run.stdout.split()
    assert 0 < int(done) == int(size)
    assert "free some room" in " ".join(says)
    with Collection.open(tmp_path / "c", background=False) as again:
        assert len(again) == int(done)
        assert again.check() == []
        again.upsert([9999], ["more"], vectors=np.ones((1, 64)))


def stored(collection: Collection) -> dict[str, tuple[str, dict[str, Any]]]:
    import json

    return {json.dumps(record.id): (record.text, record.payload) for record in collection}


def test_random_operations_agree_with_a_dictionary(tmp_path: Path, small: None) -> None:
    """The model test: every operation is done to a dictionary, too; both are compared, also after reopening."""
    chance = random.Random(SEED)
    encoder, state = MODELS[0], {}
    path = tmp_path / "c"
    index = IndexSettings(m=4, ef_construction=16, exact_below=30, threads=1)
    collection = Collection.create(path, encoder=encoder, index=index, background=False, durable=False)
    collection.declare("b", "number")
    try:
        for serial in range(OPERATIONS):
            op = operation(chance, serial)
            if op["kind"] in ("snapshot", "reembed", "change") and chance.random() < 0.8:
                continue
            perform(collection, op, tmp_path)
            state = expected(state, op)
            if collection._growth is not None:
                collection._growth.stop()
            if serial % 10 == 0:
                assert stored(collection) == state
                compare_searches(collection, state, chance)
            if chance.random() < 0.02:
                model = collection.encoder
                assert collection.check() == []
                collection.close()
                collection = Collection.open(path, encoder=model, background=False, durable=False)
        assert stored(collection) == state
        assert collection.check() == []
    finally:
        collection.close()


def compare_searches(collection: Collection, state: dict[str, Any], chance: random.Random) -> None:
    """Searches of the collection against exact ones over the dictionary."""
    import json

    model = collection.encoder
    assert model is not None
    keys = [json.loads(key) for key in state]
    bucket = chance.randrange(9)
    allowed = [key for key in keys if state[json.dumps(key)][1]["b"] == bucket]
    assert collection.count({"b": bucket}) == len(allowed)
    if not keys:
        return
    query = model.encode([f"w{chance.randrange(50)} v{chance.choice(keys)}"])
    for filter_, among in (({"b": bucket}, allowed), (None, keys)):
        hits = collection.search(query[0], k=5, filter=filter_, recall=1)
        assert len(hits) == min(5, len(among))
        if among:
            scores = np.sort(query @ model.encode([state[json.dumps(key)][0] for key in among]).T)[0, ::-1][:5]
            np.testing.assert_allclose([hit.score for hit in hits], scores, atol=1e-5)
        approximate = collection.search(query[0], k=5, filter=filter_, ef=200)
        assert len(approximate) == len(hits)
        assert {hit.id for hit in approximate} <= set(among)


def test_a_snapshot_under_load_is_one_committed_moment(tmp_path: Path) -> None:
    """Documents 0 … 9 are always written together: a snapshot that holds two different versions of them is torn."""
    encoder = HashedWords("a", 8)
    done = threading.Event()
    with Collection.create(tmp_path / "c", encoder=encoder) as collection:

        def write() -> None:
            version = 0
            while not done.is_set():
                version += 1
                collection.upsert(range(10), [f"version {version}"] * 10, [{"v": version}] * 10)

        collection.upsert(range(10), ["version 0"] * 10, [{"v": 0}] * 10)
        writer = threading.Thread(target=write)
        writer.start()
        try:
            for i in range(6):
                collection.snapshot(tmp_path / f"s{i}")
        finally:
            done.set()
            writer.join()
    versions = []
    for i in range(6):
        with Collection.restore(tmp_path / f"s{i}", tmp_path / f"r{i}", encoder=encoder) as restored:
            (version,) = {record.payload["v"] for record in restored}
            assert len(restored) == 10
            assert restored.search(f"version {version}", k=1)[0].score == pytest.approx(1, abs=1e-5)
            assert restored.check() == []
            versions.append(version)
    assert versions == sorted(versions)
    assert versions[-1] > versions[0]


def test_the_lock_of_a_dead_writer_is_free(tmp_path: Path) -> None:
    script = f"""
import os, sys
sys.path.insert(0, {str(SOURCE)!r})
from firth.store import Collection
collection = Collection.create({str(tmp_path / "c")!r}, dims=4)
print(os.getpid(), flush=True)
sys.stdin.read()
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdin is not None
    process = writer.stdout.readline().strip()
    with pytest.raises(LockedError, match=f"process {process} "):
        Collection.open(tmp_path / "c")
    with Collection.open(tmp_path / "c", readonly=True) as reader:
        assert len(reader) == 0
    writer.kill()
    writer.wait()
    writer.stdin.close()
    writer.stdout.close()
    with Collection.open(tmp_path / "c") as again:
        again.upsert([1], ["x"], vectors=np.ones((1, 4)))


def test_a_fork_is_told_to_open_its_own(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=4) as collection:
        process = os.fork()
        if process == 0:
            try:
                collection.count()
                os._exit(1)
            except StorageError as error:
                os._exit(0 if "fork" in str(error) else 2)
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_a_folder_that_may_only_be_read_is_read(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c", dims=4) as collection:
        collection.upsert([1], ["x"], vectors=np.ones((1, 4)))
    for path in (tmp_path / "c").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    (tmp_path / "c").chmod(0o555)
    script = f"""
import os, sys
sys.path.insert(0, {str(SOURCE)!r})
import json, mmap, urllib.parse  # before root is given up, which may own the libraries
import numpy as np
from firth.store import Collection
if os.getuid() == 0:
    os.setuid(65534)
with Collection.open({str(tmp_path / "c")!r}, readonly=True) as collection:
    print(collection.search(np.ones(4))[0].text)
"""
    for folder in (tmp_path, *tmp_path.parents[:3]):  # the test's own folders are root's alone
        if folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o055)
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout == "x\n", run.stderr


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_database_gives_an_error_and_never_another_exception(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    with Collection.create(tmp_path / "c", dims=4, background=False) as collection:
        collection.upsert(range(50), [f"text {i}" for i in range(50)], vectors=np.ones((50, 4)))
        collection.compact()
    file = tmp_path / "c" / "rows.db"
    data = bytearray(file.read_bytes())
    if seed % 3 == 0:
        data = data[: chance.randrange(len(data))]
    for _ in range(chance.randrange(1, 200)):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    file.write_bytes(data)
    with suppress(FirthError, FormatError), Collection.open(tmp_path / "c", background=False) as again:
        list(again)
        again.search(np.ones(4), k=3)
        again.check()
        again.upsert([3], ["new"], vectors=np.ones((1, 4)))
