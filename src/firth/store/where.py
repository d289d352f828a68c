"""Filters over payloads: Qdrant's filter language, compiled to SQL over the rows.

    {"must": [{"key": "lang", "match": {"value": "de"}}, {"key": "year", "range": {"gte": 2020}}],
     "must_not": [{"key": "tags", "match": {"any": ["draft"]}}]}

A condition on a field that holds a list is true when one of the elements satisfies it. Conditions: `match` (value, any,
except, text, text_any, phrase, prefix, substring), `range` (numbers or RFC 3339 times), `values_count`, `geo_radius`,
`geo_bounding_box`, `geo_polygon`, `is_empty`, `is_null`, `has_id`, `has_vector`, `nested`, and filters inside filters;
clauses: must, should, must_not, min_should. What is not known is refused,
never ignored. Mongo-like filters are translated first (sugar.py).

Source: the filter language of Qdrant's REST interface (qdrant.tech/documentation/concepts/filtering).
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from firth.errors import FilterError
from firth.store.geo import SHAPES, checked_shape
from firth.store.paths import EVERY, Step, Value, each_value, parsed
from firth.store.records import LARGEST_KEY, checked_key, checked_utf8
from firth.store.sugar import canonical
from firth.store.words import time_of

DEEPEST = 20  # filters inside filters; SQLite's own limit is far beyond
MOST_CONDITIONS = 1_000
CLAUSES = ("must", "should", "must_not", "min_should")
MATCHES = ("value", "any", "except", "text", "text_any", "phrase", "prefix", "substring")
TESTS = ("match", "range", "values_count", *SHAPES)
BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
ROOT = "rows.payload"
KEPT = {"keyword": "'text'", "number": "'real'", "time": "'time'"}  # the JSON type of a declared field's values

Compiled = tuple[str, list[Any]]


def compiled(filter_: Mapping[str, Any] | None, fields: Mapping[tuple[str, str], int] | None = None) -> Compiled:
    """An SQL condition over `rows` and the values bound to its question marks; None and {} are true of every row.

    Args:
        fields: numbers of the declared fields by (path, kind); where a condition can, it asks their values (fields.py).

    Raises:
        FilterError: not understood; names the place.
    """
    if not filter_:
        return "true", []
    compiler = _Compiler(fields or {})
    return compiler.filter(canonical(filter_), ROOT, "filter", 0), compiler.values


class _Compiler:
    """Builds one condition; `values` grows in the order of its question marks."""

    def __init__(self, fields: Mapping[tuple[str, str], int]) -> None:
        self.fields = fields
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
            if not isinstance(least, int) or isinstance(least, bool) or least < 1:
                raise FilterError(f"{at}.min_count: expected at least 1, got {least!r}")
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
        if not condition or any(clause in condition for clause in CLAUSES):
            return self.filter(condition, document, at, depth + 1)
        if "has_vector" in condition:
            return self.has_vector(condition, document, at)
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

    def has_vector(self, condition: Mapping[str, Any], document: str, at: str) -> str:
        _only(condition, ("has_vector",), at)
        if document != ROOT or not isinstance(condition["has_vector"], str):
            raise FilterError(f"{at}.has_vector: expected the name of vectors, not inside nested")
        self.values.append(condition["has_vector"])
        return (
            "EXISTS (SELECT 1 FROM spaces JOIN slots USING (space) "
            "WHERE slots.id = rows.id AND spaces.name = ? AND spaces.state = 'live')"
        )

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
        _only(condition, ("key", *TESTS, "is_empty", "is_null"), at)
        key, steps, parts = condition["key"], _steps(condition["key"], f"{at}.key"), []
        for name, wanted in condition.items():
            place = f"{at}.{name}"
            if name == "key" or wanted is None:
                continue
            if name in ("is_empty", "is_null"):
                if not isinstance(wanted, bool):
                    raise FilterError(f"{place}: expected true or false, got {wanted!r}")
                found = self.presence(name, key, document, place)
                parts.append(found if wanted else f"NOT ({found})")
            elif name == "values_count":
                parts.append(self.values_count(wanted, steps, document, place))
            elif name in SHAPES:
                parts.append(self.geo(checked_shape(name, wanted, place), steps, document))
            else:
                parts.append(self.valued(name, wanted, key, steps, document, place))
        if not parts:
            raise FilterError(f"{at}: expected one of {', '.join(TESTS)}, is_empty or is_null beside the key")
        return " AND ".join(f"({part})" for part in parts)

    def valued(self, name: str, wanted: Any, key: str, steps: list[Step], document: str, at: str) -> str:
        """`match` or `range`: over the declared field's values if there are such, else over the payloads."""
        test = partial(self.match if name == "match" else self.range, wanted, at)
        kind = _kind(name, wanted)
        number = self.fields.get((key, kind or "")) if document == ROOT else None
        if number is None or kind is None:
            found = self.some(document, steps, test)
            if name == "match" and "except" in wanted:  # an object is a value, too, and unlike any of the list
                found += " OR " + self.some(document, steps, lambda v: f"{v.type} = 'object'", flat=False)
            return found
        kept = test(Value(KEPT[kind], "entries.value"))
        return f"rows.id IN (SELECT id FROM entries WHERE field = {number} AND {kept})"

    def match(self, match: Any, at: str, v: Value) -> str:
        _only(match, MATCHES, at)
        if len(match) != 1:
            raise FilterError(f"{at}: expected one of {', '.join(MATCHES)}, got {sorted(match)}")
        ((kind, value),) = match.items()
        at = f"{at}.{kind}"
        if kind == "value":
            return self.match_value(value, at, v)
        if kind in ("any", "except"):
            found = self.match_any(value, at, v)
            return found if kind == "any" else f"{v.type} <> 'null' AND NOT ({found})"
        if not isinstance(value, str):
            raise FilterError(f"{at}: expected a string, got {value!r}")
        self.values.append(_string(value, at))
        return f"CASE WHEN {v.type} = 'text' THEN firth_{kind}({v.value}, ?) ELSE false END"  # AND has no order

    def match_value(self, value: Any, at: str, v: Value) -> str:
        if isinstance(value, bool):
            return f"{v.type} = '{'true' if value else 'false'}'"
        self.values.append(_scalar(value, at))
        return f"{v.type} {_typed(value)} AND {v.value} = ?"

    def match_any(self, values: Any, at: str, v: Value) -> str:
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise FilterError(f"{at}: expected a list, got {values!r}")
        parts = ["false"]
        for kind in (bool, str, int, float):
            alike = [_scalar(x, f"{at}[{i}]", flags=True) for i, x in enumerate(values) if type(x) is kind]
            if kind is bool:
                parts += [self.match_value(flag, at, v) for flag in set(alike)]
            elif alike:
                self.values.append(json.dumps(alike))
                parts.append(f"{v.type} {_typed(alike[0])} AND {v.value} IN (SELECT value FROM json_each(?))")
        wrong = [x for x in values if type(x) not in (bool, str, int, float)]
        if wrong:
            raise FilterError(f"{at}: expected strings, numbers or booleans, got {wrong[0]!r}")
        return "(" + " OR ".join(f"({part})" for part in parts) + ")" if len(parts) > 2 else parts[-1]

    def range(self, bounds: Any, at: str, v: Value) -> str:
        _only(bounds, tuple(BOUNDS), at)
        given = {name: bound for name, bound in bounds.items() if bound is not None}
        times = any(isinstance(bound, str) for bound in given.values())
        value = f"firth_time({v.value})" if times and v.type != KEPT["time"] else v.value
        parts = [f"{v.type} IN ('text', 'time')" if times else f"{v.type} IN ('integer', 'real')"]
        for name, bound in given.items():
            parts.append(f"{value} {BOUNDS[name]} ?")
            self.values.append(_bound(bound, times, f"{at}.{name}"))
        return " AND ".join(parts)

    def values_count(self, bounds: Any, steps: list[Step], document: str, at: str) -> str:
        _only(bounds, tuple(BOUNDS), at)
        limits = [
            (BOUNDS[name], _bound(bound, False, f"{at}.{name}")) for name, bound in bounds.items() if bound is not None
        ]

        def counted(v: Value) -> str:
            count = f"(CASE {v.type} WHEN 'array' THEN json_array_length({v.value}) WHEN 'null' THEN 0 ELSE 1 END)"
            self.values.extend(limit for _, limit in limits)
            return " AND ".join([f"{count} {sign} ?" for sign, _ in limits]) or "true"

        found = self.some(document, steps, counted, flat=False)
        if all(_holds(0, sign, limit) for sign, limit in limits):  # a field that is not there has no values
            found += " OR NOT " + self.some(document, steps, lambda _: "true", flat=False)
        return found

    def geo(self, shape: str, steps: list[Step], document: str) -> str:
        def inside(v: Value) -> str:
            self.values.append(shape)
            return f"CASE WHEN {v.type} = 'object' THEN firth_within({v.value}, ?) ELSE false END"

        return f"{self.some(document, steps, inside)} OR {self.some(document, steps, inside, flat=False)}"

    def presence(self, name: str, key: Any, document: str, at: str) -> str:
        steps = _steps(key, at)
        if name == "is_null":
            null = "EXISTS (SELECT 1 FROM json_each(CASE WHEN {0} = 'array' THEN {1} END) AS e WHERE e.type = 'null')"
            return self.some(
                document,
                steps,
                lambda v: f"{v.type} = 'null' OR {null.format(v.type, v.value)}",
                flat=False,
            )
        return "NOT " + self.some(
            document,
            steps,
            lambda v: f"{v.type} <> 'null' AND NOT ({v.type} = 'array' AND {v.value} = '[]')",
            flat=False,
        )

    def some(self, document: str, steps: list[Step], inside: Callable[[Value], str], *, flat: bool = True) -> str:
        """SQL: one of the values at the path satisfies `inside`; a list stands for its elements if `flat`."""
        tables, guards, value = each_value(document, steps, flat=flat, aliases=self.aliases)
        self.aliases += len(tables)
        wanted = " AND ".join([*guards, f"({inside(value)})"])
        return f"EXISTS (SELECT 1 FROM {', '.join(tables)} WHERE {wanted})" if tables else f"coalesce({wanted}, false)"


def _kind(name: str, wanted: Any) -> str | None:
    """The kind of declared field that can answer a condition; None = no kind can."""
    if not isinstance(wanted, Mapping) or len(wanted) == 0:
        return None
    if name == "range":
        return "time" if any(isinstance(bound, str) for bound in wanted.values()) else "number"
    value = wanted.get("value", wanted.get("any"))
    values = value if isinstance(value, list | tuple) else [value]
    return "keyword" if values and all(isinstance(value, str) for value in values) else None


def _typed(value: Any) -> str:
    """How the JSON type of a value that equals this one is tested: 1 and 1.0 are two values."""
    return "= 'text'" if isinstance(value, str) else "= 'integer'" if isinstance(value, int) else "= 'real'"


def _holds(number: float, sign: str, limit: float) -> bool:
    return {">": number > limit, ">=": number >= limit, "<": number < limit, "<=": number <= limit}[sign]


def _scalar(value: Any, at: str, *, flags: bool = False) -> Any:
    """A string or a finite number, as SQLite can hold it."""
    if isinstance(value, str):
        return _string(value, at)
    if isinstance(value, bool) and flags:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise FilterError(f"{at}: expected a string or a finite number, got {value!r}")
    return value if -LARGEST_KEY <= value <= LARGEST_KEY else float(value)


def _string(value: str, at: str) -> str:
    if "\0" in value:
        raise FilterError(f"{at}: holds a NUL character, which no payload can")
    return checked_utf8(value, at)


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
    number: float = _scalar(bound, at)
    return number


def _only(value: Any, known: tuple[str, ...], at: str) -> None:
    if not isinstance(value, Mapping):
        raise FilterError(f"{at}: expected an object with {', '.join(known)}, got {value!r}")
    unknown = [name for name in value if name not in known]
    if unknown:
        raise FilterError(f"{at}: {unknown[0]!r} is not known here; expected {', '.join(known)}")
