"""No field is lost without the account saying so: it looks at the rows alone, and misses what is not in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from backtrail.catalog.unified_profile.migration import UnifiedProfile
from backtrail.testing import TrialFailed, trial

FIRST = {
    "coreValues": ["a", "b"],
    "beliefs": {"politics": "x", "religion": None},
    "location": "SF",
    "ageRange": None,
    "relationshipTimeline": "open_to_soon",
    "zodiacSign": "Leo",
}
SECOND = {
    "coreValues": ["b", "c"],
    "beliefs": {"politics": "y", "diet": "z"},
    "location": "NYC",
    "complementarySkills": ["law", "law"],
    "coreBelief": 1,
}

Values = dict[str, Any]


def spoiled(spoil: Callable[[str, Values], Any]) -> type[UnifiedProfile]:
    """The migration, with its new rows changed before they are written, and nothing else to find that."""

    class Spoiled(UnifiedProfile):
        def migrate(self, user: Any) -> None:
            super().migrate(user)
            for change in user.decision.changes:
                spoil(change.table, change.values)

        def check(self, _: Any) -> Any:
            return ()

    return Spoiled


def account(migration: type[UnifiedProfile]) -> dict[str, int]:
    tables = {
        "users": [{"id": "u"}],
        "context_profiles": [
            {"id": "x1", "user_id": "u", "context_type": "romantic"},
            {"id": "x2", "user_id": "u", "context_type": "professional"},
            {"id": "x3", "user_id": "u", "context_type": "service"},
        ],
        "profiles": [
            {"id": "p1", "context_profile_id": "x1", "data": copy.deepcopy(FIRST)},
            {"id": "p2", "context_profile_id": "x2", "data": copy.deepcopy(SECOND)},
            {"id": "p3", "context_profile_id": "x3", "data": [1, 2]},
        ],
    }
    result = trial(migration, tables)
    assert not result.failures
    return result.accounts["u"]


def test_every_field_has_one_fate():
    assert account(UnifiedProfile) == {
        "in": 5 + 5 + 1,
        "mapped": 3,  # location of the first, relationshipTimeline, and skills, which one profile alone has
        "merged": 3,  # both coreValues, and beliefs of the first
        "conflicted": 2,  # location and beliefs of the second
        "unmapped": 3,  # zodiacSign, coreBelief, and what is no object
    }


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("unified_profiles", "location", "LA"),
        ("unified_profiles", "location", None),
        ("unified_profiles", "core_values", ["a", "b"]),
        ("unified_profiles", "core_values", None),
        ("unified_profiles", "beliefs", {"politics": "x", "religion": None}),
        ("unified_profiles", "beliefs", {"politics": "neither", "diet": "z"}),
        ("unified_profiles", "beliefs", {"diet": "z"}),
        ("unified_profiles", "legacy_data", None),
        ("unified_profiles", "legacy_data", []),
        ("context_intents", "relationship_timeline", None),
        ("context_intents", "complementary_skills", []),
        ("context_intents", "context_type", "friendship"),
    ],
)
def test_a_field_that_is_lost_or_spoiled_is_in_no_bucket(table, column, value):
    def spoil(of: str, values: Values) -> None:
        if of == table and (table == "unified_profiles" or values[column] is not None):
            values[column] = value

    with pytest.raises(TrialFailed, match="are accounted for"):
        account(spoiled(spoil))


def test_an_unmapped_field_whose_kept_value_is_another_is_lost():
    def spoil(_: str, values: Values) -> None:
        for entry in values.get("legacy_data") or ():
            if entry["profile_id"] == "p2":
                entry["fields"]["coreBelief"] = True

    with pytest.raises(TrialFailed, match="of 11 fields 10"):
        account(spoiled(spoil))


def test_a_user_who_is_not_migrated_has_all_fields_in_and_none_out():
    class Idle(UnifiedProfile):
        def migrate(self, user: Any) -> None: ...

        def check(self, _: Any) -> Any:
            return ()

    with pytest.raises(TrialFailed, match="of 11 fields 0"):
        account(Idle)


def test_numbers_that_a_database_does_not_keep_apart_are_not_lost():
    def spoil(_: str, values: Values) -> None:
        # As JSONB gives back 1.0 for 1 written in another form.
        for entry in values.get("legacy_data") or ():
            if entry["profile_id"] == "p2":
                entry["fields"]["coreBelief"] = 1.0

    assert account(spoiled(spoil))["unmapped"] == 3
