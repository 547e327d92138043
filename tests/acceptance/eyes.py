"""What an independent eye sees of a database, and how an application changes it: one kind of eye for each kind of database.

Plain drivers and the databases' own languages, nothing of Backtrail's own. The small world that is looked at is a table (or collection) of
users and one of people, named by a prefix.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

User = tuple[int, str, int | None]
"""Key, full name, score."""

Person = tuple[int, str, str | None]
"""The user's key, first name, last name."""


class Eye(ABC):
    """One database."""

    kind: str
    key = "id"
    """What the field with a user's key is called."""

    def __init__(self, url: str) -> None:
        self.url = url

    def dump(self, *, but: tuple[str, ...] = ()) -> dict[str, str]:
        """All that the database holds, the ledger too, as a digest for each table or collection, exactly; and the schema."""
        return {name: text for name, text in self.everything().items() if not name.endswith(but or ("\0",))}

    @abstractmethod
    def everything(self) -> dict[str, str]:
        """A digest of every table or collection by its name, and the schema."""

    # -- the world ------------------------------------------------------------------------------------------------

    @abstractmethod
    def populate(self, prefix: str, users: int) -> None:
        """Makes so many users, none of them migrated; every third has no score."""

    @abstractmethod
    def users(self, prefix: str) -> list[User]:
        """The users as they are, in the order of their keys."""

    @abstractmethod
    def people(self, prefix: str) -> list[Person]:
        """What was made of them, without keys of its own."""

    @abstractmethod
    def rename(self, prefix: str, number: int, full_name: str) -> None:
        """Gives a user another name."""

    @abstractmethod
    def rename_person(self, prefix: str, number: int, last: str) -> None:
        """Gives the user's person another last name."""

    @abstractmethod
    def delete_user(self, prefix: str, number: int) -> None:
        """Takes the user away, and what was made of him."""

    @abstractmethod
    def held(self, prefix: str, number: int, seconds: float) -> AbstractContextManager[None]:
        """The user is in an application's hand for so long, as far as the database knows locks; nothing is changed."""

    # -- the ledger -----------------------------------------------------------------------------------------------

    @abstractmethod
    def states(self, migration: str) -> dict[str, int]:
        """How many of the migration's entities are in each state."""

    @abstractmethod
    def gaps(self, migration: str) -> list[Any]:
        """The streams whose events do not have the versions 1, 2, 3 … up to what the stream says."""

    @abstractmethod
    def kinds(self, migration: str, key: str) -> list[str]:
        """The kinds of one entity's events, in their order."""

    @abstractmethod
    def done(self, campaign: int) -> int:
        """How many of the campaign's entities are done."""

    @abstractmethod
    def state(self, campaign: int) -> str:
        """The campaign's state."""

    @abstractmethod
    def options(self, campaign: int) -> str:
        """The campaign's options, with what happened to it, as text."""

    @abstractmethod
    def recalls(self, migration: str) -> int:
        """How many results of calls are stored."""

    @abstractmethod
    def age(self) -> None:
        """Makes the ledger look as if a newer version had written it."""


def digest(lines: Iterable[str]) -> str:
    """The number of lines and a hash of them."""
    held = list(lines)
    return f"{len(held)} rows, {hashlib.sha256(chr(10).join(held).encode()).hexdigest()}"


@cache
def eye_of(url: str) -> Eye:
    """An eye for the database of that URL."""
    from tests.acceptance.mongo_eye import MongoEye
    from tests.acceptance.sql_eyes import PostgresEye, SqliteEye

    if url.startswith("mongodb"):
        return MongoEye(url)
    return PostgresEye(url) if url.startswith("postgresql") else SqliteEye(url)
