"""Is anything lost when the writer dies at any moment? A process writes, another kills it and looks.

Run:   OPENBLAS_NUM_THREADS=1 PYTHONPATH=src:tests python tests/store/torture.py --kills 1000     (10 min on 2 cores)

Each round a fresh process opens the collection, tells of each operation before it begins and after it returned, and is
killed (SIGKILL) at a random moment: among upserts, deletes, changes of payloads, compactions, snapshots and changes of
the model, with upkeep running behind them. Then another fresh process opens what is left: every acknowledged operation
must be there, the one that was under way wholly or not at all, and `Collection.check` must find nothing.
Sizes that decide when upkeep happens are made small, so that all of it happens all the time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from firth.errors import ModelError
from firth.store import Collection, IndexSettings, keep, reembed, shelf, snapshot, vectors
from store.conftest import HashedWords

State = dict[str, tuple[str, dict[str, Any]]]  # id (as JSON) -> text, payload

DIMS = 8
KEYS = 250
INDEX = IndexSettings(m=4, ef_construction=16, exact_below=30, threads=1)
MODELS = [HashedWords(name, DIMS) for name in ("a", "b")]


def shrink() -> None:
    """Make every threshold of the upkeep small, so that each of its steps is taken all the time."""
    vectors.SEGMENT = keep.SEGMENT = snapshot.SEGMENT = 64
    keep.LEAST, keep.FIRST, keep.TAIL_LEAST, keep.STALE_LEAST, keep.GRAVES_KEPT, keep.PAGES = 30, 100, 10, 25, 40, 4
    keep.SLICE = shelf.SLICE = 16
    keep.FORGET = shelf.FORGET = 8
    reembed.BATCH = 32


def operation(chance: random.Random, serial: int) -> dict[str, Any]:
    """One random operation."""
    kind = chance.choices(
        ["upsert", "delete", "drop", "payload", "compact", "snapshot", "reembed", "change"], [50, 15, 4, 10, 4, 2, 4, 4]
    )[0]
    keys = [chance.choice([k, f"k{k}"]) for k in chance.sample(range(KEYS), chance.randint(1, 40))]
    return {"kind": kind, "keys": keys, "serial": serial, "bucket": chance.randrange(9)}


def perform(collection: Collection, op: dict[str, Any], at: Path) -> None:
    """Do it to the collection."""
    keys, serial = op["keys"], op["serial"]
    if op["kind"] == "upsert":
        collection.upsert(keys, [f"w{serial % 50} v{k}" for k in keys], [{"n": serial, "b": hash_(k)} for k in keys])
    elif op["kind"] == "delete":
        collection.delete(keys)
    elif op["kind"] == "drop":
        collection.delete(filter={"b": op["bucket"]})
    elif op["kind"] == "payload":
        collection.set_payload({"changed": serial}, filter={"b": op["bucket"]})
    elif op["kind"] == "compact":
        collection.compact()
    elif op["kind"] == "snapshot":
        collection.snapshot(at / f"s{serial}")
        shutil.rmtree(at / f"s{serial}")
    else:
        change_model(collection, op)


def change_model(collection: Collection, op: dict[str, Any]) -> None:
    """Grow the other model's vectors, cut over to them, roll back, or give them up: whichever can be done now."""
    states = {space.facts.state for space in collection._ground.read(lambda moment: moment.spaces)}
    other = MODELS[1] if collection.encoder is MODELS[0] else MODELS[0]
    if op["kind"] == "reembed":
        if "growing" in states or "retired" not in states:
            collection.reembed(other)  # and it goes on while other operations are done
    elif "growing" in states:
        collection.cut_over(encoder=other)
    elif "retired" in states:
        collection.roll_back(encoder=other) if op["bucket"] % 2 else collection.drop_others()


def expected(state: State, op: dict[str, Any]) -> State:
    """What an operation makes of the documents."""
    after, serial = dict(state), op["serial"]
    for key in op["keys"]:
        if op["kind"] == "upsert":
            after[json.dumps(key)] = (f"w{serial % 50} v{key}", {"n": serial, "b": hash_(key)})
        elif op["kind"] == "delete":
            after.pop(json.dumps(key), None)
    if op["kind"] == "drop":
        after = {key: line for key, line in after.items() if line[1]["b"] != op["bucket"]}
    if op["kind"] == "payload":
        for key, (text, payload) in after.items():
            if payload["b"] == op["bucket"]:
                after[key] = (text, {**payload, "changed": serial})
    return after


def hash_(key: Any) -> int:
    """One of nine buckets."""
    return sum(map(ord, str(key))) % 9


def opened(path: Path, *, background: bool) -> Collection:
    """The collection with whichever of the two models is live."""
    try:
        return Collection.open(path, encoder=MODELS[0], background=background)
    except ModelError:
        return Collection.open(path, encoder=MODELS[1], background=background)


def write(path: Path, seed: int, pipe: int) -> None:
    """Until it is killed: operations, each told of before and after."""
    chance = random.Random(seed)
    collection = opened(path, background=True)
    for serial in range(seed * 1000, seed * 1000 + 1000):
        op = operation(chance, serial)
        os.write(pipe, (json.dumps(op) + "\n").encode())
        perform(collection, op, path.parent)
        os.write(pipe, b"done\n")
    raise AssertionError("the killer never came")


def look(path: Path, pipe: int) -> None:
    """What is there, and what is wrong with it."""
    with opened(path, background=False) as collection:
        found = collection.check()
        records = [r for page in [collection.scroll(limit=10_000, with_vectors=True)] for r in page.records]
        state = {json.dumps(r.id): (r.text, r.payload) for r in records}
        if records and collection.encoder is not None:
            wanted = collection.encoder.encode([r.text for r in records])
            stored = np.stack([r.vectors[""] for r in records])
            if not np.allclose(wanted, stored, atol=1e-5):
                found.append("a vector is not its text's")
            for r in records[:: max(1, len(records) // 5)]:
                hits = collection.search(r.text, k=3, ef=64)
                if not hits or hits[0].score < 0.999:
                    found.append(f"{r.id!r} is not found by its own text")
    with os.fdopen(pipe, "w") as out:
        json.dump({"state": state, "problems": found}, out)


def child(work: Any, *arguments: Any) -> tuple[int, int]:
    """Run `work` in a forked process; its id, and the pipe that it writes to."""
    read, write_ = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        code = 1
        try:
            work(*arguments, write_)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(write_)
    return process, read


def drained(pipe: int, until: float) -> bytes:
    """What comes through a pipe until a moment or its end."""
    data = b""
    while (left := until - time.monotonic()) > 0:
        if select.select([pipe], [], [], left)[0]:
            block = os.read(pipe, 1 << 16)
            if not block:
                break
            data += block
    return data


def killed(path: Path, state: State, seed: int) -> tuple[State, int, list[dict[str, Any]]]:
    """One writer, killed at a random moment.

    Returns:
        The documents that must be there, the operations it acknowledged, and the one that was under way, if any.
    """
    chance = random.Random(-seed - 1)
    process, pipe = child(write, path, seed)
    first = os.read(pipe, 1 << 16)  # it has opened the collection
    told = first + drained(pipe, time.monotonic() + chance.random() * chance.choice([0.02, 0.1, 0.4]))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
    while block := os.read(pipe, 1 << 16):
        told += block
    os.close(pipe)
    _, status = os.waitpid(process, 0)
    assert os.WIFSIGNALED(status), f"round {seed}: the writer ended by itself, see above"
    lines = told.decode().splitlines()
    under_way: list[dict[str, Any]] = []
    done = 0
    for line in lines:
        if line == "done":
            state, under_way, done = expected(state, under_way[0]), [], done + 1
        else:
            under_way = [json.loads(line)]
    return state, done, under_way


def torture(folder: Path, kills: int, seed: int, seconds: float, told: Any = None) -> tuple[int, int]:
    """Kill so many writers, or as many as the time allows; how many, and the operations that they acknowledged.

    Raises:
        AssertionError: something was lost; names the round, whose number is its seed.
    """
    shrink()
    path = folder / "c"
    with Collection.create(path, encoder=MODELS[0], index=INDEX, background=False) as collection:
        collection.declare("b", "number")
    state: State = {}
    serial = acknowledged = 0
    begun = time.monotonic()
    for round_ in range(seed, seed + kills):
        if time.monotonic() - begun > seconds:
            break
        before, done, under_way = killed(path, state, round_)
        acknowledged += done
        process, pipe = child(look, path)
        seen = json.loads(drained(pipe, time.monotonic() + 120) or b"null")
        os.close(pipe)
        os.waitpid(process, 0)
        assert seen is not None, f"round {round_}: the collection does not open, see above; during {under_way}"
        state = {key: (text, payload) for key, (text, payload) in seen["state"].items()}
        allowed = [before, *(expected(before, op) for op in under_way)]
        assert state in allowed, f"round {round_}: {_difference(allowed, state)}; during {under_way}"
        assert seen["problems"] == [], f"round {round_}: {seen['problems']}; during {under_way}"
        serial += 1
        if told is not None and serial % 25 == 0:
            told(serial, len(state))
    return serial, acknowledged


def _difference(allowed: list[State], state: State) -> str:
    lines = [
        f"{k}: {a.get(k)} became {state.get(k)}" for a in allowed for k in {*a, *state} if a.get(k) != state.get(k)
    ]
    return "; ".join(lines[:5])


def main() -> None:
    """Kill as many writers as asked for, in a folder that is kept when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="after which no other writer is begun")
    parser.add_argument("--folder", type=Path, help="where to do it; a temporary folder if not given")
    settings = parser.parse_args()
    folder = settings.folder or Path(tempfile.mkdtemp(prefix="firth-torture-"))
    begun = time.monotonic()
    kills, acknowledged = torture(
        folder,
        settings.kills,
        settings.seed,
        60 * settings.minutes,
        lambda n, size: print(f"{n} kills, {size} documents", flush=True),
    )
    seconds = time.monotonic() - begun
    print(f"{kills} kills in {seconds:.0f} s, nothing lost, {acknowledged} operations acknowledged")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
