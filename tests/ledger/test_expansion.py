"""`expand` as its users run it: adds once, shows, takes back exactly what it added, and says who did it and why."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.discovery import find
from backtrail.errors import UsageError
from backtrail.stores import open_store
from ledger.expansion import expansion
from ledger.ledger import Ledger
from producer.campaign import open_campaign
from producer.order import Order
from tests.engine import Engine
from tests.processes import Place

EXPAND = '''
import sqlalchemy as sa

from backtrail import Keys, Migration, Rows


class Names(Migration):
    """Names in a table of their own."""

    name = "names"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"),)
    writes = ("names",)

    def expand(self, schema):
        schema.create_table("names", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text))
        schema.add_column("users", sa.Column("nick", sa.Text))
        schema.insert("users", [{"id": 100}])

    def migrate(self, user):
        if user.key < 100:
            user.create("names", {"id": user.key, "name": user.one("users")["full_name"]})
'''


class World:
    """A database with three users, and the migration's file."""

    def __init__(self, url: str, folder: Path) -> None:
        self.engine = Engine(url)
        self.place = Place(folder, url)
        self.file = folder / "names.py"
        self.file.write_text(EXPAND)
        self.engine.script(
            "CREATE TABLE users (id integer PRIMARY KEY, full_name text);"
            "INSERT INTO users VALUES (1, 'Ada Lovelace'), (2, 'Plato'), (3, NULL)"
        )

    def tables(self) -> list[str]:
        """The names of all tables of the database, Backtrail's own included."""
        if self.engine.postgres:
            query = "SELECT table_schema || '.' || table_name FROM information_schema.tables WHERE table_schema !~ '^(pg_|info)'"
        else:
            query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'"
        return sorted(row[0] for row in self.engine.query(query))

    def expand(self, *options: str) -> list[str]:
        """The steps that the command reports as JSON."""
        document = self.place.json("expand", "names.py", *options)
        assert document["migration"] == "names"
        return list(document["steps"])

    def refused(self, *options: str) -> str:
        """The one line on standard error with which the command refuses; it changes nothing."""
        before = self.tables(), self.engine.dump("users")
        answer = self.place.run("expand", "names.py", *options, code=2)
        assert (self.tables(), self.engine.dump("users")) == before
        assert answer.out == ""
        assert answer.err.count("\n") == 1
        return answer.err

    def campaign(self, kind: Any, **options: Any) -> dict[str, Any]:
        """The end of a campaign of the file's migration."""
        return self.engine.run(open_campaign(self.engine.ledger, find(str(self.file)), Order(kind, options=options)))


@pytest.fixture
def world(database, tmp_path):
    world = World(database, tmp_path)
    yield world
    world.engine.close()


@pytest.mark.long
def test_the_commands_tell_the_whole_story(world):
    """Shown first, added once, not taken back while it is used, and then gone without a trace."""
    users, tables = world.engine.dump("users"), world.tables()
    assert len(users) == 3
    assert world.expand("--undo") == []
    statements = world.expand("--dry-run")
    assert [statement.split()[0] for statement in statements] == ["CREATE", "ALTER", "INSERT"]
    assert world.tables() == tables
    steps = ["create_table names", "add_column nick on users", "insert users"]
    assert world.expand("--reason", "ticket 7") == [f"added {step}" for step in steps]
    assert world.expand("--dry-run") == world.expand() == []

    assert world.campaign("migrate")["migrated"] == 4
    assert "4 entities are migrated: `backtrail rollback names --all` first" in world.refused("--undo")
    assert "4 entities are migrated" in world.refused("--undo", "--dry-run")
    assert world.campaign("rollback", **{"from": "streams"})["rolled_back"] == 4

    world.engine.execute("INSERT INTO names VALUES (77, 'mine')")
    assert "names holds 1 rows that expand did not insert" in world.refused("--undo")
    world.engine.execute("DELETE FROM names")
    world.engine.execute("UPDATE users SET nick = 'mine' WHERE id = 1")
    assert "1 rows of users hold values in nick that expand did not put there" in world.refused("--undo")
    world.engine.execute("UPDATE users SET nick = NULL")

    assert world.expand("--undo", "--dry-run") == [f"would remove {step}" for step in reversed(steps)]
    assert world.expand("--undo", "--reason", "not needed") == [f"removed {step}" for step in reversed(steps)]
    assert world.expand("--undo") == []
    assert world.engine.dump("users") == users
    assert [name for name in world.tables() if "backtrail" not in name] == tables


@pytest.mark.long
def test_without_json_it_says_the_same_in_words(world):
    assert world.place.run("expand", "names.py", "--dry-run").out.startswith("CREATE TABLE names (")
    assert world.place.run("expand", "names.py").out.splitlines()[0] == "added create_table names"
    assert world.place.run("expand", "names.py").out == "nothing to do\n"


def test_who_and_why_stand_in_the_ledger(world):
    """Every step is an event of its own between the begin and the end of its job."""
    world.expand("--reason", "ticket 7")
    world.expand("--undo", "--reason", "not needed")
    with world.engine.store.transaction(write=False) as tx:
        head, standing = expansion(world.engine.ledger, find(str(world.file)).cls()).steps(tx)
        events = world.engine.ledger.journal.events(tx, [head.id])[head.id]
    assert standing == []
    assert [event.kind for event in events] == ["begin", *["expanded"] * 3, "end", "begin", *["retracted"] * 3, "end"]
    jobs = [json.loads(event.data) for event in events if event.kind == "begin"]
    assert [(job["job"], job["reason"]) for job in jobs] == [("expand", "ticket 7"), ("expand --undo", "not needed")]
    assert all("@" in job["by"] for job in jobs)


def test_a_refused_expand_leaves_no_ledger_behind(world):
    """The step that is in the way is named, those before it are gone, and Backtrail's own tables never came."""
    world.engine.execute("ALTER TABLE users ADD COLUMN nick text")
    assert "add_column nick on users: it exists already" in world.refused()
    assert not any("backtrail" in name or "names" in name for name in world.tables())


def test_undo_refuses_while_a_campaign_is_not_over(world):
    world.expand()
    open_campaign(world.engine.ledger, find(str(world.file)), Order("migrate"))
    assert "c1 is open: let it end, or `backtrail cancel c1`, first" in world.refused("--undo")


def test_undo_names_the_step_whose_row_somebody_refers_to(world):
    """Also where the database, or the store on SQLite, would check that only at the commit."""
    world.expand()
    deferred = "DEFERRABLE INITIALLY DEFERRED" if world.engine.postgres else ""
    world.engine.script(f"CREATE TABLE pets (owner integer REFERENCES users {deferred}); INSERT INTO pets VALUES (100)")
    assert "undo of insert users: other objects or rows depend on it" in world.refused("--undo")


@pytest.mark.long
def test_an_extended_expand_adds_only_what_is_new_and_goes_back_whole(world):
    before = world.engine.dump("users")
    world.expand()
    world.file.write_text(
        EXPAND.replace('[{"id": 100}])', "[{\"id\": 100}])\n        schema.create_index('ix', 'users', ['nick'])")
    )
    assert world.expand() == ["added create_index ix on users"]
    assert len(world.expand("--undo")) == 4
    assert world.engine.dump("users") == before


class Tags(Migration):
    """Only adds a table."""

    name = "tags"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"),)

    def expand(self, schema: Any) -> None:
        """One table."""
        schema.execute("CREATE TABLE tags (id integer PRIMARY KEY)", undo="DROP TABLE tags")

    def migrate(self, entity: Any) -> None:
        """Nothing."""


def test_of_several_at_once_one_adds_and_the_others_find_it_done(world):
    """Neither an error nor a second table, though there is no ledger yet on which to wait."""

    def one(number: int) -> int:
        store = open_store(world.engine.url, lock_timeout_ms=20_000)
        try:
            return len(expansion(Ledger(store), Tags()).expand(by=f"starter {number}", reason=None))
        finally:
            store.close()

    with ThreadPoolExecutor(6) as starters:
        assert sorted(starters.map(one, range(6))) == [0, 0, 0, 0, 0, 1]


def test_a_changed_expand_is_refused(world):
    world.expand()
    world.file.write_text(EXPAND.replace("nick", "alias"))
    assert "step 2 was add_column nick on users and is now add_column alias on users" in world.refused()
    with pytest.raises(UsageError, match="step 2 was"):
        expansion(world.engine.ledger, find(str(world.file)).cls()).script()
