"""A ledger with a life behind it, keys, and rows changed past Backtrail, on every kind of database: for the tests of checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backtrail import Keys, Migration, Rows
from ledger.finding import Finding
from ledger.leaves import Leaves, leaves_of
from ledger.note import SigningKey
from ledger.sealed import Sealed
from ledger.sealer import Seal, Sealer
from tests.engine import Engine, migration

KEY = SigningKey("ledger.example/tests", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = SigningKey("ledger.example/tests", Ed25519PrivateKey.from_private_bytes(bytes(32)))
USERS = 6
Row = dict[str, Any]


def shouting(engine: Engine, name: str = "shouting", table: str = "users") -> type[Migration]:
    """A migration that changes one row of each entity."""

    def migrate(user: Any) -> None:
        row = user.one(table)
        user.update(row, set={"name": f"{row['name']}!"})

    return migration(migrate, name=name, keys=Keys(table, engine.id), reads=(Rows(table, engine.id),), writes=(table,))


def populated(engine: Engine, users: int = USERS, table: str = "users") -> None:
    engine.table(table, id=int, name=str)
    engine.add(table, *((number, f"user {number}") for number in range(1, users + 1)))


def leaves(engine: Engine) -> Leaves:
    return leaves_of(engine.store)


def seal(engine: Engine, key: SigningKey = KEY, **given: Any) -> Seal:
    return Sealer(engine.ledger, leaves(engine), key).seal(by="ada@tests", **given)


def compared(engine: Engine, note: str, only: str | None = None, key: SigningKey = KEY) -> Finding:
    return Sealed(engine.ledger, leaves(engine), note, key.verifier, only).check()


class Raw:
    """The ledger's rows by connections of their own, free of every trigger, as whoever owns the database has them."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        if engine.postgres:
            for (name,) in engine.query(
                "SELECT relname FROM pg_class c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal GROUP BY 1"
            ):
                engine.script(f"ALTER TABLE backtrail.{name} DISABLE TRIGGER USER")
        elif not engine.mongo:
            for (name,) in engine.query("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
                engine.script(f'DROP TRIGGER "{name}"')

    def rows(self, name: str) -> list[Row]:
        """All rows; `stream` and `version` are there by these names on every kind of database."""
        if self.engine.mongo:
            found = list(self.engine.ledger.store.ledger_database[name].find())  # type: ignore[attr-defined]
            return (
                [{"stream": one["_id"]["s"], "version": one["_id"]["v"], **one} for one in found] if name == "events" else found
            )
        if self.engine.postgres:
            columns = f"SELECT attname FROM pg_attribute WHERE attrelid = 'backtrail.{name}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        else:
            columns = f"SELECT name FROM pragma_table_info('backtrail_{name}')"
        names = [row[0] for row in self.engine.query(columns)]
        return [dict(zip(names, row, strict=True)) for row in self.engine.query(f"SELECT * FROM {self.table(name)}")]

    def put(self, name: str, rows: list[Row]) -> None:
        """Nothing; these are the table's rows, and no others."""
        if self.engine.mongo:
            collection = self.engine.ledger.store.ledger_database[name]  # type: ignore[attr-defined]
            collection.delete_many({})
            if name == "events":
                rows = [
                    {field: value for field, value in row.items() if field not in ("stream", "version")}
                    | {"_id": {"s": row["stream"], "v": row["version"]}}
                    for row in rows
                ]
            if rows:
                collection.insert_many(rows)
            return
        delete, columns = f"DELETE FROM {self.table(name)}", list(rows[0]) if rows else []
        names, marks = ", ".join(f'"{column}"' for column in columns), ", ".join("?" * len(columns))
        insert, values = f"INSERT INTO {self.table(name)} ({names}) VALUES ({marks})", [tuple(row.values()) for row in rows]
        if self.engine.postgres:
            with psycopg.connect(self.engine.url) as connection, connection.cursor() as cursor:
                cursor.execute(delete)  # type: ignore[arg-type]
                if rows:
                    cursor.executemany(insert.replace("?", "%s"), values)  # type: ignore[arg-type]
            return
        with closing(self.engine.sqlite()) as connection:
            connection.execute("BEGIN")
            connection.execute(delete)
            if rows:
                connection.executemany(insert, values)
            connection.execute("COMMIT")

    def edit(self, name: str, change: Callable[[list[Row]], list[Row]]) -> None:
        """Nothing; the rows are what the function makes of them."""
        before = self.rows(name)
        after = change([dict(row) for row in before])
        assert before != after, "nothing was tampered with"
        self.put(name, after)

    def table(self, name: str) -> str:
        return f"backtrail.{name}" if self.engine.postgres else f"backtrail_{name}"

    @property
    def number(self) -> str:
        """What the number of a leaf is called."""
        return "_id" if self.engine.mongo else "number"

    @property
    def id(self) -> str:
        """What the number of a stream is called."""
        return "_id" if self.engine.mongo else "id"
