"""Fixtures over real servers; a server that does not start fails the run, nothing is skipped."""

from __future__ import annotations

import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.engine import Engine

# Whoever runs the tests in the background of a shell has them inherit that Ctrl-C is ignored, and so would the programs that are told by it
# to end. One that is handled here is at its default there.
signal.signal(signal.SIGINT, signal.default_int_handler)

KINDS = {"sqlite", "postgres", "mongo"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--turn`: the short form of what takes long."""
    words = "of what a test does on several databases, that whose turn it is by this number; as many in a row do all"
    parser.addoption("--turn", type=int, help=words)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With `--turn`, one item of those that differ in the database only; after the markers have chosen theirs."""
    turn: int | None = config.getoption("turn")
    if turn is None:
        return
    alike = defaultdict(list)
    for item in items:
        words = item.nodeid.replace("]", "-").replace("[", "-").split("-")
        alike["-".join("*" if word in KINDS else word for word in words)].append(item)
    # Each test begins elsewhere, so that every turn has tests on every kind of database.
    chosen = {id(same[(number + turn) % len(same)]) for number, same in enumerate(alike.values())}
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in chosen])
    items[:] = [item for item in items if id(item) in chosen]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """The maintenance database of this test process's own PostgreSQL server."""
    with servers.postgres() as url:
        yield url


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database."""
    with servers.postgres_database(postgres_url) as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of an SQLite file that does not exist yet, with the journal mode left alone."""
    return f"sqlite:///{tmp_path / 'data.db'}"


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """This test process's own MongoDB server, a replica set of one node."""
    with servers.mongod() as url:
        yield url


@pytest.fixture
def mongo(mongo_url: str) -> Iterator[str]:
    """The URL of a fresh MongoDB database."""
    with servers.mongo_database(mongo_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    """The URL of a fresh database of every kind in turn."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(scope="session")
def broker_url() -> Iterator[str]:
    """This test process's own Valkey server; take `broker`, which is empty, instead."""
    with servers.valkey() as url:
        yield url


@pytest.fixture
def broker(broker_url: str) -> str:
    """The URL of an empty Valkey server."""
    with redis.Redis.from_url(broker_url) as client:
        client.flushall()
    return broker_url


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """The engine on a fresh database of every kind in turn."""
    with closing(Engine(database)) as one:
        yield one


@pytest.fixture
def on_postgres(postgres: str) -> Iterator[Engine]:
    """The engine on a fresh PostgreSQL database."""
    with closing(Engine(postgres)) as one:
        yield one


@pytest.fixture
def on_sqlite(sqlite: str) -> Iterator[Engine]:
    """The engine on a fresh SQLite file."""
    with closing(Engine(sqlite)) as one:
        yield one


@pytest.fixture
def on_mongo(mongo: str) -> Iterator[Engine]:
    """The engine on a fresh MongoDB database."""
    with closing(Engine(mongo)) as one:
        yield one


@pytest.fixture(params=["sqlite", "postgres", pytest.param("mongo", marks=pytest.mark.long)])
def everywhere(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """The engine on a fresh database of every kind in turn, MongoDB included: for tests that speak the engine's vocabulary."""
    with closing(Engine(request.getfixturevalue(request.param))) as one:
        yield one
