"""A database's write-ahead log, kept small: SQLite by itself begins it anew only at a moment when nobody reads from it.

Two workers that take turns leave no such moment. The log of a million users grew to 4 GB beside a database of 5, and every read looks
through its index. Somebody has to make writers wait for an instant (https://www.sqlite.org/wal.html, Avoiding Excessively Large WAL Files).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

LARGE = 64 * 2**20
"""From how many bytes on the log begins anew."""

WAIT_MS = 400
"""How long others may have to wait with their writing until whoever reads an older state is done: no longer than for one of our transactions.

What is left in the log is copied after that.
"""


class WriteAheadLog:
    """The log beside one database, as one process sees to it."""

    def __init__(self, database: str) -> None:
        self._path = Path(f"{database}-wal")
        self._limit = LARGE

    def large(self) -> bool:
        """Whether it has grown so large that it should be shortened."""
        return self._size() >= self._limit

    def shorten(self, raw: Any) -> None:
        """Nothing; what the log holds is in the database, and the log empty, unless somebody goes on reading an older state.

        Args:
            raw: the driver's connection, outside any transaction.
        """
        (timeout,) = raw.execute("PRAGMA busy_timeout").fetchone()
        raw.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
        try:
            (busy, _, _) = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            raw.execute(f"PRAGMA busy_timeout = {timeout}")
        # Whoever reads for long, a backup say, is not to make each of our transactions wait.
        self._limit = self._size() + LARGE if busy else LARGE

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:  # another journal mode
            return 0
