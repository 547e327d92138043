"""A kind of database to measure on: filled once, copied for every run, durable, the same settings for whoever is measured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from typing import Any

from backtrail.discovery import find
from backtrail.stores import open_store
from bench.workload import Shape, Workload
from ledger.expansion import expansion
from ledger.ledger import Ledger


class Database(ABC):
    """One kind of database."""

    name: str

    @abstractmethod
    def fresh(self, workload: Workload, users: int) -> AbstractContextManager[str]:
        """A context with the URL of a new database: the old data of so many users, what `expand` adds, an empty ledger."""

    @abstractmethod
    def progress(self, url: str) -> AbstractContextManager[Callable[[int], bool]]:
        """A context with what tells whether all of a campaign's batches are committed."""

    @abstractmethod
    def values(self, url: str, table: str, column: str) -> list[Any]:
        """The different values of a column, in their order."""

    @abstractmethod
    def count(self, url: str, table: str, where: tuple[str, Any] | None = None) -> int:
        """How many rows the table has, with that value in that column if one is given."""

    @abstractmethod
    def digest(self, url: str, shapes: Sequence[Shape], until: Any = None) -> str:
        """A digest of what these shapes say; of those with an owner only up to that one."""

    @abstractmethod
    def server_process(self, url: str) -> int | None:
        """The id of the server's main process, where there is one."""

    @abstractmethod
    def settings(self, url: str) -> dict[str, str]:
        """What decides about speed and durability."""

    @abstractmethod
    def ledger_bytes(self, url: str) -> int:
        """The size of the ledger with its indexes; 0 where nobody can say."""


def expand(url: str, workload: Workload) -> None:
    """What the migration needs is there, and an empty ledger."""
    with closing(open_store(url, lock_timeout_ms=5000)) as store:
        expansion(Ledger(store), find(workload.source).cls()).expand(by="bench", reason=None)
