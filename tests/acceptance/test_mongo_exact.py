"""A thousand users forth, back and forth again, judged by the server's own hash and by raw bytes; and documents near the largest size."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle, islice
from typing import Any

import pytest
from bson.raw_bson import RawBSONDocument

from tests import hard_bson as hard
from tests.acceptance.mongo_eye import MongoEye, by_key
from tests.acceptance.world import World

USERS = 1000

SPREAD = '''
from backtrail import Entity, Keys, Migration, Rows


class Spread(Migration):
    """Entries of notes, of which one goes; a person; a profile in the user."""

    name = "PRE-split"
    keys = Keys("PRE_users", "_id")
    reads = (Rows("PRE_users", by="_id"), Rows("PRE_notes", by="user_id"))
    writes = ("PRE_users", "PRE_notes", "PRE_entries", "PRE_people")

    def migrate(self, user: Entity) -> None:
        row = user.one("PRE_users")
        first, _, last = row["full_name"].partition(" ")
        person = user.create("PRE_people", {"user_id": user.key, "first": first, "last": last})
        for at, note in enumerate(user.rows("PRE_notes")):
            user.copy("PRE_entries", note, set={"title": first, "at": user.now}, unset=["tail"], rename={"text": "content"})
            if at == 0:
                user.delete(note)
        user.update(row, {"profile.first": first, "profile.person": person, "score": 1}, unset=["full_name"])
'''


def insert(eye: MongoEye, collection: str, documents: Iterable[bytes]) -> None:
    """Nothing; the documents are there as they are given."""
    eye.data[collection].insert_many([RawBSONDocument(one) for one in documents])  # type: ignore[list-item]


def populate(world: World) -> MongoEye:
    """An eye on users with two notes each, and in every document a value that codecs change or cannot read."""
    eye = world.eye
    assert isinstance(eye, MongoEye)
    people = {"validator": {"$jsonSchema": {"required": ["user_id", "first"]}}}
    eye.data.create_collection(f"{world.prefix}_people", **people)
    eye.data.create_collection(f"{world.prefix}_entries")
    values = list(hard.VALUES.values())
    assert len(values) > 50
    numbered = list(enumerate(islice(cycle(values), USERS), 1))
    insert(
        eye,
        f"{world.prefix}_users",
        (
            hard.document(
                ("odd", hard.sub(("value", value))),
                ("_id", hard.int32(number)),
                ("full_name", hard.text(f"Zoë{number} B{number}")),
                ("profile", hard.sub(("z", value), ("a", hard.double(-0.0)))),
                ("last", hard.NULL),
            )
            for number, value in numbered
        ),
    )
    insert(
        eye,
        f"{world.prefix}_notes",
        (
            hard.document(
                ("_id", hard.object_id(number * 10 + at)),
                ("tail", hard.int64(at)),
                ("text", hard.text("a note")),
                ("user_id", hard.int32(number)),
                ("values", hard.array(value, value)),
            )
            for number, value in numbered
            for at in range(2)
        ),
    )
    eye.data[f"{world.prefix}_notes"].create_index("user_id")
    assert len(raw(eye, world)) == 3 * USERS
    return eye


def raw(eye: MongoEye, world: World) -> dict[tuple[str, Any], bytes]:
    """Every document of the world, byte by byte, by its collection and key."""
    names = [name for name in eye.data.list_collection_names() if name.startswith(f"{world.prefix}_")]
    return {(name, key): document for name in names for key, document in by_key(eye.data, name).items()}


@pytest.mark.long
@pytest.mark.parametrize("staffed", ["mongo"], indirect=True)
def test_a_thousand_forth_and_back(world: World) -> None:
    """Three of 1000 go back and nobody else changes; they come again byte for byte; all go back and dbHash is what it was before."""
    world.write(SPREAD)
    eye = populate(world)
    first, untouched = eye.hashes(world.prefix), raw(eye, world)
    assert len(first) == 4
    ended = world.enqueue()
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", USERS, 0)
    second, migrated = eye.hashes(world.prefix), raw(eye, world)
    assert all(second[name] != first[name] for name in first)
    assert len(migrated) == 5 * USERS

    back = world.rollback("--only", "7", "--only", "500", "--only", "1000")
    assert back["rolled_back"] == 3
    now = raw(eye, world)
    theirs = {key for key in migrated.keys() | untouched.keys() if now.get(key) != migrated.get(key)}
    assert len(theirs) == 3 * 5  # the user, the note that is back, the person and two entries
    assert {key: now.get(key) for key in theirs} == {key: untouched.get(key) for key in theirs}
    assert world.rollback("--campaign", back["campaign"])["migrated"] == 3
    assert (raw(eye, world), eye.hashes(world.prefix)) == (migrated, second)

    back = world.rollback("--all")
    assert (back["state"], back["rolled_back"], back["failed"]) == ("completed", USERS, 0)
    assert (eye.hashes(world.prefix), raw(eye, world)) == (first, untouched)
    assert world.rollback("--campaign", back["campaign"])["migrated"] == USERS
    assert (eye.hashes(world.prefix), raw(eye, world)) == (second, migrated)


LARGE, SIZE = (5, 6, 30), 15_000_000


@pytest.mark.long
@pytest.mark.parametrize("staffed", ["mongo"], indirect=True)
def test_large_documents_among_small_ones(world: World) -> None:
    """Users of 15 MB, some in one batch, are migrated and rolled back like all others, byte by byte."""
    eye = world.eye
    assert isinstance(eye, MongoEye)
    world.populate(60)
    noise = bytes((at * at * 2654435761 >> 11) & 255 for at in range(4096)) * (SIZE // 4096)
    for number in LARGE:
        body = {"$set": {"body": bytes([number]) + noise}}
        assert eye.data[f"{world.prefix}_users"].update_one({"_id": number}, body).modified_count == 1
    first, before = eye.hashes(world.prefix), world.users()
    ended = world.enqueue()
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 60, 0)
    world.demand_migrated(before)
    second = eye.hashes(world.prefix)
    assert world.place.json("verify", world.source)["ok"]

    one = world.rollback("--only", "5", "--only", "1")
    assert one["rolled_back"] == 2
    assert eye.hashes(world.prefix) != second
    back = world.rollback("--all")
    assert (back["state"], back["rolled_back"], back["failed"]) == ("completed", 58, 0)
    assert eye.hashes(world.prefix) == first
