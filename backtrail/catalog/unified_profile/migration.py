"""Profiles per context become one profile per user and one intent per context.

The old tables stay as they are: `context_profiles` and `chat_messages` are used on, `profiles` until nobody reads it any more.

Where several old profiles of a user hold one field, the oldest context profile (`created_at`, then the id's binary order; without a time: last)
comes first, and in it the oldest profile. Of texts, and of each key of an object, the first non-null value is taken, and every
other one noted as a conflict. Lists are united. A field without a place in the new tables is noted, and kept in `legacy_data`.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backtrail import Entity, Invariant, Keys, Migration, Row, Rows
from backtrail.catalog.unified_profile.accounting import count_fields
from backtrail.catalog.unified_profile.fields import (
    COLUMNS,
    CONTEXTS,
    IN_CONTEXT,
    INTENT_COLUMNS,
    PROFILE_COLUMNS,
    REQUIRED,
    SHARED,
)
from backtrail.catalog.unified_profile.merge import (
    Merged,
    combine_intents,
    fill,
    intent_completeness,
    percent_filled,
    shared_completeness,
    sort_fields,
)
from backtrail.catalog.unified_profile.schema import INTENTS, PROFILES, create_tables

# All rows of a table have all columns, so that a batch is one statement.
NO_PROFILE: dict[str, Any] = dict.fromkeys(PROFILE_COLUMNS)
NO_INTENT: dict[str, Any] = dict.fromkeys(INTENT_COLUMNS)
REQUIRED_PLACES = [(field, COLUMNS[field]) for field in REQUIRED]
CONTEXT_PLACES = {context: [(field, COLUMNS[field]) for field in fields] for context, fields in CONTEXTS.items()}
LAST = dt.datetime.max.replace(tzinfo=dt.UTC)
KINDS: dict[type, str] = {str: "text", list: "a list", dict: "an object"}


class UnifiedProfile(Migration):
    """One profile per user, one intent per context."""

    name = "unified-profile"
    keys = Keys("users", "id")
    reads = (
        Rows("context_profiles", by="user_id"),
        Rows("profiles", by="context_profile_id", via="context_profiles.id"),
    )
    writes = (PROFILES, INTENTS)
    invariants = (
        Invariant("one profile per user", "SELECT user_id FROM unified_profiles GROUP BY user_id HAVING count(*) > 1"),
        Invariant(
            "one intent per user and context",
            "SELECT user_id, context_type FROM context_intents GROUP BY user_id, context_type HAVING count(*) > 1",
        ),
        Invariant(
            "every profile has its user",
            "SELECT p.id FROM unified_profiles p LEFT JOIN users u ON u.id = p.user_id WHERE u.id IS NULL",
        ),
        Invariant(
            "every intent has its user and a context",
            "SELECT i.id FROM context_intents i LEFT JOIN users u ON u.id = i.user_id "
            "WHERE u.id IS NULL OR i.context_type IS NULL OR i.context_type = ''",
        ),
        Invariant(
            "every user with an intent has a profile",
            "SELECT i.id FROM context_intents i LEFT JOIN unified_profiles p ON p.user_id = i.user_id WHERE p.id IS NULL",
        ),
        Invariant(
            "profiles are 0 to 100 % complete",
            "SELECT id FROM unified_profiles WHERE completeness IS NULL OR completeness < 0 OR completeness > 100",
        ),
        Invariant(
            "intents are 0 to 100 % complete",
            "SELECT id FROM context_intents WHERE completeness IS NULL OR completeness < 0 OR completeness > 100",
        ),
        Invariant(
            "every chat message has its context profile",
            "SELECT m.id FROM chat_messages m LEFT JOIN context_profiles c ON c.id = m.context_profile_id "
            "WHERE m.context_profile_id IS NOT NULL AND c.id IS NULL",
        ),
    )

    def migrate(self, user: Entity) -> None:
        """Creates the user's profile, and an intent for each of the user's contexts."""
        contexts = _oldest_first(user.rows("context_profiles"))
        profiles = _by_context(user.rows("profiles"))
        shared = Merged({}, {})
        intents: dict[Any, list[dict[str, Any]]] = {}
        legacy: list[dict[str, Any]] = []
        for context in contexts:
            context_type = context["context_type"]
            pieces = intents.setdefault(context_type, [])
            for profile in _oldest_first(profiles.get(context["id"], [])):
                data = profile["data"]
                if not isinstance(data, dict):
                    legacy += _no_object(user, context_type, profile["id"], data)
                    continue
                own, unmapped = sort_fields(context_type, data, shared)
                pieces.append(own)
                if unmapped:
                    legacy.append(_unmapped(user, context_type, profile["id"], unmapped))
        if len(intents) < len(contexts):
            _remark_several(user, contexts)
        self._create_profile(user, shared, legacy)
        for context_type, pieces in intents.items():
            if context_type is None:
                user.remark("a context profile has no context type: it gets no intent")
            else:
                self._create_intent(user, context_type, pieces or [{}])

    def check(self, user: Entity) -> Iterator[str]:
        """Yields what is not as the plan has it: numbers of profiles and intents, owners, completeness."""
        profiles, intents = user.rows(PROFILES), user.rows(INTENTS)
        if len(profiles) != 1:
            yield f"{len(profiles)} unified profiles; exactly one is expected"
        expected = {row["context_type"] for row in user.rows("context_profiles")}
        expected.discard(None)
        found = [row["context_type"] for row in intents]
        if len(found) != len(expected) or expected != set(found):
            yield from _number_problems(expected, Counter(found))
        key = user.key
        for row in (*profiles, *intents):
            if row["user_id"] != key:
                yield f"a row of {row.name} belongs to another user"
        for row in profiles:
            for problem in _completeness_problems(row, REQUIRED_PLACES):
                yield f"the unified profile {problem}"
        for row, context_type in zip(intents, found, strict=True):
            for problem in _completeness_problems(row, CONTEXT_PLACES.get(context_type, ())):
                yield f"the intent for {_shown(context_type)} {problem}"

    def account(self, user: Entity) -> Mapping[str, int]:
        """What became of every field of the user's old profiles: `in` is the sum of the others, unless one was lost.

        `in` counts the top-level keys of `profiles.data` that are not null, once for each profile; data that is no object is one field.
        Each of them is looked up in the new rows, and is

        - `mapped` where its column holds the same value,
        - `merged` where all its items (keys) are in its column's list (object), beside those of other profiles or without duplicates,
        - `conflicted` where it, or one of its keys, gave way to the value of another profile of the user,
        - `unmapped` where `legacy_data` holds it,

        and in no bucket where it is nowhere. Takes the entity as `check` does: current rows, and the new ones that it wrote.
        """
        return count_fields(user)

    def expand(self, schema: Any) -> None:
        """Adds the two tables."""
        create_tables(schema)

    def _create_profile(self, user: Entity, shared: Merged, legacy: list[dict[str, Any]]) -> None:
        values, conflicts = shared
        fill(values)
        percent, missing = shared_completeness(values)
        row = _filled(NO_PROFILE, values)
        row["id"] = str(user.new_uuid("profile"))
        row["user_id"] = user.key
        row["completeness"] = percent
        row["missing"] = missing
        row["legacy_data"] = legacy or None
        row["created_at"] = row["updated_at"] = user.now
        user.create(PROFILES, row)
        for field, different in conflicts.items():
            user.conflict(field, values=different, chosen=different[0])

    def _create_intent(self, user: Entity, context_type: str, pieces: list[dict[str, Any]]) -> None:
        values, conflicts = combine_intents(context_type, pieces)
        percent, missing = intent_completeness(context_type, values)
        row = _filled(NO_INTENT, values)
        row["id"] = str(user.new_uuid("intent", context_type))
        row["user_id"] = user.key
        row["context_type"] = context_type
        row["completeness"] = percent
        row["missing"] = missing
        row["created_at"] = row["updated_at"] = user.now
        user.create(INTENTS, row)
        for field, different in conflicts.items():
            user.conflict(f"{context_type}.{field}", values=different, chosen=different[0], context_type=context_type)


def _oldest_first(rows: list[Row]) -> list[Row]:
    # They come in the order of their keys, which a stable sort keeps among equals.
    return rows if len(rows) < 2 else sorted(rows, key=_created)


def _created(row: Row) -> dt.datetime:
    created = row.get("created_at")
    return created if isinstance(created, dt.datetime) and created.tzinfo is not None else LAST


def _by_context(rows: list[Row]) -> dict[Any, list[Row]]:
    profiles: dict[Any, list[Row]] = {}
    for row in rows:
        context = row["context_profile_id"]
        if context in profiles:
            profiles[context].append(row)
        else:
            profiles[context] = [row]
    return profiles


def _filled(row: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The row with the values of fields in their columns."""
    row = row.copy()
    for field, value in values.items():
        row[COLUMNS[field]] = value
    return row


def _unmapped(user: Entity, context_type: Any, profile_id: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The entry of `legacy_data` for fields that have no other place; they are noted, too."""
    user.unmapped(fields, context_type=context_type)
    kinds = IN_CONTEXT.get(context_type, SHARED)
    for field in fields:
        if field in kinds:
            user.remark(f"{field} is not {KINDS[kinds[field]]}", field=field, context_type=context_type)
    return {"profile_id": str(profile_id), "context_type": _text(context_type), "fields": fields}


def _no_object(user: Entity, context_type: Any, profile_id: Any, data: Any) -> list[dict[str, Any]]:
    """The entry of `legacy_data` for data that has no fields; none for NULL."""
    if data is None:
        return []
    # What is no JSON at all is shown, and kept, as its text.
    kept = data if isinstance(data, (list, str, bool, int, float)) else str(data)
    user.unmapped({"data": kept}, context_type=context_type)
    user.remark("the data of a profile is no JSON object", context_type=context_type)
    return [{"profile_id": str(profile_id), "context_type": _text(context_type), "data": kept}]


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _remark_several(user: Entity, contexts: list[Row]) -> None:
    for context_type, number in Counter(row["context_type"] for row in contexts).items():
        if number > 1 and context_type is not None:
            user.remark(f"{number} context profiles of one type became one intent", context_type=context_type)


def _number_problems(expected: set[Any], found: Counter[Any]) -> Iterator[str]:
    for context_type in sorted(expected | set(found), key=str):
        wanted = int(context_type in expected)
        if found[context_type] != wanted:
            yield f"{found[context_type]} intents for {_shown(context_type)}; exactly {wanted} expected"


def _shown(context_type: Any) -> str:
    # Any other text may be a user's own, and messages travel.
    return f"context {context_type}" if context_type in CONTEXTS else "an unknown context"


def _completeness_problems(row: Row, required: Sequence[tuple[str, str]]) -> list[str]:
    missing = [field for field, column in required if not row.get(column)]
    percent, problems = percent_filled(len(required), len(missing)), []
    if row["completeness"] != percent:
        problems.append(f"is {percent} % complete, not {row['completeness']} %")
    if row["missing"] != missing:
        problems.append("lists other fields as missing than those that are")
    return problems
