"""What was paid for is kept, or the campaign stops: nothing is paid for over and over."""

from __future__ import annotations

import os
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import DatabaseFault, Retry
from tests.engine import Engine, migration
from worker import runtime


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
