"""Going back where several entities, migrations or campaigns meet at one row; and back and forth, to the exact rows each time."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.errors import UsageError
from producer.drift import DriftFound
from tests.engine import Engine, migration


def users(engine: Engine) -> None:
    engine.table("users", id=int, name=str, team=int)
    engine.add("users", (1, "a", 1), (2, "b", 1), (3, "c", 2))


def suffixing(engine: Engine, name: str, suffix: str, **more: Any) -> Any:
    """A migration that writes something behind every user's name."""
    return migration(
        lambda entity: entity.update(entity.one("users"), {"name": entity.one("users")["name"] + suffix}),
        name=name,
        keys=Keys("users", engine.id),
        reads=(Rows("users", by=engine.id),),
        writes=("users",),
        **more,
    )


def test_the_later_migration_goes_first(everywhere: Engine) -> None:
    """Two migrations wrote one row: the earlier one refuses and names the later; later first, both go back exactly."""
    users(everywhere)
    before = everywhere.dump("users")
    first, second = suffixing(everywhere, "first", "1"), suffixing(everywhere, "second", "2")
    assert everywhere.migrate(first)["migrated"] == 3
    between = everywhere.dump("users")
    assert everywhere.migrate(second, only=["1", "2"])["migrated"] == 2
    with pytest.raises(DriftFound) as refused:
        everywhere.rollback(first)
    assert set(refused.value.drifted) == {"1", "2"}
    assert "second" in refused.value.drifted["1"][0]
    assert everywhere.rollback(second)["rolled_back"] == 2
    assert everywhere.dump("users") == between
    assert everywhere.rollback(first)["rolled_back"] == 3
    assert everywhere.dump("users") == before


def test_the_later_migration_ran_while_the_rollback_was_open(everywhere: Engine) -> None:
    """A campaign that came in between is named by the worker, entity by entity; the others go back."""
    users(everywhere)
    first, second = suffixing(everywhere, "first", "1"), suffixing(everywhere, "second", "2")
    assert everywhere.migrate(first)["migrated"] == 3
    opened = everywhere.open(first, "rollback", options={"from": "streams"})
    later = everywhere.open(second, "migrate", only=["2"])
    # Both are in the queue; the later campaign's batch is worked on first.
    everywhere.feeder.step()
    everywhere.queue.messages.sort(reverse=True)
    everywhere.work()
    assert everywhere.run(later)["migrated"] == 1
    state = everywhere.run(opened)
    assert (state["rolled_back"], state["failed"]) == (2, 1)
    assert "second" in everywhere.failures(first)["2"]["reason"]
    assert everywhere.rows("users", "id", "name") == [(1, "a"), (2, "b12"), (3, "c")]


def test_entities_of_one_migration_at_one_row(everywhere: Engine) -> None:
    """Two entities that change one row: the second is quarantined, and going back is as if there had been one."""
    everywhere.table("teams", id=int, size=int)
    everywhere.add("teams", (1, 0), (2, 0))
    users(everywhere)
    before = everywhere.dump("teams")
    cls = migration(
        lambda entity: entity.update(entity.one("teams"), {"size": entity.one("teams")["size"] + 1}),
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", by=everywhere.id), Rows("teams", by=everywhere.id, via="users.team")),
        writes=("teams",),
    )
    state = everywhere.migrate(cls)
    assert (state["migrated"], state["failed"]) == (2, 1)
    assert everywhere.rollback(cls)["rolled_back"] == 2
    assert everywhere.dump("teams") == before


def test_chains_of_requirements(everywhere: Engine) -> None:
    """What others require goes back last, however long the chain."""
    users(everywhere)
    before = everywhere.dump("users")
    chain = [suffixing(everywhere, f"step{at}", str(at), requires=(f"step{at - 1}",) if at else ()) for at in range(3)]
    for cls in chain:
        assert everywhere.migrate(cls)["migrated"] == 3
    for at in (0, 1):
        with pytest.raises(UsageError, match=f"step{at + 1}"):
            everywhere.rollback(chain[at])
    for cls in reversed(chain):
        assert everywhere.rollback(cls)["rolled_back"] == 3
    assert everywhere.dump("users") == before


def test_back_and_forth(everywhere: Engine) -> None:
    """Undo, redo, rerun, undo of a redo's campaign and so on: one of two states, to the byte, every time; verify finds nothing."""
    users(everywhere)
    everywhere.table("cards", id=int, user_id=int)
    everywhere.table("notes", id=int, user_id=int)
    everywhere.add("notes", (11, 1), (12, 2), (13, 3))
    tables = ("users", "cards", "notes")

    def migrate(entity: Any) -> None:
        entity.update(entity.one("users"), {"name": entity.one("users")["name"] + "!"})
        entity.create("cards", {everywhere.id: entity.key + 20, "user_id": entity.key})
        entity.delete(entity.one("notes"))

    cls = migration(
        migrate,
        keys=Keys("users", everywhere.id),
        reads=(Rows("users", by=everywhere.id), Rows("notes", by="user_id")),
        writes=("users", "cards", "notes"),
    )
    before = everywhere.dump(*tables)
    assert everywhere.migrate(cls)["migrated"] == 3
    after = everywhere.dump(*tables)
    assert after != before
    for turn in range(3):
        back = everywhere.rollback(cls)
        assert back["rolled_back"] == 3
        assert everywhere.dump(*tables) == before
        again = everywhere.redo(cls, back["campaign"]) if turn % 2 else everywhere.rerun(cls, only=["1", "2", "3"])
        assert again["migrated"] == 3, everywhere.failures(cls)
        assert everywhere.dump(*tables) == after
        undone = everywhere.rollback(cls, options={"from": "campaign", "campaign": int(again["campaign"][1:])})
        assert undone["rolled_back"] == 3
        assert everywhere.dump(*tables) == before
        assert everywhere.redo(cls, undone["campaign"])["migrated"] == 3
        assert everywhere.dump(*tables) == after


def test_two_rollbacks_at_once(everywhere: Engine) -> None:
    """Two workers take back the same entities at once: each once, and the rows are what they were."""
    users(everywhere)
    before = everywhere.dump("users")
    cls = suffixing(everywhere, "first", "1")
    assert everywhere.migrate(cls)["migrated"] == 3
    opened = everywhere.open(cls, "rollback", options={"from": "streams"})
    everywhere.feeder.step()
    messages = list(everywhere.queue.messages)
    assert messages
    threads = [threading.Thread(target=everywhere.work) for _ in range(2)]
    everywhere.queue.messages = messages * 2
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert everywhere.run(opened)["rolled_back"] == 3
    assert everywhere.dump("users") == before
    assert sum(event.kind == "compensated" for event in everywhere.events(cls, "1")) == 1
