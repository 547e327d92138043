"""Who is at work, and why a campaign is held back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.campaigns import Campaign
from ledger.presence import Worker
from producer.crew import held, leader, workers

CAMPAIGN = Campaign(3, "m", "m", "migrate", "running", {}, {}, ("int",), "f", 100, 2, "me", None, None, {}, fed=True, opened_at=0)
IDLE = Worker("w1@h/ab", 0, {"release": "1", "host": "h", "pid": 7})
FEEDS = Worker("w2@h/cd", 0, {"release": "1", "host": "h", "pid": 8, "leads": True, "held": {"c3": "replication lag 12 s > 5 s"}})
PAUSED = {"moves": [{"to": "paused", "by": "ann@h", "reason": "lunch"}]}


@pytest.mark.parametrize(
    ("values", "alive", "why"),
    [
        ({}, [IDLE, FEEDS], "replication lag 12 s > 5 s"),
        ({"id": 4}, [IDLE, FEEDS], None),
        ({}, [IDLE], None),
        ({}, [], "no worker is alive"),
        ({"state": "open"}, [], "no worker is alive"),
        ({}, [replace(FEEDS, info=FEEDS.info | {"leads": False})], None),
        ({"state": "halted", "halted": "full disk"}, [FEEDS], "full disk"),
        ({"state": "halted"}, [], "it is halted"),
        ({"state": "paused"}, [FEEDS], "it is paused"),
        ({"state": "paused", "options": PAUSED}, [], "paused by ann@h: lunch"),
        (
            {"state": "paused", "options": {"moves": [*PAUSED["moves"], {"to": "running", "by": "x"}]}},
            [],
            "paused by ann@h: lunch",
        ),
        ({"state": "completed", "halted": "once"}, [], None),
        ({"state": "cancelled"}, [FEEDS], None),
    ],
)
def test_what_holds_a_campaign(values: dict[str, Any], alive: list[Worker], why: str | None) -> None:
    """Its state first, then want of workers, then what the leading feeder says; of one that is over nobody asks."""
    assert held(replace(CAMPAIGN, **values), alive) == why


def test_workers_say_what_they_are() -> None:
    """Release, host, process and when they were seen; and which of them leads."""
    first, second = workers([IDLE, replace(FEEDS, seen_at=1_700_000_000_123)])
    assert first == {
        "release": "1",
        "host": "h",
        "pid": 7,
        "id": "w1@h/ab",
        "seen": "1970-01-01T00:00:00.000+00:00",
        "leads": False,
    }
    assert (second["leads"], second["seen"]) == (True, "2023-11-14T22:13:20.123+00:00")
    assert leader([first, second]) == "w2@h/cd"
    assert leader([first]) is None
