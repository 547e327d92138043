"""A batch done whole or in halves: who is in it because a newer campaign was faster holds nobody up."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from backtrail import Keys, Rows
from ledger.campaigns import Campaign
from tests.engine import Engine, migration


def carded(engine: Engine) -> Any:
    """Two users, whose cards are to have handles that nobody else has."""
    engine.table("users", id=int, handle=str)
    engine.table("cards", id=int, handle=str, unique=["handle"])
    engine.add("users", (1, "a"), (2, "b"), (3, "c"))

    def migrate(user: Any) -> None:
        user.create("cards", {engine.id: user.key, "handle": user.one("users")["handle"]})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("cards",))


def test_one_overtaken_and_one_refused(everywhere: Engine) -> None:
    """A batch with one user whom a newer campaign did, and one whom the database refuses, is done: it was tried again forever."""
    cls = carded(everywhere)
    older = everywhere.open(cls, "migrate", only=["1", "2", "3"])
    newer = everywhere.open(cls, "migrate", only=["1"])
    everywhere.add("cards", (77, "b"))
    _newest_first(everywhere)
    assert _counts(everywhere, newer) == (1, 0, 0)
    assert _counts(everywhere, older) == (1, 1, 1)
    assert set(everywhere.failures(cls)) == {"2"}
    assert everywhere.rows("cards", "id") == [(1,), (3,), (77,)]


def taken(engine: Engine, users: int, bad: set[int]) -> Any:
    """So many users with a card each, whose primary keys somebody has given to other cards for some of them."""
    engine.table("users", id=int)
    engine.table("cards", id=int, owner=int)
    engine.add("users", *((at,) for at in range(users)))
    engine.add("cards", *((at, -1) for at in bad))

    def migrate(user: Any) -> None:
        user.create("cards", {engine.id: user.key, "owner": user.key})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("cards",))


@pytest.mark.parametrize(("bad", "halves"), [({3, 17}, False), (set(range(0, 40, 3)), True)])
def test_whom_the_server_names_is_left_out(
    on_mongo: Engine, caplog: pytest.LogCaptureFixture, bad: set[int], halves: bool
) -> None:
    """A few users whom MongoDB refuses cost no halving of their batch, many do; either way only they are quarantined."""
    caplog.set_level(logging.INFO, logger="worker.isolate")
    cls = taken(on_mongo, 40, bad)
    state = on_mongo.migrate(cls)
    assert (state["migrated"], state["failed"]) == (40 - len(bad), len(bad))
    assert {int(key) for key in on_mongo.failures(cls)} == bad
    assert all("unique index _id_" in str(failure) for failure in on_mongo.failures(cls).values())
    assert any("halving" in record.message for record in caplog.records) is halves
    assert sorted(on_mongo.rows("cards", "id", "owner")) == [(at, -1 if at in bad else at) for at in range(40)]


def _newest_first(engine: Engine) -> None:
    engine.feeder.step()
    engine.queue.messages.sort(reverse=True)
    assert [campaign for campaign, _ in engine.queue.messages] == [2, 1], "the older one's message comes last"
    engine.work()


def _counts(engine: Engine, campaign: Campaign) -> tuple[int, int, int]:
    state = engine.status(campaign)
    return state["migrated"], state["skipped"], state["failed"]
