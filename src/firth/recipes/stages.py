"""What of a long program is done: a stage whose inputs have not changed is not run again.

Each finished stage leaves one small JSON file in OUT/.build/, written whole, with the digest of its inputs and the
numbers that it found; its arrays lie beside it. A later stage's digest includes the earlier one's, so that a change
anywhere redoes just what depends on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Self

from firth import files
from firth.errors import FormatError, StorageError

LAYOUT = 1  # of OUT/; a folder of a newer layout is refused, an older one is rebuilt
MARK = "firth-build.json"


class Stages:
    """The stages of one output folder, which nobody else may build into meanwhile: with Stages(out, say) as stages.

    `run(name, inputs, work)` returns what `work(folder)` returned, now or in an earlier run with equal inputs.

    Attributes:
        seconds: what each stage took, when it was run.
    """

    def __init__(self, out: Path, say: Callable[[str], None]) -> None:
        self.out = out
        self.folder = out / ".build"
        self.digest = ""
        self.seconds: dict[str, float] = {}
        self._say = say
        _check_layout(out)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.folder / "lock", out)
        files.write_json(out / MARK, {"layout": LAYOUT})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

    def run(self, name: str, inputs: dict[str, Any], work: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """Do one stage unless it is done.

        Args:
            name: what is shown and the name of its file and folder.
            inputs: everything that its result depends on, as JSON values; earlier stages are included.
            work: gets the stage's own folder (kept when an interrupted run had the same inputs, so that the
                stage can go on; emptied otherwise) and returns JSON values.
        """
        self.digest = digest(self.digest, inputs)
        done, folder, started = self.folder / f"{name}.json", self.folder / name, self.folder / f"{name}.started"
        if done.exists():
            earlier = files.read_json(done)
            if earlier.get("digest") == self.digest:
                self._say(f"{name}: done before")
                self.seconds[name] = earlier["seconds"]
                result: dict[str, Any] = earlier["result"]
                return result
            done.unlink()
        if not (started.exists() and started.read_text() == self.digest):
            shutil.rmtree(folder, ignore_errors=True)
        files.write_text(started, self.digest)
        folder.mkdir(parents=True, exist_ok=True)
        start = time.monotonic()
        result = work(folder)
        self.seconds[name] = round(time.monotonic() - start, 3)
        files.write_json(
            done, {"digest": self.digest, "inputs": inputs, "result": result, "seconds": self.seconds[name]}
        )
        started.unlink()
        return result


def digest(*parts: Any) -> str:
    """Hex SHA-256 of JSON values, the same on every machine."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _lock(path: Path, out: Path) -> IO[str]:
    """An open file whose lock the operating system gives back when this process ends, however it ends."""
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StorageError(f"{out}: another firth build is writing here; wait for it or name another -o") from None
    return file


def _check_layout(out: Path) -> None:
    mark = out / MARK
    if not out.exists():
        return
    if mark.exists():
        found = files.read_json(mark).get("layout")
        if not isinstance(found, int) or found > LAYOUT:
            raise FormatError(
                f"layout {found}; this firth writes layout {LAYOUT}: upgrade firth or name another -o", path=mark
            )
        return
    if not out.is_dir() or any(out.iterdir()):
        raise FormatError("exists and is not a folder that firth built; name another -o or remove it", path=out)
