"""The command that rehearses: it chooses as `enqueue` does, starts the worker's program, and says what that saw."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backtrail.discovery import Found, find
from backtrail.errors import UsageError
from producer.dryrun import examined, imagined
from producer.order import Order
from producer.rehearse import Rehearsed, batches, rehearse
from tests.engine import Engine
from tests.processes import Place
from tests.untouched import everything

MIGRATION = '''
from backtrail import Keys, Migration, Rows

class Moving(Migration):
    """Makes a person of every user."""

    name = "moving"
    keys = Keys("users", "{id}")
    reads = (Rows("users", "{id}"),)
    writes = ("people", "users")

    def migrate(self, user):
        row = user.one("users")
        print("somebody prints", row["name"])
        if row["name"].startswith("bad"):
            raise ValueError(row["name"])
        user.create({table}, {{"{id}": user.key, "name": row["name"]}})
        user.update(row, set={{"name": "moved"}})
        if user.key == 2:
            user.conflict("name", values=[1, 2], chosen=1)
'''


def users(engine: Engine, number: int = 25) -> None:
    """Users, and nobody among the people."""
    engine.table("users", id=int, name=str)
    engine.table("people", id=int, name=str)
    engine.add("users", *((at, f"n{at}") for at in range(1, number + 1)))


def source(engine: Engine, folder: Path, table: str = '"people"') -> Path:
    """The file of the migration."""
    path = folder / "moving.py"
    path.write_text(MIGRATION.format(id=engine.id, table=table))
    return path


def chosen(engine: Engine, found: Found, **order: Any) -> list[tuple[list[str], int]]:
    """The batches that would be played."""
    asked = Order("migrate", **order)
    bound, census = examined(engine.ledger, found, asked)
    campaign = imagined(bound, {**asked.options, "only": asked.only is not None})
    return list(batches(engine.ledger, bound, asked, campaign, census))


def test_batches_are_of_those_with_something_to_do(on_sqlite: Engine, tmp_path: Path) -> None:
    """Every entity once, in batches of the size asked for; what is done is looked at and left out; a limit and a sample choose as a campaign's."""
    users(on_sqlite)
    found = find(str(source(on_sqlite, tmp_path)))
    everyone = [str(at) for at in range(1, 26)]
    seen = chosen(on_sqlite, found, batch_size=10)
    assert [len(keys) for keys, _ in seen] == [10, 10, 5]
    assert ([key for keys, _ in seen for key in keys], sum(number for _, number in seen)) == (everyone, 25)
    on_sqlite.migrate(found.cls, only=["2", "3", "4"], batch_size=10)
    seen = chosen(on_sqlite, found, batch_size=10)
    assert [len(keys) for keys, _ in seen] == [10, 10, 2]
    assert sum(number for _, number in seen) == 25
    assert [keys for keys, _ in chosen(on_sqlite, found, batch_size=2, options={"limit": 3})] == [["1", "5"], ["6"]]
    assert [keys for keys, _ in chosen(on_sqlite, found, only=["2", "9", "9"])] == [["9"]]
    sampled = [key for keys, _ in chosen(on_sqlite, found, batch_size=4, options={"sample": 0.4}) for key in keys]
    assert 0 < len(sampled) < 22
    assert {*sampled} <= {key for keys, _ in chosen(on_sqlite, found, options={"sample": 0.8}) for key in keys}


def played(engine: Engine, path: Path, **order: Any) -> Rehearsed:
    """What the rehearsal saw, in the worker's own program; the database is what it was."""
    before = everything(engine)
    found = rehearse(engine.ledger, engine.settings, find(str(path)), Order("migrate", **order))
    assert everything(engine) == before
    return found


def test_the_worker_s_program_plays_it(on_sqlite: Engine, tmp_path: Path) -> None:
    """Batch by batch, with what an author prints kept out of the answers; one who fails is told with class and line."""
    users(on_sqlite)
    on_sqlite.change("users", {"name": "bad-secret"}, id=17)
    told = []
    before = everything(on_sqlite)
    found = find(str(source(on_sqlite, tmp_path)))
    seen = rehearse(on_sqlite.ledger, on_sqlite.settings, found, Order("migrate", batch_size=10), lambda *at: told.append(at))
    assert everything(on_sqlite) == before
    assert told == [(10, 25), (20, 25), (25, 25)]
    document = seen.document()
    assert json.loads(json.dumps(document)) == document
    counts = {"total": 25, "migrated": 24, "failed": 1, "skipped": 0, "conflicts": 1, "unmapped": 0, "recalls": 0, "compared": 49}
    assert {name: document[name] for name in counts} == counts
    assert document["writes"] == {"created people": 24, "updated users": 24}
    (failure,) = document["failures"]
    assert (failure["key"], failure["error"], failure["on"]) == ("17", "MigrateFailed", "the way there")
    assert "secret" not in failure["reason"]
    assert (document["ok"], document["halted"], document["differences"]) == (False, None, [])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["postgres", "mongo"])
def test_on_the_other_databases(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    """The same, there, without a ledger and beside one."""
    engine = Engine(request.getfixturevalue(kind))
    users(engine)
    path = source(engine, tmp_path)
    assert played(engine, path, batch_size=10).ok
    engine.migrate(find(str(path)).cls, only=["1"])
    seen = played(engine, path, batch_size=10)
    assert (seen.ok, seen.counts["migrated"], seen.counts["skipped"]) == (True, 24, 1)
    engine.close()


@pytest.fixture(params=["sqlite", "postgres", "mongo"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Engine, Place]]:
    """A place for commands, with users in its database."""
    engine = Engine(request.getfixturevalue(request.param))
    users(engine)
    yield engine, Place(tmp_path, engine.url)
    engine.close()


@pytest.mark.long
def test_what_the_command_says(place: tuple[Engine, Place]) -> None:
    """0 where all came back, 1 where somebody fails or the campaign would halt; one JSON document, or lines for people."""
    engine, here = place
    source(engine, here.folder)
    before = everything(engine)
    good = here.run("rehearse", "moving.py")
    assert "25 of 25 entities were migrated and rolled back" in good.out
    assert "50 rows compared: all are what they were; nothing was committed" in good.out
    assert "somebody prints" not in good.out
    assert here.json("rehearse", "moving.py", "--sample", "40%", "--batch-size", "3")["ok"]
    engine.change("users", {"name": "bad-secret"}, id=3)
    bad = here.run("rehearse", "moving.py", "--only", "3", "--only", "4", code=1)
    assert "3: would fail on the way there: MigrateFailed: ValueError at moving.py" in bad.out
    engine.change("users", {"name": "n3"}, id=3)
    assert everything(engine) == before
    source(engine, here.folder, table='"persons"')
    halted = here.json("rehearse", "moving.py", code=1)
    assert "persons" in halted["halted"]
    assert everything(engine) == before


@pytest.mark.long
def test_what_cannot_be_meant(on_postgres: Engine, tmp_path: Path) -> None:
    """A table that `expand` has yet to make, a key that nobody has: one line and code 2."""
    here = Place(tmp_path, on_postgres.url)
    on_postgres.table("users", id=int, name=str)
    source(on_postgres, tmp_path)
    here.refused("rehearse", "moving.py", words="backtrail expand moving")
    on_postgres.table("people", id=int, name=str)
    here.refused("rehearse", "moving.py", "--only", "7", words="knows no entity '7'")
    here.refused("enqueue", "moving.py", "--events", "f", words="add --dry-run")
    here.refused("compare", "c1", "nowhere", words="cannot be read")


def test_code_that_changes_under_it(on_sqlite: Engine, tmp_path: Path) -> None:
    """A file that is written between the command's look and the program's is not rehearsed as if it were the other."""
    users(on_sqlite)
    found = find(str(source(on_sqlite, tmp_path)))
    source(on_sqlite, tmp_path, table='"nobody"')
    with pytest.raises(UsageError, match="changed just now"):
        rehearse(on_sqlite.ledger, on_sqlite.settings, found, Order("migrate"))


@pytest.mark.long
def test_predicted_and_compared_by_commands(on_sqlite: Engine, tmp_path: Path) -> None:
    """A dry run writes the file; `compare` ends with 0 where all was done so, and with 1 where more was done than predicted."""
    here = Place(tmp_path, on_sqlite.url)
    users(on_sqlite)
    cls = find(str(source(on_sqlite, tmp_path))).cls
    assert here.json("enqueue", "moving.py", "--dry-run", "--events", "events")["migrated"] == 25
    assert on_sqlite.migrate(cls)["migrated"] == 25
    assert "25 as predicted" in here.run("compare", "c1", "events").out
    on_sqlite.add("users", (26, "late"))
    assert on_sqlite.migrate(cls)["migrated"] == 1
    late = here.json("compare", "c2", "events", code=1)
    assert (late["not_done"], late["not_predicted"], late["examples"]["not_predicted"]) == (25, 1, [{"key": "26"}])
