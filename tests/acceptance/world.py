"""A small world to migrate, and what an independent eye sees of it: plain drivers and SQL, nothing of Backtrail's own."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from tests.processes import Place
from tests.servers import until

SPLIT_NAMES = '''
from backtrail import Entity, Keys, Migration, Rows


class SplitNames(Migration):
    """One person per user."""

    name = "PRE-split"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_users", by="id"),)
    writes = ("PRE_users", "PRE_people")

    def migrate(self, user: Entity) -> None:
        row = user.one("PRE_users")
        first, _, last = row["full_name"].partition(" ")
        if not last:
            user.conflict("last", values=[first], chosen=None)
        user.create("PRE_people", {"user_id": user.key, "first": first, "last": last or None})
        user.update(row, {"score": (row["score"] or 0) + 1})
'''

SLOWLY = SPLIT_NAMES.replace("from backtrail", "import time\n\nfrom backtrail").replace(
    "        row = user.one", "        time.sleep(0.002)\n        row = user.one"
)
"""The same, so slow that a test can act in the midst of a campaign."""

SOURCE = "id, full_name, score"


def is_postgres(url: str) -> bool:
    """Whether the URL is one of PostgreSQL's."""
    return url.startswith("postgresql")


def path_of(url: str) -> str:
    """The file of an SQLite URL."""
    return url.removeprefix("sqlite:///")


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A connection in autocommit."""
    if is_postgres(url):
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection
    else:
        with closing(sqlite3.connect(path_of(url), isolation_level=None, timeout=20)) as connection:
            yield connection


def execute(url: str, *statements: str) -> None:
    """Carries the statements out, each committed at once."""
    with connected(url) as connection:
        for statement in statements:
            connection.execute(statement)


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    """What the query returns."""
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(query).fetchall()]


def one(url: str, query: str) -> Any:
    """The first value that the query returns."""
    return rows(url, query)[0][0]


def ledger(url: str, table: str) -> str:
    """The name of a table of the ledger."""
    return f"backtrail.{table}" if is_postgres(url) else f"backtrail_{table}"


def dump(url: str, *, but: tuple[str, ...] = ()) -> dict[str, str]:
    """Every table of the database, the ledger's too, as a digest of all its values with their types; and the schema."""
    with connected(url) as connection:
        found = _postgres_dump(connection) if is_postgres(url) else _sqlite_dump(connection)
    return {name: text for name, text in found.items() if not name.endswith(but or ("\0",))}


def _sqlite_dump(connection: sqlite3.Connection) -> dict[str, str]:
    schema = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()
    found = {"schema": repr(schema)}
    for name in [name for kind, name, _ in schema if kind == "table"]:
        columns = [row[1] for row in connection.execute(f"SELECT * FROM pragma_table_xinfo('{name}')")]
        values = ", ".join(f'typeof("{column}"), hex(CAST("{column}" AS BLOB))' for column in columns)
        lines = sorted(map(repr, connection.execute(f'SELECT {values} FROM "{name}"')))
        found[name] = _digest(lines)
    return found


def _postgres_dump(connection: psycopg.Connection[Any]) -> dict[str, str]:
    tables = connection.execute(
        "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
    ).fetchall()
    schema = connection.execute(
        "SELECT table_schema, table_name, column_name, data_type, column_default FROM information_schema.columns"
        " WHERE table_schema NOT IN ('pg_catalog', 'information_schema') ORDER BY 1, 2, ordinal_position"
    ).fetchall()
    found = {"schema": repr(schema)}
    for (name,) in tables:
        with connection.cursor().copy(f'COPY (SELECT * FROM {name} t ORDER BY t::text COLLATE "C") TO STDOUT') as copy:
            found[name] = _digest([bytes(line).hex() for line in copy])
    return found


def _digest(lines: list[str]) -> str:
    return f"{len(lines)} rows, {hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"


@dataclass(frozen=True)
class World:
    """Users of a test's own, named by a prefix, in a place that other tests may share."""

    place: Place
    prefix: str

    @property
    def url(self) -> str:
        """The database."""
        return self.place.database

    @property
    def source(self) -> str:
        """What commands call the migration."""
        return f"{self.prefix}.py"

    @property
    def file(self) -> Path:
        """Where the migration's code is."""
        return self.place.folder / self.source

    @property
    def name(self) -> str:
        """The migration's name."""
        return f"{self.prefix}-split"

    def at(self, broker: str) -> World:
        """The same world with a broker of its own."""
        return World(replace(self.place, broker=broker), self.prefix)

    def write(self, code: str = SPLIT_NAMES) -> None:
        """Writes the migration's code."""
        self.file.write_text(code.replace("PRE", self.prefix))

    def populate(self, users: int) -> None:
        """Makes so many users, none of them migrated; every third has no score."""
        serial = "bigserial PRIMARY KEY" if is_postgres(self.url) else "integer PRIMARY KEY"
        execute(
            self.url,
            f"CREATE TABLE {self.prefix}_users (id integer PRIMARY KEY, full_name text, score integer)",
            f"CREATE TABLE {self.prefix}_people (id {serial}, user_id integer NOT NULL UNIQUE REFERENCES {self.prefix}_users,"
            " first text NOT NULL, last text CHECK (last <> 'Bad'))",
            f"INSERT INTO {self.prefix}_users WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {users})"
            " SELECT i, 'Zoë' || i || ' B' || i, CASE WHEN i % 3 > 0 THEN i END FROM n",
        )
        assert one(self.url, f"SELECT count(*) FROM {self.prefix}_users WHERE full_name LIKE 'Zoë%'") == users

    def users(self) -> list[tuple[Any, ...]]:
        """The users as they are."""
        return rows(self.url, f"SELECT {SOURCE} FROM {self.prefix}_users ORDER BY id")

    def people(self) -> list[tuple[Any, ...]]:
        """What was made of them, without the serial keys."""
        return rows(self.url, f"SELECT user_id, first, last FROM {self.prefix}_people ORDER BY user_id, id")

    def data(self) -> dict[str, str]:
        """This world's own tables, exactly."""
        return {name: text for name, text in dump(self.url).items() if f"{self.prefix}_" in name}

    def demand_migrated(self, before: list[tuple[Any, ...]]) -> None:
        """Fails unless every user is migrated exactly once, in the data as in the ledger."""
        assert self.users() == [(number, name, (score or 0) + 1) for number, name, score in before]
        assert self.people() == [(number, *name.split(" ")) for number, name, _ in before]
        states = rows(
            self.url, f"SELECT state, count(*) FROM {ledger(self.url, 'streams')} WHERE migration = '{self.name}' GROUP BY 1"
        )
        assert states == [("migrated", len(before))]
        self.demand_gapless()

    def demand_gapless(self) -> None:
        """Fails unless every stream of this world has the versions 1, 2, 3 … up to what its row says."""
        streams, events = ledger(self.url, "streams"), ledger(self.url, "events")
        wrong = rows(
            self.url,
            f"SELECT s.key, s.version, count(e.version), min(e.version), max(e.version) FROM {streams} s"
            f" LEFT JOIN {events} e ON e.stream = s.id WHERE s.migration = '{self.name}' GROUP BY s.key, s.version"
            " HAVING count(e.version) <> s.version OR min(e.version) <> 1 OR max(e.version) <> s.version",
        )
        assert wrong == []

    def kinds(self, key: str) -> list[str]:
        """The kinds of one entity's events, in their order."""
        streams, events = ledger(self.url, "streams"), ledger(self.url, "events")
        query = (
            f"SELECT e.kind FROM {events} e JOIN {streams} s ON s.id = e.stream WHERE s.migration = '{self.name}'"
            f" AND s.key = '{key}' ORDER BY e.version"
        )
        return [kind for (kind,) in rows(self.url, query)]

    def enqueue(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a campaign over all users."""
        document: dict[str, Any] = self.place.json("enqueue", self.source, "--watch", *options, code=code)
        return document

    def rollback(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a rollback."""
        document: dict[str, Any] = self.place.json("rollback", self.source, "--watch", *options, code=code)
        return document

    def rerun(self, *options: str, code: int | None = 0) -> dict[str, Any]:
        """The end of a re-run."""
        document: dict[str, Any] = self.place.json("rerun", self.source, "--watch", *options, code=code)
        return document

    def done(self, campaign: str) -> int:
        """How many of the campaign's entities are done, as the database says."""
        query = f"SELECT coalesce(sum(migrated + rolled_back + skipped + failed), 0) FROM {ledger(self.url, 'batches')} WHERE campaign = "
        return int(one(self.url, query + campaign.removeprefix("c")))

    def state(self, campaign: str) -> str:
        """The campaign's state, as the database says."""
        return str(one(self.url, f"SELECT state FROM {ledger(self.url, 'campaigns')} WHERE id = {campaign.removeprefix('c')}"))

    def until_done(self, campaign: str, users: int, timeout: float = 60) -> None:
        """Returns once so many of the campaign's entities are done."""
        until(lambda: self.done(campaign) >= users, what=f"{users} entities of {campaign}", timeout=timeout)

    def until_state(self, campaign: str, state: str, timeout: float = 60) -> None:
        """Returns once the campaign is in that state."""
        until(lambda: self.state(campaign) == state, what=f"{campaign} {state}", timeout=timeout)
