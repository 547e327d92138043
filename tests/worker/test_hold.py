"""Recalls of a batch are made by one process at a time, however often its message comes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from ledger.campaigns import Batch, Campaign
from producer import feeder
from tests.engine import Engine, migration
from worker import hold, tasks

IN_HAND = "back: another process has it in hand"


def titled(engine: Engine, title: Callable[[Any], str]) -> type[Migration]:
    """A migration of three users, whose titles are paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "Ann"), (2, "Bob"), (3, "Eve"))

    def migrate(user: Any) -> None:
        user.update(user.one("users"), set={"name": user.recall("title", title, user.key)})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def held_by(engine: Engine, campaign: Campaign, process: str) -> str:
    """The owner of a lease of the campaign's first batch."""
    owner = f"{process} {'0' * 32}"
    with engine.store.transaction() as tx:
        assert engine.ledger.presence.lead(tx, hold._lease(campaign.id, 1), owner, hold.HOLD_MS) is not None
    return owner


def batch(engine: Engine, campaign: Campaign) -> Batch:
    with engine.store.transaction(write=False) as tx:
        found = engine.ledger.campaigns.peek(tx, campaign.id, 1)
    assert found is not None
    return found


def test_a_message_that_comes_again_meanwhile_pays_for_nothing(everywhere: Engine) -> None:
    """The first delivery makes all recalls; others leave them to it, and count neither as tries nor as deaths of anybody."""
    engine = everywhere
    asked: list[Any] = []
    others: list[str] = []

    def title(key: Any) -> str:
        asked.append(key)
        others.append(tasks.run(engine.settings, 1, f"c{campaign.id}", 1, again=len(others) > 0))
        return f"title {key}"

    cls = titled(engine, title)
    campaign = engine.open(cls, "migrate")
    end = engine.run(campaign)
    assert (end["state"], end["migrated"], end["failed"]) == ("completed", 3, 0)
    assert (sorted(asked), others) == ([1, 2, 3], [IN_HAND] * 3)
    assert "begun" not in str(batch(engine, campaign).note)


def test_who_was_killed_elsewhere_is_waited_for(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until its lease has run out, what was noted about the batch stays; then somebody else makes the recalls."""
    engine = everywhere
    campaign = engine.open(titled(engine, str), "migrate")
    owner = held_by(engine, campaign, "elsewhere 1 1")
    monkeypatch.setattr(feeder, "REFUSED_MS", (-1, -1))  # what was refused comes round at the next step
    monkeypatch.setattr(engine.feeder, "_refused_ms", -1)
    for _ in range(2):
        engine.feeder.step()
        engine.work()
    assert engine.answers == [IN_HAND] * 2
    assert batch(engine, campaign).note == "this worker: another process makes the batch's recalls"
    with engine.store.transaction() as tx:
        engine.ledger.campaigns.remark(tx, campaign.id, 1, "begun 2 times without an end: step 0")
    engine.feeder.step()
    engine.work()
    assert batch(engine, campaign).note == "begun 2 times without an end: step 0"
    with engine.store.transaction() as tx:
        engine.ledger.presence.leave(tx, owner)
    assert engine.run(campaign)["migrated"] == 3


@pytest.mark.parametrize("alive", [True, False])
def test_a_process_of_the_same_worker_is_known_to_be_dead(on_sqlite: Engine, alive: bool) -> None:
    """Its batch goes on at once; that of one that lives does not."""
    campaign = on_sqlite.open(titled(on_sqlite, str), "migrate")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        if not alive:
            process.kill()
            process.wait()
        held_by(on_sqlite, campaign, f"{socket.gethostname()} {os.getppid()} {process.pid}")
        on_sqlite.feeder.step()
        on_sqlite.work()
        assert (on_sqlite.answers == [IN_HAND]) is alive
        assert on_sqlite.status(campaign)["migrated"] == (0 if alive else 3)
        process.kill()
