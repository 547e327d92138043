"""A small ledger in which everything has happened, on any kind of database, and what `verify` says about it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backtrail import Keys, Migration, Rows
from ledger.expansion import expansion
from ledger.leaves import leaves_of
from ledger.ledger import Ledger
from ledger.note import SigningKey
from ledger.sealed import Sealed
from ledger.sealer import Sealer
from ledger.verify import Verifier
from tests.engine import Engine
from tests.tampering.dump import Attacker, Dump, MongoAttacker, PostgresAttacker, SqliteAttacker

KEY = SigningKey("ledger.example/tampering", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))

LARGE = 501_000
"""Two images of so many bytes do not stay in their event's own document on MongoDB: they are kept in pieces."""


def title_of(key: int) -> str:
    return f"title {key}"


def migration(engine: Engine) -> type[Migration]:
    """Creates, updates and deletes rows, recalls, and leaves notes of every kind."""
    identity = engine.id

    class Moved(Migration):
        """People from users."""

        name = "moved"
        keys = Keys("users", identity)
        reads = (Rows("users", identity), Rows("tags", "user_id"))
        writes = ("people", "users", "tags")

        def expand(self, schema: Any) -> None:
            if engine.mongo:
                schema.execute({"create": "extra"}, undo={"drop": "extra"})
            else:
                schema.execute("CREATE TABLE extra (id integer)", undo="DROP TABLE extra")

        def migrate(self, user: Any) -> None:
            row = user.one("users")
            title = user.recall("title", title_of, user.key)
            user.create("people", {identity: user.key, "name": row["name"].upper(), "title": title})
            user.update(row, set={"done": True})
            for tag in user.rows("tags"):
                user.delete(tag)
            if user.key % 2:
                user.conflict("name", values=["a", "b"], chosen="a")
                user.unmapped({"nick": "x"})
            user.remark("moved", at=user.key)

    return Moved


class Stage:
    """The ledger under attack."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cls = migration(engine)
        self._live()
        self.found = engine.found(self.cls)
        engine.ledger.store.forget()
        self.leaves = leaves_of(engine.store)
        # Kept outside the database, as it must be.
        self.checkpoint = Sealer(engine.ledger, self.leaves, KEY).seal(by="ada@tests").note
        self.attacker: Attacker = _attacker(engine)
        self.attacker.loosen()
        self.pristine: Dump = self.attacker.read()

    def _live(self) -> None:
        """Six entities: 1 and 3 migrated, 2 taken back and brought again, 4 taken back, 5 failed, 6 undone and migrated anew.

        The last stream is that of `expand`.
        """
        engine = self.engine
        engine.table("users", id=int, name=str, done=bool)
        engine.table("tags", id=int, user_id=int, text=str)
        engine.table("people", id=int, name=str, title=str)
        large = "L" * LARGE if engine.mongo else "Lee"
        engine.add(
            "users", (1, "Ann", None), (2, "Bob", None), (3, large, None), (4, "Dan", None), (5, None, None), (6, "Fay", False)
        )
        engine.add("tags", (1, 1, "t"), (2, 2, "t"), (3, 3, None), (4, 4, "t"), (6, 6, "t"))
        state = engine.migrate(self.cls)
        assert (state["migrated"], state["failed"]) == (5, 1)
        assert engine.rollback(self.cls, only=["2", "4"])["rolled_back"] == 2
        assert engine.rerun(self.cls, only=["2", "6"])["migrated"] == 2
        assert len(expansion(engine.ledger, self.cls()).expand(by="ada@tests", reason=None)) == 1

    def verify(self, *, sealed: bool = False) -> dict[str, list[str]]:
        """The examples of each check, from a verifier that knows nothing of the one before; with `sealed`, against the checkpoint too."""
        ledger = Ledger(self.engine.store, self.engine.ledger.keyring.masters)
        document = Verifier(ledger, self.found).run()
        examples = {one["name"]: one["examples"] for one in document["checks"]}
        if sealed:
            examples["checkpoint"] = Sealed(ledger, self.leaves, self.checkpoint, KEY.verifier, self.cls.name).check().examples
        return examples

    def close(self) -> None:
        self.attacker.close()


def _attacker(engine: Engine) -> Attacker:
    if engine.mongo:
        return MongoAttacker(engine.url)
    return PostgresAttacker(engine.url) if engine.postgres else SqliteAttacker(str(sa.make_url(engine.url).database))
