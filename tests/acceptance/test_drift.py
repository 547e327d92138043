"""Rows that others change after their migration: nothing is overwritten, and what is stale is told and mended."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World

USERS = 60


def test_drift_is_named_and_never_overwritten(world: World) -> None:
    """A migrated row edited since: verify names it, rollback refuses and changes nothing, `--on-drift skip` does the others."""
    world.populate(USERS)
    before = world.users()
    world.enqueue()
    people, place = world.people(), world.place
    assert place.json("verify", world.source)["ok"]
    world.eye.rename_person(world.prefix, 7, "Edited")

    found = place.json("verify", world.source, code=1)
    drift = next(check for check in found["checks"] if check["name"] == "drift")
    assert (drift["ok"], drift["problems"]) == (False, 1)
    assert "7" in drift["examples"][0] and "last" in drift["examples"][0]

    stood = world.dump(but=("workers", "leases"))
    refused = place.json("rollback", world.source, "--all", code=1)
    assert list(refused["drifted"]) == ["7"]
    assert "last" in refused["drifted"]["7"][0] and "Edited" in refused["drifted"]["7"][0]
    place.run("rollback", world.source, "--only", "7", code=1)
    assert world.dump(but=("workers", "leases")) == stood

    done = world.rollback("--all", "--on-drift", "skip")
    assert (done["state"], done["rolled_back"], done["skipped"], done["failed"]) == ("completed", USERS - 1, 1, 0)
    assert world.people() == [(7, people[6][1], "Edited")]
    assert [user for user in world.users() if user[0] != 7] == [user for user in before if user[0] != 7]
    world.demand_gapless()


@pytest.mark.long
def test_rerun_stale(world: World) -> None:
    """A source row that the migration reads and does not write is edited: `rerun --stale` does that user, alone, in one transaction."""
    code = (
        world.file.read_text()
        .replace(f'writes = ("{world.prefix}_users", "{world.prefix}_people")', f'writes = ("{world.prefix}_people",)')
        .replace('        user.update(row, {"score": (row["score"] or 0) + 1})\n', "")
    )
    world.file.write_text(code)
    world.populate(USERS)
    world.enqueue()
    world.rename(9, "New Name")
    found = world.place.json("verify", world.source, code=1)
    assert [check["name"] for check in found["checks"] if not check["ok"]] == ["decisions"]
    people = world.people()
    done = world.rerun("--stale")
    assert (done["state"], done["migrated"], done["skipped"], done["failed"]) == ("completed", 1, USERS - 1, 0)
    assert world.people() == [*people[:8], (9, "New", "Name"), *people[9:]]
    assert world.kinds("9") == ["begin", "created", "end", "begin", "compensated", "created", "end"]
    events = world.place.json("history", world.source, "9")
    assert len({event["at"] for event in events[3:]}) == 1
    assert world.place.json("verify", world.source)["ok"]
