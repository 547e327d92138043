"""The status document: its form is what scripts rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from backtrail import Keys, Rows
from ledger.campaigns import Campaign
from ledger.progress import Progress, Tally
from producer.status import document, waves
from tests.engine import Engine, migration

PROMISED = {
    "campaign": str,
    "migration": str,
    "kind": str,
    "state": str,
    "total": int,
    "pending": int,
    "migrated": int,
    "rolled_back": int,
    "skipped": int,
    "failed": int,
    "conflicts": int,
    "unmapped": int,
    "rate_per_s": float,
    "eta_s": (float, type(None)),
    "by": str,
    "reason": (str, type(None)),
    "held": (str, type(None)),
    "rate_limit": (int, float, type(None)),
    "waves": list,
}
CAMPAIGN = Campaign(3, "m", "m", "migrate", "running", {}, {}, ("int",), "f", 100, 2, "me", None, None, {}, fed=True, opened_at=0)


def test_every_promised_field_is_there_with_its_type(database: str) -> None:
    """Through the life of campaigns: open, completed, with failures, conflicts and reasons."""
    engine = Engine(database)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY); INSERT INTO users VALUES (1), (2), (3), (4)")

    def migrate(user: Any) -> None:
        if user.key == 4:
            raise ValueError
        user.conflict("a", [1, 2], 1)
        user.conflict("b", [1, 2], 1)
        if user.key == 1:
            user.unmapped(["x"])

    cls = migration(migrate, keys=Keys("users", "id"), reads=(Rows("users", "id"),))
    campaign = engine.open(cls, "migrate", reason="ticket 7")
    opened, ended = engine.status(campaign), engine.run(campaign)
    for one in (opened, ended):
        assert json.loads(json.dumps(one)) == one
        for name, kind in PROMISED.items():
            assert isinstance(one[name], kind), name  # type: ignore[arg-type]
    assert (opened["state"], opened["total"], opened["pending"], opened["eta_s"]) == ("open", 4, 4, None)
    counts = {"total": 4, "pending": 0, "migrated": 3, "rolled_back": 0, "skipped": 0, "failed": 1, "conflicts": 3, "unmapped": 1}
    assert {name: ended[name] for name in counts} == counts, "conflicts count entities"
    assert (ended["campaign"], ended["kind"], ended["state"], ended["reason"]) == ("c1", "migrate", "completed", "ticket 7")
    back = engine.rollback(cls, only=["1"])
    assert (back["kind"], back["rolled_back"], back["migrated"], back["conflicts"]) == ("rollback", 1, 0, 0)
    engine.close()


@pytest.mark.parametrize(
    ("values", "tally", "now", "pending", "rate", "eta"),
    [
        ({}, {}, 10_000, 100, 0.0, None),
        ({"started_at": 0}, {"migrated": 20}, 10_000, 80, 2.0, 40.0),
        ({"started_at": 0}, {"migrated": 10, "failed": 5, "rolled_back": 5, "skipped": 40}, 10_000, 40, 2.0, 20.0),
        ({"started_at": 0}, {}, 10_000, 100, 0.0, None),
        ({"started_at": 0}, {"migrated": 20}, 0, 80, 20000.0, 0.0),
        ({"started_at": 0, "state": "paused"}, {"migrated": 20}, 10_000, 80, 2.0, None),
        ({"started_at": 0, "state": "completed", "ended_at": 5000}, {"migrated": 99}, 10_000, 0, 19.8, 0.0),
        ({"started_at": 0, "state": "cancelled", "ended_at": 5000}, {"migrated": 50}, 10_000, 50, 10.0, None),
    ],
)
def test_pace(values: dict[str, Any], tally: dict[str, int], now: int, pending: int, rate: float, eta: float | None) -> None:
    """The rate is of work done since the start; the time left is known only while it runs; no division by zero."""
    one = document(replace(CAMPAIGN, **values), Progress(Tally(**tally)), now)
    assert (one["pending"], one["rate_per_s"], one["eta_s"]) == (pending, rate, eta)


def test_a_total_that_was_guessed_too_low_grows() -> None:
    """More may be done than was planned for: pending is never negative."""
    one = document(replace(CAMPAIGN, total=3, started_at=0), Progress(Tally(migrated=5)), 1000)
    assert (one["total"], one["pending"]) == (5, 0)


WAVES = replace(CAMPAIGN, options={"waves": [0.01, 0.1, 1.0]}, total=1050)
PASSED = {"wave": 0, "passed": True, "failed": 1, "conflicts": 2, "verify": "ok"}
CLOSED = {"wave": 1, "passed": False, "failed": 60, "conflicts": 0, "verify": "not run"}


@pytest.mark.parametrize(
    ("cursor", "state", "states"),
    [
        ({}, "open", ["running", "ahead", "ahead"]),
        ({"wave": 1, "gates": [PASSED]}, "running", ["passed", "running", "ahead"]),
        ({"wave": 1, "gates": [PASSED, CLOSED]}, "halted", ["passed", "failed", "ahead"]),
        ({"wave": 2, "gates": [PASSED, CLOSED, CLOSED | {"passed": True}]}, "running", ["passed", "passed", "running"]),
        ({"wave": 2, "gates": [PASSED]}, "completed", ["passed", "passed", "passed"]),
    ],
)
def test_waves(cursor: dict[str, Any], state: str, states: list[str]) -> None:
    """Each with its bound in entities and its own counts; a gate that was asked again counts by its last answer."""
    progress = Progress(waves={0: Progress(Tally(migrated=9, failed=1, conflicts=2)), 1: Progress(Tally(migrated=5))})
    found = waves(replace(WAVES, cursor=cursor, state=state), progress, 1050)
    assert [wave["state"] for wave in found] == states
    assert [wave["bound"] for wave in found] == [10, 105, 1050]
    assert [(wave["done"], wave["failed"], wave["conflicts"]) for wave in found] == [(10, 1, 2), (5, 0, 0), (0, 0, 0)]
    assert found[0]["gate"] == (PASSED if cursor else None)


def test_a_wave_has_one_entity_at_least() -> None:
    """And never more than there are."""
    assert [wave["bound"] for wave in waves(WAVES, Progress(), 3)] == [1, 1, 3]
    assert waves(CAMPAIGN, Progress(), 3) == []
