"""Verification by several processes: the same document as by one, errors by name, and no process left."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from backtrail import Keys, Rows
from backtrail.discovery import find
from backtrail.errors import BacktrailError, OtherCode, UnknownName
from backtrail.stores import open_store
from ledger import processes, verify
from ledger.keyring import new_master
from ledger.ledger import Ledger
from ledger.processes import Raised
from ledger.verify import Verifier
from producer.campaign import open_campaign
from producer.order import Order
from producer.sources import Chosen
from tests.engine import Engine, migration

SOURCE = '''
"""People from users."""
from backtrail import Invariant, Keys, Migration, Rows

print("an author's file that prints")


class Shout(Migration):
    """Writes names in capitals."""

    name = "shout"
    keys = Keys("users", "id")
    reads = (Rows("users", "id"),)
    writes = ("users",)
    invariants = (Invariant("no nameless", "SELECT id FROM users WHERE name = ''"),)

    def migrate(self, user):
        row = user.one("users")
        user.update(row, set={"name": row["name"].upper()})

    def account(self, user):
        return {"in": 2, "mapped": 2}
'''
USERS = 60


def opened(url: str) -> Ledger:
    return Ledger(open_store(url, lock_timeout_ms=5000))


@pytest.fixture
def small_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even a few entities are worth several processes."""
    monkeypatch.setattr(verify, "STRETCH", 7)
    monkeypatch.setattr(verify, "SMALL", 2)


@pytest.fixture
def verifier(engine: Engine, tmp_path: Path, small_stretches: None) -> Callable[..., Verifier]:
    """What makes a verifier of a migrated ledger; the migration's file is `shout.py`."""
    source = tmp_path / "shout.py"
    source.write_text(SOURCE)
    engine.table("users", id=int, name=str)
    engine.add("users", *((number, f"user {number}") for number in range(1, USERS + 1)))
    found = find(f"{source}:Shout")
    assert engine.run(open_campaign(engine.ledger, found, Order("migrate")))["migrated"] == USERS

    def make(jobs: int, chosen: Any = None) -> Verifier:
        return Verifier(engine.ledger, found, chosen, jobs=jobs, opening=partial(opened, engine.url))

    return make


@pytest.mark.long
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_two_processes_say_what_one_says(
    engine: Engine, verifier: Callable[..., Verifier], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More problems than are shown, in every check: counts, sums and the examples, lowest first, are the same however many processes there are."""
    monkeypatch.setattr(processes, "START", start)
    assert verifier(2).run()["ok"]
    engine.script(
        "UPDATE users SET name = 'Edited' WHERE id % 3 = 0; UPDATE users SET name = '' WHERE id = 1; DELETE FROM users WHERE id = 8"
    )
    table = "backtrail.streams" if engine.postgres else "backtrail_streams"
    engine.script(f"UPDATE {table} SET state = 'rolled_back' WHERE id % 4 = 1")
    alone, counts = verifier(1).run(), []
    document = verifier(2).run(counts.append)
    assert document == alone
    assert {one["name"] for one in document["checks"] if not one["ok"]} >= {"ledger", "drift", "invariants"}
    assert document["checks"][0]["problems"] == 15 > len(document["checks"][0]["examples"])
    assert sum(counts) == USERS
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", pytest.param("mongo", marks=pytest.mark.long)])
def test_two_processes_read_an_encrypted_ledger(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, small_stretches: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everywhere, by what this process has opened already, keys included; and connections are shared with nobody."""
    masters = tmp_path / "master.keys"
    masters.write_text(new_master())
    masters.chmod(0o600)
    begun = []
    real = verify.Pool
    monkeypatch.setattr(verify, "Pool", lambda *given, **more: begun.append(given) or real(*given, **more))
    with closing(Engine(request.getfixturevalue(kind), masters=masters)) as engine:
        engine.table("users", id=int, name=str)
        engine.add("users", *((number, f"user {number}") for number in range(1, USERS + 1)))
        shout = migration(
            lambda user: user.update(user.one("users"), {"name": user.one("users")["name"].upper()}),
            keys=Keys("users", engine.id),
            reads=(Rows("users", by=engine.id),),
            writes=("users",),
        )
        assert engine.migrate(shout)["migrated"] == USERS
        engine.change("users", {"name": "Edited"}, id=[3, 30, 59])

        def document(jobs: int) -> dict[str, Any]:
            return Verifier(engine.ledger, engine.found(shout), jobs=jobs, opening=partial(opened, engine.url)).run()

        alone = document(1)
        assert not begun
        assert [document(2), document(2)] == [alone, alone]
        assert len(begun) == 2
        assert {one["name"]: one["problems"] for one in alone["checks"] if not one["ok"]} == {"drift": 3}
        assert engine.rollback(shout, only=["1"])["rolled_back"] == 1
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_choice_reaches_the_other_processes(engine: Engine, verifier: Callable[..., Verifier]) -> None:
    """Only the chosen are looked at, and stretches without one are not handed out."""
    engine.script("UPDATE users SET name = 'Edited' WHERE id IN (3, 30, 60)")
    chosen = Chosen(None, frozenset({"2", "3", "20", "29", "60"}))
    document = verifier(2, chosen).run()
    assert document == verifier(1, chosen).run()
    assert [one["problems"] for one in document["checks"] if one["name"] == "drift"] == [2]


@pytest.mark.long
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_error_elsewhere_comes_back_as_itself(
    engine: Engine,
    verifier: Callable[..., Verifier],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another process meets is raised here by its class and words, and what an author's file prints there is not on standard output."""
    monkeypatch.setattr(processes, "START", "spawn")  # a fork has the code already
    one = verifier(2)
    capfd.readouterr()
    (tmp_path / "shout.py").write_text(SOURCE.replace("upper", "lower"))
    with pytest.raises(OtherCode, match="the code of shout was changed while it was verified"):
        one.run()
    assert "prints" not in capfd.readouterr().out
    assert not multiprocessing.active_children()


def test_errors_that_cannot_be_pickled_travel() -> None:
    """An error whose class takes other arguments than its message keeps its message and its fields."""
    error: BacktrailError = UnknownName("table", "user", ["users"])
    again = Raised(type(error), error.args, vars(error)).again()
    assert type(again) is UnknownName
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_small_ledger_starts_no_process(
    engine: Engine, verifier: Callable[..., Verifier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below some thousand entities one process is sooner done."""
    monkeypatch.setattr(verify, "SMALL", 100)
    monkeypatch.setattr(verify, "Pool", None)
    assert verifier(2).run()["ok"]
