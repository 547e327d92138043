"""A rehearsal finds what the real run would meet, by the same code, and leaves not one byte behind."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import Halt, UnknownField
from ledger.keyring import new_master
from tests.engine import Engine, migration
from tests.untouched import everything
from worker import rehearse
from worker.execute import Attempt
from worker.rehearse import Stage


def users(engine: Engine, number: int = 6) -> None:
    """Users with names, and nobody among the people yet."""
    engine.table("users", id=int, name=str)
    engine.table("people", id=int, name=str, unique=["name"])
    engine.add("users", *((at, f"n{at}") for at in range(1, number + 1)))


def moving(engine: Engine, function: Any = None, **more: Any) -> type[Migration]:
    """Makes a person of every user, who is then called moved."""

    def move(user: Any) -> None:
        row = user.one("users")
        user.create("people", {engine.id: user.key, "name": row["name"]})
        user.update(row, set={"name": "moved"})

    body = {"keys": Keys("users", engine.id), "reads": (Rows("users", engine.id),), "writes": ("people", "users"), **more}
    return migration(function or move, **body)


def stage(engine: Engine, cls: type[Migration], **options: Any) -> Stage:
    """Where it is played, for keys that are whole numbers."""
    return Stage(engine.ledger, engine.found(cls), {"params": {}, "options": options, "key_types": ["int"]})


def rehearsed(engine: Engine, cls: type[Migration], keys: Sequence[str] | None = None, **options: Any) -> dict[str, Any]:
    """What was seen, after making sure that the database is byte for byte what it was."""
    before = everything(engine)
    found = stage(engine, cls, **options).batch(keys or [str(at) for at in range(1, 7)]).document()
    assert everything(engine) == before
    return found


def as_really(engine: Engine, cls: type[Migration], seen: dict[str, Any]) -> None:
    """The campaign then migrates as many, and the same entities fail for the same reasons."""
    end = engine.migrate(cls)
    assert (end["migrated"], end["failed"]) == (seen["counts"].get("migrated", 0), seen["counts"].get("failed", 0))
    real = {key: (facts["error"], facts["reason"]) for key, facts in engine.failures(cls).items()}
    assert {one["key"]: (one["error"], one["reason"]) for one in seen["failures"]} == real


def test_there_and_back_without_a_ledger(everywhere: Engine) -> None:
    """Where nothing was ever migrated it works as it does later, and the ledger that it needs is gone with it."""
    users(everywhere)
    cls = moving(everywhere)
    seen = rehearsed(everywhere, cls)
    assert seen["counts"] == {"migrated": 6, "compared": 12}
    assert seen["writes"] == {"created people": 6, "updated users": 6}
    assert (seen["failures"], seen["differences"]) == ([], [])
    as_really(everywhere, cls, seen)


@pytest.mark.long
def test_beside_a_ledger(everywhere: Engine) -> None:
    """What is migrated stays and is skipped; what was rolled back is brought again and taken back, if it is named."""
    users(everywhere)
    cls = moving(everywhere)
    everywhere.migrate(cls, only=["1", "2"])
    everywhere.rollback(cls, only=["2"])
    seen = rehearsed(everywhere, cls)
    assert seen["counts"] == {"migrated": 4, "skipped": 2, "compared": 10}
    named = rehearsed(everywhere, cls, ["2"], only=True)
    assert named["counts"] == {"migrated": 1, "compared": 2}
    assert named["writes"] == {"created people": 1, "updated users": 1}


@pytest.mark.long
def test_with_an_encrypted_ledger(sqlite: str, tmp_path: Path) -> None:
    """Keys of people that it makes are gone as well."""
    masters = tmp_path / "masters"
    masters.write_text(new_master())
    masters.chmod(0o600)
    with closing(Engine(sqlite, masters=masters)) as engine:
        users(engine)
        cls = moving(engine)
        assert rehearsed(engine, cls)["counts"] == {"migrated": 6, "compared": 12}
        engine.migrate(cls, only=["1"])
        assert rehearsed(engine, cls)["counts"]["migrated"] == 5


def test_whoever_fails_is_found_alone(everywhere: Engine) -> None:
    """One whose code fails, one whom the database refuses and one whom `check` refuses, told as the campaign tells them; the others go on."""
    users(everywhere)
    everywhere.add("people", (77, "n2"))

    def move(user: Any) -> None:
        row = user.one("users")
        if user.key == 4:
            raise ValueError(row["name"])
        user.create("people", {everywhere.id: user.key, "name": row["name"]})

    def check(_: Any, user: Any) -> Any:
        if user.one("people")["name"] == "n5":
            yield "five is odd"

    cls = moving(everywhere, move, check=check, writes=("people",))
    seen = rehearsed(everywhere, cls)
    assert seen["counts"] == {"migrated": 3, "failed": 3, "compared": 9}
    failed = {one["key"]: one["error"] for one in seen["failures"]}
    assert failed == {"4": "MigrateFailed", "2": "ConstraintFailed", "5": "CheckFailed"}
    assert {one["on"] for one in seen["failures"]} == {"the way there"}
    assert "n4" not in str(seen)
    as_really(everywhere, cls, seen)


@pytest.mark.long
def test_what_would_halt_the_campaign(everywhere: Engine) -> None:
    """An author's mistake ends the rehearsal, and nothing is left."""
    users(everywhere)
    before = everything(everywhere)
    cls = moving(everywhere, lambda user: user.create("persons", {everywhere.id: user.key}))
    with pytest.raises(Halt, match="persons"):
        stage(everywhere, cls).batch(["1", "2"])
    assert everything(everywhere) == before


def test_a_column_that_is_not_there(engine: Engine) -> None:
    """A wrong name halts, and the right one is given."""
    users(engine)
    before = everything(engine)
    with pytest.raises(UnknownField, match="name"):
        stage(engine, moving(engine, lambda user: user.create("people", {"id": 1, "nmae": 1}))).batch(["1"])
    assert everything(engine) == before


def test_what_the_database_sees_only_at_the_commit(engine: Engine) -> None:
    """A reference into nothing, which may wait for the commit, fails as it then would; rows that were without what they refer to do not count."""
    engine.script("CREATE TABLE towns (id integer PRIMARY KEY); INSERT INTO towns VALUES (1), (2)")
    engine.script("CREATE TABLE users (id integer PRIMARY KEY, town integer)")
    reference = "town integer REFERENCES towns (id) DEFERRABLE INITIALLY DEFERRED"
    engine.script(f"CREATE TABLE people (id integer PRIMARY KEY, {reference})")
    engine.script("INSERT INTO users VALUES (1, 1), (2, 99), (3, 2)")
    if not engine.postgres:
        engine.script("PRAGMA foreign_keys = OFF; INSERT INTO people VALUES (50, 98)")
    cls = moving(
        engine, lambda user: user.create("people", {"id": user.key, "town": user.one("users")["town"]}), writes=("people",)
    )
    seen = rehearsed(engine, cls, ["1", "2", "3"])
    assert seen["counts"] == {"migrated": 2, "failed": 1, "compared": 5}
    assert [(one["key"], one["error"]) for one in seen["failures"]] == [("2", "ConstraintFailed")]
    as_really(engine, cls, seen)


@pytest.mark.long
def test_triggers_that_only_touch_rows(engine: Engine) -> None:
    """A version that counts every write is put back past its trigger, in the rehearsal as in the rollback; a default is compared too."""
    users(engine)
    engine.script(
        "ALTER TABLE people ADD COLUMN made text DEFAULT 'by default'; ALTER TABLE users ADD COLUMN version integer DEFAULT 1"
    )
    if engine.postgres:
        engine.script(
            "CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := OLD.version + 1; RETURN NEW; END $$;"
            "CREATE TRIGGER touch BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION touch()"
        )
    else:
        engine.script(
            "CREATE TRIGGER touch AFTER UPDATE ON users BEGIN UPDATE users SET version = OLD.version + 1 WHERE id = NEW.id; END"
        )
    cls = moving(engine)
    seen = rehearsed(engine, cls)
    assert (seen["counts"], seen["failures"]) == ({"migrated": 6, "compared": 12}, [])
    as_really(engine, cls, seen)


@pytest.mark.long
def test_triggers_that_write_elsewhere(engine: Engine) -> None:
    """What the ledger would not hold is refused before anything is migrated for good, and named."""
    users(engine)
    engine.script("CREATE TABLE audit (id integer)")
    if engine.postgres:
        engine.script(
            "CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (OLD.id); RETURN OLD; END $$;"
            "CREATE TRIGGER log BEFORE DELETE ON people FOR EACH ROW EXECUTE FUNCTION log()"
        )
    else:
        engine.script("CREATE TRIGGER log BEFORE DELETE ON people BEGIN INSERT INTO audit VALUES (OLD.id); END")
    cls = moving(engine)
    seen = rehearsed(engine, cls)
    assert seen["counts"] == {"failed": 6, "compared": 6}, "it would be migrated, and could not be rolled back"
    assert {(one["on"], one["error"]) for one in seen["failures"]} == {("the way back", "SideEffects")}
    assert engine.migrate(cls)["migrated"] == 6
    assert engine.rollback(cls)["failed"] == 6
    assert {key: facts["error"] for key, facts in engine.failures(cls).items()} == dict.fromkeys("123456", "SideEffects")


class Careless(Attempt):
    """A rollback that leaves something."""

    def run(self) -> None:
        super().run()
        if self.work.campaign.kind == "rollback":
            leave(self.tx)


def leave(tx: Any) -> None:
    """A row less, one that has changed, and one more."""
    if hasattr(tx, "session"):
        data = tx.store.database
        data["users"].delete_one({"_id": 1}, session=tx.session)
        data["users"].update_one({"_id": 2}, {"$set": {"name": "other"}}, session=tx.session)
        data["people"].insert_one({"_id": 3, "name": "left"}, session=tx.session)
        return
    tx.raw.execute("DELETE FROM users WHERE id = 1")
    tx.raw.execute("UPDATE users SET name = 'other' WHERE id = 2")
    tx.raw.execute("INSERT INTO people VALUES (3, 'left')")


def test_every_difference_is_named(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that is gone, one that is not what it was, one that was left behind: with entity, table and columns, and no value."""
    users(everywhere)
    cls = moving(everywhere)
    monkeypatch.setattr(rehearse, "Attempt", Careless)
    seen = rehearsed(everywhere, cls)
    found = {(one["key"], one["table"], one["what"]): one["columns"] for one in seen["differences"]}
    assert found == {
        ("1", "users", "is gone"): [],
        ("2", "users", "is not what it was"): ["name"],
        ("3", "people", "was left behind"): [],
    }
    assert "other" not in str(seen)


def test_what_others_commit_meanwhile_is_no_difference(on_postgres: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are read in part are not locked: an application that writes one during the rehearsal is not taken for a bad rollback."""
    users(on_postgres)
    cls = moving(
        on_postgres,
        lambda user: user.create("people", {"id": user.key, "name": user.one("users")["name"]}),
        reads=(Rows("users", "id", columns=("name",)),),
        writes=("people",),
    )

    class Watched(Attempt):
        def run(self) -> None:
            super().run()
            if self.work.campaign.kind == "rollback":
                on_postgres.change("users", {"name": "new"}, id=4)

    monkeypatch.setattr(rehearse, "Attempt", Watched)
    seen = stage(on_postgres, cls).batch(["3", "4", "5"]).document()
    assert on_postgres.rows("users", "name", id=4) == [("new",)]
    assert (seen["counts"], seen["differences"]) == ({"migrated": 3, "compared": 6}, [])


@pytest.mark.long
def test_recalls_are_counted_and_not_called(everywhere: Engine) -> None:
    """What is stored is used; what is not is nobody's to ask for now."""
    users(everywhere)
    calls: list[int] = []

    def move(user: Any) -> None:
        name = user.recall("title", lambda: calls.append(1) or "Dr") if user.key < 4 else "Ms"
        user.create("people", {everywhere.id: user.key, "name": f"{name} {user.key}"})

    cls = moving(everywhere, move, writes=("people",))
    everywhere.migrate(cls, only=["1"])
    everywhere.rollback(cls, only=["1"])
    paid = len(calls)
    assert paid == 1
    seen = rehearsed(everywhere, cls, only=True)
    assert seen["counts"] == {"migrated": 4, "recalls": 2, "compared": 10}
    assert len(calls) == paid
