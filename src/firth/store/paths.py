"""Paths into a payload: `a.b`, `tags[]` (every element), `rows[0]`, `"a key with . in it".c`; in Python and in SQL."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from firth.errors import FilterError

EVERY = object()  # the step `[]`
Step = str | int | object


class Value(NamedTuple):
    """SQL expressions for one value of a payload: its JSON type and itself."""

    type: str
    value: str


_STEP = re.compile(r'(?:^|\.)(?:"([^"]*)"|([^.\[\]"]+))|\[(\d*)\]')


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
            steps.append(quoted)
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


def values_at(payload: Any, steps: list[Step]) -> list[Any]:
    """The values at a path: none, one, or the elements of a list.

    >>> values_at({"a": [{"b": 1}, {"b": [2, 3]}]}, parsed("a[].b"))
    [1, 2, 3]
    """
    found = [payload]
    for step in steps:
        if step is EVERY:
            found = [element for value in found if isinstance(value, list) for element in value]
        elif isinstance(step, int):
            found = [value[step] for value in found if isinstance(value, list) and step < len(value)]
        else:
            found = [value[step] for value in found if isinstance(value, dict) and step in value]
    return [element for value in found for element in (value if isinstance(value, list) else [value])]


def each_value(
    document: str, steps: list[Step], *, flat: bool = True, aliases: int = 0
) -> tuple[list[str], list[str], Value]:
    """SQL that walks a path: the tables to join, the conditions that they need, and the value reached.

    Args:
        document: SQL of the JSON object that the path starts in.
        flat: a list at the end stands for its elements.
        aliases: how many tables v1, v2, … are in use already.
    """
    tables: list[str] = []
    guards: list[str] = []
    run: list[Step] = []
    value = Value("", "")
    walk = [*steps, EVERY] if flat and steps[-1] is not EVERY else steps
    for i, step in enumerate(walk):
        if step is not EVERY:
            run.append(step)
            continue
        place, alias = f"{document}, {sql_path(run)}", f"v{aliases + len(tables) + 1}"
        tables.append(f"json_each({place}) AS {alias}")
        # json_each takes a lone value for a list of one, and an object for a list of its values.
        guards.append(f"json_type({place}) <> 'object'" if i >= len(steps) else f"json_type({place}) = 'array'")
        value = Value(f"{alias}.type", f"{alias}.value")
        document, run = f"(CASE WHEN {alias}.type IN ('object', 'array') THEN {alias}.value END)", []
    if run:
        place = f"{document}, {sql_path(run)}"
        value = Value(f"json_type({place})", f"json_extract({place})")
        guards.append(f"{value.type} IS NOT NULL")
    return tables, guards, value
