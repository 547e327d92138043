"""`make tampering`: every case on every kind of database, counted; exit code 1 if one is not found, or something is found where nothing was done."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests import servers
from tests.engine import Engine
from tests.tampering.cases import cases, evenly
from tests.tampering.run import Result, run
from tests.tampering.stage import Stage

LEAST = 500
"""How many cases there must be on each kind of database."""

MOST = 600
"""How many are tried on MongoDB, where each takes several times as long as elsewhere: there is a field of half a megabyte in it."""


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bt-tampering-") as folder:
        yield f"sqlite:///{Path(folder) / 'data.db'}"


@contextmanager
def _postgres() -> Iterator[str]:
    with servers.postgres() as server, servers.postgres_database(server) as url:
        yield url


@contextmanager
def _mongo() -> Iterator[str]:
    with servers.mongod() as server, servers.mongo_database(server) as url:
        yield url


STORES = {"sqlite": _sqlite, "postgres": _postgres, "mongo": _mongo}


def say(line: str) -> None:
    """Writes the line now: a run takes a while."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def attack(store: str) -> Result:
    """What came of all cases on a fresh ledger."""
    with STORES[store]() as url, closing(Engine(url)) as engine, closing(Stage(engine)) as stage:
        every = cases(stage.pristine, dynamic=not engine.postgres)
        return run(stage, evenly(every, MOST) if engine.mongo else every)


def main(stores: list[str]) -> int:
    """The exit code, after a line for each kind of database."""
    whole = Result()
    for store in stores or list(STORES):
        begin = time.perf_counter()
        result = attack(store)
        say(f"{store}: {result}; {time.perf_counter() - begin:.0f} s")
        for missed in result.missed:
            say(f"  {missed}")
        whole.add(result)
        if result.cases < LEAST:
            say(f"  only {result.cases} cases, and {LEAST} are wanted")
            return 1
    say(f"in all: {whole}")
    return 0 if whole.found == whole.cases and not whole.alarms else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
