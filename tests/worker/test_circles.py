"""Circles of objects are not looked for while a batch is done, and are soon after."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from backtrail import Entity, Keys, Rows
from backtrail.changes import Create
from tests.engine import Engine, migration
from worker import circles


@pytest.fixture(autouse=True)
def _enabled() -> Iterator[None]:
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


def test_nobody_looks_in_the_block_and_it_goes_on_after_an_error() -> None:
    """However the block ends, circles are looked for again."""
    with pytest.raises(ZeroDivisionError), circles.later():
        assert not gc.isenabled()
        _ = 1 / 0
    assert gc.isenabled()


def test_who_has_it_off_keeps_it_off() -> None:
    """A process that never wants it, and a block inside another."""
    with circles.later():
        with circles.later():
            assert not gc.isenabled()
        assert not gc.isenabled()
    gc.disable()
    with circles.later():
        pass
    assert not gc.isenabled()


def test_new_rows_go_with_their_batch(sqlite: str) -> None:
    """What a batch created is in memory no longer than the batch, though nobody looks for circles; the one that is decided twice may stay."""

    def copy(user: Entity) -> None:
        assert not gc.isenabled()
        user.create("copies", {"id": user.key})

    copies = migration(copy, keys=Keys("users", "id"), reads=(Rows("users", by="id"),), writes=("copies",))
    engine = Engine(sqlite)
    engine.script("CREATE TABLE users (id integer PRIMARY KEY); CREATE TABLE copies (id integer PRIMARY KEY)")
    engine.script("INSERT INTO users VALUES (1), (2), (3)")
    gc.collect()
    before = creates()
    gc.disable()
    assert engine.migrate(copies)["migrated"] == 3
    assert creates() <= before + 1


def creates() -> int:
    """How many of them are in memory; `isinstance` would ask the proxies of others what they stand for, which may be gone."""
    return sum(type(one) is Create for one in gc.get_objects())
