"""Is anything lost or let in: 1,000 killed writers, full disks, 50,000 operations, 100,000 mutated requests?

kills       tests/store/torture.py: a writer dies by SIGKILL at a random moment, another process looks at what is left
disks       a tmpfs of 8 MB that is full at random moments; needs root
operations  random operations against a dictionary, with reopenings
requests    requests with something wrong in them: no 5xx, no leak, and the server's own memory after each thousand
contract    schemathesis over /openapi.json, with keys: what it finds is a failure

Run:   make bench Q=siege             (up to 12 min a part, --minutes; --parts kills requests …; --small 2 min in all)
Last:  2026-11-23, 2 cores Zen 5 that other work kept busy; no failure in any part
       kills       1,000 writers, 3,201 operations acknowledged, nothing lost (246 s)
       disks       100 fillings of the disk, nothing lost (64 s)
       operations  50,000 against a dictionary, with reopenings: all agree (1,361 s)
       requests    100,000: 20,399 answered, 79,601 refused, none with 5xx (114 s); memory 44 MB after 20,000, 56 MB at
                   the end, in steps with plateaus of up to 30,000 requests
       contract    20,000 requests of schemathesis's, no failure (184 s)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import measure

TESTS = measure.ROOT / "tests"
WANTED = {"kills": 1_000, "disks": 100, "operations": 50_000, "requests": 100_000, "contract": 20_000}
SMALL = {"kills": 25, "disks": 4, "operations": 400, "requests": 2_000, "contract": 700}
ROUND = {"disks": 10, "operations": 500, "contract": 5_000}  # of one run of pytest
# part: (test, variable that says how many)
TESTED = {
    "disks": ("store/test_durability.py::test_a_full_disk_is_a_clear_error_and_loses_nothing", "FIRTH_DISKS"),
    "operations": ("store/test_durability.py::test_random_operations_agree_with_a_dictionary", "FIRTH_OPERATIONS"),
    "contract": ("hostile/test_contract.py", "FIRTH_EXAMPLES"),
}
SETTLED = 20_000  # requests after which the memory is taken as the start: caches are full by then


def main() -> None:
    """Run the parts, print, save."""
    flags = argparse.ArgumentParser()
    flags.add_argument("--small", action="store_true", help="a few of each")
    flags.add_argument("--minutes", type=float, default=12, help="of each part")
    flags.add_argument("--parts", nargs="*", default=[*WANTED], choices=[*WANTED])
    settings = flags.parse_args()
    question, wanted = ("siege_small", SMALL) if settings.small else ("siege", WANTED)
    result: dict[str, Any] = measure.last_result(question) or {}
    for part in settings.parts:
        begun, most = time.perf_counter(), 60 * settings.minutes
        work = {"kills": kills, "requests": requests}.get(part)
        told = work(wanted[part], most) if work else tested(part, wanted[part], most)
        result[part] = {"wanted": wanted[part], **told, "seconds": time.perf_counter() - begun}
        print(part, {key: value for key, value in result[part].items() if key != "memory, MB"}, flush=True)
        measure.save(question, result | {"environment": measure.environment("starlette", "schemathesis")})


def kills(wanted: int, seconds: float) -> dict[str, Any]:
    """So many writers, killed; fewer where the time is over."""
    command = [sys.executable, str(TESTS / "store" / "torture.py"), "--kills", str(wanted), "--minutes"]
    said = _run([*command, str(seconds / 60)], {"OPENBLAS_NUM_THREADS": "1"})
    found = re.search(r"(\d+) kills .* nothing lost, (\d+) operations acknowledged", said)
    assert found is not None, said
    return {"done": int(found[1]), "acknowledged operations": int(found[2]), "failures": 0}


def tested(part: str, wanted: int, seconds: float) -> dict[str, Any]:
    """Rounds of one test with other seeds; a failing round ends it and is named."""
    test, variable = TESTED[part]
    start, done, rounds = time.perf_counter(), 0, 0
    while done < wanted and time.perf_counter() - start < seconds:
        number = min(ROUND[part], wanted - done)
        environment = {variable: str(number), "FIRTH_SEED": str(rounds)}
        said = _run([sys.executable, "-m", "pytest", "-q", "--timeout=0", str(TESTS / test)], environment)
        assert "passed" in said, f"{part}: {said[-500:]}"
        rounds, done = rounds + 1, done + number
    return {"done": done, "rounds": rounds, "failures": 0}


def requests(wanted: int, seconds: float) -> dict[str, Any]:
    """Mutated requests straight into the application, in this process; its own memory as they go on."""
    sys.path.insert(0, str(TESTS))
    from firth.serve import Limits, Server, Settings
    from firth.serve.batcher import Served
    from firth.serve.library import Library
    from hostile.mutated import Hashed, storm

    logging.getLogger("firth.serve").setLevel(logging.ERROR)
    memory, statuses, done, rounds = [], dict[int, int](), 0, 0
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        limits = Limits(body=1 << 20, points=500, batch=100, characters=10_000)
        library = Library(Path(folder) / "root", Served(Hashed(), "m"), grows=True)
        server = Server(library, Settings(sampled=0.2, limits=limits, insecure=True))
        while done < wanted and time.perf_counter() - start < seconds:
            some = min(5_000, wanted - done)
            seen = asyncio.run(storm(server, some, rounds, lambda _: memory.append(measure.own_memory(os.getpid()))))
            statuses = {status: statuses.get(status, 0) + seen.get(status, 0) for status in {*statuses, *seen}}
            done, rounds = done + some, rounds + 1
        assert library.get("c").collection.check() == []
        server.close()
    settled = memory[min(SETTLED // 1_000, len(memory) - 1)]
    return {
        "done": done,
        "failures": 0,
        "statuses": {str(status): n for status, n in sorted(statuses.items())},
        "memory after 20,000, MB": settled,
        "memory at the end, MB": memory[-1],
        "memory, MB": memory,
    }


def _run(command: list[str], more: dict[str, str]) -> str:
    paths = os.pathsep.join([str(measure.ROOT / "src"), str(TESTS), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | more | {"PYTHONPATH": paths}
    run = subprocess.run(command, env=environment, cwd=measure.ROOT, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{more}:\n{run.stdout[-3000:]}{run.stderr[-3000:]}")
    return run.stdout


if __name__ == "__main__":
    main()
