"""Paths into a payload: `a.b`, `tags[]` (every element), `rows[0]`, `"a key with . in it".c`."""

from __future__ import annotations

import re

from firth.errors import FilterError

EVERY = object()  # the step `[]`
Step = str | int | object

_STEP = re.compile(r'(?:^|\.)(?:"((?:[^"\\]|\\.)*)"|([^.\[\]"]+))|\[(\d*)\]')


def parsed(path: str) -> list[Step]:
    """The steps of a path: keys (str), positions (int) and EVERY.

    >>> parsed("a.b[0].c")
    ['a', 'b', 0, 'c']

    Raises:
        FilterError: not a path.
    """
    steps: list[Step] = []
    position = 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None or (match.group(3) is not None and not steps):
            break
        quoted, plain, index = match.groups()
        if quoted is not None:
            steps.append(re.sub(r"\\(.)", r"\1", quoted))
        elif plain is not None:
            steps.append(plain)
        else:
            steps.append(int(index) if index else EVERY)
        position = match.end()
    if not steps or position < len(path):
        raise FilterError(
            f"filter: {path!r} is not a path to a payload field, at character {position}; like a.b or a[].b"
        )
    return steps


def sql_path(steps: list[Step]) -> str:
    """An SQL literal of SQLite's JSON path for keys and positions.

    Raises:
        FilterError: a key that SQLite's paths cannot spell.
    """
    path = "$"
    for step in steps:
        if isinstance(step, int):
            path += f"[{step}]"
        elif isinstance(step, str):
            if '"' in step or "\\" in step or not step.isprintable():
                raise FilterError(f"filter: the key {step!r} holds a quote, a backslash or a control character")
            path += f'."{step}"'
    return "'" + path.replace("'", "''") + "'"
