"""What commands say, and to whom: one document for scripts, nothing of anybody's secrets, and nothing changed by looking."""

from __future__ import annotations

import json

import psutil
import pytest

from tests import servers
from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import SLOWLY, World
from tests.processes import those_with


@pytest.mark.long
def test_a_dry_run_changes_nothing(alone: World) -> None:
    """A dry run says what would happen, conflict by conflict; the dump is the same before and after, ours and the ledger's tables."""
    alone.populate(50)
    alone.rename(3, "Single")
    alone.rename(4, "Ann Bad")
    before = alone.dump()
    assert not [name for name in before if "backtrail" in name]
    told = alone.place.json("enqueue", alone.source, "--dry-run", code=None)
    assert (told["state"], told["total"], told["conflicts"]) == ("dry run", 50, 1)
    assert [note["key"] for note in told["notes"]] == ["3"]
    assert alone.dump() == before
    if not alone.url.startswith("sqlite"):
        return
    alone.place.run("enqueue", alone.source, "--only", "1", "--only", "2")
    held = [alone.place.json(command, "c1")["state"] for command in ("pause", "resume")]
    assert held == ["paused", "running"]
    with alone.place.worker(processes=1):
        alone.place.json("status", "c1", "--watch")
    before = alone.dump()
    told = alone.place.json("enqueue", alone.source, "--dry-run", code=None)
    assert (told["migrated"] + told["failed"], told["skipped"]) == (48, 2)
    dry = alone.place.json("rollback", alone.source, "--all", "--dry-run")
    assert dry["total"] == 2
    assert alone.dump() == before


@pytest.mark.long
def test_json_is_one_document_and_nothing_else(world: World) -> None:
    """Every command with `--json` prints one JSON document on standard output, also when it finds problems."""
    world.populate(30)
    place = world.place
    campaign = world.enqueue()["campaign"]
    commands = [
        ["migrations"],
        ["new", f"{world.prefix}-mine"],
        ["expand", world.source],
        ["expand", world.source, "--dry-run"],
        ["enqueue", world.source, "--dry-run"],
        ["enqueue", world.source, "--only", "1", "--watch"],
        ["status"],
        ["status", campaign],
        ["verify", world.source],
        ["history", world.source, "1"],
        ["notes", world.source],
        ["rollback", world.source, "--only", "1", "--dry-run"],
        ["rollback", world.source, "--only", "1", "--watch"],
        ["rerun", world.source, "--only", "1", "--watch"],
    ]
    for command in commands if world.eye.kind == "sqlite" else commands[6:10]:
        answer = place.run(*command, "--json", code=None)
        assert answer.code in (0, 1), f"{command}: {answer}"
        assert isinstance(json.loads(answer.out), (dict, list)), command
        assert "Traceback" not in answer.err, command


@pytest.mark.long
def test_passwords_stay_out_of_sight(alone_postgres: World) -> None:
    """The passwords of both addresses are in no process list and in no log, while everything runs and when it fails."""
    secret = "s3cret"
    with servers.valkey("--requirepass", secret) as broker:
        world = alone_postgres.at(broker.replace("redis://", f"redis://:{secret}@"))
        sql_eye(world.url).execute(f"CREATE ROLE app LOGIN SUPERUSER PASSWORD '{secret}'")
        world.place.database = world.url.replace("postgres:postgres@", f"app:{secret}@")
        world.write(SLOWLY)
        world.populate(500)
        opened = world.place.run("enqueue", world.source)
        with world.place.worker() as worker:
            world.until_done("c1", 100)
            ours = {*worker.family(), *those_with(str(world.place.folder))}
            assert len(ours) >= 4
            for process in ours:
                try:
                    assert secret not in " ".join(process.cmdline())
                except psutil.NoSuchProcess:
                    continue
            watched = world.place.run("status", "c1", "--watch")
            assert world.state("c1") == "completed"
        said = opened.out + opened.err + watched.out + watched.err + worker.text
        assert secret not in said
