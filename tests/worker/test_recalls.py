"""What was paid for is kept, or the campaign stops: nothing is paid for over and over."""

from __future__ import annotations

import os
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import DatabaseFault, Retry
from tests.engine import Engine, migration
from tests.servers import until
from worker import isolate, runtime


def titled(engine: Engine, asked: list[str]) -> type[Migration]:
    """A migration of one user, whose title is paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", (1, "Ann"))

    def title(name: str) -> str:
        asked.append(name)
        return name.upper()

    def migrate(user: Any) -> None:
        row = user.one("users")
        user.update(row, set={"name": user.recall("title", title, "Ann")})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def storing(monkeypatch: pytest.MonkeyPatch, errors: list[Exception]) -> None:
    """The worker's storing of a result fails with these errors, one after the other, and then goes well."""
    journal = runtime._runtimes[os.getpid()].ledger.journal
    store = journal.store_recall

    def failing(*args: Any) -> None:
        if errors:
            raise errors.pop(0)
        store(*args)

    monkeypatch.setattr(journal, "store_recall", failing)


def test_a_result_is_stored_again_where_another_was_first(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The transaction that keeps it is tried again, and not the call."""
    asked: list[str] = []
    cls, errors = titled(on_sqlite, asked), [Retry("first"), Retry("second")]
    storing(monkeypatch, errors)
    assert on_sqlite.migrate(cls)["migrated"] == 1
    assert errors == []
    assert asked == ["Ann"]
    assert on_sqlite.rows("users", "name") == [("ANN",)]


def test_a_result_that_cannot_be_stored_halts_the_campaign(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was paid for once, and is not asked for again until somebody has mended what is wrong."""
    asked: list[str] = []
    cls = titled(on_sqlite, asked)
    storing(monkeypatch, [DatabaseFault("the disk is full")])
    end = on_sqlite.migrate(cls)
    assert (end["state"], end["migrated"]) == ("halted", 0)
    assert asked == ["Ann"]
    assert on_sqlite.rows("users", "name") == [("Ann",)]


def many(engine: Engine, number: int, asked: list[str]) -> type[Migration]:
    """So many users, whose titles are paid for."""
    engine.table("users", id=int, name=str)
    engine.add("users", *((at, f"n{at}") for at in range(number)))

    def title(name: str) -> str:
        asked.append(name)
        return name.upper()

    def migrate(user: Any) -> None:
        row = user.one("users")
        # What it is asked for must not change with the answer.
        user.update(row, set={"name": user.recall("title", title, f"n{user.key}")})

    return migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),), writes=("users",))


def test_results_that_came_meanwhile_are_stored_together(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is stored, the others are called: they need no transaction each."""
    asked: list[str] = []
    kept: list[int] = []
    store = isolate._keep

    def keep(work: Any, results: Any) -> None:
        if not kept:
            until(lambda: len(asked) == 40, what="the other calls")
        kept.append(len(results))
        store(work, results)

    monkeypatch.setattr(isolate, "_keep", keep)
    assert on_sqlite.migrate(many(on_sqlite, 40, asked))["migrated"] == 40
    assert sum(kept) == len(asked) == 40
    # The first may be alone, and those of the last threads have yet to be handed over.
    assert len(kept) <= 2 + isolate.SIDE_BY_SIDE


def test_one_result_that_cannot_be_stored_loses_no_other(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign halts, and when it goes on, only that one is paid for again."""
    asked: list[str] = []
    store = isolate._keep

    def keep(work: Any, results: Any) -> None:
        if any(key == "7" for key, _, _ in results):
            raise DatabaseFault("no")
        store(work, results)

    cls = many(on_sqlite, 20, asked)
    monkeypatch.setattr(isolate, "_keep", keep)
    assert on_sqlite.migrate(cls)["state"] == "halted"
    assert len(asked) == 20
    with on_sqlite.store.transaction(write=False) as tx:
        known = on_sqlite.ledger.journal.recalls(tx, cls.name, {str(at): str(at) for at in range(20)})
    assert known.keys() == {str(at) for at in range(20)} - {"7"}
