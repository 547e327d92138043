"""Whose data an entity is: the part of its key that names a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backtrail.errors import UsageError
from backtrail.keys import key_text
from backtrail.migration import Keys, Migration


def subject_of(migration: type[Migration], key: Any) -> str:
    """The text that names the person: the key itself, or those of its values that `subject` names, by default the first.

    Raises:
        UsageError: `subject` names no columns of the key.
    """
    return text_at(key, places_of(migration))


def text_at(key: Any, places: Sequence[int]) -> str:
    """The text of the key's values at those places; of the whole key where it is one value."""
    if not isinstance(key, tuple):
        return key_text(key)
    return key_text(key[places[0]] if len(places) == 1 else tuple(key[place] for place in places))


def places_of(migration: type[Migration]) -> list[int]:
    """Which of the key's values name the person, from 0.

    Raises:
        UsageError: `subject` names no columns of the key.
    """
    if migration.subject is None:
        return [0]
    names = (migration.subject,) if isinstance(migration.subject, str) else migration.subject
    keys = migration.keys if isinstance(migration.keys, Keys) else migration.keys[0]
    if not names or not set(names) <= set(keys.columns):
        raise UsageError(f"{migration.name}: subject = {tuple(names)!r} names no columns of the key {', '.join(keys.columns)}")
    return [keys.columns.index(name) for name in names]
