"""`backtrail up`: everything for one machine begins together and ends together, however it ends."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from producer.processes import KEEPER
from tests.processes import Place, Program, command, gone, killed, those_with
from tests.servers import free_port, until

pytestmark = pytest.mark.long


@pytest.fixture
def place() -> Iterator[Place]:
    """A place whose path is short enough for sockets, with a database that holds something."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    one = Place(folder, f"sqlite:///{folder / 'app.db'}")
    one.run("sample", "unified-profile", "--size", "20")
    yield one
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def up(place: Place) -> Iterator[Program]:
    """`backtrail up` that has said where it is."""
    with place.program("up", "producer.cli", "up", "-c", "1", "--port", str(free_port())) as program:
        program.says("Ctrl-C here ends everything", timeout=90)
        yield program


def running(place: Place) -> list[psutil.Process]:
    """The processes that know the place's folder."""
    return those_with(str(place.folder))


def those_of(place: Place, what: str) -> list[psutil.Process]:
    """Those of them that run `celery WHAT`, without the keepers that started them."""
    return [one for one in running(place) if f"-m worker --quiet {what}" in command(one) and KEEPER not in command(one)]


def nothing_runs(place: Place) -> None:
    """Returns once no process of the place is left."""
    until(lambda: gone(running(place)), what="the end of everything", timeout=40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_everything_ends_together(place, number):
    """Broker, worker, feeder and Flower are there, and nothing of them is left, however it is ended."""
    with up(place) as program:
        assert re.search(r"Flower: http://127\.0\.0\.1:\d+/  user: flower  password: \S{20}", program.text)
        assert "backtrail enqueue MIGRATION" in program.text
        assert those_of(place, "worker")
        assert len(those_of(place, "flower")) == 1
        everything = [command(one) for one in running(place)]
        for part in ("producer.feed", "backtrail.broker", "valkey-server"):
            assert any(part in one for one in everything), part
        os.kill(program.pid, number)
        assert program.process.wait(40) == (-9 if number == signal.SIGKILL else 0)
        nothing_runs(place)
        assert "Traceback" not in program.text


@pytest.mark.parametrize("what", ["worker", "flower"])
def test_a_part_that_dies_ends_the_others(place, what):
    """It is named with how it ended, and the exit code is 1."""
    with up(place) as program:
        assert killed(those_of(place, what))
        assert program.process.wait(40) == 1
        other = "flower" if what == "worker" else "worker"
        assert f"{what} ended by itself with exit code 137; ending {other}" in program.text
        nothing_runs(place)


def test_what_cannot_be_meant_so_starts_nothing(place):
    """A port that is taken, a broker that does not answer, and a database that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place.refused("up", "--port", str(taken.getsockname()[1]), words="--port")
    port = str(free_port())
    place.refused("up", "--port", port, "--broker-url", "redis://127.0.0.1:1/0", words="broker")
    place.refused("up", "--port", port, "--database-url", f"sqlite:///{place.folder}/none.db", words="no database file")
    nothing_runs(place)


def test_it_shares_the_broker_of_a_worker_that_is_there(place):
    """Whoever came first started it; it goes on for who is left."""
    with place.worker(processes=1) as worker:
        servers = [one for one in running(place) if "valkey-server" in command(one)]
        assert len(servers) == 1
        with up(place) as program:
            assert [one.pid for one in running(place) if "valkey-server" in command(one)] == [servers[0].pid]
            assert program.end() == 0
        place.run("expand", "unified-profile")
        place.run("enqueue", "unified-profile", "--watch")
        assert worker.process.poll() is None
    nothing_runs(place)
