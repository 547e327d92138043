"""A rollback through the command line where the application has deleted somebody: refused and said how, and done when told to."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World

USERS = 12


@pytest.mark.long
def test_deleted_users_are_brought_back_only_when_told(world: World) -> None:
    """One of the users is deleted with all that is his: `rollback` names him and `--resurrect`, which alone brings him back."""
    world.populate(USERS)
    before = world.users()
    world.enqueue()
    world.eye.delete_user(world.prefix, 7)
    left = world.users()
    assert len(left) == USERS - 1

    refused = world.place.json("rollback", world.source, "--all", code=1)
    assert list(refused["drifted"]) == ["7"]
    assert all("--resurrect" in line for line in refused["drifted"]["7"])
    assert world.users() == left

    done = world.rollback("--all", "--resurrect")
    assert (done["state"], done["rolled_back"], done["failed"]) == ("completed", USERS, 0)
    assert world.users() == before
    assert world.people() == []
    assert world.place.json("verify", world.source)["ok"]
    world.demand_gapless()
