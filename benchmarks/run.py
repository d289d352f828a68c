"""make bench Q=<question>: runs benchmarks/bench_<question>.py; without Q, lists the questions with their last answers.

Further words go to the benchmark: make bench Q="search --small".
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def main() -> int:
    questions = {path.stem.removeprefix("bench_"): path for path in sorted(HERE.glob("bench_*.py"))}
    wanted, *settings = sys.argv[1:] or ["list"]
    if wanted in questions:
        return subprocess.run([sys.executable, questions[wanted], *settings], check=False).returncode
    if wanted == "all":
        codes = [
            subprocess.run([sys.executable, path, *settings], check=False).returncode for path in questions.values()
        ]
        return max(codes, default=0)
    for name, path in questions.items():
        lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        last = next((line.strip() for line in lines if line.startswith("Last:")), "Last:  never")
        print(f"make bench Q={name:<12} {lines[0] if lines else ''}\n{'':<25} {last}")
    return 0 if wanted == "list" else 2


if __name__ == "__main__":
    sys.exit(main())
