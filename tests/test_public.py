"""The public face: every promised name is there, light to import, and the README shows code that exists."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import firth

ROOT = Path(__file__).resolve().parents[1]
IMPORT_SECONDS = 0.15  # the promise for `import firth`; the best of several, since other work may run beside the test


@pytest.mark.parametrize("name", firth.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(firth, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = firth.nonsense  # type: ignore[attr-defined]


def test_evaluate_is_a_function_and_a_room() -> None:
    from firth.evaluate.retrieval import measure

    assert callable(firth.evaluate)
    assert callable(measure)


def test_importing_firth_takes_under_150_milliseconds() -> None:
    def once() -> float:
        code = "import time; start = time.perf_counter(); import firth; print(time.perf_counter() - start)"
        return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)

    assert min(once() for _ in range(5)) < IMPORT_SECONDS


def test_the_readme_shows_the_first_example_as_it_is() -> None:
    example = (ROOT / "examples" / "01_the_whole_way.py").read_text()
    code = example.split('"""', 2)[2].strip()
    assert f"```python\n{code}\n```" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.name)
def test_every_example_says_what_it_shows_and_imports_only_what_exists(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("firth"):
            module = __import__(node.module or "", fromlist=[alias.name for alias in node.names])
            for alias in node.names:
                assert hasattr(module, alias.name), f"{path.name}: {node.module}.{alias.name}"
