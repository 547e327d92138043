"""Places to run the program in: fresh ones, and one for each kind of database in which a worker stands ready for many tests."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.acceptance.sql_eyes import sql_eye
from tests.acceptance.world import World
from tests.processes import SHOWN, Place

KINDS = ["sqlite", "postgres", "mongo"]
PARAMS = ["sqlite", "postgres", pytest.param("mongo", marks=pytest.mark.long)]
"""What is the same on MongoDB is tried there where there is more time; what is different has tests of its own."""

_numbers = itertools.count(1)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[Any]:
    """What all processes of a failed test said stands in its report."""
    report = yield
    if report.failed:
        held = getattr(item, "funcargs", {}).values()
        places = [one.place if isinstance(one, World) else one for one in held if isinstance(one, World | Place)]
        for folder in {place.folder for place in places}:
            for log in sorted(folder.glob("*.log")):
                report.sections.append((log.name, log.read_text(errors="replace")[-SHOWN:]))
    return report


@contextmanager
def a_folder() -> Iterator[Path]:
    """A folder with a short name: there is a limit to the paths of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def a_place(kind: str, server: str | None) -> Iterator[Place]:
    """A folder and a fresh database of that kind; the server of those that have one."""
    with a_folder() as folder, a_database(kind, server, folder) as url:
        yield Place(folder, url)


@contextmanager
def a_database(kind: str, server: str | None, folder: Path) -> Iterator[str]:
    """The URL of a fresh database of that kind."""
    if server is None:
        url = f"sqlite:///{folder / 'data.db'}"
        sql_eye(url).execute("CREATE TABLE there (is_a_file integer)")
        yield url
        return
    with {"postgres": servers.postgres_database, "mongo": servers.mongo_database}[kind](server) as url:
        yield url


def server_of(kind: str, request: pytest.FixtureRequest) -> str | None:
    """The URL of this test process's own server of that kind, started when first asked for; None where there is none."""
    return None if kind == "sqlite" else str(request.getfixturevalue(f"{kind}_url"))


def _world(place: Place) -> World:
    world = World(place, f"w{next(_numbers)}")
    world.write()
    return world


@pytest.fixture(params=PARAMS)
def alone(request: pytest.FixtureRequest) -> Iterator[World]:
    """A world with a database of its own, of every kind in turn, and no worker."""
    with a_place(request.param, server_of(request.param, request)) as place:
        yield _world(place)


@pytest.fixture
def alone_sqlite() -> Iterator[World]:
    """A world with an SQLite file of its own, and no worker."""
    with a_place("sqlite", None) as place:
        yield _world(place)


@pytest.fixture
def alone_postgres(postgres_url: str) -> Iterator[World]:
    """A world with a PostgreSQL database of its own, and no worker."""
    with a_place("postgres", postgres_url) as place:
        yield _world(place)


@pytest.fixture
def alone_mongo(mongo_url: str) -> Iterator[World]:
    """A world with a MongoDB database of its own, and no worker."""
    with a_place("mongo", mongo_url) as place:
        yield _world(place)


@pytest.fixture(scope="session", params=PARAMS)
def staffed(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A place of every kind in turn where a worker with two processes stands ready, and the queue is the embedded one."""
    with a_place(request.param, server_of(request.param, request)) as place, place.worker():
        yield place


@pytest.fixture
def world(staffed: Place) -> World:
    """A world of this test's own in a place where a worker stands ready."""
    return _world(staffed)
