"""The write-ahead log stays small while there is always somebody who reads or writes, and nobody waits for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backtrail.stores.sqlite import log
from backtrail.stores.sqlite.store import SqliteStore

LARGE = 100_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SqliteStore]:
    monkeypatch.setattr(log, "LARGE", LARGE)
    with closing(sqlite3.connect(tmp_path / "app.db")) as raw:
        raw.execute("PRAGMA journal_mode = wal")
        raw.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    store = SqliteStore(f"sqlite:///{tmp_path}/app.db", lock_timeout_ms=1000)
    yield store
    store.close()


def write(store: SqliteStore, number: int, kilobytes: int = 40) -> None:
    with store.transaction() as tx:
        tx.connection.exec_driver_sql("INSERT INTO notes VALUES (?, ?)", (number, "x" * 1000 * kilobytes))


def log_size(tmp_path: Path) -> int:
    return (tmp_path / "app.db-wal").stat().st_size


def test_it_begins_anew_also_while_readers_come_and_go(store: SqliteStore, tmp_path: Path) -> None:
    sizes = []
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as reader:
        for number in range(20):
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM notes").fetchone() == (number,)
            reader.execute("COMMIT")
            write(store, number)
            sizes.append(log_size(tmp_path))
    assert max(sizes) < 2 * LARGE
    assert 0 in sizes
    assert max(sizes) > 0


def test_it_grows_on_beside_a_reader_of_an_older_state_who_is_asked_for_once_in_a_while(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "WAIT_MS", 1)
    asked: list[int] = []
    shorten = log.WriteAheadLog.shorten
    monkeypatch.setattr(log.WriteAheadLog, "shorten", lambda self, raw: (asked.append(1), shorten(self, raw)))
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None)) as reader:
        write(store, 0)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM notes").fetchone() == (1,)
        for number in range(1, 13):
            write(store, number)
        grown = log_size(tmp_path)
        assert reader.execute("SELECT count(*) FROM notes").fetchone() == (1,)
        reader.execute("COMMIT")
    assert grown > 4 * LARGE
    assert len(asked) <= grown / LARGE + 1
    for number in range(13, 17):
        write(store, number)
    assert log_size(tmp_path) < 2 * LARGE
    with store.transaction(write=False) as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 17


def test_whoever_waits_for_a_lock_waits_as_long_as_before(store: SqliteStore, tmp_path: Path) -> None:
    before = waits(store)
    write(store, 1, kilobytes=2 * LARGE // 1000)
    assert log_size(tmp_path) == 0
    assert waits(store) == before


def waits(store: SqliteStore) -> int:
    """How many ms the connection that was used last waits, without a transaction: one that writes sets that anew."""
    with closing(store.engine.raw_connection()) as pooled:
        raw = pooled.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        (timeout,) = raw.execute("PRAGMA busy_timeout").fetchone()
        return int(timeout)


def test_without_a_log_there_is_nothing_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "LARGE", 1)
    with closing(sqlite3.connect(tmp_path / "app.db")) as raw:
        raw.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    with closing(SqliteStore(f"sqlite:///{tmp_path}/app.db", lock_timeout_ms=1000)) as store:
        write(store, 1)
    assert not (tmp_path / "app.db-wal").exists()
