"""The house keeps its plan: which way imports point, where torch may be, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "firth"
GROUND = {"arrays", "errors", "files", "kernels", "progress", "_cpu", "__init__"}
ROOMS: dict[str, set[str]] = {
    "text": set(),
    "compress": set(),
    "evaluate": set(),
    "static": {"text"},
    "contextual": {"text", "fit"},
    "sentence": {"text", "static", "contextual", "fit"},
    "fit": set(),
    "index": {"compress"},
    "store": {"compress", "index"},
}
DOORS = {"serve", "scale", "recipes", "adapters", "cli"}
MAY_USE_TORCH = {"contextual", "sentence", "fit"}
MOST_LINES = 420
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, anywhere in it, type checking included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            module = node.module or ""
            names |= {f"{module}.{alias.name}" for alias in node.names} if module == "firth" else {module}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    room = room_of(path)
    if room in DOORS or path == SOURCE / "__init__.py":
        return
    allowed = GROUND | {room} | ROOMS.get(room, set())
    rooms = {name.split(".")[1] for name in imported(path) if name.startswith("firth.")}
    assert rooms <= allowed, f"{room} may not import {sorted(rooms - allowed)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_torch_stays_in_the_making_half(path: Path) -> None:
    if room_of(path) not in MAY_USE_TORCH:
        assert not {name for name in imported(path) if name.split(".")[0] == "torch"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_no_file_is_far_over_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MOST_LINES


def test_every_room_is_in_the_table() -> None:
    assert {room_of(path) for path in FILES} <= set(ROOMS) | GROUND | DOORS


def test_nothing_in_the_house_can_load_a_pickle() -> None:
    forbidden = {"pickle", "cPickle", "dill", "shelve", "marshal", "joblib"}
    for path in FILES:
        text = path.read_text()
        assert not {name.split(".")[0] for name in imported(path)} & forbidden, path
        assert "torch.load(" not in text, path
        assert "allow_pickle=True" not in text, path


def test_importing_firth_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, firth; print(sorted({'torch', 'numpy', 'rich', 'typer'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
