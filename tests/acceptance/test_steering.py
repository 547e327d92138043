"""Holding a campaign, letting it go on, ending it; and what an author's mistake does."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.world import SLOWLY, SPLIT_NAMES, World
from tests.servers import until

USERS = 1500


def settled(world: World, campaign: str) -> int:
    """How many are done once no batch is at work any more."""
    last, since = world.done(campaign), time.monotonic()

    def quiet() -> bool:
        nonlocal last, since
        if world.done(campaign) != last:
            last, since = world.done(campaign), time.monotonic()
        return time.monotonic() - since > 1

    until(quiet, what="the rest of the campaign's batches")
    return last


def test_pause_resume_and_cancel(world: World) -> None:
    """Each takes effect within one batch a process, and says what it did; what is done stays done, once."""
    world.write(SLOWLY.replace("0.002", "0.01"))
    world.populate(USERS)
    before = world.users()
    place = world.place
    campaign = place.json("enqueue", world.source, "--batch-size", "50")["campaign"]
    world.until_done(campaign, 100)
    assert place.json("pause", campaign)["state"] == "paused"
    done = world.done(campaign)
    assert settled(world, campaign) <= done + 2 * 50
    assert world.done(campaign) < USERS
    refused = place.run("rollback", world.source, "--all", code=2)
    assert "pause" in refused.err and "cancel" in refused.err and len(refused.err.splitlines()) == 1
    assert place.json("resume", campaign)["state"] == "running"
    world.until_done(campaign, world.done(campaign) + 1)
    assert place.json("cancel", campaign)["state"] == "cancelled"
    done = settled(world, campaign)
    assert 100 < done < USERS
    world.demand_gapless()
    assert place.run("resume", campaign, code=2).err.count("\n") == 1
    world.write()  # and so does another campaign: the rest, quickly
    rest = world.enqueue()
    assert (rest["state"], rest["migrated"], rest["skipped"]) == ("completed", USERS - done, done)
    world.demand_migrated(before)


BROKEN = {
    "a name that is not there": ("row = user.one(", "row = users.one(", "NameError"),
    "a table that is not declared": ('user.create("PRE_people"', 'user.create("PRE_persons"', "UndeclaredTable"),
    "a column that is not there": ('"first": first', '"frist": first', "frist"),
    "an impure decision": ('"first": first', '"first": first + str(__import__("time").perf_counter_ns())', "ImpureMigration"),
}


# The database has a word in one of them.
MISTAKES = [
    *(("sqlite", mistake) for mistake in BROKEN),
    ("postgres", "a column that is not there"),
    ("mongo", "an impure decision"),
]


@pytest.mark.parametrize(("staffed", "mistake"), MISTAKES, indirect=["staffed"])
@pytest.mark.long
def test_an_authors_mistake_halts_and_is_mended(world: World, mistake: str) -> None:
    """The campaign halts within one batch a process, says why, quarantines nobody, and goes on once the file is mended."""
    right, wrong, reason = BROKEN[mistake]
    assert right in SPLIT_NAMES
    world.write(SPLIT_NAMES.replace(right, wrong))
    world.populate(300)
    before = world.users()
    halted = world.enqueue("--batch-size", "20", code=1)
    assert halted["state"] == "halted"
    assert reason in halted["halted"]
    assert (halted["migrated"], halted["failed"]) == (0, 0)
    assert (world.users(), world.people()) == (before, [])
    world.write()
    went_on = world.place.json("resume", halted["campaign"], "--reason", "mended")
    assert went_on["state"] == "running"
    ended = world.place.json("status", halted["campaign"], "--watch")
    assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", 300, 0)
    world.demand_migrated(before)


@pytest.mark.parametrize("staffed", ["mongo"], indirect=True)
@pytest.mark.long
def test_code_that_changes_under_a_campaign_is_not_run_unasked(world: World) -> None:
    """A file edited in mid-campaign gives the batches back untouched and `status` says so; `resume` takes the new code knowingly."""
    world.write(SLOWLY.replace("0.002", "0.01"))
    world.populate(USERS)
    before = world.users()
    place = world.place
    campaign = place.json("enqueue", world.source, "--batch-size", "50")["campaign"]
    world.until_done(campaign, 100)
    place.run("pause", campaign)
    done = settled(world, campaign)
    world.write()
    place.run("resume", campaign, "--reason", "faster code")
    ended = place.json("status", campaign, "--watch")
    assert (ended["state"], ended["migrated"]) == ("completed", USERS)
    assert 0 < done < USERS
    assert "faster code" in world.eye.options(int(campaign[1:]))
    world.demand_migrated(before)
