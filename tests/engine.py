"""The engine driven in-process on a real database: real campaigns, feeder and worker task; only the queue is a list.

    engine = Engine(database)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY)")
    assert engine.migrate(Users)["migrated"] == 3

Migrations are classes of the test; nothing has to be written to a file. The oracles (`dump`, `query`) know nothing of Backtrail: they
are plain psycopg, sqlite3 and pymongo, with connections of their own.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database

from backtrail import Migration
from backtrail.discovery import Found, find
from backtrail.settings import load
from backtrail.stores import Store, open_store
from ledger.campaigns import Campaign
from ledger.event import Event
from ledger.keyring import Keyring, read_masters
from ledger.ledger import Ledger
from producer.campaign import open_campaign
from producer.feeder import Feeder
from producer.order import Order
from producer.status import status
from tests.vocabulary import Vocabulary
from worker import runtime, tasks

ROUNDS = 500
"""How many times the feeder may step before a campaign that does not end is called stuck."""


class FakeQueue:
    """Messages as a list."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, int]] = []

    def publish(self, campaign: int, batches: Sequence[int]) -> None:
        self.messages += [(campaign, batch) for batch in batches]

    def forgot(self, sent: Callable[[], int]) -> bool:
        return False

    def waiting(self) -> int | None:
        return len(self.messages)


class Engine(Vocabulary):
    """One database with producer, feeder and worker around it."""

    def __init__(self, url: str, *, lock_timeout_ms: int = 1000, masters: Path | None = None) -> None:
        """An engine.

        Args:
            url: the database.
            lock_timeout_ms: how long it waits for a lock.
            masters: the file with the master keys of an encrypted ledger.
        """
        self.url = url
        self.postgres = url.startswith("postgres")
        self.mongo = url.startswith("mongodb")
        self.settings = load(database_url=url, lock_timeout_ms=lock_timeout_ms, master_key_file=masters)
        store = open_store(url, lock_timeout_ms=lock_timeout_ms)
        self.store = store
        self.ledger = Ledger(store, read_masters(masters))
        self.queue = FakeQueue()
        self.feeder = Feeder(self.ledger, self.queue, "tests")  # type: ignore[arg-type]
        self._plain: MongoClient[Any] | None = None
        self.answers: list[str] = []
        """What the task said about each message."""
        self.fresh_worker()

    def fresh_worker(self) -> None:
        """A worker that was just started: it knows neither campaigns nor tables."""
        for old in runtime._runtimes.values():
            old.store.close()
        runtime._runtimes.clear()
        runtime._runtimes[os.getpid()] = runtime.Runtime(self.settings)

    @property
    def worker_store(self) -> Store:
        """The store of the worker: its connections are the ones to disturb."""
        return runtime._runtimes[os.getpid()].store

    @property
    def worker_keyring(self) -> Keyring:
        """The secrets as the worker holds them."""
        return runtime._runtimes[os.getpid()].ledger.keyring

    def close(self) -> None:
        """Gives all connections back."""
        if self._plain is not None:
            self._plain.close()
            self._plain = None
        self.store.close()
        for own in runtime._runtimes.values():
            own.store.close()
        runtime._runtimes.clear()

    # -- campaigns ------------------------------------------------------------------------------------------------

    def found(self, cls: type[Migration]) -> Found:
        """The class of a test, found as a module's class is."""
        name = f"{cls.__qualname__}_{id(cls)}".replace(".", "_").replace("<", "_").replace(">", "_")
        setattr(sys.modules[__name__], name, cls)
        return find(f"{__name__}:{name}")

    def migrate(self, cls: type[Migration], **order: Any) -> dict[str, Any]:
        return self.run(self.open(cls, "migrate", **order))

    def rollback(self, cls: type[Migration], **order: Any) -> dict[str, Any]:
        """The end of a rollback of all (or `only=`)."""
        if "only" not in order:
            order["options"] = {"from": "streams", **order.get("options", {})}
        return self.run(self.open(cls, "rollback", **order))

    def redo(self, cls: type[Migration], campaign: str) -> dict[str, Any]:
        """The end of a redo of all that the rollback of that name took back."""
        return self.run(self.open(cls, "redo", options={"from": "campaign", "campaign": int(campaign[1:])}))

    def rerun(self, cls: type[Migration], **order: Any) -> dict[str, Any]:
        if "only" not in order:
            order["options"] = {"from": "streams", **order.get("options", {})}
        return self.run(self.open(cls, "rerun", **order))

    def open(self, cls: type[Migration], kind: str, **order: Any) -> Campaign:
        return open_campaign(self.ledger, self.found(cls), Order(kind, **order))  # type: ignore[arg-type]

    def run(self, campaign: Campaign) -> dict[str, Any]:
        """The campaign's status once it has ended or halted; every batch goes through the worker's task."""
        for _ in range(ROUNDS):
            self.feeder.step()
            self.work()
            state = self.status(campaign)
            if state["state"] not in ("open", "running"):
                return state
        raise AssertionError(f"stuck: {state}, {self.answers[-5:]}")

    def work(self) -> None:
        """Every message in the queue is answered."""
        messages, self.queue.messages = self.queue.messages, []
        for campaign, batch in messages:
            self.answers.append(tasks.run(self.settings, 1, f"c{campaign}", batch))

    def status(self, campaign: Campaign) -> dict[str, Any]:
        with self.store.transaction(write=False) as tx:
            now = self.ledger.campaigns.get(tx, campaign.id)
            assert now is not None
            return status(self.ledger, tx, [now])[0]

    # -- what the ledger says -------------------------------------------------------------------------------------

    def events(self, cls: type[Migration], key: str) -> list[Event]:
        """The events of one entity's stream."""
        with self.store.transaction(write=False) as tx:
            head = self.ledger.journal.heads(tx, cls.name, [key], lock=False).get(key)
            return [] if head is None else self.ledger.journal.events(tx, [head.id or 0])[head.id or 0]

    def failures(self, cls: type[Migration]) -> dict[str, dict[str, Any]]:
        """The last failure of every entity whose last job failed, by key."""
        with self.store.transaction(write=False) as tx:
            heads = [head for head in self.ledger.journal.page(tx, cls.name, 0, 10_000) if head.failed]
        return {head.key: self.events(cls, head.key)[-1].facts for head in heads}

    def states(self, cls: type[Migration]) -> dict[str, str]:
        """The state of every entity, by key."""
        with self.store.transaction(write=False) as tx:
            return {head.key: head.state for head in self.ledger.journal.page(tx, cls.name, 0, 100_000)}

    # -- the database, past Backtrail -----------------------------------------------------------------------------

    def script(self, sql: str) -> None:
        """Nothing; the statements, separated by `;`, are executed and committed by a connection of their own."""
        if self.postgres:
            with psycopg.connect(self.url) as connection:
                connection.execute(sql)  # type: ignore[arg-type]
        else:
            connection = self.sqlite()
            connection.executescript(sql)
            connection.close()

    def execute(self, sql: str, *parameters: Any) -> None:
        """Nothing; one statement, its parameters written as `?`, is executed and committed."""
        if self.postgres:
            with psycopg.connect(self.url) as connection:
                connection.execute(sql.replace("%", "%%").replace("?", "%s"), parameters)  # type: ignore[arg-type]
        else:
            with closing(self.sqlite()) as connection:
                connection.execute(sql, parameters)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows that a plain connection gets."""
        if self.postgres:
            with psycopg.connect(self.url) as connection:
                return connection.execute(sql).fetchall()  # type: ignore[arg-type]
        with closing(self.sqlite()) as connection:
            return connection.execute(sql).fetchall()

    def sqlite(self) -> sqlite3.Connection:
        """A plain connection to the SQLite file, with foreign keys enforced."""
        connection = sqlite3.connect(str(sa.make_url(self.url).database), isolation_level=None, timeout=20)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def dump(self, *tables: str) -> list[Any]:
        """Every row of the tables (as written in SQL) exactly: COPY's text on PostgreSQL, storage class and bytes on SQLite, BSON on MongoDB."""
        if self.mongo:
            return [line for table in tables for line in self._documents(table)]
        return [line for table in tables for line in (self._copied(table) if self.postgres else self._stored(table))]

    def database(self) -> AbstractContextManager[Database[Any]]:
        """The MongoDB database by a plain client, which is there until the end: a new one brings three threads and two connections."""
        if self._plain is None:
            self._plain = MongoClient(self.url)
        return nullcontext(self._plain.get_default_database())

    def hashes(self) -> dict[str, str]:
        """What the server's own dbHash makes of each collection of the data."""
        with self.database() as database:
            return dict(database.command("dbHash")["collections"])

    def _documents(self, collection: str) -> list[bytes]:
        with self.database() as database:
            raw = database.get_collection(collection, codec_options=CodecOptions(document_class=RawBSONDocument))
            return sorted(collection.encode() + b"\0" + bytes(one.raw) for one in raw.find())

    def _copied(self, table: str) -> list[bytes]:
        sql = f'COPY (SELECT * FROM {table} t ORDER BY t::text COLLATE "C") TO STDOUT'
        with psycopg.connect(self.url) as connection, connection.cursor().copy(sql) as copy:  # type: ignore[arg-type]
            return [table.encode() + b"\t" + bytes(line) for line in copy]

    def _stored(self, table: str) -> list[Any]:
        with closing(self.sqlite()) as connection:
            connection.text_factory = bytes
            names = [row[1].decode() for row in connection.execute(f"PRAGMA table_xinfo({table})")]
            quoted = ['"' + name.replace('"', '""') + '"' for name in names]
            columns = ", ".join(f"typeof({name}), hex({name}), {name}" for name in quoted)
            rows = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
        return sorted((table, *(_bits(cell) for cell in row)) for row in rows)


def _bits(cell: Any) -> str:
    return struct.pack(">d", cell).hex() if isinstance(cell, float) else repr(cell)


def migration(
    migrate: Callable[..., None], *, name: str = "trial", bases: tuple[type, ...] = (Migration,), **attributes: Any
) -> type[Migration]:
    """A migration class around a function of the entity; `keys`, `reads`, `writes` and the rest as attributes."""
    body = {"name": name, "migrate": lambda self, entity: migrate(entity), **attributes}
    return type("Trial", bases, body)
