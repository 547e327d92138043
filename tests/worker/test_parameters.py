"""Parameters that a later campaign is given, or that later code asks for: what they decide counts, and nothing is tried for ever."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from backtrail import Entity, Keys, Migration, Rows
from backtrail.errors import UsageError
from tests.engine import Engine
from worker.work import Work


class Optional(BaseModel):
    """What may be given."""

    prefix: str = "a-"


class Required(BaseModel):
    """What has to be given."""

    prefix: str


class Plain(Migration):
    """A profile for each user."""

    name = "profile"
    keys = Keys("users", "id")
    reads = (Rows("users", by="id"),)
    writes = ("profiles",)

    def migrate(self, entity: Entity) -> None:
        prefix = "" if self.params is None else self.params.prefix
        entity.create("profiles", {"id": entity.key, "name": prefix + entity.one("users")["name"]})


class Prefixed(Plain):
    """The same with a parameter."""

    params: Optional


class Both(Optional):
    """What may be given, now."""

    suffix: str = ""


class Older(Both):
    """What could be given before."""

    gone: int = 0


class Surrounded(Plain):
    """The same with two parameters."""

    params: Both

    def migrate(self, entity: Entity) -> None:
        name = f"{self.params.prefix}{entity.one('users')['name']}{self.params.suffix}"
        entity.create("profiles", {"id": entity.key, "name": name})


class SurroundedBefore(Surrounded):
    """The same with one that is gone since."""

    params: Older


class Demanding(Plain):
    """The same with a parameter that has to be given."""

    params: Required


@pytest.fixture
def world(on_sqlite: Engine) -> Engine:
    """Two users without profiles."""
    on_sqlite.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); INSERT INTO users VALUES (1, 'Ann'), (2, 'Bob');"
        "CREATE TABLE profiles (id integer PRIMARY KEY, name text)"
    )
    return on_sqlite


def names(engine: Engine) -> list[str]:
    """The names in the profiles."""
    return [name for (name,) in engine.query("SELECT name FROM profiles ORDER BY id")]


def test_what_was_decided_before_a_parameter_was_demanded_is_decided_anew(world: Engine) -> None:
    """What is recorded fits the code no more: whoever was rolled back is migrated afresh, with what is given now."""
    assert world.migrate(Plain)["migrated"] == 2
    assert world.rollback(Plain)["rolled_back"] == 2
    state = world.rerun(Demanding, only=["1", "2"], params={"prefix": "x-"})
    assert (state["state"], state["migrated"]) == ("completed", 2)
    assert names(world) == ["x-Ann", "x-Bob"]


def test_what_was_decided_before_a_parameter_was_demanded_is_stale(world: Engine) -> None:
    """It is taken back and migrated anew."""
    assert world.migrate(Plain)["migrated"] == 2
    state = world.rerun(Demanding, options={"stale": True}, params={"prefix": "x-"})
    assert (state["state"], state["migrated"]) == ("completed", 2)
    assert names(world) == ["x-Ann", "x-Bob"]


def test_what_is_wrong_with_what_was_asked_for_halts(world: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never gets better by itself, so that no batch is sent again and again."""

    def refuse(*_: object) -> None:
        raise UsageError("no such thing")

    assert world.migrate(Plain)["migrated"] == 2
    monkeypatch.setattr(Work, "as_of", refuse)
    state = world.rerun(Plain, options={"stale": True})
    assert state["state"] == "halted"
    assert "UsageError: no such thing" in state["halted"]


@pytest.mark.parametrize("again", ["rerun", "migrate"])
def test_a_parameter_that_is_given_counts_for_whoever_was_rolled_back(world: Engine, again: str) -> None:
    """The images of another parameter are not brought again."""
    assert world.migrate(Prefixed, params={"prefix": "wrong-"})["migrated"] == 2
    assert world.rollback(Prefixed)["rolled_back"] == 2
    assert getattr(world, again)(Prefixed, only=["1"], params={"prefix": "right-"})["migrated"] == 1
    assert names(world) == ["right-Ann"]


def test_what_is_not_given_is_as_it_was(world: Engine) -> None:
    """Whoever gives one parameter changes that one, and of the others only those that the code takes no more."""
    assert world.migrate(SurroundedBefore, params={"suffix": "-z", "gone": 1})["migrated"] == 2
    assert world.rerun(Surrounded, only=["1"], params={"prefix": "b-"})["migrated"] == 1
    assert names(world) == ["b-Ann-z", "a-Bob-z"]


def test_without_a_parameter_those_that_were_recorded_count(world: Engine) -> None:
    """Also where another campaign had others since; and who names the same again gets what was recorded."""
    assert world.migrate(Prefixed, params={"prefix": "first-"})["migrated"] == 2
    assert world.rerun(Prefixed, only=["2"], params={"prefix": "second-"})["migrated"] == 1
    assert world.rollback(Prefixed)["rolled_back"] == 2
    assert world.rerun(Prefixed, only=["1"])["migrated"] == 1
    assert world.rerun(Prefixed, only=["2"], params={"prefix": "second-"})["migrated"] == 1
    assert names(world) == ["first-Ann", "second-Bob"]
    for key in ("1", "2"):
        assert world.events(Prefixed, key)[-1].facts == {"state": "migrated"}, "it is redone, and nothing is decided"
