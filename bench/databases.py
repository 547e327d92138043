"""Databases to measure on: filled once, copied for every run, durable, the same settings for whoever is measured."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import sqlalchemy as sa

from backtrail.catalog.unified_profile import sample
from backtrail.catalog.unified_profile.fields import INTENT_COLUMNS, PROFILE_COLUMNS
from backtrail.catalog.unified_profile.migration import UnifiedProfile
from backtrail.stores import open_store
from ledger.expansion import expansion
from ledger.ledger import Ledger
from tests import servers

OLD = {table.name: [column.name for column in table.columns] for table in sample.old_tables.sorted_tables}
NEW = {"unified_profiles": PROFILE_COLUMNS, "context_intents": INTENT_COLUMNS}
TIMES = ("created_at", "updated_at")
"""Columns of the new tables that tell when a row was written, and so differ from run to run."""

# Durable: every commit is on the disk before it is answered. The rest keeps checkpoints out of the seconds that are measured.
POSTGRES = {
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
}


class Database(ABC):
    """One kind of database."""

    name: str
    ledger: str
    """What stands before the names of the ledger's tables."""

    @abstractmethod
    def fresh(self, users: int) -> Any:
        """A context with the URL of a new database: that many users in the old tables, the new tables empty, an empty ledger."""

    @abstractmethod
    def connect(self, url: str) -> Any:
        """A connection that commits every statement by itself."""

    @abstractmethod
    def server_process(self, url: str) -> int | None:
        """The id of the server's main process, where there is one."""

    @abstractmethod
    def settings(self, url: str) -> dict[str, str]:
        """What decides about speed and durability."""

    @abstractmethod
    def ledger_bytes(self, url: str) -> int:
        """The size of the ledger with its indexes."""

    def prepare(self, url: str, users: int) -> None:
        """Fills a database, and expands it."""
        engine = sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            sample.create(connection, users)
        engine.dispose()
        ledger = Ledger(open_store(url, lock_timeout_ms=5000))
        expansion(ledger, UnifiedProfile()).expand(by="bench", reason=None)
        ledger.store.close()

    def rows(self, url: str, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, as they come."""
        with closing(self.connect(url)) as connection:
            yield from connection.execute(sql)

    def ledger_done(self, connection: Any, campaign: int) -> bool:
        """Whether all of a campaign's batches are committed."""
        sql = (
            f"SELECT fed AND NOT EXISTS (SELECT 1 FROM {self.ledger}batches WHERE campaign = {campaign} AND state <> 'done')"
            f" FROM {self.ledger}campaigns WHERE id = {campaign}"
        )
        return bool(connection.execute(sql).fetchone()[0])

    def digest(self, url: str, *, new: bool, users: Collection[str] | None = None) -> str:
        """A digest of all rows of the new tables (but for their times), or of the old tables; of all users or of some."""
        found = hashlib.sha256()
        for table, columns in (NEW if new else OLD).items():
            names = [name for name in columns if not (new and name in TIMES)]
            owner = names.index("user_id") if "user_id" in names else None
            for row in self.rows(url, f"SELECT {', '.join(names)} FROM {table} ORDER BY id"):
                if users is None or owner is None or row[owner] in users:
                    found.update(f"{table}{[_plain(cell) for cell in row]}\n".encode())
        return found.hexdigest()

    def count(self, url: str, table: str) -> int:
        """How many rows the table has."""
        return int(next(self.rows(url, f"SELECT count(*) FROM {table}"))[0])


def _plain(cell: Any) -> Any:
    # JSON is kept as text on SQLite, where writers differ in blanks.
    if isinstance(cell, str) and cell[:1] in "[{":
        return json.dumps(json.loads(cell), sort_keys=True)
    return json.dumps(cell, sort_keys=True) if isinstance(cell, (dict, list)) else str(cell)


class Postgres(Database):
    """A server of its own, from its wheel."""

    name, ledger = "postgresql", "backtrail."

    def __init__(self, server: str) -> None:
        self.server = server
        self._templates: dict[int, str] = {}

    @contextmanager
    def fresh(self, users: int) -> Iterator[str]:
        with psycopg.connect(self.server, autocommit=True) as connection:
            if users not in self._templates:
                name = self._templates[users] = f"bench_template_{users}"
                connection.execute(f'DROP DATABASE IF EXISTS "{name}"')
                connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
                self.prepare(self._url(name), users)
                with psycopg.connect(self._url(name), autocommit=True) as filled:
                    filled.execute("VACUUM ANALYZE")
            connection.execute('DROP DATABASE IF EXISTS "bench" WITH (FORCE)')
            connection.execute(f'CREATE DATABASE "bench" TEMPLATE "{self._templates[users]}"')
            connection.execute("CHECKPOINT")
            try:
                yield self._url("bench")
            finally:
                connection.execute('DROP DATABASE IF EXISTS "bench" WITH (FORCE)')

    def _url(self, name: str) -> str:
        return urlunsplit(urlsplit(self.server)._replace(path=f"/{name}"))

    def connect(self, url: str) -> Any:
        return psycopg.connect(url, autocommit=True)

    def server_process(self, url: str) -> int | None:
        with psycopg.connect(url) as connection:
            return psutil.Process(connection.info.backend_pid).ppid()

    def settings(self, url: str) -> dict[str, str]:
        with psycopg.connect(url) as connection:
            version = connection.info.parameter_status("server_version") or ""
            return {"version": version} | {name: str(connection.execute(f"SHOW {name}").fetchone()[0]) for name in POSTGRES}  # type: ignore[index]

    def ledger_bytes(self, url: str) -> int:
        sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text LIKE 'backtrail%'"
        return int(next(self.rows(url, sql))[0])


class Sqlite(Database):
    """A file in a folder of its own."""

    name, ledger = "sqlite", "backtrail_"

    def __init__(self, folder: Path, journal: str) -> None:
        self.folder, self.journal = folder, journal

    @contextmanager
    def fresh(self, users: int) -> Iterator[str]:
        template = self.folder / f"{users}.db"
        if not template.exists():
            with sqlite3.connect(template) as raw:
                raw.execute(f"PRAGMA journal_mode = {self.journal}")
            self.prepare(f"sqlite:///{template}", users)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            shutil.copy(template, folder / "bench.db")
            yield f"sqlite:///{folder / 'bench.db'}"
        finally:
            shutil.rmtree(folder)

    def connect(self, url: str) -> Any:
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)

    def server_process(self, url: str) -> int | None:
        return None

    def settings(self, url: str) -> dict[str, str]:
        found = {"version": sqlite3.sqlite_version}
        for name in ("journal_mode", "synchronous"):
            found[name] = str(next(self.rows(url, f"PRAGMA {name}"))[0])
        return found

    def ledger_bytes(self, url: str) -> int:
        sql = (
            "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name LIKE 'backtrail%' OR name LIKE 'sqlite_autoindex_backtrail%'"
        )
        try:
            return int(next(self.rows(url, sql))[0])
        except sqlite3.OperationalError:  # Python's own SQLite may come without dbstat
            return 0


@contextmanager
def open_databases(names: list[str], journal: str) -> Iterator[list[Database]]:
    """The databases of those names, and what they need, for as long as the context lasts."""
    with ExitStack() as stack:
        databases: list[Database] = []
        for name in names:
            if name == "postgresql":
                databases.append(Postgres(stack.enter_context(servers.postgres(**POSTGRES))))
            else:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bt-bench-"))
                databases.append(Sqlite(Path(folder), journal))
        yield databases
