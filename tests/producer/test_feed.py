"""What happens to a campaign between the feeder's looking at it and its sending."""

from __future__ import annotations

from collections.abc import Sequence

from backtrail import Entity, Keys, Rows
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
