"""The whole sample against an oracle, which says document by document what the plan asks for and shares no code with the migration."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from backtrail.catalog.coaching_redesign import sample
from backtrail.testing import Trial
from tests.catalog.coaching_redesign.cases import Tables, texts, tried

USERS = 80


def stub(sessions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Titles that tell which session they are of, without any generator."""
    return [{"title": f"held on {one.get('date')}", "by": "stub"} for one in sessions]


def collected(users: int) -> Tables:
    tables: Tables = {}
    for documents in sample.users(users):
        for name, found in documents.items():
            tables.setdefault(name, []).extend(found)
    return tables


def oracle(old: Tables) -> Tables:
    """Every document as the plan wants it."""
    new = copy.deepcopy(old)
    new["entries"], new["destinations"] = [], []
    for document in copy.deepcopy(old["session_insights"]):
        if document.get("client_user_id"):
            held = document.get("session_date") or document["created_at"]
            document.setdefault("entry_type", "session")
            document["title"] = document.get("title") or f"held on {held:%Y-%m-%d}"
            document.setdefault("detected_goals", [])
            new["entries"].append(document)
    for document in copy.deepcopy(old["goals"]):
        if document["user_id"]:
            new["destinations"].append(destination_by_plan(document))
    for document in new["coaching_relationships"]:
        if document["client_user_id"]:
            if document.get("status") is None:
                document["status"] = "active"
            document.setdefault("invited_by_email", None)
            document |= {"invitation_accepted_at": None, "upgraded_from_freemium": False, "upgrade_date": None}
    for document in new["profiles"]:
        sessions = [one for one in old["session_insights"] if one.get("client_user_id") == document["user_id"]]
        coached = [one for one in old["coaching_relationships"] if one["client_user_id"] == document["user_id"]]
        active = [one for one in coached if (one.get("status") or "active") == "active" and one["coach_user_id"]]
        profile_by_plan(document, bool(active), len(sessions))
    return new


def destination_by_plan(document: dict[str, Any]) -> dict[str, Any]:
    if "destination_statement" not in document:
        # The new name stands where the old one stood.
        document = {("destination_statement" if name == "goal_statement" else name): value for name, value in document.items()}
        document.setdefault("destination_statement", None)
    emoji, text, percent = (document.get(f"progress_{name}") for name in ("emoji", "notes", "percentage"))
    begun = [{"emoji": emoji, "notes": text, "percentage": percent, "timestamp": document["updated_at"]}]
    for name, value in (
        ("is_big_idea", False),
        ("big_idea_rank", None),
        ("progress_notes", None),
        ("progress_history", [] if percent is None else begun),
        ("priority", "medium"),
        ("category", "personal"),
        ("ai_suggested", False),
        ("source_documents", []),
        ("source_entries", []),
    ):
        document.setdefault(name, value)
    return document


def profile_by_plan(document: dict[str, Any], coached: bool, entries: int) -> None:
    foundation = document.setdefault("identity_foundation", {})
    if foundation is None:
        foundation = document["identity_foundation"] = {}
    if foundation != "values: honesty":
        for name in (
            "values",
            "energy_amplifiers",
            "energy_drainers",
            "personality_notes",
            "enneagram_type",
            "disc_profile",
            "myers_briggs",
        ):
            foundation.setdefault(name, None)
        foundation.setdefault("clifton_strengths", [])
    freemium = document.setdefault("freemium_status", {})
    for name, value in (("has_coach", coached), ("entries_count", entries), ("max_free_entries", 3), ("coach_requested", False)):
        freemium.setdefault(name, value)
    freemium.setdefault("coach_request_date", None)
    preferences = document.setdefault("dashboard_preferences", {})
    preferences.setdefault("preferred_landing_tab", "journey")
    preferences.setdefault("quote_likes", [])
    for name in ("onboarding_completed", "tooltips_shown"):
        if preferences.get(name) is None:
            preferences[name] = False
    features = document.setdefault("redesign_features", {})
    for name in ("unified_entries", "destinations_rebrand", "mountain_navigation", "freemium_gating"):
        features.setdefault(name, False)


@pytest.fixture(scope="module")
def old() -> Tables:
    return collected(USERS)


@pytest.fixture(scope="module")
def result(old: Tables) -> Trial:
    return tried(old, recalls={f"title:{number}": stub for number in (1, 2, 3)})


def test_the_sample_has_every_edge_case(old):
    """Nothing below would say anything about a case that is not there."""
    assert {sample.edge_of(number) for number in range(USERS)} == set(sample.EDGES)
    assert len(old["session_insights"]) > 250
    assert len(old["goals"]) > 120


def test_every_document_is_what_the_oracle_says(old, result):
    """Values and types of all documents of all collections, those that nobody owns included."""
    expected = oracle(old)
    assert set(expected) == set(result.tables)
    for name, documents in expected.items():
        found = {document["_id"]: document for document in result.tables[name]}
        assert len(found) == len(documents) == len(result.tables[name])
        for document in documents:
            assert plain(found[document["_id"]]) == plain(document), name


def plain(value: Any) -> Any:
    """A form in which 1, 1.0 and True differ, as do 33.3 and 33.30; fields of documents in any order."""
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return type(value).__name__, str(value)


def test_every_old_field_keeps_its_place(old, result):
    """New fields come last, and the renamed one stays where it was, so that a copy reads like its original."""
    for before, after in (("session_insights", "entries"), ("goals", "destinations")):
        copies = {document["_id"]: list(document) for document in result.tables[after]}
        assert copies
        for document in old[before]:
            if document["_id"] in copies and "destination_statement" not in document:
                names = ["destination_statement" if name == "goal_statement" else name for name in document]
                assert copies[document["_id"]][: len(names)] == names


def test_all_documents_are_accounted_for(old, result):
    """Every owned document is in exactly one fate."""
    sums: dict[str, int] = {}
    for account in result.accounts.values():
        for name, number in account.items():
            sums[name] = sums.get(name, 0) + number
    owned = [one for name in old for one in old[name] if one.get("client_user_id") or one.get("user_id")]
    as_text = sum(one.get("identity_foundation") == "values: honesty" for one in old["profiles"])
    assert as_text == 2
    assert sums["in"] == len(owned)
    assert sums["left"] == as_text
    assert sums["copied"] == len(result.tables["entries"]) + len(result.tables["destinations"])
    assert sums["enhanced"] == len(owned) - sums["copied"] - as_text


def test_notes_name_exactly_the_odd_users(old, result):
    """Who is ordinary gets no note; every edge case that should be looked at has its own."""
    noted = {sample.edge_of(number) for number in range(USERS) for note in result.notes if note.key == sample.user_id(number)}
    assert noted == {
        *("own title", "own entry type", "own detected goals", "both statements", "no goal statement", "null goal statement"),
        *("no success vision", "no profile", "two profiles", "identity as text", "own freemium status", "unknown status"),
    }


def test_entities_are_all_who_own_something(old, result):
    """A coach who is only a coach has a profile, and so is one, too; nobody's documents make none."""
    assert len(result.migrated) == USERS
    assert sample.user_id(0) in result.migrated
    assert all(one["client_user_id"] for one in result.tables["entries"])


def test_titles_of_the_built_in_generator_are_made_offline(old):
    """Without an endpoint in the settings every entry has a title of at most 60 characters, and no remark about it."""
    result = tried(collected(13))
    titles = [entry["title"] for entry in result.tables["entries"]]
    assert len(titles) > 60
    assert all(0 < len(title) <= 60 and title == title.strip() for title in titles)
    assert not any("generator" in text for text in texts(result))
