"""What becomes of the fields of old profiles: pure functions on their JSON, as the database gave it.

Profiles come in a fixed order, and of several values the first that is not null is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from backtrail.catalog.unified_profile.fields import CONTEXTS, IN_CONTEXT, REQUIRED, SHARED, Fields

LISTS, OBJECTS = ([field for field, kind in SHARED.items() if kind is wanted] for wanted in (list, dict))

Data = Mapping[str, Any]
"""The JSON object of one old profile."""


class Merged(NamedTuple):
    """Fields made one out of several profiles."""

    values: dict[str, Any]
    conflicts: dict[str, list[Any]]
    """Different values of a field, or of a key in an object (`beliefs.politics`); the first one was chosen."""


class Completeness(NamedTuple):
    """How much of a profile or intent is filled."""

    percent: int
    missing: list[str]
    """The required fields that are empty, by the names the application has for them."""


def aggregate_shared_data(profiles: Sequence[Data]) -> Merged:
    """The fields that are one for the whole user, empty where no profile has them.

    Lists are united without duplicates, objects key by key; of a text, or a key, the first non-null value is taken.
    """
    shared = Merged({}, {})
    for data in profiles:
        sort_fields(None, data, shared)
    fill(shared.values)
    return shared


def sort_fields(context_type: Any, data: Data, shared: Merged) -> tuple[dict[str, Any], dict[str, Any]]:
    """The profile's fields of the context's own, and those without a place; the shared ones have joined those of earlier profiles."""
    kinds = IN_CONTEXT.get(context_type, SHARED)
    values, conflicts = shared
    own: dict[str, Any] = {}
    unmapped: dict[str, Any] = {}
    for field, value in data.items():
        if value is None:
            continue
        if type(value) is not kinds.get(field):
            unmapped[field] = value
        elif field not in SHARED:
            own[field] = value
        elif field not in values:
            values[field] = value
        elif type(value) is not str or value != values[field]:
            values[field] = _added(field, values[field], value, conflicts)
    return own, unmapped


def fill(values: dict[str, Any]) -> None:
    """Nothing; no item of a shared list is there twice, and lists and objects that no profile has are empty ones."""
    for field in LISTS:
        values[field] = _unique(values[field]) if field in values else []
    for field in OBJECTS:
        if field not in values:
            values[field] = {}


def extract_context_intent(context_type: Any, data: Data | None) -> dict[str, Any]:
    """The fields of the context's own that the profile has; none for an unknown context or without data."""
    if not data:
        return {}
    fields = CONTEXTS.get(context_type, {})
    return {field: value for field, kind in fields.items() if type(value := data.get(field)) is kind}


def combine_intents(context_type: Any, intents: Sequence[dict[str, Any]]) -> Merged:
    """One intent out of those of several profiles of one context, by the same rules as the shared fields."""
    if len(intents) == 1:
        return Merged(intents[0], {})
    # In the order of the plan, which is also the order of the notes.
    return merge(CONTEXTS.get(context_type, {}), [extract_context_intent(context_type, intent) for intent in intents])


def unmapped_fields(context_type: Any, data: Data) -> dict[str, Any]:
    """The non-null fields that have no place in the new tables: unknown ones, another context's, and those of the wrong JSON type."""
    return sort_fields(context_type, data, Merged({}, {}))[1]


def shared_completeness(values: Data) -> Completeness:
    """How much of the seven required shared fields is filled."""
    return _completeness(REQUIRED, values)


def intent_completeness(context_type: Any, values: Data) -> Completeness:
    """How much of the context's own fields is filled: 0, and nothing missing, for an unknown context."""
    return _completeness(CONTEXTS.get(context_type, {}), values)


def merge(fields: Fields, profiles: Sequence[Data]) -> Merged:
    """Those of the fields that a profile has with a value of the right type, made one."""
    values: dict[str, Any] = {}
    conflicts: dict[str, list[Any]] = {}
    for profile in profiles:
        for field, value in profile.items():
            if type(value) is fields.get(field):
                values[field] = _added(field, values[field], value, conflicts) if field in values else value
    for field, value in values.items():
        if isinstance(value, list):
            values[field] = _unique(value)
    return Merged(values, conflicts)


def same(left: Any, right: Any) -> bool:
    """Whether the two are one JSON value: true is not 1, but 1.0 is, since databases do not keep that apart."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


@cache
def percent_filled(required: int, missing: int) -> int:
    """How much is filled where so many of the required fields are empty: 0 where none is required."""
    return round(100 * (required - missing) / required) if required else 0


def _added(field: str, known: Any, value: Any, conflicts: dict[str, list[Any]]) -> Any:
    """The field's value with that of another profile, of the same type, beside it."""
    if type(value) is list:
        return known + value
    if type(value) is dict:
        return _join(field, known, value, conflicts)
    if value != known:
        _disagree(conflicts, field, known, value)
    return known


def _join(field: str, first: dict[str, Any], second: Data, conflicts: dict[str, list[Any]]) -> dict[str, Any]:
    joined = first.copy()
    for key, value in second.items():
        chosen = joined.get(key)
        if chosen is None:
            joined[key] = value
        elif value is not None and (chosen != value or (type(value) is not str and not same(chosen, value))):
            _disagree(conflicts, f"{field}.{key}", chosen, value)
    return joined


def _disagree(conflicts: dict[str, list[Any]], field: str, chosen: Any, value: Any) -> None:
    values = conflicts.setdefault(field, [chosen])
    if not any(same(value, known) for known in values):
        values.append(value)


def _unique(items: list[Any]) -> list[Any]:
    try:
        different = dict.fromkeys(items)
        if len(different) == len(items):
            return items
        if set(map(type, items)) == {str}:
            return list(different)
    except TypeError:
        pass  # lists and objects among them
    kept: list[Any] = []
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept


def _completeness(required: Collection[str], values: Data) -> Completeness:
    # An empty text, list or object tells as little as none at all.
    missing = [field for field in required if not values.get(field)]
    return Completeness(percent_filled(len(required), len(missing)), missing)
