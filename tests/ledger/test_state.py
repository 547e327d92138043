"""What is done about an entity: the whole table."""

from __future__ import annotations

from typing import Any

import pytest

from ledger.campaigns import Campaign
from ledger.entry import Head
from ledger.state import action

PLAIN: dict[str, Any] = {}
TABLE = [
    # kind, options, then the action for: new, failed, vanished, migrated, rolled back
    ("migrate", PLAIN, "migrate migrate migrate skip skip"),
    ("migrate", {"only": True}, "migrate migrate migrate skip redo"),
    ("rollback", PLAIN, "skip skip skip undo skip"),
    ("redo", PLAIN, "skip skip skip skip redo"),
    ("rerun", {"only": True}, "migrate migrate migrate again redo"),
    ("rerun", {"stale": True}, "skip skip skip refresh skip"),
]
STATES = ("", "failed", "vanished", "migrated", "rolled_back")


def campaign(kind: Any, options: dict[str, Any], number: int = 5) -> Campaign:
    return Campaign(
        number, "m", "m", kind, "running", options, {}, ("int",), "", 0, 0, "me", None, None, {}, fed=True, opened_at=0
    )


@pytest.mark.parametrize(("kind", "options", "actions"), TABLE)
def test_the_action_follows_from_kind_and_state(kind: str, options: dict[str, Any], actions: str) -> None:
    """Each kind of campaign does one thing about each state."""
    done = [action(campaign(kind, options), Head("m", "1", 1, 3, b"", state, campaign=4)) for state in STATES]
    assert " ".join(done) == actions


@pytest.mark.parametrize(("kind", "options", "actions"), TABLE)
@pytest.mark.parametrize("last", [5, 6])
def test_nobody_acts_twice_or_late(kind: str, options: dict[str, Any], actions: str, last: int) -> None:
    """A campaign that has acted on an entity, or is older than its last job, does nothing whatever the state."""
    assert {action(campaign(kind, options), Head("m", "1", 1, 3, b"", state, campaign=last)) for state in STATES} == {"skip"}


@pytest.mark.parametrize(("state", "done"), [("migrated", "again"), ("rolled_back", "redo"), ("failed", "migrate")])
def test_a_rerun_of_the_failed_takes_those_whose_last_job_failed(state: str, done: str) -> None:
    """Of the entities that failed, migrated ones are migrated anew and the others for the first time; the rest is left alone."""
    failed = campaign("rerun", {"failed": True})
    assert action(failed, Head("m", "1", 1, 3, b"", state, failed=True, campaign=4)) == done
    assert action(failed, Head("m", "1", 1, 3, b"", state, failed=False, campaign=4)) == "skip"
