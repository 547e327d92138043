"""The plan's edge cases of profiles and relationships, and what is found about a migration that does it wrong."""

from __future__ import annotations

from typing import Any

import pytest

from backtrail.catalog.coaching_redesign.migration import CoachingRedesign
from backtrail.errors import UsageError
from backtrail.testing import trial
from tests.catalog.coaching_redesign.cases import (
    ANN,
    BEA,
    COACH,
    DAY,
    notes,
    oid,
    profile,
    profile_of,
    relationship,
    session,
    tried,
)

# -- profiles ------------------------------------------------------------------------------------------------------------------------


def test_what_a_half_filled_sub_document_has_stays():
    """Only what is missing is added, after what is there; a null stays where the plan allows one."""
    own = {"motto": "x", "values": None, "clifton_strengths": ["Learner"], "disc_profile": {"D": 1.0}}
    after, result = profile_of(identity_foundation=own, redesign_features={"freemium_gating": True, "own_flag": 1})
    assert list(after["identity_foundation"].items())[:4] == list(own.items())
    assert list(after["identity_foundation"])[4:] == [
        "energy_amplifiers",
        "energy_drainers",
        "personality_notes",
        "enneagram_type",
        "myers_briggs",
    ]
    assert after["redesign_features"]["freemium_gating"] is True
    assert after["redesign_features"]["own_flag"] == 1
    assert not result.notes


@pytest.mark.parametrize("name", ["identity_foundation", "freemium_status", "dashboard_preferences", "redesign_features"])
def test_null_and_empty_sub_documents_are_filled(name):
    """As if they were not there."""
    expected, _ = profile_of()
    for value in (None, {}):
        after, result = profile_of(**{name: value})
        assert after[name] == expected[name]
        assert len(after[name]) >= 4
        assert not result.notes


@pytest.mark.parametrize("value", ["text", 7, [], False])
def test_what_is_no_object_stays_and_is_noted(value):
    """The user is migrated all the same, and the account shows the profile as left."""
    after, result = profile_of(freemium_status=value)
    assert after["freemium_status"] == value
    assert len(after["identity_foundation"]) == 8
    assert [note["fields"] for note in notes(result, "unmapped")] == [{"freemium_status": value}]
    assert result.accounts[ANN]["left"] == 1


def test_derived_values_that_differ_are_conflicts():
    """The profile's own count stays; what the documents say is noted."""
    after, result = profile_of(freemium_status={"has_coach": False, "entries_count": 9, "max_free_entries": 5})
    assert after["freemium_status"] == {
        "has_coach": False,
        "entries_count": 9,
        "max_free_entries": 5,
        "coach_requested": False,
        "coach_request_date": None,
    }
    assert [(note["field"], note["values"]) for note in notes(result, "conflict")] == [
        ("freemium_status.has_coach", [False, True]),
        ("freemium_status.entries_count", [9, 1]),
    ]


def test_users_without_a_profile_and_with_two():
    """The one gets no profile, with a remark; the other's are both enhanced alike, with a remark."""
    result = tried(
        {
            "profiles": [profile(), profile(_id=oid(101))],
            "session_insights": [session(), session(_id=oid(201), client_user_id=BEA)],
        }
    )
    assert [len(one["redesign_features"]) for one in result.tables["profiles"]] == [4, 4]
    assert {note.key: note.data["text"] for note in result.notes} == {
        ANN: "a user with 2 profiles: each is enhanced",
        BEA: "a user without a profile: there is none to enhance",
    }


# -- relationships -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "status", "has_coach"),
    [
        ({}, "active", True),
        ({"status": None}, "active", True),
        ({"status": "active"}, "active", True),
        ({"status": "pending"}, "pending", False),
        ({"status": "inactive"}, "inactive", False),
        ({"status": "declined"}, "declined", False),
        ({"status": "paused"}, "paused", False),
        ({"status": "Active"}, "Active", False),
        ({"status": 1}, 1, False),
        ({"coach_user_id": None}, "active", False),
    ],
)
def test_which_relationships_count_as_a_coach(given, status, has_coach):
    """Active ones with a coach, and those of before the redesign, which had no status."""
    result = tried({"profiles": [profile()], "coaching_relationships": [relationship(**given)]})
    (after,) = result.tables["coaching_relationships"]
    assert after["status"] == status
    assert list(after)[-4:] == ["invited_by_email", "invitation_accepted_at", "upgraded_from_freemium", "upgrade_date"]
    assert result.tables["profiles"][0]["freemium_status"]["has_coach"] is has_coach


def test_a_relationship_is_written_once_by_its_client():
    """Its coach has it too, and is migrated without it; being somebody's coach does not give one a coach."""
    people = [profile(), profile(_id=oid(101), user_id=COACH)]
    result = tried({"profiles": people, "coaching_relationships": [relationship()]})
    assert set(result.migrated) == {ANN, COACH}
    assert [one["freemium_status"]["has_coach"] for one in result.tables["profiles"]] == [True, False]
    assert [result.accounts[user]["in"] for user in (ANN, COACH)] == [2, 1]


def test_what_a_relationship_has_stays():
    """Existing values, also null ones where the plan allows null."""
    own = {"status": "pending", "invited_by_email": "a@example.org", "upgrade_date": DAY, "upgraded_from_freemium": True}
    result = tried({"profiles": [profile()], "coaching_relationships": [relationship(**own)]})
    assert result.tables["coaching_relationships"] == [relationship(**own, invitation_accepted_at=None)]
    assert not result.notes


def test_the_collection_of_relationships_is_a_parameter():
    """The plan itself has two names for it."""
    tables = {"profiles": [profile()], "coaching_relationship": [relationship()]}
    result = tried(tables, params={"relationships": "coaching_relationship"})
    assert result.tables["coaching_relationship"][0]["status"] == "active"
    assert result.tables["profiles"][0]["freemium_status"]["has_coach"] is True
    assert "coaching_relationships" not in result.tables


@pytest.mark.parametrize("name", ["", "goals", "entries", "a b", "$x", "a.b"])
def test_collections_that_cannot_be_meant(name):
    """Refused before anything is read."""
    with pytest.raises(UsageError):
        trial(CoachingRedesign, {}, params={"relationships": name})


# -- check ---------------------------------------------------------------------------------------------------------------------------


class Broken(CoachingRedesign):
    """A migration that loses something, as a wrong one would."""

    name = "broken"

    def migrate(self, user: Any) -> None:
        super().migrate(user)
        for change in list(user.decision.changes):
            if change.table == "entries":
                self.spoil(user, change)

    def spoil(self, user: Any, change: Any) -> None:
        raise NotImplementedError


def failure_of(spoil: Any) -> str:
    cls = type("Broken", (Broken,), {"spoil": spoil})
    result = trial(cls, {"profiles": [profile()], "session_insights": [session()], "goals": [], "coaching_relationships": []})
    (message,) = result.failures.values()
    return message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda self, user, change: user.decision.changes.remove(change),
            "0 entries for 1 session_insights, 1 of which have none",
        ),
        (lambda self, user, change: user.update(change.row, unset=["title"]), "one of the entries lacks title"),
        (lambda self, user, change: user.update(change.row, {"title": None}), "one of the entries lacks title"),
        (
            lambda self, user, change: user.update(change.row, {"client_user_id": BEA}),
            "one of the entries belongs to another user",
        ),
    ],
)
def test_check_finds_what_a_wrong_migration_would_do(spoil, message):
    """The plan's validation before every commit: counts, required fields, owners."""
    assert failure_of(spoil) == message


def test_accounting_finds_a_lost_field():
    """A copy that is complete by the plan but lost an old field is in no fate."""
    cls = type("Broken", (Broken,), {"spoil": lambda self, user, change: user.update(change.row, unset=["celebrations"])})
    with pytest.raises(AssertionError, match="accounted for"):
        trial(cls, {"profiles": [profile()], "session_insights": [session()], "goals": [], "coaching_relationships": []})
