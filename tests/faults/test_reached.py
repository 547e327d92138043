"""Every failpoint lies on the way of a plain campaign and its rollback; a test of kills at a place that nobody passes would prove nothing."""

from __future__ import annotations

import pytest

from backtrail.failpoint import NAMES
from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import World
from tests.faults.scene import PREFIX, populate, spoil
from tests.processes import Place
from tests.servers import until

USERS = 60


@pytest.mark.long
def test_a_campaign_with_one_bad_user_comes_by_all(tmp_path, sqlite, broker) -> None:
    """A campaign in waves that is held once and has a bad user, and its rollback, pass every failpoint there is."""
    log = tmp_path / "passed"
    place = Place(tmp_path, sqlite, broker, {"BACKTRAIL_BATCH_SIZE": "3"})
    world = World(place, PREFIX)
    sql_eye(sqlite).execute("CREATE TABLE there (is_a_file integer)")
    populate(world, USERS)
    spoil(world, world.eye, USERS)
    plan = ",".join(f"{name}=1!note" for name in NAMES if name != "worker.received") + ",worker.received=1!hold"
    hold = tmp_path / "passed.hold"
    hold.touch()
    with place.worker(BACKTRAIL_FAILPOINTS=plan, BACKTRAIL_FAILPOINT_LOG=str(log)):
        place.run("enqueue", world.source, "--waves", "50%,100%", "--max-conflicts", "50%", "--max-failures", "50%")
        # Every batch that was sent is held at its beginning, so the pause comes before any of them.
        until(lambda: place.json("status", "c1")["batches"]["sent"] > 0, what="batches that were sent")
        place.run("pause", "c1")
        hold.unlink()
        until(lambda: "worker.giving-back" in log.read_text(), what="a batch that was given back")
        place.run("resume", "c1")
        world.until_state("c1", "completed")
        world.rollback("--all")
    passed = {line.split()[0] for line in log.read_text().splitlines()}
    assert passed == set(NAMES) - {"worker.received"}
