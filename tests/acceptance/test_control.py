"""Campaigns let loose slowly and held: waves with gates, probes, a pause that survives everything, and what goes back when."""

from __future__ import annotations

import re
import shlex

import pytest

from tests.acceptance.world import SLOWLY, SPLIT_NAMES, World
from tests.processes import those_with
from tests.servers import until

pytestmark = pytest.mark.long

WAVES = ("--waves", "1%,10%,100%")

BROKEN = {
    "it fails": ("        row = user.one", '        int("x")\n        row = user.one', "fail alike"),
    "it leaves something open": ("        if not last:\n", "        if last:\n", "have conflicts"),
}


def typed(world: World, text: str, word: str) -> list[str]:
    """The command with that word, as the text shows it between backticks."""
    commands = [one for one in re.findall(r"`backtrail ([^`]+)`", text) if one.split()[0] == word]
    assert len(commands) == 1, text
    return shlex.split(commands[0])


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_migration_touches_one_percent(world: World, how: str) -> None:
    """It halts, says why, and what it prints takes it back: afterwards every row is what it was."""
    right, wrong, words = BROKEN[how]
    assert right in SPLIT_NAMES
    world.populate(1000)
    before = (world.users(), world.people())
    world.write(SPLIT_NAMES.replace(right, wrong))
    halted = world.enqueue(*WAVES, code=1)
    assert halted["state"] == "halted"
    assert words in halted["halted"]
    assert halted["migrated"] == (10 if "open" in how else 0)
    assert sum(world.eye.states(world.name).values()) <= 10
    assert len(world.people()) == halted["migrated"]
    back = world.place.json(*typed(world, halted["halted"], "rollback"), "--watch")
    assert (back["state"], back["rolled_back"]) == ("completed", halted["migrated"])
    assert world.people() == []
    assert (world.users(), world.people()) == before
    assert world.state(halted["campaign"]) == "cancelled"


def test_a_sound_migration_passes_its_gates(world: World) -> None:
    """All three waves, each verified; then everybody is migrated once."""
    world.populate(1000)
    before = world.users()
    ended = world.enqueue(*WAVES)
    assert (ended["state"], ended["migrated"]) == ("completed", 1000)
    assert [(wave["share"], wave["state"]) for wave in ended["waves"]][:2] == [(0.01, "passed"), (0.1, "passed")]
    world.demand_migrated(before)


def test_a_wave_that_fails_goes_back_by_itself(world: World) -> None:
    """By option: a rollback of its own takes the wave back, and says of which."""
    world.populate(1000)
    before = (world.users(), world.people())
    world.write(SPLIT_NAMES.replace("        if not last:\n", "        if last:\n"))
    campaign = world.place.json("enqueue", world.source, *WAVES, "--if-wave-fails", "rollback")["campaign"]
    world.until_state(campaign, "cancelled")
    (back,) = (
        one for one in world.place.json("status")["campaigns"] if one["kind"] == "rollback" and campaign in (one["reason"] or "")
    )
    ended = world.place.json("status", back["campaign"], "--watch")
    assert (ended["state"], ended["rolled_back"]) == ("completed", 10)
    assert (world.users(), world.people()) == before


@pytest.mark.parametrize("alone", ["sqlite", "postgres"], indirect=True)
def test_a_pause_holds_over_a_restart_of_everything(alone: World) -> None:
    """Worker, feeder and broker are gone and come again, and nothing moves until it is let go on; then all is as without."""
    alone.write(SLOWLY)
    alone.populate(1500)
    before = alone.users()
    place = alone.place
    with place.worker("first"):
        place.run("enqueue", alone.source, "--batch-size", "20")
        alone.until_done("c1", 100)
        place.run("pause", "c1", "--reason", "the night")
    until(lambda: not those_with(str(place.folder)), what="the end of everything", timeout=40)
    held = alone.done("c1")
    assert 100 <= held < 1500
    with place.worker("second") as worker:
        until(lambda: any(one["leads"] for one in place.json("status", "c1")["workers"]), what="a feeder that leads")
        other = place.json(
            "enqueue", alone.source, "--only", "7", "--watch", "--reason", "so that something went through the queue"
        )
        assert other["state"] == "completed"
        assert (alone.done("c1"), alone.state("c1")) == (held, "paused")
        place.run("resume", "c1")
        ended = place.json("status", "c1", "--watch")
        assert (ended["state"], ended["failed"]) == ("completed", 0)
        alone.demand_migrated(before)
        assert worker.end() == 0


def test_a_probe_holds_and_lets_go(alone_sqlite: World) -> None:
    """While a command says no, nothing is sent, and `status` says why; the campaign goes on by itself."""
    world = alone_sqlite
    world.populate(300)
    before = world.users()
    sign = world.place.folder / "hold"
    sign.write_text("")
    probe = world.place.folder / "probe.sh"
    probe.write_text(f"#!/bin/sh\n[ ! -e {sign} ] || {{ echo the nightly report runs; exit 1; }}\n")
    probe.chmod(0o755)
    with world.place.worker("held", BACKTRAIL_PROBE_COMMAND=str(probe), BACKTRAIL_PROBE_EVERY_S="0.2"):
        world.place.run("enqueue", world.source)

        def held() -> bool:
            return "the nightly report runs" in (world.place.json("status", "c1")["held"] or "")

        until(held, what="a campaign that is held")
        assert world.done("c1") == 0
        sign.unlink()
        ended = world.place.json("status", "c1", "--watch")
        assert (ended["state"], ended["migrated"], ended["held"]) == ("completed", 300, None)
        world.demand_migrated(before)


def test_going_back_while_a_campaign_runs(world: World) -> None:
    """It refuses and names the ways; after a cancel everything that was done goes back, also what was in hand just then."""
    world.write(SLOWLY.replace("0.002", "0.01"))
    world.populate(1000)
    before = (world.users(), world.people())
    place = world.place
    campaign = place.json("enqueue", world.source, "--batch-size", "20")["campaign"]
    world.until_done(campaign, 60)
    for what in (("--all",), ("--campaign", campaign)):
        refused = place.run("rollback", world.source, *what, code=2)
        assert "pause" in refused.err and "cancel" in refused.err
    place.run("cancel", campaign)
    back = place.json("rollback", world.source, "--campaign", campaign, "--watch")
    assert back["rolled_back"] >= 60
    assert (world.users(), world.people()) == before
    assert set(world.eye.states(world.name)) == {"rolled_back"}


def test_two_campaigns_of_one_migration(world: World) -> None:
    """Each entity is done by one of them, both end, and the second starter is told of the first."""
    world.write(SLOWLY)
    world.populate(1000)
    before = world.users()
    place = world.place
    first = place.json("enqueue", world.source, "--batch-size", "20")["campaign"]
    world.until_done(first, 40)
    told = place.run("enqueue", world.source, "--batch-size", "30")
    assert f"{first} (migrate) is running too" in told.err
    second = f"c{int(first[1:]) + 1}"
    ends = [place.json("status", one, "--watch") for one in (first, second)]
    assert [one["state"] for one in ends] == ["completed", "completed"]
    assert sum(one["migrated"] for one in ends) == 1000
    assert all(one["migrated"] + one["skipped"] == 1000 for one in ends)
    world.demand_migrated(before)


def test_a_rate_is_changed_under_way(world: World) -> None:
    """One that would take hours is let loose, and ends as any other."""
    world.populate(150)
    before = world.users()
    campaign = world.place.json("enqueue", world.source, "--rate", "100/h")["campaign"]
    world.until_done(campaign, 1)
    assert world.done(campaign) < 5
    assert world.place.json("status", campaign)["rate_limit"] == pytest.approx(100 / 3600)
    world.place.run("resume", campaign, "--rate", "none")
    ended = world.place.json("status", campaign, "--watch")
    assert (ended["state"], ended["migrated"]) == ("completed", 150)
    world.demand_migrated(before)
