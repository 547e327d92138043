"""A campaign with a rate gets so many entities a second and no more, whatever happened before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backtrail import Entity, Keys, Rows
from backtrail.errors import UsageError
from ledger.campaigns import Campaign
from producer.throttle import Throttle, batch_size, parse_rate
from tests.engine import Engine, migration


@pytest.mark.parametrize(
    ("text", "meant"), [("50/s", 50), ("50", 50), ("3000/min", 50), ("0.5/s", 0.5), ("1800/h", 0.5), (" 10 /s ", 10)]
)
def test_rates_are_read(text, meant):
    """As people write them."""
    assert parse_rate(text) == pytest.approx(meant)


@pytest.mark.parametrize("text", ["", "0", "-1/s", "fast", "10/day", "1e3/s", "10/s/s"])
def test_what_is_no_rate_is_refused(text):
    """With an example of one that is."""
    with pytest.raises(UsageError, match="50/s"):
        parse_rate(text)


def campaign(rate: float | None, size: int = 200) -> Campaign:
    """One that is under way."""
    options = {"batch_size": size} | ({} if rate is None else {"rate": rate})
    return Campaign(
        3, "m", "m", "migrate", "running", options, {}, ("int",), "", 9, 0, "", None, None, {}, fed=False, opened_at=0
    )


@pytest.mark.parametrize(
    ("rate", "size", "meant"), [(None, 200, 200), (1000, 200, 200), (50, 200, 50), (0.2, 200, 1), (7.9, 3, 3)]
)
def test_a_batch_is_no_more_than_a_seconds_worth(rate, size, meant):
    """So that a slow campaign goes evenly."""
    assert batch_size(campaign(rate, size)) == meant


class Clock:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(("rate", "size"), [(50, 200), (1000, 200), (3, 1), (0.5, 9)])
def test_no_more_than_the_rate_is_let_through(rate, size):
    """Over a minute it is what was asked for, and no burst comes after an hour in which nothing went."""
    clock = Clock()
    throttle, one = Throttle(clock), campaign(rate, size)
    sent = 0
    for _ in range(6000):
        allowed = throttle.allowed(one, 0, 60)
        throttle.spent(one, allowed)
        sent += allowed * batch_size(one)
        clock.now += 0.01
    assert 60 * rate * 0.9 <= sent <= 60 * rate + 2 * max(rate, batch_size(one))
    clock.now += 3600
    assert throttle.allowed(one, 0, 60) * batch_size(one) <= max(rate, batch_size(one))


def test_what_is_under_way_counts():
    """Where workers are slow, the queue does not fill with what they could then do at once."""
    throttle, one = Throttle(Clock()), campaign(100, 50)
    assert throttle.allowed(one, 4, 60) == 0
    assert throttle.allowed(replace(one, options={"batch_size": 50}), 4, 60) == 56
    assert throttle.allowed(replace(one, options={"batch_size": 50}), 70, 60) == 0


def test_nothing_is_sent_while_something_holds(engine: Engine) -> None:
    """It goes on by itself once nothing does, and the feeder says what it was."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    cls = migration(greet, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    engine.feeder._hold = lambda: "replication lag of 12.0 s"
    opened = engine.open(cls, "migrate", batch_size=1)
    for _ in range(5):
        engine.feeder.step()
    assert engine.queue.messages == []
    assert engine.feeder.news == {"leads": True, "held": {opened.name: "replication lag of 12.0 s"}}
    engine.feeder._hold = lambda: None
    assert engine.run(opened)["migrated"] == 2
    assert engine.feeder.news["held"] == {}


def greet(user: Entity) -> None:
    """Greets the user."""
    row = user.one("users")
    user.update(row, {"name": "Dear " + row["name"]})
