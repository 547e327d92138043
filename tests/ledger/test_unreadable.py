"""One value that nobody can read: whose it is is named, everybody else is looked at and sealed, and nothing ends by it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backtrail.errors import Tampered
from ledger.keyring import new_master
from ledger.verify import Verifier
from tests.engine import Engine
from tests.ledger.sealing import USERS, Raw, compared, populated, seal, shouting


class World:
    """Six users migrated and sealed; the second and third went back since."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        populated(engine)
        self.users = shouting(engine)
        assert engine.migrate(self.users)["migrated"] == USERS
        self.note = seal(engine).note
        engine.rollback(self.users, only=["2", "3"])
        self.raw = Raw(engine)

    def spoil(self, table: str, column: str, value: Any, number: int = 2) -> None:
        """Nothing; the row of that number holds the value."""
        engine = self.engine
        if engine.mongo:
            where = {"_id": number} if table != "batches" else {"_id": {"campaign": 1, "number": number}}
            found = engine.ledger.store.ledger_database[table].update_one(where, {"$set": {column: value}})  # type: ignore[attr-defined]
            assert found.modified_count == 1
            return
        key = "number" if table == "batches" else "id"
        engine.execute(f'UPDATE {self.raw.table(table)} SET "{column}" = ? WHERE {key} = ?', value, number)

    def ledger(self) -> list[str]:
        document = Verifier(self.engine.ledger, self.engine.found(self.users)).run()
        return next(one["examples"] for one in document["checks"] if one["name"] == "ledger")


@pytest.fixture(params=["sqlite", "mongo"])
def loose(request: pytest.FixtureRequest) -> Iterator[World]:
    """On the databases that take a value of any type."""
    with closing(Engine(request.getfixturevalue(request.param))) as engine:
        yield World(engine)


@pytest.fixture
def world(everywhere: Engine) -> World:
    return World(everywhere)


@pytest.mark.parametrize("column", ["version", "head", "migration", "secret", "campaign"])
@pytest.mark.parametrize("value", ["zzz", b"\xff", 1.5, None], ids=repr)
def test_a_stream_is_not_sealed_and_the_others_are(loose: World, column: str, value: Any) -> None:
    """Whatever stands in its row. What was sealed is compared with its events, and with as much of the row as they are read by."""
    if value is None and not loose.engine.mongo:
        pytest.skip("the column takes no NULL")
    assert loose.ledger() == []
    loose.spoil("streams", column, value)
    found = seal(loose.engine)
    assert (found.sealed, len(found.refused)) == (1, 1), "the third went on, the second is as it is"
    problems = compared(loose.engine, loose.note).examples
    assert len(problems) <= 1
    assert problems or column not in ("migration", "secret")
    for said in (found.refused[0], *problems):
        assert said.startswith(("2: ", "shouting: ", "(stream 2")), said
    if column != "migration":
        assert any(one.startswith(("2: ", "(stream 2)")) for one in loose.ledger())


def test_a_text_that_is_none_is_its_own_stream_only(on_sqlite: Engine) -> None:
    world = World(on_sqlite)
    on_sqlite.script("UPDATE backtrail_streams SET migration = CAST(x'ff' AS TEXT) WHERE id = 2")
    found = seal(on_sqlite)
    assert (found.sealed, found.refused) == (1, ["2: its row cannot be read"])
    (problem,) = compared(on_sqlite, world.note).examples
    assert problem == "(stream 2 of shouting): version 3 was sealed (leaf 1), and its row cannot be read"
    on_sqlite.script("UPDATE backtrail_streams SET migration = 'shouting', key = CAST(x'ff' AS TEXT) WHERE id = 2")
    assert compared(on_sqlite, world.note).examples == [problem]


def test_a_stream_whose_number_is_none_ends_nothing(on_mongo: Engine) -> None:
    """A number between two others; it is the last there is, and looking goes on after it."""
    world = World(on_mongo)
    streams = on_mongo.ledger.store.ledger_database["streams"]  # type: ignore[attr-defined]
    row = streams.find_one_and_delete({"_id": USERS})
    streams.insert_one(row | {"_id": USERS + 0.5})
    assert compared(on_mongo, world.note).problems == 1
    assert any(one.startswith(f"{USERS}: ") for one in world.ledger())
    assert seal(on_mongo).refused[0].startswith(f"{USERS}: ")


def test_a_batch_that_cannot_be_read_is_named(world: World) -> None:
    """Its keys are no list of texts; what others did is still asked for."""
    for value in ('"zzz"', "[1]", *(["zzz"] if not world.engine.postgres else [])):
        world.spoil("batches", "keys", value, 1)
        assert world.ledger() == ["batch 1 of c1: it cannot be read"]
    with world.engine.store.transaction(write=False) as tx, pytest.raises(Tampered, match="batch 1 of c1 cannot be read"):
        world.engine.ledger.campaigns.peek(tx, 1, 1)


@pytest.mark.parametrize("column", ["key_types", "params", "options"])
def test_a_campaign_that_cannot_be_read_is_named_once(world: World, column: str) -> None:
    """The entities that another one decided are looked at as before."""
    assert world.engine.rerun(world.users, only=["2"])["migrated"] == 1
    world.spoil("campaigns", column, '"zzz"', 1)
    assert world.ledger() == ["c1: its row cannot be read, nor can anybody say how it decided"]
    world.engine.change("users", {"name": "somebody"}, id=2)
    assert len(world.ledger()) == 1
    with world.engine.store.transaction(write=False) as tx:
        for read in (lambda: world.engine.ledger.campaigns.get(tx, 1), lambda: world.engine.ledger.campaigns.all(tx)):
            with pytest.raises(Tampered, match="cannot be read: somebody changed it"):
                read()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mongo"])
def test_a_damaged_key_is_one_persons(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    """Of an encrypted ledger: the others are read, verified and sealed."""
    masters = tmp_path / "master.keys"
    masters.write_text(new_master() + "\n")
    masters.chmod(0o600)
    with closing(Engine(request.getfixturevalue(kind), masters=masters)) as engine:
        world = World(engine)
        for value in [b"", b"x" * 60] + ([7, "zzz"] if kind != "postgres" else []):
            _damage(engine, value)
            assert len(world.ledger()) == 1
            assert compared(engine, world.note).problems == 1
        assert len(seal(engine).refused) == 1


def _damage(engine: Engine, value: Any) -> None:
    """Nothing; the key of the first user's data is that."""
    with engine.store.transaction(write=False) as tx:
        subject = engine.ledger.keyring.subject("shouting", "2")
        assert subject in engine.ledger.keyring.vault.find(tx, [subject])
    if engine.mongo:
        store: Any = engine.ledger.store
        keys = store.ledger_database.client[f"{store.ledger_database.name}_keys"]["subjects"]
        assert keys.update_one({"_id": subject}, {"$set": {"secret": value}}).matched_count == 1
        return
    table = "backtrail_keys.subjects" if engine.postgres else "backtrail_keys"
    engine.execute(f"UPDATE {table} SET secret = ? WHERE subject = ?", value, subject)
