"""Migrations that stand on others: by entity where both have the same keys, else as a whole."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World

SECOND = '''
from backtrail import Entity, Keys, Migration, Rows


class Second(Migration):
    """Greets everybody who was split."""

    name = "PRE-greet"
    keys = Keys("PRE_users", "id")
    reads = (Rows("PRE_people", by="user_id"),)
    writes = ("PRE_people",)
    requires = ("FIRST",)

    def migrate(self, user: Entity) -> None:
        person = user.one("PRE_people")
        user.update(person, {"first": "Dear " + person["first"]})
'''


def second(world: World, code: str = SECOND) -> str:
    """The file of a migration that requires the world's own, by its name."""
    name = f"{world.prefix}_second.py"
    (world.place.folder / name).write_text(world.code(code).replace("FIRST", world.name))
    return name


@pytest.mark.long
@pytest.mark.parametrize("staffed", ["postgres", "mongo"], indirect=True)
def test_each_entity_waits_for_its_own(world: World) -> None:
    """With equal keys those whose turn has come are done and the others fail by name; rollback refuses while a dependent stands."""
    world.populate(20)
    place, greet = world.place, second(world)
    assert len(place.run("enqueue", greet, code=2).err.splitlines()) == 1
    world.enqueue("--limit", "15")
    early = place.json("enqueue", greet, "--watch", code=1)
    assert (early["state"], early["migrated"], early["failed"]) == ("completed", 15, 5)
    assert early["errors"] == {"RequirementMissing": 5}
    world.enqueue()
    done = place.json("rerun", greet, "--failed", "--watch")
    assert (done["state"], done["migrated"], done["failed"]) == ("completed", 5, 0)
    assert all(first.startswith("Dear ") for _, first, _ in world.people())

    refused = place.run("rollback", world.source, "--only", "3", code=2)
    assert f"{world.prefix}-greet" in refused.err and len(refused.err.splitlines()) == 1
    people = world.people()
    assert place.json("rollback", greet, "--only", "3", "--watch")["rolled_back"] == 1
    assert place.json("rollback", world.source, "--only", "3", "--watch")["rolled_back"] == 1
    assert world.people() == [*people[:2], *people[3:]]
    assert place.run("rollback", world.source, "--all", code=2).err.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("staffed", ["sqlite", "mongo"], indirect=True)
def test_other_keys_wait_for_the_whole(world: World) -> None:
    """With other keys nothing begins before all of the required migration is done, nor goes back under what stands on it."""
    world.populate(20)
    place = world.place
    code = SECOND.replace('Keys("PRE_users", "id")', 'Keys("PRE_people", "last")').replace('by="user_id"', 'by="last"')
    greet = second(world, code)
    world.enqueue("--limit", "15")
    early = place.run("enqueue", greet, code=2)
    assert "5 of 20" in early.err and len(early.err.splitlines()) == 1
    world.enqueue()
    assert place.json("enqueue", greet, "--watch")["migrated"] == 20
    refused = place.run("rollback", world.source, "--only", "3", code=2)
    assert f"{world.prefix}-greet" in refused.err
    assert place.json("rollback", greet, "--all", "--watch")["rolled_back"] == 20
    assert place.json("rollback", world.source, "--only", "3", "--watch")["rolled_back"] == 1
