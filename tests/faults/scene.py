"""The people to migrate, and a migration whose result does not hold the time, so that two runs can be compared byte by byte."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import dataclass

from backtrail.discovery import find
from tests.acceptance.eyes import Eye, eye_of
from tests.acceptance.sql_eyes import PostgresEye, SqlEye, SqliteEye
from tests.acceptance.world import World
from tests.engine import Engine

CODE = '''
import os
import time

from backtrail import Entity, Keys, Migration, Rows


class Split(Migration):
    """One person per user."""

    name = "PRE-split"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_users", by="id"),)
    writes = ("PRE_users", "PRE_people")

    def migrate(self, user: Entity) -> None:
        row = user.one("PRE_users")
        first, _, last = row["full_name"].partition(" ")
        if user.key % 7 == 0:
            user.conflict("last", values=[last, last], chosen=last)
        if user.key % 13 == 0:
            first = user.recall("first", str.upper, first)
        user.create("PRE_people", {"id": user.key, "user_id": user.key, "first": first, "last": last})
        user.update(row, {"score": (row["score"] or 0) + 1})
'''

PREFIX = "f"

Dump = dict[str, str]


@dataclass(frozen=True)
class Reference:
    """The data as a run without faults leaves it."""

    before: Dump
    after: Dump


def bad(users: int) -> list[int]:
    """The users whose data is refused by the database until it is mended."""
    return list(range(17, users + 1, 97))


def populate(world: World, users: int) -> None:
    """Makes the users, and the migration's file; none of them is bad."""
    world.write(CODE)
    world.populate(users)


REFUSING = {
    SqliteEye: (
        "CREATE TRIGGER PRE_no_bad BEFORE INSERT ON PRE_people WHEN NEW.last = 'Bad' BEGIN SELECT RAISE(ABORT, 'bad'); END",
    ),
    PostgresEye: (
        "CREATE FUNCTION PRE_no_bad() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.last = 'Bad' THEN RAISE EXCEPTION 'bad'; END IF; RETURN NEW; END $$",
        "CREATE TRIGGER PRE_no_bad BEFORE INSERT ON PRE_people FOR EACH ROW EXECUTE FUNCTION PRE_no_bad()",
    ),
}
"""What refuses the bad without saying whom it means, so that their batches are halved."""


def spoil(world: World, eye: Eye, users: int) -> None:
    """Makes those bad who shall be."""
    if isinstance(eye, SqlEye):
        eye.execute(*[statement.replace("PRE", world.prefix) for statement in REFUSING[type(eye)]])
    for number in bad(users):
        eye.rename(world.prefix, number, f"Zoë{number} Bad")


def mend(world: World, eye: Eye, users: int) -> None:
    """Makes the bad good."""
    for number in bad(users):
        eye.rename(world.prefix, number, f"Zoë{number} B{number}")


def data(eye: Eye) -> Dump:
    """A digest of each table or collection of the data, exactly as the database holds it."""
    return {name: text for name, text in eye.everything().items() if name.endswith((f"{PREFIX}_users", f"{PREFIX}_people"))}


def reference(world: World, users: int) -> Reference:
    """What a run in this process, without a queue and without faults, makes of the users."""
    populate(world, users)
    eye = eye_of(world.url)
    before = data(eye)
    found = find(str(world.file))
    with closing(Engine(world.url)) as engine:
        ended = engine.migrate(found.cls)
        assert (ended["state"], ended["migrated"]) == ("completed", users), json.dumps(ended)
    after = data(eye)
    assert len(before) == len(after) == 2 and before != after
    return Reference(before, after)
