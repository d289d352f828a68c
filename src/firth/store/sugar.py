"""Mongo-like filters, as Chroma, Pinecone and LangChain write them, translated into Qdrant's language.

    {"lang": "de", "year": {"$gte": 2020}, "$or": [{"tags": {"$in": ["a", "b"]}}, {"draft": {"$ne": True}}]}

Operators: $eq $ne $gt $gte $lt $lte $in $nin $exists $contains, and $and $or $not $nor between filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from firth.errors import FilterError

CANONICAL = {"must", "should", "must_not", "min_should"}
BARE = {"key", "nested", "has_id", "is_empty", "is_null"}
RANGES = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}


def canonical(filter_: Any) -> Mapping[str, Any]:
    """The filter in Qdrant's language; one that is already in it is returned as it is.

    A filter is taken for Qdrant's when its names are clauses (must, should, …) or one condition that holds a dict, a
    list or a key; a payload field called "must" is written as {"must": [{"key": "must", …}]}.

    Raises:
        FilterError: an unknown operator; names the place.
    """
    if not isinstance(filter_, Mapping):
        raise FilterError(f"filter: expected a dict, got {type(filter_).__name__}")
    names = set(filter_)
    if names & CANONICAL and all(isinstance(filter_[n], Mapping | Sequence | None) for n in names & CANONICAL):
        return filter_
    if ("key" in names and isinstance(filter_["key"], str) and len(names) > 1) or (
        len(names) == 1 and names <= BARE and isinstance(filter_[next(iter(names))], Mapping | list | tuple)
    ):
        return {"must": [filter_]}
    return _translated(filter_, "filter")


def _translated(filter_: Any, at: str) -> dict[str, Any]:
    if not isinstance(filter_, Mapping):
        raise FilterError(f"{at}: expected a dict, got {filter_!r}")
    must: list[Any] = []
    for name, value in filter_.items():
        place = f"{at}.{name}"
        if name in ("$and", "$or", "$nor"):
            if not isinstance(value, list | tuple) or not value:
                raise FilterError(f"{place}: expected a list of filters, got {value!r}")
            parts = [_translated(part, f"{place}[{i}]") for i, part in enumerate(value)]
            must.append({{"$and": "must", "$or": "should", "$nor": "must_not"}[name]: parts})
        elif name == "$not":
            must.append({"must_not": [_translated(value, place)]})
        elif not isinstance(name, str) or name.startswith("$"):
            raise FilterError(f"{place}: unknown; expected a field, $and, $or, $nor or $not")
        else:
            must += _conditions(name, value, place)
    return {"must": must}


def _conditions(key: str, value: Any, at: str) -> list[Any]:
    if value is None:
        return [{"is_null": {"key": key}}]
    if not isinstance(value, Mapping):
        return [_match(key, value, at)]
    conditions: list[Any] = []
    bounds: dict[str, Any] = {}
    for operator, wanted in value.items():
        place = f"{at}.{operator}"
        if operator in RANGES:
            bounds[RANGES[operator]] = wanted
        elif operator in ("$eq", "$contains"):
            conditions += _conditions(key, wanted, place)
        elif operator == "$ne":
            conditions.append({"must_not": _conditions(key, wanted, place)})
        elif operator == "$in":
            conditions.append({"should": _in(key, wanted, place)})
        elif operator == "$nin":
            conditions.append({"must_not": _in(key, wanted, place)})
        elif operator == "$exists":
            if not isinstance(wanted, bool):
                raise FilterError(f"{place}: expected true or false, got {wanted!r}")
            conditions.append({"must_not" if wanted else "must": [{"is_empty": {"key": key}}]})
        else:
            known = "$eq $ne $gt $gte $lt $lte $in $nin $exists $contains"
            raise FilterError(f"{place}: unknown operator; expected one of {known}")
    if bounds:
        conditions.append({"key": key, "range": bounds})
    return conditions


def _in(key: str, values: Any, at: str) -> list[Any]:
    if not isinstance(values, list | tuple):
        raise FilterError(f"{at}: expected a list, got {values!r}")
    texts = [value for value in values if isinstance(value, str)]
    rest = [_match(key, value, at) for value in values if not isinstance(value, str)]
    return [{"key": key, "match": {"any": texts}}, *rest]


def _match(key: str, value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, str | int | float):
        raise FilterError(f"{at}: expected a string, a number, a boolean or operators, got {value!r}")
    if isinstance(value, bool | str):
        return {"key": key, "match": {"value": value}}
    return {"key": key, "range": {"gte": value, "lte": value}}  # in Mongo 1 equals 1.0; Qdrant's match keeps them apart
