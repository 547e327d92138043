"""What is seen to on every connection to a SQLite file: text in UTF-8, and a write lock that whoever waits for it gets."""

from __future__ import annotations

import sqlite3
import time

from sqlalchemy.engine import Connection

from backtrail.errors import UnsuitableDatabase


def demand_utf8(raw: sqlite3.Connection) -> None:
    """Nothing, where text is kept as it is handed out.

    Raises:
        UnsuitableDatabase: it is kept in UTF-16. SQLite hands it out as UTF-8, in which half a surrogate pair becomes another character.
    """
    (encoding,) = raw.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise UnsuitableDatabase(
            f"the SQLite database keeps text as {encoding}, which cannot always be given back exactly: make one of UTF-8 of it"
            " (sqlite3 old.db .dump | sqlite3 new.db)"
        )


def begin_to_write(connection: Connection, timeout: float, *, in_memory: bool = False) -> None:
    """Nothing; the connection holds the write lock.

    SQLite's own waiting looks for the lock every 100 ms at last, and a worker between two batches lets go of it for a few: whoever waits
    so, for a `pause` say, may wait until the campaign is over. Looked for every millisecond, it goes to whoever is waiting.

    Args:
        connection: has not begun.
        timeout: how many seconds it waits for the lock.
        in_memory: whether what a savepoint copies stays in memory. It goes into a file otherwise, page by page: three quarters of all that is
            written. In memory are then sorts, too, of which that of an index may be as large as its table.
    """
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101 -- this store makes no other
    deadline = time.monotonic() + timeout
    if in_memory:
        raw.execute("PRAGMA temp_store = MEMORY")
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                raw.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                return
    finally:
        # A commit may still have to wait for readers.
        raw.execute(f"PRAGMA busy_timeout = {round(timeout * 1000)}")


def end_of_writing(raw: sqlite3.Connection) -> None:
    """Nothing; whoever has the connection next, a VACUUM perhaps, puts what is large into files."""
    raw.execute("PRAGMA temp_store = DEFAULT")
