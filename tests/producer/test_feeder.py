"""What a feeder sends again, and when: the queue stays short, however often workers die."""

from __future__ import annotations

import pytest

from backtrail import Entity, Keys, Rows
from ledger.campaigns import Campaign
from producer import feeder
from producer.feeder import Feeder
from tests.engine import Engine, migration

USERS = 6


def opened(engine: Engine) -> Campaign:
    """A campaign of so many users with a batch for each, all of which wait in the queue."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, done integer)")
    engine.script(f"INSERT INTO users VALUES {', '.join(f'({number}, 0)' for number in range(1, USERS + 1))}")

    def move(user: Entity) -> None:
        user.update(user.one("users"), {"done": 1})

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    campaign = engine.open(cls, "migrate", batch_size=1)
    while len(engine.queue.messages) < USERS:
        engine.feeder.step()
    return campaign


def another_leads(engine: Engine, times: int) -> Feeder:
    """The last of so many feeders that lead one after the other, each after the one before it has died."""
    for number in range(times):
        with engine.store.transaction() as tx:
            engine.ledger.presence.leave(tx, engine.feeder.owner)
        engine.feeder = Feeder(engine.ledger, engine.queue, f"feeder {number}")  # type: ignore[arg-type]
        engine.feeder.step()
        assert engine.feeder.fence is not None
    return engine.feeder


def test_what_waits_is_not_sent_again(on_sqlite: Engine) -> None:
    """While all messages wait, a new leader sends none; the queue does not grow with each of them."""
    opened(on_sqlite)
    another_leads(on_sqlite, 5)
    assert len(on_sqlite.queue.messages) == USERS


def test_what_a_worker_had_in_hand_is_sent_again(on_sqlite: Engine) -> None:
    """One message is in nobody's queue any more: all are sent again at once, and after that none, since enough wait."""
    campaign = opened(on_sqlite)
    lost = on_sqlite.queue.messages.pop(0)
    another_leads(on_sqlite, 1)
    assert lost in on_sqlite.queue.messages
    assert len(on_sqlite.queue.messages) == 2 * USERS - 1
    another_leads(on_sqlite, 5)
    assert len(on_sqlite.queue.messages) == 2 * USERS - 1
    state = on_sqlite.run(campaign)
    assert (state["migrated"], state["failed"]) == (USERS, 0)


def test_a_loss_is_remembered_until_too_few_wait(on_sqlite: Engine) -> None:
    """Whoever leads while enough messages wait, of other batches perhaps, sends what is missing once the queue is worked off."""
    opened(on_sqlite)
    on_sqlite.queue.messages[:] = [on_sqlite.queue.messages[0]] * USERS
    feeder = another_leads(on_sqlite, 1)
    assert len(set(on_sqlite.queue.messages)) == 1
    on_sqlite.queue.messages.pop()
    feeder.step()
    assert len(set(on_sqlite.queue.messages)) == USERS


def test_what_takes_long_is_not_sent_again_while_enough_waits(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that wait for longer than a message may take are not lost; where one is in nobody's queue any more, all are sent again."""
    opened(on_sqlite)
    monkeypatch.setattr(feeder, "RESEND_MS", -1)
    for _ in range(5):
        on_sqlite.feeder.step()
    assert len(on_sqlite.queue.messages) == USERS
    on_sqlite.queue.messages.pop(0)
    for _ in range(5):
        on_sqlite.feeder.step()
    assert len(on_sqlite.queue.messages) == 2 * USERS - 1
