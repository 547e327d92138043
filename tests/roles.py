"""Production set-ups: databases in which the ledger's owner, workers, the application and a reader are users of their own, as `backtrail grants` says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from backtrail.discovery import Found
from backtrail.stores import open_store
from producer.grants import grants
from producer.needs import Needs, Part, Roles, needs_of

PASSWORD = "secret"


def fresh_roles() -> Roles:
    """Names that no other test has: users belong to the whole server."""
    mark = uuid.uuid4().hex[:12]
    return Roles(f'owner "{mark}', f"Worker {mark}", f"application_{mark}", f"reader_{mark}")


def as_user(url: str, user: str) -> str:
    """The URL with another user."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    name = user.replace(" ", "%20").replace('"', "%22")
    return urlunsplit(parts._replace(netloc=f"{name}:{PASSWORD}@{host}"))


@dataclass
class Production:
    """One PostgreSQL database and its users; `url` is the administrator's, who owns the data."""

    url: str
    roles: Roles

    @property
    def owner(self) -> str:
        return as_user(self.url, self.roles.owner)

    @property
    def worker(self) -> str:
        return as_user(self.url, self.roles.worker)

    @property
    def application(self) -> str:
        return as_user(self.url, self.roles.application)

    @property
    def reader(self) -> str:
        return as_user(self.url, str(self.roles.reader))

    def parts(self, needs: Needs, *, update: bool = False) -> list[Part]:
        """What `backtrail grants` says after having asked the database."""
        with closing(open_store(self.url, lock_timeout_ms=1000)) as store:
            return grants(self.url, needs, self.roles, store, update=update)

    def begin(self, found: Sequence[Found]) -> None:
        """Nothing; the users are there, and the owner may expand."""
        outside, looking, _, _ = self.parts(needs_of(found, {}))
        self.run(self.url, outside)
        self.run(self.url, looking)
        with psycopg.connect(self.url, autocommit=True) as connection:
            for one in self.names():
                connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(one), PASSWORD))

    def grant(self, found: Sequence[Found]) -> None:
        """Nothing; there is a ledger, and each user may do what is printed: said by the owner of what it is about."""
        *_, on_ledger, on_data = self.parts(needs_of(found, {}), update=True)
        self.run(self.owner, on_ledger)
        self.run(self.url, on_data)

    def run(self, url: str, part: Part) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for one in part.statements:
                connection.execute(one.text)  # type: ignore[arg-type] # the statement is what is tested

    def names(self) -> list[str]:
        return [self.roles.owner, self.roles.worker, self.roles.application, str(self.roles.reader)]

    def query(self, text: str) -> list[Any]:
        """The rows that the administrator sees."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(text).fetchall()  # type: ignore[arg-type]


@contextmanager
def production(url: str) -> Iterator[Production]:
    """The production set-up of an empty PostgreSQL database, in which only the application's user is there yet; all users go at the end."""
    one = Production(url, fresh_roles())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(one.roles.application)))
    try:
        yield one
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
            for name in map(sql.Identifier, existing.intersection(one.names())):
                connection.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(name))
            for name in map(sql.Identifier, existing.intersection(one.names())):
                connection.execute(sql.SQL("DROP ROLE {}").format(name))


def documents(parts: Sequence[Part]) -> list[Mapping[str, Any]]:
    """The commands of MongoDB that are printed, each user with the tests' password."""
    commands = [dict(one.command or {}) for part in parts for one in part.statements]
    return [command | {"pwd": PASSWORD} if "createUser" in command else command for command in commands]
