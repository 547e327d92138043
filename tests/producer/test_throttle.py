"""A campaign with a rate gets so many entities a second and no more, whatever happened before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backtrail import Entity, Keys, Migration, Rows
from backtrail.errors import UsageError
from ledger.campaigns import Batch, Campaign
from producer import feeder
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


def batches(number: int, size: int) -> list[Batch]:
    """Batches that wait, each of that size."""
    return [Batch(3, at, [], "ready", size=size) for at in range(number)]


def minutes(throttle: Throttle, clock: Clock, one: Campaign, size: int, number: int = 1) -> list[int]:
    """How many entities are sent in each of the next hundredths of a second, from a queue that is worked off at once."""
    found = []
    waiting = batches(60, size)
    for _ in range(6000 * number):
        some = throttle.allowed(one, waiting, 0)
        throttle.spent(one, some)
        found.append(sum(batch.size for batch in some))
        clock.now += 0.01
    return found


@pytest.mark.parametrize(("rate", "size"), [(50, 200), (1000, 200), (3, 1), (0.5, 9)])
def test_no_more_than_the_rate_is_let_through(rate, size):
    """Over a minute it is what was asked for, and no burst comes after an hour in which nothing went."""
    clock = Clock()
    throttle, one = Throttle(clock), campaign(rate, size)
    sent = sum(minutes(throttle, clock, one, batch_size(one)))
    assert 60 * rate * 0.9 <= sent <= 60 * rate + 2 * max(rate, batch_size(one))
    clock.now += 3600
    assert len(throttle.allowed(one, batches(60, batch_size(one)), 0)) * batch_size(one) <= max(rate, batch_size(one))


def test_batches_from_before_the_rate_was_lowered_are_charged_as_what_they_are():
    """One of 500 at 10 a second is sent, and then nothing for 50 seconds."""
    clock = Clock()
    throttle = Throttle(clock)
    sent = minutes(throttle, clock, campaign(10, 500), 500, 10)
    assert set(sent) == {0, 500}
    assert sent.index(500) == 0 and sent.index(500, 1) == pytest.approx(5000, abs=2)
    assert sum(sent) == 500 * 12


def test_what_is_under_way_counts():
    """Where workers are slow, the queue does not fill with what they could then do at once; a batch larger than that comes alone."""
    throttle, one = Throttle(Clock()), campaign(100, 50)
    assert throttle.allowed(one, batches(9, 50), 200) == []
    assert len(throttle.allowed(one, batches(9, 50), 150)) == 1
    assert len(throttle.allowed(replace(one, options={"batch_size": 50}), batches(9, 50), 9000)) == 9
    assert throttle.allowed(one, batches(9, 500), 1) == []
    assert len(throttle.allowed(one, batches(9, 500), 0)) == 1


def test_what_is_lost_and_sent_again_is_not_charged_again(on_sqlite: Engine) -> None:
    """It was when it was sent first: a loss does not slow the campaign."""
    clock = Clock()
    on_sqlite.feeder._throttle = Throttle(clock)
    opened = on_sqlite.open(greeting(on_sqlite, 9), "migrate", batch_size=3, options={"rate": 3.0})
    on_sqlite.feeder.step()
    assert len(on_sqlite.queue.messages) == 1
    on_sqlite.queue.messages.clear()
    on_sqlite.feeder._lost = True
    on_sqlite.feeder.step()
    assert on_sqlite.queue.messages == [(opened.id, 1)]
    on_sqlite.work()
    clock.now += 1
    on_sqlite.feeder.step()
    assert on_sqlite.queue.messages == [(opened.id, 2)]


def test_a_rate_holds_for_batches_that_were_cut_before(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sets one for a campaign under way gets it from the next batch on."""
    clock = Clock()
    everywhere.feeder._throttle = Throttle(clock)
    monkeypatch.setattr(feeder, "HIGH", 2)
    opened = everywhere.open(greeting(everywhere, 50), "migrate", batch_size=10)
    everywhere.feeder.step()
    everywhere.work()
    with everywhere.store.transaction() as tx:
        slow = replace(everywhere.ledger.campaigns.find(tx, opened.name), options={"batch_size": 10, "rate": 1.0})
        everywhere.ledger.campaigns.record_move(tx, slow, {})
    done = []
    for _ in range(22):
        everywhere.feeder.step()
        everywhere.work()
        done.append(everywhere.status(opened)["migrated"])
        clock.now += 1
    assert done == [30] * 10 + [40] * 10 + [50] * 2


def test_nothing_is_sent_while_something_holds(engine: Engine) -> None:
    """It goes on by itself once nothing does, and the feeder says what it was."""
    cls = greeting(engine, 2)
    engine.feeder._hold = lambda: "replication lag of 12.0 s"
    opened = engine.open(cls, "migrate", batch_size=1)
    for _ in range(5):
        engine.feeder.step()
    assert engine.queue.messages == []
    assert engine.feeder.news == {"leads": True, "held": {opened.name: "replication lag of 12.0 s"}}
    engine.feeder._hold = lambda: None
    assert engine.run(opened)["migrated"] == 2
    assert engine.feeder.news["held"] == {}


def greeting(engine: Engine, number: int) -> type[Migration]:
    """A migration that greets so many users."""
    engine.table("users", id=int, name=str)
    engine.add("users", *((key, "a") for key in range(number)))
    return migration(greet, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def greet(user: Entity) -> None:
    """Greets the user."""
    row = user.one("users")
    user.update(row, {"name": "Dear " + row["name"]})
