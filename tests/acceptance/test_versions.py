"""Workers with two versions of one migration: no entity is migrated by the wrong one, and `status` names it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from tests.acceptance.world import SLOWLY, World
from tests.processes import ROOT, Program
from tests.servers import until

USERS = 800

MARKED = SLOWLY.replace("0.002", "0.01").replace('"first": first', '"first": MARK + first')
"""Each person tells by which version it was made."""

BESIDE = MARKED.replace("import time", "import time\n\nfrom PRE_shop.marks import MARK")
"""The mark is in another module of the package."""


def marks(world: World) -> set[str]:
    """The versions by which people were made."""
    return {first[:2] for _, first, _ in world.people()}


def notes(world: World) -> str:
    """What `status` says that workers would not have."""
    return "\n".join(world.place.json("status", "c1")["notes"])


def names(world: World, worker: Program) -> bool:
    """Whether `status` names the worker, by its main process."""
    return f"worker-{worker.pid}@" in notes(world)


@contextmanager
def beside(world: World, name: str, folder: Path) -> Iterator[Program]:
    """A worker with one process whose packages are in that folder too."""
    with world.place.worker(name, processes=1, PYTHONPATH=f"{ROOT}:{folder}") as worker:
        yield worker


@pytest.mark.long
def test_two_versions_of_one_file(alone_postgres: World, broker: str) -> None:
    """The file changes in mid-campaign: the worker that runs the old one goes on, one that has the new one gives its batches back."""
    world = alone_postgres.at(broker)
    world.write(f"MARK = 'v1'\n{MARKED}")
    world.populate(USERS)
    with world.place.worker("old", processes=1) as old:
        world.place.run("enqueue", world.source, "--batch-size", "10")
        world.until_done("c1", 50)
        world.write(f"MARK = 'v2'\n{MARKED}")
        with world.place.worker("new", processes=2) as new:
            until(lambda: names(world, new), what="the name of the other worker in `status`", timeout=20)
            assert world.done("c1") < USERS
            ended = world.place.json("status", "c1", "--watch")
            assert (ended["state"], ended["migrated"], ended["failed"]) == ("completed", USERS, 0)
            assert marks(world) == {"v1"} and len(world.people()) == USERS
            assert not names(world, old)


@pytest.mark.long
def test_two_versions_of_a_package(alone_sqlite: World, broker: str, tmp_path: Path) -> None:
    """Only a module beside the migration differs. Alone, the wrong worker does nothing and says why; a rollback needs neither."""
    package = f"{alone_sqlite.prefix}_shop"
    right, wrong = (tmp_path / version for version in ("v1", "v2"))
    for folder in (right, wrong):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").touch()
        (folder / package / "moves.py").write_text(alone_sqlite.code(BESIDE))
        (folder / package / "marks.py").write_text(f"MARK = {folder.name!r}\n")
    source = f"{package}.moves:SplitNames"
    place = replace(alone_sqlite.place, broker=broker, more={"PYTHONPATH": f"{ROOT}:{right}"})
    world = replace(alone_sqlite, place=place)
    world.populate(USERS)
    before = world.users()
    place.run("enqueue", source, "--batch-size", "10")
    with beside(world, "wrong", wrong) as other:
        until(lambda: names(world, other), what="the name of the wrong worker in `status`", timeout=20)
        assert "is not the campaign's" in notes(world) and str(other.pid) in place.run("status", "c1").out
        assert world.done("c1") == 0 and world.state("c1") == "open"
        with beside(world, "right", right) as own:
            world.until_done("c1", 100)
            until(lambda: names(world, other), what="the name of the wrong worker in `status`", timeout=20)
            assert place.json("status", "c1", "--watch")["migrated"] == USERS
            assert marks(world) == {"v1"} and len(world.people()) == USERS
            assert not names(world, own)
        refused = other.text.count("a batch goes back")
        assert 0 < refused < USERS / 10, "it takes its time, and leaves the queue to the other"
        assert seconds(other) < 30
        place.run("rollback", source, "--all", "--watch")
        assert world.users() == before and world.people() == []


def seconds(worker: Program) -> float:
    """The processor time that the worker and all that it started have used."""
    return sum(sum(one.cpu_times()[:2]) for one in worker.family() if one.status() != psutil.STATUS_ZOMBIE)
