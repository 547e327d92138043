"""One node for all tests of this folder, and places to run the program in, each with a queue of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kombu import Connection

from tests.acceptance.conftest import a_place, pytest_runtest_makereport
from tests.acceptance.world import World
from tests.rabbitmq.node import Node, User, node

__all__ = ["pytest_runtest_makereport"]

HERE = __name__.rpartition(".")[0]
OWN = r"bt\w*"
CONTROL = r"(celeryev|celery\.pidbox|reply\.celery\.pidbox)"
WORKER = User(
    "worker",
    configure=rf"^({OWN}(\.dead)?|{CONTROL}|.*@.*\.celery\.pidbox)$",
    write=rf"^({OWN}(\.dead)?|{CONTROL}|.*@.*\.celery\.pidbox)$",
    read=rf"^({OWN}(\.dead)?|{CONTROL}|.*@.*\.celery\.pidbox)$",
)
"""As docs/rabbitmq.md has it."""
OPERATOR = User("operator", configure="^$", write="^$", read="^$")
OBSERVER = User(
    "observer",
    configure=rf"^({CONTROL}|celeryev\..*|.*\.reply\.celery\.pidbox)$",
    write=rf"^({CONTROL}|celeryev\..*|.*\.reply\.celery\.pidbox)$",
    read=rf"^({CONTROL}|celeryev\..*|.*\.reply\.celery\.pidbox)$",
)
USERS = [WORKER, OPERATOR, OBSERVER]

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder needs RabbitMQ."""
    for item in items:
        if "tests/rabbitmq/" in item.path.as_posix():
            item.add_marker(pytest.mark.rabbitmq)


@pytest.fixture(scope="session")
def rabbit() -> Iterator[Node]:
    """A node that runs."""
    with node(*USERS) as one:
        yield one


@pytest.fixture
def queue() -> str:
    """The name of a queue that nobody has yet."""
    return f"bt{next(_numbers)}"


@pytest.fixture
def world(rabbit: Node, queue: str) -> Iterator[World]:
    """A world on a fresh SQLite file, with RabbitMQ as its broker and no worker."""
    with a_place("sqlite", None) as place:
        world = World(replace(place, broker=rabbit.url("worker"), more={"BACKTRAIL_QUEUE": queue}), f"r{next(_numbers)}")
        world.write()
        yield world


@pytest.fixture
def connection(rabbit: Node) -> Iterator[Any]:
    """A connection of somebody who may do everything."""
    with Connection(rabbit.url()) as connection:
        yield connection.connection
