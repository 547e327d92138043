"""Whether transactions keep a savepoint to come back to, where that is dear."""

from __future__ import annotations

CALM = 10
"""After so many transactions in which nobody was refused, the next one need not expect it."""


class Caution:
    """What a worker process has learnt of how often the database refuses somebody.

    SQLite copies every page that is changed after a savepoint: into a file by itself, which makes four times as many writes in all, or into memory,
    of which a worker then has 5 MB more. Without a savepoint, whoever is refused makes the whole transaction begin anew.
    """

    def __init__(self, *, dear: bool) -> None:
        """Caution.

        Args:
            dear: whether a savepoint costs as much as that.
        """
        self._dear = dear
        self._left = 0

    @property
    def keeps_savepoints(self) -> bool:
        """Whether the next transaction should have one."""
        return not self._dear or self._left > 0

    def refused(self) -> None:
        """Nothing; somebody was refused."""
        self._left = CALM

    def committed(self) -> None:
        """Nothing; a transaction came to its end."""
        self._left = max(0, self._left - 1)
