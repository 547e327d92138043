"""What the ledger says of `expand` is believed only where it is what was appended, and where the code says the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from backtrail import Keys, Migration, Rows
from backtrail.errors import Tampered, UsageError
from backtrail.schema.step import Step
from ledger.entry import Fact
from ledger.event import Content, Event, pack, unpack
from ledger.expansion import Expansion, begin, end, expansion, fact
from ledger.integrity import folded_state
from ledger.verify import Verifier
from tests.engine import Engine
from tests.ledger.sealing import Raw, Row, compared, seal

STREAM = "expand:extra"


class World:
    """Two users, and a migration that has expanded."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        engine.table("users", id=int, name=str)
        engine.add("users", (1, "Ann"), (2, "Bob"))
        self.cls = self.migration("extra")
        self.one.expand(by="me@here", reason=None)
        self.raw = Raw(engine)

    def migration(self, table: str, *, undo: Any = None) -> type[Migration]:
        engine = self.engine

        class Extra(Migration):
            """Adds a table that it says how to take back."""

            name = "extra"
            keys = Keys("users", engine.id)
            reads = (Rows("users", engine.id),)

            def expand(self, schema: Any) -> None:
                if engine.mongo:
                    schema.execute({"create": table}, undo=undo or {"drop": table})
                else:
                    schema.execute(f"CREATE TABLE {table} (id integer)", undo=undo or f"DROP TABLE {table}")

            def migrate(self, user: Any) -> None:
                user.one("users")

        return Extra

    @property
    def one(self) -> Expansion:
        return expansion(self.engine.ledger, self.cls())

    @property
    def evil(self) -> Step:
        """A step that empties the users, whether it is carried out or taken back."""
        if self.engine.mongo:
            order = json.dumps({"drop": "users"})
            return Step("execute", call="x", inverse={"commands": [order], "undo": [order]})
        return Step("execute", call="x", inverse={"statements": ["DELETE FROM users"]})

    def ledger(self) -> list[str]:
        """What `verify` says of the ledger."""
        document = Verifier(self.engine.ledger, self.engine.found(self.cls)).run()
        return next(one["examples"] for one in document["checks"] if one["name"] == "ledger")

    def number(self) -> Any:
        return next(row[self.raw.id] for row in self.raw.rows("streams") if row["migration"] == STREAM)

    def append(self, state: str, *facts: Fact) -> None:
        """What any worker's role may do, with good hashes."""
        one = self.one
        with self.engine.store.transaction() as tx:
            head, _ = one.events(tx)
            one.append(tx, head, state, list(facts))

    def refused(self, error: type[Exception], match: str, *acts: Callable[[], Any]) -> None:
        before = self.engine.dump("users")
        for act in acts:
            with pytest.raises(error, match=match):
                act()
        assert self.engine.dump("users") == before != []


@pytest.fixture
def world(everywhere: Engine) -> World:
    return World(everywhere)


def back(one: Expansion) -> list[Step]:
    return one.retract(by="me@here", reason=None)


def test_an_edited_step_is_named_and_never_run(world: World) -> None:
    """By `verify`, against the checkpoint too, and by whatever would follow the step."""
    assert world.engine.migrate(world.cls)["migrated"] == 2
    assert world.engine.rollback(world.cls)["rolled_back"] == 2
    note = seal(world.engine).note
    assert world.ledger() == compared(world.engine, note, "extra").examples == []

    def edit(rows: list[Row]) -> list[Row]:
        for row in rows:
            if row["stream"] == world.number() and row["version"] == 2:
                _, _, _, data = unpack(bytes(row["body"]))
                step = {**json.loads(data or ""), "inverse": world.evil.inverse}
                row["body"] = pack(Content(data=json.dumps(step)))
        return rows

    world.raw.edit("events", edit)
    wrong = "version 2 (expanded) is not what was appended"
    assert world.ledger() == [f"{STREAM}: {wrong}"]
    (found,) = compared(world.engine, note, "extra").examples
    assert found.startswith(f"{STREAM}: version 3 was sealed")
    assert found.endswith(wrong)
    assert compared(world.engine, note, "other").examples == []
    one = world.one
    acts = (one.standing, one.script, lambda: back(one), lambda: one.expand(by="me@here", reason=None))
    world.refused(Tampered, f"{STREAM}: version 2", *acts)


def test_an_edited_row_of_the_stream_is_named(world: World) -> None:
    """Its state, and whose it is: it is nobody's."""

    def edit(**values: Any) -> Callable[[list[Row]], list[Row]]:
        return lambda rows: [row | values if row["migration"] == STREAM else row for row in rows]

    assert world.ledger() == []
    world.raw.edit("streams", edit(state="retracted"))
    assert world.ledger() == [f"{STREAM}: its state is 'retracted', and its events say 'expanded'"]
    world.refused(Tampered, "its state is", lambda: back(world.one))
    world.raw.edit("streams", edit(state="expanded", subject="Ann"))
    assert world.ledger() == [f"{STREAM}: its row says that it is a person's"]


def test_a_step_that_the_code_does_not_know_is_not_taken_back(world: World) -> None:
    """Whoever may append events can append one with good hashes: the owner would run it."""
    world.append("expanded", begin("expand", "me", None), fact("expanded", world.evil), end("expanded"))
    assert world.ledger() == []
    world.refused(UsageError, "step 2, execute, runs what", world.one.standing, lambda: back(world.one))


def test_a_step_whose_undo_was_changed_in_the_code_is_not_taken_back(world: World) -> None:
    """Until the code is there with which it was expanded."""
    before = world.cls
    world.cls = world.migration("extra", undo={"drop": "users"} if world.engine.mongo else "DELETE FROM users")
    world.refused(UsageError, "step 1, execute", world.one.standing, lambda: back(world.one))
    world.cls = before
    assert len(back(world.one)) == 1


def test_a_job_that_somebody_began_is_not_carried_out(on_mongo: Engine) -> None:
    """`expand` goes on where one was killed, but only with what the code says."""
    world = World(on_mongo)
    world.append("expanding", begin("expand", "me", None), fact("expanded", world.evil))
    assert world.ledger() == []
    world.refused(UsageError, "step 2, execute, runs", lambda: world.one.expand(by="me@here", reason=None))


def test_a_job_that_has_not_ended_is_no_flaw() -> None:
    def event(version: int, kind: str, **data: Any) -> Event:
        return Event(version, kind, 0, 0, data=json.dumps(data))

    start, done = event(1, "begin", job="expand"), event(2, "end", state="expanded")
    assert folded_state([start]) == ("expanding", False)
    assert folded_state([start, done]) == ("expanded", False)
    assert folded_state([start, done, event(3, "begin", job="expand --undo")]) == ("retracting", False)
    assert folded_state([event(1, "begin", job="migrate")]) == ("", False)
