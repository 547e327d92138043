"""What happens to a campaign between the feeder's looking at it and its sending."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backtrail import Entity, Keys, Rows
from ledger.progress import progress_of
from producer import feeder
from tests.engine import Engine, migration


def greet(user: Entity) -> None:
    """Greets the user."""
    row = user.one("users")
    user.update(row, {"name": "Dear " + row["name"]})


def test_a_pause_at_the_first_message_stays(engine: Engine) -> None:
    """Who pauses a campaign while its first messages are on their way has paused it."""
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'a'), (2, 'b')")
    cls = migration(greet, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    campaign = engine.open(cls, "migrate")
    assert campaign.state == "open"
    send = engine.queue.publish

    def paused_first(number: int, batches: Sequence[int]) -> None:
        with engine.store.transaction() as tx:
            assert engine.ledger.campaigns.move(tx, campaign, "paused", now=1)
        send(number, batches)

    engine.queue.publish = paused_first  # type: ignore[method-assign]
    engine.feeder.step()
    assert engine.queue.messages
    assert engine.status(campaign)["state"] == "paused"
    engine.work()
    assert engine.query("SELECT name FROM users ORDER BY id") == [("a",), ("b",)]


def test_who_comes_behind_the_cursor_is_found(engine: Engine) -> None:
    """Keys that came while the others were paged are found by one more look, are counted, and none is done twice."""
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (5, 'a'), (6, 'b'), (7, 'bad')"
    )
    cls = migration(greet, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("users",))
    campaign = engine.open(cls, "migrate", batch_size=1)
    engine.feeder.step()
    engine.work()
    engine.script("INSERT INTO users VALUES (1, 'c'), (2, 'd')")
    end = engine.run(campaign)
    assert (end["state"], end["total"], end["migrated"]) == ("completed", 5, 5)
    assert engine.query("SELECT count(*) FROM users WHERE name LIKE 'Dear %' AND name NOT LIKE 'Dear Dear %'") == [(5,)]
    assert end["later"] == 2


def test_sums_of_what_is_done_stand_with_the_campaign(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a look at it reads few batches however many there are, and says the same."""
    monkeypatch.setattr(feeder, "SETTLED", 3)
    everywhere.table("users", id=int, name=str)
    everywhere.add("users", *((number, "a") for number in range(40)))
    cls = migration(greet, keys=Keys("users", everywhere.id), reads=(Rows("users", by=everywhere.id),), writes=("users",))
    end = everywhere.migrate(cls, batch_size=2)
    assert (end["migrated"], end["total"]) == (40, 40)
    with everywhere.store.transaction(write=False) as tx:
        campaigns = everywhere.ledger.campaigns
        settled = campaigns.settled(tx, [1])[1]
        assert settled["to"] > 3
        whole = progress_of({}, campaigns.sums(tx, {1: 0})[1])
        short = campaigns.progress(tx, [1])[1]
    assert (short.tally, short.planned, short.done) == (whole.tally, whole.planned, whole.done)
    assert short.unsettled < whole.unsettled
