"""What becomes of the fields of old profiles: pure functions on their JSON, as the database gave it.

Profiles come in a fixed order, and of several values the first that is not null is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from backtrail.catalog.unified_profile.fields import CONTEXTS, IN_CONTEXT, REQUIRED, SHARED, Fields

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
    values, conflicts = merge(SHARED, profiles)
    empty: dict[str, Any] = {"coreValues": [], "beliefs": {}, "interactionStyle": {}, "lifestyle": {}, "constraints": []}
    return Merged({**empty, **values}, conflicts)


def extract_context_intent(context_type: Any, data: Data | None) -> dict[str, Any]:
    """The fields of the context's own that the profile has; none for an unknown context or without data."""
    if not data:
        return {}
    fields = CONTEXTS.get(context_type, {})
    return {field: value for field, kind in fields.items() if type(value := data.get(field)) is kind}


def combine_intents(context_type: Any, intents: Sequence[dict[str, Any]]) -> Merged:
    """One intent out of those of several profiles of one context, by the same rules as the shared fields."""
    return Merged(intents[0], {}) if len(intents) == 1 else merge(CONTEXTS.get(context_type, {}), intents)


def unmapped_fields(context_type: Any, data: Data) -> dict[str, Any]:
    """The non-null fields that have no place in the new tables: unknown ones, another context's, and those of the wrong JSON type."""
    kinds = IN_CONTEXT.get(context_type, SHARED)
    return {field: value for field, value in data.items() if value is not None and type(value) is not kinds.get(field)}


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
            if type(value) is not fields.get(field):
                continue
            if field not in values:
                values[field] = value
            elif isinstance(value, list):
                values[field] = [*values[field], *value]
            elif isinstance(value, dict):
                values[field] = _join(field, values[field], value, conflicts)
            elif value != values[field]:
                _disagree(conflicts, field, values[field], value)
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


def _join(field: str, first: Data, second: Data, conflicts: dict[str, list[Any]]) -> dict[str, Any]:
    joined = dict(first)
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
    if set(map(type, items)) == {str}:
        return list(dict.fromkeys(items))
    kept: list[Any] = []
    for item in items:
        if not any(same(item, other) for other in kept):
            kept.append(item)
    return kept


def _completeness(required: Collection[str], values: Data) -> Completeness:
    # An empty text, list or object tells as little as none at all.
    missing = [field for field in required if not values.get(field)]
    total = len(required)
    return Completeness(round(100 * (total - len(missing)) / total) if total else 0, missing)
