"""Filters over payloads: Qdrant's filter language, compiled to SQL over the rows.

    {"must": [{"key": "lang", "match": {"value": "de"}}, {"key": "year", "range": {"gte": 2020}}],
     "must_not": [{"key": "tags", "match": {"any": ["draft"]}}]}

A condition on a field that holds a list is true when one of the elements satisfies it. Conditions: `match` (value, any,
except, text, text_any, phrase, prefix), `range` (numbers or RFC 3339 times), `values_count`, `is_empty`, `is_null`,
`has_id`, `nested`, and filters inside filters; clauses: must, should, must_not, min_should. What is not known is
refused, never ignored. Mongo-like filters are translated first (sugar.py).

Source: the filter language of Qdrant's REST interface (qdrant.tech/documentation/concepts/filtering).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from firth.errors import FilterError
from firth.store.paths import EVERY, Step, parsed, sql_path
from firth.store.records import checked_key
from firth.store.sugar import canonical
from firth.store.words import time_of

DEEPEST = 20  # filters inside filters; SQLite's own limit is far beyond
MOST_CONDITIONS = 1_000
CLAUSES = ("must", "should", "must_not", "min_should")
MATCHES = ("value", "any", "except", "text", "text_any", "phrase", "prefix")
BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
ROOT = "rows.payload"
SCALARS = "('text', 'integer', 'real', 'true', 'false')"

Compiled = tuple[str, list[Any]]


class Value(NamedTuple):
    """SQL expressions for one value of a payload: its JSON type and itself."""

    type: str
    value: str


def compiled(filter_: Mapping[str, Any] | None) -> Compiled:
    """An SQL condition over `rows` and the values of its placeholders; None and {} are true of every row.

    Raises:
        FilterError: not understood; names the place.
    """
    if not filter_:
        return "true", []
    compiler = _Compiler()
    return compiler.filter(canonical(filter_), ROOT, "filter", 0), compiler.values


class _Compiler:
    """Builds one condition; `values` grows in the order of its placeholders."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self.aliases = 0
        self.conditions = 0

    def filter(self, filter_: Any, document: str, at: str, depth: int) -> str:
        if depth > DEEPEST:
            raise FilterError(f"{at}: filters are nested more than {DEEPEST} deep")
        _only(filter_, CLAUSES, at)
        parts = []
        for clause in CLAUSES:
            if filter_.get(clause) is None:
                continue
            found = self.clause(clause, filter_[clause], document, f"{at}.{clause}", depth)
            if found is not None:
                parts.append(found)
        return " AND ".join(parts) if parts else "true"

    def clause(self, clause: str, value: Any, document: str, at: str, depth: int) -> str | None:
        least = 1
        if clause == "min_should":
            _only(value, ("conditions", "min_count"), at)
            least, value = value.get("min_count", 1), value.get("conditions", [])
            if not isinstance(least, int) or isinstance(least, bool):
                raise FilterError(f"{at}.min_count: expected an integer, got {least!r}")
        conditions = [value] if isinstance(value, Mapping) else value
        if not isinstance(conditions, Sequence) or isinstance(conditions, str):
            raise FilterError(f"{at}: expected a list of conditions, got {value!r}")
        if not conditions and clause != "min_should":
            return None
        parts = [f"({self.condition(c, document, f'{at}[{i}]', depth)})" for i, c in enumerate(conditions)]
        if clause == "min_should":
            return f"({' + '.join(parts) or '0'}) >= {least}"
        if clause == "must":
            return " AND ".join(parts)
        return f"({' OR '.join(parts)})" if clause == "should" else f"NOT ({' OR '.join(parts)})"

    def condition(self, condition: Any, document: str, at: str, depth: int) -> str:
        self.conditions += 1
        if self.conditions > MOST_CONDITIONS:
            raise FilterError(f"{at}: more than {MOST_CONDITIONS:,} conditions; use match any, or has_id")
        if not isinstance(condition, Mapping):
            raise FilterError(f"{at}: expected a condition, got {condition!r}")
        if any(clause in condition for clause in CLAUSES):
            return self.filter(condition, document, at, depth + 1)
        if "has_id" in condition:
            return self.has_id(condition, document, at)
        for name in ("is_empty", "is_null"):
            if isinstance(condition.get(name), Mapping):
                _only(condition, (name,), at)
                _only(condition[name], ("key",), f"{at}.{name}")
                return self.presence(name, condition[name].get("key"), document, f"{at}.{name}.key")
        if "nested" in condition:
            return self.nested(condition, document, at, depth)
        if "key" in condition:
            return self.field(condition, document, at)
        raise FilterError(f"{at}: expected key, nested, has_id, is_empty, is_null or a filter, got {sorted(condition)}")

    def has_id(self, condition: Mapping[str, Any], document: str, at: str) -> str:
        _only(condition, ("has_id",), at)
        if document != ROOT:
            raise FilterError(f"{at}: has_id inside nested has no meaning")
        ids = condition["has_id"]
        if not isinstance(ids, Sequence) or isinstance(ids, str):
            raise FilterError(f"{at}.has_id: expected a list of ids, got {ids!r}")
        self.values.append(json.dumps([checked_key(key) for key in ids]))
        return "rows.key IN (SELECT value FROM json_each(?))"

    def nested(self, condition: Mapping[str, Any], document: str, at: str, depth: int) -> str:
        _only(condition, ("nested",), at)
        nested = condition["nested"]
        _only(nested, ("key", "filter"), f"{at}.nested")
        steps = _steps(nested.get("key"), f"{at}.nested.key")
        if steps[-1] is not EVERY:
            steps.append(EVERY)

        def inside(v: Value) -> str:
            element = f"(CASE WHEN {v.type} = 'object' THEN {v.value} END)"
            wanted = self.filter(nested.get("filter") or {}, element, f"{at}.nested.filter", depth + 1)
            return f"{v.type} = 'object' AND {wanted}"

        return self.some(document, steps, inside)

    def field(self, condition: Mapping[str, Any], document: str, at: str) -> str:
        _only(condition, ("key", "match", "range", "values_count", "is_empty", "is_null"), at)
        steps = _steps(condition["key"], f"{at}.key")
        parts = []
        for name, inside in (("match", self.match), ("range", self.range), ("values_count", self.values_count)):
            wanted = condition.get(name)
            if wanted is not None:
                place, flat = f"{at}.{name}", name != "values_count"
                parts.append(self.some(document, steps, partial(inside, wanted, place), flat=flat))
        for name in ("is_empty", "is_null"):
            wanted = condition.get(name)
            if wanted is not None:
                if not isinstance(wanted, bool):
                    raise FilterError(f"{at}.{name}: expected true or false, got {wanted!r}")
                found = self.presence(name, condition["key"], document, at)
                parts.append(found if wanted else f"NOT ({found})")
        if not parts:
            raise FilterError(f"{at}: expected match, range, values_count, is_empty or is_null beside the key")
        return " AND ".join(f"({part})" for part in parts)

    def match(self, match: Any, at: str, v: Value) -> str:
        _only(match, MATCHES, at)
        if len(match) != 1:
            raise FilterError(f"{at}: expected one of {', '.join(MATCHES)}, got {sorted(match)}")
        ((kind, value),) = match.items()
        at = f"{at}.{kind}"
        if kind == "value":
            return self.match_value(value, at, v)
        if kind in ("any", "except"):
            found = f"{v.type} IN ('text', 'integer', 'real') AND {v.value} IN ({self.listed(value, at)})"
            return found if kind == "any" else f"{v.type} IN {SCALARS} AND NOT ({found})"
        if not isinstance(value, str):
            raise FilterError(f"{at}: expected a string, got {value!r}")
        self.values.append(value)
        return f"{v.type} = 'text' AND firth_{kind}({v.value}, ?)"

    def match_value(self, value: Any, at: str, v: Value) -> str:
        if isinstance(value, bool):
            return f"{v.type} = '{'true' if value else 'false'}'"
        if not isinstance(value, int | float | str):
            raise FilterError(f"{at}: expected a string, a number or a boolean, got {value!r}")
        self.values.append(value)
        kind = "= 'text'" if isinstance(value, str) else "IN ('integer', 'real')"
        return f"{v.type} {kind} AND {v.value} = ?"

    def listed(self, value: Any, at: str) -> str:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise FilterError(f"{at}: expected a list, got {value!r}")
        wrong = [x for x in value if not isinstance(x, int | float | str) or isinstance(x, bool)]
        if wrong:
            raise FilterError(f"{at}: expected strings or numbers, got {wrong[0]!r}")
        self.values.append(json.dumps(list(value)))
        return "SELECT value FROM json_each(?)"

    def range(self, bounds: Any, at: str, v: Value) -> str:
        _only(bounds, tuple(BOUNDS), at)
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        times = any(isinstance(bound, str) for bound in given.values())
        value = f"firth_time({v.value})" if times else v.value
        parts = [f"{v.type} = 'text'" if times else f"{v.type} IN ('integer', 'real')"]
        for name, bound in given.items():
            parts.append(f"{value} {BOUNDS[name]} ?")
            self.values.append(_bound(bound, times, f"{at}.{name}"))
        return " AND ".join(parts)

    def values_count(self, bounds: Any, at: str, v: Value) -> str:
        _only(bounds, tuple(BOUNDS), at)
        counted = f"(CASE {v.type} WHEN 'array' THEN json_array_length({v.value}) WHEN 'null' THEN 0 ELSE 1 END)"
        parts = ["true"]
        for name, bound in bounds.items():
            if bound is not None:
                parts.append(f"{counted} {BOUNDS[name]} ?")
                self.values.append(_bound(bound, False, f"{at}.{name}"))
        return " AND ".join(parts)

    def presence(self, name: str, key: Any, document: str, at: str) -> str:
        steps = _steps(key, at)
        if name == "is_null":
            return self.some(document, steps, lambda v: f"{v.type} = 'null'", flat=False)
        full = self.some(
            document,
            steps,
            lambda v: f"{v.type} <> 'null' AND NOT ({v.type} = 'array' AND {v.value} = '[]')",
            flat=False,
        )
        return f"NOT ({full})"

    def some(self, document: str, steps: list[Step], inside: Callable[[Value], str], *, flat: bool = True) -> str:
        """SQL: one of the values at the path satisfies `inside`; a list stands for its elements if `flat`."""
        tables: list[str] = []
        guards: list[str] = []
        run: list[Step] = []
        value = Value("", "")
        for step in [*steps, *([EVERY] if flat and steps[-1] is not EVERY else [])]:
            if step is not EVERY:
                run.append(step)
                continue
            self.aliases += 1
            place, alias = f"{document}, {sql_path(run)}", f"v{self.aliases}"
            tables.append(f"json_each({place}) AS {alias}")
            # json_each takes a lone value for a list of one; only the last step may.
            last = flat and len(tables) > steps.count(EVERY)
            guards.append(f"json_type({place}) <> 'object'" if last else f"json_type({place}) = 'array'")
            value = Value(f"{alias}.type", f"{alias}.value")
            document, run = f"(CASE WHEN {alias}.type IN ('object', 'array') THEN {alias}.value END)", []
        if run:
            place = f"{document}, {sql_path(run)}"
            value = Value(f"json_type({place})", f"json_extract({place})")
            guards.append(f"{value.type} IS NOT NULL")
        wanted = " AND ".join([*guards, f"({inside(value)})"])
        return f"EXISTS (SELECT 1 FROM {', '.join(tables)} WHERE {wanted})" if tables else f"coalesce({wanted}, false)"


def _steps(key: Any, at: str) -> list[Step]:
    if not isinstance(key, str):
        raise FilterError(f"{at}: expected the name of a payload field, got {key!r}")
    return parsed(key)


def _bound(bound: Any, times: bool, at: str) -> float:
    if times:
        seconds = time_of(bound) if isinstance(bound, str) else None
        if seconds is None:
            raise FilterError(f"{at}: expected a time like 2024-05-01T12:00:00Z, got {bound!r}")
        return seconds
    if not isinstance(bound, int | float) or isinstance(bound, bool):
        raise FilterError(f"{at}: expected a number or a time, got {bound!r}")
    return bound


def _only(value: Any, known: tuple[str, ...], at: str) -> None:
    if not isinstance(value, Mapping):
        raise FilterError(f"{at}: expected an object with {', '.join(known)}, got {value!r}")
    unknown = [name for name in value if name not in known]
    if unknown:
        raise FilterError(f"{at}: {unknown[0]!r} is not known here; expected {', '.join(known)}")
