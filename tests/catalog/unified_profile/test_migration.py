"""The plan's edge cases and integration tests, on plain dicts; the trial decides twice, undoes, applies again and accounts for all fields."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
import sqlalchemy as sa

from backtrail import Opaque
from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.fields import INTENT_COLUMNS, PROFILE_COLUMNS
from backtrail.catalog.unified_profile.migration import UnifiedProfile
from backtrail.errors import UndeclaredTable
from backtrail.testing import NOW, Trial, trial

DAY = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
COLUMNS = {"unified_profiles": PROFILE_COLUMNS, "context_intents": INTENT_COLUMNS}
REQUIRED = ["coreValues", "beliefs", "interactionStyle", "lifestyle", "constraints", "location", "ageRange"]
ROMANTIC = ["relationshipTimeline", "exclusivityExpectation", "familyIntentions", "attractionImportance"]
NO_PROFILE = object()

Tables = dict[str, list[dict[str, Any]]]


def old(*people: list[tuple[str | None, Any]]) -> Tables:
    """The old tables of users `u0`, `u1`, … each with the contexts and data given; contexts are a day apart, in that order."""
    tables: Tables = {"users": [], "context_profiles": [], "profiles": [], "chat_messages": []}
    for number, contexts in enumerate(people):
        tables["users"].append({"id": f"u{number}", "name": "Zoë", "email": "z@example.org", "created_at": DAY})
        for at, (context_type, data) in enumerate(contexts):
            context = f"x{number}{at}"
            made = DAY + dt.timedelta(days=at)
            tables["context_profiles"].append(
                {
                    "id": context,
                    "user_id": f"u{number}",
                    "context_type": context_type,
                    "tone_preference": None,
                    "created_at": made,
                }
            )
            tables["chat_messages"].append(
                {"id": f"m{number}{at}", "context_profile_id": context, "role": "user", "content": "hi"}
            )
            if data is not NO_PROFILE:
                tables["profiles"].append(
                    {"id": f"p{number}{at}", "context_profile_id": context, "data": data, "completeness": 1, "created_at": made}
                )
    return tables


def migrated(*people: list[tuple[str | None, Any]]) -> Trial:
    """The trial of these users, none of whom fails, and whose old rows stay as they are."""
    return tried(old(*people))


def tried(tables: Tables) -> Trial:
    result = trial(UnifiedProfile, tables, columns=COLUMNS)
    assert not result.failures
    assert {name: result.tables[name] for name in tables} == tables
    return result


def only(result: Trial) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The one user's profile, and the intents by context."""
    (profile,) = result.tables["unified_profiles"]
    intents = result.tables["context_intents"]
    assert len({row["context_type"] for row in intents}) == len(intents)
    return profile, {row["context_type"]: row for row in intents}


def notes(result: Trial, kind: str) -> list[dict[str, Any]]:
    return [dict(note.data) for note in result.notes if note.kind == kind]


# -- the data migration script ------------------------------------------------------------------------------------------------


def test_an_empty_database_gives_no_rows_and_no_errors():
    result = migrated()
    assert result.tables == {**old(), "unified_profiles": [], "context_intents": []}


def test_one_context_with_a_profile_gives_one_profile_and_one_intent():
    data = {"location": "SF", "coreValues": ["honesty"], "name": "Zoë", "relationshipTimeline": "open_to_soon"}
    result = migrated([("romantic", data)])
    profile, intents = only(result)
    assert profile == dict.fromkeys(PROFILE_COLUMNS) | {
        "id": profile["id"],
        "user_id": "u0",
        "core_values": ["honesty"],
        "beliefs": {},
        "interaction_style": {},
        "lifestyle": {},
        "constraints": [],
        "location": "SF",
        "name": "Zoë",
        "completeness": 29,
        "missing": ["beliefs", "interactionStyle", "lifestyle", "constraints", "ageRange"],
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert intents["romantic"] == dict.fromkeys(INTENT_COLUMNS) | {
        "id": intents["romantic"]["id"],
        "user_id": "u0",
        "context_type": "romantic",
        "relationship_timeline": "open_to_soon",
        "completeness": 25,
        "missing": ROMANTIC[1:],
        "created_at": NOW,
        "updated_at": NOW,
    }
    assert not result.notes
    assert result.accounts["u0"] == {"in": 4, "mapped": 4, "merged": 0, "conflicted": 0, "unmapped": 0}


def test_three_contexts_give_one_profile_and_three_intents():
    profile, intents = only(
        migrated(
            [
                ("romantic", {"coreValues": ["a"], "familyIntentions": "open"}),
                ("creative", {"coreValues": ["b"], "creativeType": "music"}),
                ("professional", {"complementarySkills": ["law"]}),
            ]
        )
    )
    assert profile["core_values"] == ["a", "b"]
    assert list(intents) == ["romantic", "creative", "professional"]
    assert intents["romantic"]["family_intentions"] == "open"
    assert intents["creative"]["creative_type"] == "music"
    assert intents["professional"]["complementary_skills"] == ["law"]


def test_many_users_are_each_migrated_with_their_own_data():
    result = migrated([("romantic", {"location": "SF"})], [], [("service", {"location": "NYC"}), ("friendship", {})])
    assert {row["user_id"]: row["location"] for row in result.tables["unified_profiles"]} == {"u0": "SF", "u1": None, "u2": "NYC"}
    assert [(row["user_id"], row["context_type"]) for row in result.tables["context_intents"]] == [
        ("u0", "romantic"),
        ("u2", "service"),
        ("u2", "friendship"),
    ]
    ids = [row["id"] for name in COLUMNS for row in result.tables[name]]
    assert len(set(ids)) == 6


# -- edge cases -------------------------------------------------------------------------------------------------------------------


def test_a_user_without_any_context_gets_an_empty_profile_and_no_intent():
    profile, intents = only(migrated([]))
    assert (profile["completeness"], profile["missing"], profile["core_values"]) == (0, REQUIRED, [])
    assert intents == {}


@pytest.mark.parametrize("data", [NO_PROFILE, None, {}])
def test_a_context_profile_without_profile_or_data_gets_an_empty_intent(data):
    result = migrated([("romantic", data)])
    profile, intents = only(result)
    assert (profile["completeness"], profile["missing"]) == (0, REQUIRED)
    assert (intents["romantic"]["completeness"], intents["romantic"]["missing"]) == (0, ROMANTIC)
    assert not result.notes


def test_a_conflict_takes_the_first_value_and_is_noted_as_the_plan_says():
    result = migrated([("romantic", {"location": None}), ("service", {"location": "SF"}), ("friendship", {"location": "NYC"})])
    assert only(result)[0]["location"] == "SF"
    assert [(note.key, note.kind, note.data) for note in result.notes] == [
        ("u0", "conflict", {"field": "location", "values": ["SF", "NYC"], "chosen": "SF"})
    ]
    assert result.accounts["u0"] == {"in": 2, "mapped": 1, "merged": 0, "conflicted": 1, "unmapped": 0}


def test_a_conflict_inside_an_object_names_its_key():
    result = migrated(
        [
            ("romantic", {"beliefs": {"politics": "a", "religion": "r"}}),
            ("service", {"beliefs": {"politics": "b", "diet": "d"}}),
            ("creative", {"beliefs": {"politics": "a"}}),
        ]
    )
    assert only(result)[0]["beliefs"] == {"politics": "a", "religion": "r", "diet": "d"}
    assert notes(result, "conflict") == [{"field": "beliefs.politics", "values": ["a", "b"], "chosen": "a"}]
    assert result.accounts["u0"] == {"in": 3, "mapped": 0, "merged": 2, "conflicted": 1, "unmapped": 0}


def test_the_oldest_context_profile_comes_first_then_the_least_id_and_one_without_a_time_last():
    tables = old([(kind, {"location": kind}) for kind in ("romantic", "service", "creative", "friendship")])
    for row, made in zip(tables["context_profiles"], (None, DAY, DAY, DAY + dt.timedelta(seconds=1)), strict=True):
        row["created_at"] = made
    tables["context_profiles"].reverse()
    assert notes(tried(tables), "conflict")[0]["values"] == ["service", "creative", "friendship", "romantic"]


def test_several_profiles_of_one_context_are_merged_from_the_oldest_on():
    tables = old([("romantic", {"location": "second", "familyIntentions": "open"})])
    tables["profiles"].append({**tables["profiles"][0], "id": "p-", "data": {"location": "third"}, "created_at": None})
    tables["profiles"].append(
        {
            **tables["profiles"][0],
            "id": "p99",
            "data": {"location": "first", "familyIntentions": "open"},
            "created_at": DAY.replace(year=2023),
        }
    )
    result = tried(tables)
    profile, intents = only(result)
    assert profile["location"] == "first"
    assert intents["romantic"]["family_intentions"] == "open"
    assert notes(result, "conflict")[0]["values"] == ["first", "second", "third"]


def test_two_context_profiles_of_one_type_become_one_intent_with_their_conflicts_noted():
    result = migrated(
        [
            ("romantic", {"relationshipTimeline": "open_to_soon", "familyIntentions": "open"}),
            ("service", {"serviceType": "seeking"}),
            ("romantic", {"relationshipTimeline": "actively_looking", "attractionImportance": "critical"}),
        ]
    )
    _, intents = only(result)
    assert [intents["romantic"][name] for name in ("relationship_timeline", "family_intentions", "attraction_importance")] == [
        "open_to_soon",
        "open",
        "critical",
    ]
    assert notes(result, "conflict") == [
        {
            "field": "romantic.relationshipTimeline",
            "values": ["open_to_soon", "actively_looking"],
            "chosen": "open_to_soon",
            "context_type": "romantic",
        }
    ]
    assert notes(result, "remark") == [{"text": "2 context profiles of one type became one intent", "context_type": "romantic"}]
    assert result.accounts["u0"] == {"in": 5, "mapped": 4, "merged": 0, "conflicted": 1, "unmapped": 0}


def test_unmapped_fields_are_noted_by_context_and_kept():
    result = migrated(
        [
            ("romantic", {"zodiacSign": "Leo", "location": "SF", "serviceType": "offering", "gone": None}),
            ("service", {"pets": [1.5]}),
        ]
    )
    assert notes(result, "unmapped") == [
        {"fields": {"zodiacSign": "Leo", "serviceType": "offering"}, "context_type": "romantic"},
        {"fields": {"pets": [1.5]}, "context_type": "service"},
    ]
    profile, intents = only(result)
    assert profile["legacy_data"] == [
        {"profile_id": "p00", "context_type": "romantic", "fields": {"zodiacSign": "Leo", "serviceType": "offering"}},
        {"profile_id": "p01", "context_type": "service", "fields": {"pets": [1.5]}},
    ]
    assert intents["service"]["service_type"] is None
    assert result.accounts["u0"] == {"in": 4, "mapped": 1, "merged": 0, "conflicted": 0, "unmapped": 3}


def test_an_unknown_context_gets_an_empty_intent_and_its_own_fields_are_unmapped():
    result = migrated([("travel", {"location": "SF", "destination": "Oslo"})])
    profile, intents = only(result)
    assert profile["location"] == "SF"
    assert (intents["travel"]["completeness"], intents["travel"]["missing"]) == (0, [])
    assert notes(result, "unmapped") == [{"fields": {"destination": "Oslo"}, "context_type": "travel"}]


def test_a_context_profile_without_a_type_gets_no_intent_and_loses_nothing():
    result = migrated([(None, {"location": "SF", "friendshipDepth": "close"}), ("romantic", {})])
    profile, intents = only(result)
    assert list(intents) == ["romantic"]
    assert profile["legacy_data"] == [{"profile_id": "p00", "context_type": None, "fields": {"friendshipDepth": "close"}}]
    assert notes(result, "remark") == [{"text": "a context profile has no context type: it gets no intent"}]


@pytest.mark.parametrize(
    ("field", "value", "remark"),
    [
        ("coreValues", "honesty", "coreValues is not a list"),
        ("beliefs", ["x"], "beliefs is not an object"),
        ("location", {"city": "SF"}, "location is not text"),
        ("ageRange", 30, "ageRange is not text"),
        ("name", False, "name is not text"),
        ("friendshipDepth", ["close"], "friendshipDepth is not text"),
    ],
)
def test_a_value_of_the_wrong_json_type_is_unmapped_with_a_remark(field, value, remark):
    result = migrated([("friendship", {field: value, "constraints": ["vegan"]})])
    profile, _ = only(result)
    assert profile["legacy_data"][0]["fields"] == {field: value}
    assert profile["constraints"] == ["vegan"]
    assert notes(result, "remark") == [{"text": remark, "field": field, "context_type": "friendship"}]


@pytest.mark.parametrize(
    ("data", "kept"), [([1, "a"], [1, "a"]), ("text", "text"), (7, 7), (True, True), (Opaque("{not json"), "{not json")]
)
def test_data_that_is_no_json_object_is_unmapped_as_a_whole(data, kept):
    result = migrated([("service", data), ("romantic", {"location": "SF"})])
    profile, intents = only(result)
    assert profile["legacy_data"] == [{"profile_id": "p00", "context_type": "service", "data": kept}]
    assert profile["location"] == "SF"
    assert intents["service"]["completeness"] == 0
    assert notes(result, "unmapped") == [{"fields": {"data": kept}, "context_type": "service"}]
    assert result.accounts["u0"] == {"in": 2, "mapped": 1, "merged": 0, "conflicted": 0, "unmapped": 1}


def test_a_new_field_called_data_is_not_mistaken_for_the_whole():
    result = migrated([("service", {"data": "x"})])
    assert only(result)[0]["legacy_data"] == [{"profile_id": "p00", "context_type": "service", "fields": {"data": "x"}}]


def test_keys_that_are_not_text_have_their_profiles_too():
    tables = {
        "users": [{"id": 7}],
        "context_profiles": [{"id": 1, "user_id": 7, "context_type": "service", "created_at": DAY}],
        "profiles": [{"id": 3, "context_profile_id": 1, "data": {"odd": 1}, "created_at": DAY}],
    }
    result = tried(tables)
    assert only(result)[0]["user_id"] == 7
    assert only(result)[0]["legacy_data"][0]["profile_id"] == "3"


# -- purity, ids and checks ----------------------------------------------------------------------------------------------------------


def test_ids_are_the_same_on_every_run_and_at_every_time():
    tables = old([("romantic", {"location": "SF"})], [("romantic", {})])
    one, other = (trial(UnifiedProfile, tables, now=NOW + dt.timedelta(days=days)) for days in (0, 9))
    for name in COLUMNS:
        assert [row["id"] for row in one.tables[name]] == [row["id"] for row in other.tables[name]]
        assert {row["created_at"] for row in other.tables[name]} == {NOW + dt.timedelta(days=9)}


class Spoiled(UnifiedProfile):
    """The migration with something wrong about what it writes."""

    spoil: Any = None

    def migrate(self, user: Any) -> None:
        super().migrate(user)
        for change in user.decision.changes:
            type(self).spoil(change.table, change.values)


@pytest.mark.parametrize(
    ("table", "column", "value", "message"),
    [
        ("unified_profiles", "user_id", "other", "a row of unified_profiles belongs to another user"),
        ("unified_profiles", "completeness", 101, "the unified profile is 14 % complete, not 101 %"),
        ("unified_profiles", "missing", [], "the unified profile lists other fields as missing than those that are"),
        ("unified_profiles", "location", None, "the unified profile is 0 % complete, not 14 %"),
        ("context_intents", "context_type", "service", "0 intents for context romantic; exactly 1 expected"),
        ("context_intents", "context_type", "secret", "1 intents for an unknown context; exactly 0 expected"),
        ("context_intents", "completeness", 1, "the intent for context romantic is 25 % complete, not 1 %"),
    ],
)
def test_check_finds_what_is_not_as_the_plan_has_it(monkeypatch, table, column, value, message):
    def spoil(of: str, values: dict[str, Any]) -> None:
        if of == table:
            values[column] = value

    monkeypatch.setattr(Spoiled, "spoil", staticmethod(spoil))
    result = trial(Spoiled, old([("romantic", {"location": "SF", "familyIntentions": "open"})]))
    assert message in result.failures["u0"]


def test_check_finds_a_profile_that_was_not_made():
    class Forgetful(UnifiedProfile):
        def migrate(self, user: Any) -> None: ...

    assert trial(Forgetful, old([])).failures == {"u0": "0 unified profiles; exactly one is expected"}


def test_only_the_new_tables_can_be_written():
    class Greedy(UnifiedProfile):
        def migrate(self, user: Any) -> None:
            for row in user.rows("profiles"):
                user.delete(row)

    with pytest.raises(UndeclaredTable):
        trial(Greedy, old([("romantic", {})]))


# -- the sample -------------------------------------------------------------------------------------------------------------------------


def test_every_user_of_the_sample_is_migrated_and_accounted_for():
    engine = sa.create_engine("sqlite://")
    with engine.begin() as connection:
        sample.create(connection, 150, seed=3)
        tables = {
            name: [_aware(row) for row in connection.execute(sa.select(table)).mappings()]
            for name, table in sample.old_tables.tables.items()
        }
    result = tried(tables)
    assert len(result.migrated) == len(result.tables["unified_profiles"]) == 150
    pairs = {(row["user_id"], row["context_type"]) for row in tables["context_profiles"]}
    assert len(pairs) > 250
    assert {(row["user_id"], row["context_type"]) for row in result.tables["context_intents"]} == pairs
    fields = sum(value is not None for row in tables["profiles"] for value in row["data"].values())
    assert sum(account["in"] for account in result.accounts.values()) == fields > 3000


def _aware(row: Any) -> dict[str, Any]:
    # SQLite gives times without their zone; the store gives them in UTC.
    return {name: value.replace(tzinfo=dt.UTC) if isinstance(value, dt.datetime) else value for name, value in row.items()}
