"""One migration as all measures meet it: how its data is made, what it leaves, and who else can do its work."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.database import Database
    from bench.script import Connect


@dataclass(frozen=True)
class Shape:
    """What of a table, or collection, is compared."""

    table: str
    columns: tuple[str, ...] = ()
    """Of a collection: none, for whole documents."""
    owner: str | None = None
    """The column with the user's key, where there is one."""
    order: tuple[str, ...] = ("id",)
    without: tuple[str, ...] = ()
    """Fields that are left out of documents, which are then compared whatever the order of their fields."""


class Workload(ABC):
    """One migration, and its data."""

    name: str
    source: str
    """Its code, as commands take it."""
    old: Sequence[Shape]
    """What a rollback gives back."""
    created: Sequence[str]
    """Tables that are empty before, and after a rollback."""

    @abstractmethod
    def fill(self, url: str, users: int) -> None:
        """Fills an empty database with the data of so many users."""


class Compared(Workload):
    """One that others can do too."""

    new: Sequence[Shape]
    """What is the same whoever migrates."""
    loose: Sequence[Shape]
    """What also the database alone can make the same."""
    naive: str
    """The module with a task for each user."""

    @abstractmethod
    def keys(self, database: Database, url: str) -> list[Any]:
        """The users in the order of their keys."""

    @abstractmethod
    def spoil(self, database: Database, url: str, keys: Sequence[Any]) -> int:
        """How many of these users can no longer be migrated: the database refuses what they would get."""

    @abstractmethod
    def set_based(self, url: str) -> None:
        """All users are migrated, by the database alone."""

    @abstractmethod
    def connect(self) -> Connect:
        """What opens the bulk script's connection; it can be pickled."""
