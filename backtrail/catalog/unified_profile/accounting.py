"""What became of every field of a user's old profiles, found by comparing old rows with new ones.

The migration's own steps are not asked: a field that they lose, spoil or forget is found here as one that is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from backtrail import Entity
from backtrail.catalog.unified_profile.fields import COLUMNS, CONTEXTS, SHARED
from backtrail.catalog.unified_profile.merge import same
from backtrail.catalog.unified_profile.schema import INTENTS, PROFILES

Fate = Literal["mapped", "merged", "conflicted", "unmapped"]
Place = tuple[str | None, str]
"""The context (None: shared) and the field."""


def count_fields(user: Entity) -> dict[str, int]:
    """How many fields the user's old profiles hold (`in`), and how many of them had which fate. What is lost is in no fate."""
    counts = {"in": 0, "mapped": 0, "merged": 0, "conflicted": 0, "unmapped": 0}
    contexts = {row["id"]: row["context_type"] for row in user.rows("context_profiles")}
    new = _New(user)
    occurrences: list[tuple[Place | None, Any]] = []
    for profile in user.rows("profiles"):
        data = profile["data"]
        context_type = contexts.get(profile["context_profile_id"])
        legacy = new.legacy.get(str(profile["id"]), {})
        if not isinstance(data, dict):
            counts["in"] += data is not None
            counts["unmapped"] += data is not None and _kept(legacy, "data", data)
            continue
        for field, value in data.items():
            if value is None:
                continue
            counts["in"] += 1
            if _kept(legacy.get("fields", {}), field, value):
                counts["unmapped"] += 1
            else:
                occurrences.append((_place(context_type, field), value))
    rivals: dict[Place, list[Any]] = {}
    for place, value in occurrences:
        if place is not None:
            rivals.setdefault(place, []).append(value)
    for place, value in occurrences:
        fate = None if place is None else _fate(value, new.value(place), rivals[place])
        if fate is not None:
            counts[fate] += 1
    return counts


class _New:
    """The user's new rows, by what is looked for in them."""

    def __init__(self, user: Entity) -> None:
        self.profile: Mapping[str, Any] = user.one_or_none(PROFILES) or {}
        self.intents: dict[Any, Mapping[str, Any]] = {row["context_type"]: row for row in user.rows(INTENTS)}
        self.legacy: dict[str, dict[str, Any]] = {entry["profile_id"]: entry for entry in self.profile.get("legacy_data") or ()}

    def value(self, place: Place) -> Any:
        context_type, field = place
        row = self.profile if context_type is None else self.intents.get(context_type, {})
        return row.get(COLUMNS[field])


def _kept(legacy: Mapping[str, Any], name: str, value: Any) -> bool:
    # What is no JSON at all is kept as its text.
    return name in legacy and (same(legacy[name], value) or legacy[name] == str(value))


def _place(context_type: Any, field: str) -> Place | None:
    if field in SHARED:
        return None, field
    return (context_type, field) if field in CONTEXTS.get(context_type, {}) else None


def _fate(value: Any, target: Any, rivals: Iterable[Any]) -> Fate | None:
    if same(value, target):
        return "mapped"
    if isinstance(value, list) and isinstance(target, list):
        return "merged" if all(any(same(item, other) for other in target) for item in value) else None
    if isinstance(value, dict) and isinstance(target, dict):
        return _fate_of_object(value, target, rivals)
    return "conflicted" if any(same(target, rival) for rival in rivals) else None


def _fate_of_object(value: Mapping[str, Any], target: Mapping[str, Any], rivals: Iterable[Any]) -> Fate | None:
    fate: Fate = "merged"
    for key, part in value.items():
        if part is None or same(part, target.get(key)):
            continue
        chosen = target.get(key)
        if chosen is None or not any(isinstance(rival, dict) and same(chosen, rival.get(key)) for rival in rivals):
            return None
        fate = "conflicted"
    return fate
