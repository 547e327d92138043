"""`python -m tests.exactness [--store STORE …] [--markdown FILE]`: the exactness matrix on servers of its own; exit code 1 if it has a hole."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path

from tests import servers
from tests.exactness.matrix import Cell, Matrix, placed


@contextmanager
def _postgres() -> Iterator[str]:
    with servers.postgres() as base, servers.postgres_database(base) as url:
        yield url


@contextmanager
def _sqlite() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bt-exactness-") as folder:
        yield f"sqlite:///{folder}/data.db"


@contextmanager
def _mongo() -> Iterator[str]:
    with servers.mongod() as base, servers.mongo_database(base) as url:
        yield url


STORES: dict[str, tuple[str, Callable[[], AbstractContextManager[str]]]] = {
    "postgresql": ("tests.exactness.postgres", _postgres),
    "sqlite": ("tests.exactness.sqlite", _sqlite),
    "mongodb": ("tests.exactness.mongo", _mongo),
}
"""By store the module with its `cells(url)`, and an empty database for it."""


def cells(stores: Sequence[str]) -> Iterator[Cell]:
    """The cells of the stores, one store after the other."""
    for store in stores:
        module, database = STORES[store]
        with database() as url:
            yield from import_module(module).cells(url)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code, after the matrix was printed."""
    parser = argparse.ArgumentParser(prog="python -m tests.exactness", description=__doc__)
    parser.add_argument("--store", action="append", choices=list(STORES), help="only this one; may be given again")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table between the markers of this page too")
    options = parser.parse_args(arguments)
    matrix = Matrix(cells(options.store or list(STORES)))
    sys.stdout.write("\n".join([matrix.text(), *matrix.totals(), ""]))
    if options.markdown:
        options.markdown.write_text(placed(options.markdown.read_text(), matrix.markdown()))
    problems = matrix.problems()
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
