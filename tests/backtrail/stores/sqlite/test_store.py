"""Readers of a file whose readers keep writers out never wait for each other by way of a writer."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from backtrail.errors import Retry, UnsuitableDatabase
from backtrail.stores.sqlite.store import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(sqlite3.connect(tmp_path / "app.db")) as raw:
        assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        raw.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT)")
    store = SqliteStore(f"sqlite:///{tmp_path}/app.db", lock_timeout_ms=1000)
    yield store
    store.close()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "app.db", isolation_level=None, timeout=0)) as raw:
        yield raw


def count(raw: sqlite3.Connection) -> int:
    (number,) = raw.execute("SELECT count(*) FROM notes").fetchone()
    return int(number)


def test_a_reader_goes_on_reading_while_a_writer_waits_for_it(store: SqliteStore, writer: sqlite3.Connection) -> None:
    """Whoever asks for another transaction, or for a table's columns, gets them from the one that is open."""
    with store.transaction(write=False) as outer:
        assert outer.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
        writer.execute("BEGIN")
        writer.execute("INSERT INTO notes VALUES (1, 'a')")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("COMMIT")
        with (
            closing(sqlite3.connect(store.engine.url.database or "", timeout=0)) as other,
            pytest.raises(sqlite3.OperationalError),
        ):
            count(other)
        with store.transaction(write=False) as inner:
            assert inner.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
        assert list(store.columns("notes") or ()) == ["id", "text"]
        assert outer.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
    writer.execute("COMMIT")
    with store.transaction(write=False) as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1


def test_transactions_may_end_in_any_order(store: SqliteStore, writer: sqlite3.Connection) -> None:
    """As those that generators hold do: nobody is handed one that is over."""
    first, second = store.transaction(write=False), store.transaction()
    with ExitStack() as stack:
        stack.push(first)
        first.__enter__()
        with second as tx:
            stack.pop_all().close()
            with store.transaction(write=False) as inner:
                assert inner is tx
    writer.execute("INSERT INTO notes VALUES (1, 'a')")
    with store.transaction(write=False) as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1


def test_a_closed_store_has_none_open(store: SqliteStore) -> None:
    """Nor has a process that is forked then: whoever is about to fork closes the store first."""
    with store.transaction(write=False) as outer:
        store.close()
        with store.transaction(write=False) as tx:
            assert tx is not outer


def test_what_is_open_is_no_longer_after_an_error(store: SqliteStore, writer: sqlite3.Connection) -> None:
    with pytest.raises(Retry), store.transaction(write=False) as outer:
        assert outer.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 0
        raise Retry("something")
    writer.execute("INSERT INTO notes VALUES (1, 'a')")
    with store.transaction(write=False) as tx:
        assert tx is not outer
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1


def test_one_who_writes_sees_its_own_and_gives_up_the_lock(store: SqliteStore, writer: sqlite3.Connection) -> None:
    with store.transaction() as tx:
        tx.connection.exec_driver_sql("INSERT INTO notes VALUES (1, 'a')")
        with store.transaction(write=False) as inner:
            assert inner.connection.exec_driver_sql("SELECT count(*) FROM notes").scalar() == 1
        assert count(writer) == 0
    assert count(writer) == 1
    writer.execute("INSERT INTO notes VALUES (2, 'b')")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux tells which files a process has open")
def test_what_a_savepoint_copies_stays_in_memory(store: SqliteStore, writer: sqlite3.Connection) -> None:
    """With a write-ahead log, SQLite would copy each page that is changed after one into a file: four times as many writes in all."""
    writer.execute("PRAGMA journal_mode = WAL")
    with store.transaction() as tx:
        tx.connection.exec_driver_sql(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO notes SELECT i, hex(zeroblob(1900)) FROM n"
        )
    with store.transaction(small=True) as tx:
        before = open_files()
        with tx.savepoint() or nullcontext():
            tx.connection.exec_driver_sql("UPDATE notes SET text = 'b' || substr(text, 2)")
            assert open_files() <= before


def test_whoever_has_the_connection_next_sorts_in_files(store: SqliteStore) -> None:
    """A VACUUM, an index, a sort: in memory they would take as much as their table."""
    with store.transaction(small=True) as tx:
        assert temp_store(tx.raw) == 2
    for write in (True, False):
        with store.transaction(write=write) as tx:
            assert temp_store(tx.raw) == 0
    with closing(store.engine.raw_connection()) as pooled:
        assert temp_store(pooled.driver_connection) == 0


def temp_store(raw: Any) -> int:
    """Where the connection puts what is temporary: 0 into files, as by itself; 2 into memory."""
    (number,) = raw.execute("PRAGMA temp_store").fetchone()
    return int(number)


def open_files() -> set[str]:
    """The names of the files that this process has open."""
    names = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            names.add(str(link.readlink()))
    return names


@pytest.mark.parametrize("option", ["mode=s3cret", "timeout=s3cret", "check_same_thread=s3cret"])
def test_options_that_cannot_be(tmp_path: Path, option: str) -> None:
    """What SQLAlchemy would warn of and leave out, or end at, is named without its value; nothing is made."""
    with (
        closing(SqliteStore(f"sqlite:///{tmp_path}/app.db?{option}", lock_timeout_ms=1000)) as store,
        pytest.raises(UnsuitableDatabase, match="^database_url: .* mend " + option.partition("=")[0]) as caught,
        store.transaction(write=False),
    ):
        pass
    assert "s3cret" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
