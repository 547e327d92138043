"""What one run of the benchmark measures on one database, and what all measures use."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.database import Database
from bench.workload import Shape, Workload

CHECKED = 100_000
"""Of more users than these, only so many are compared: comparing them takes longer than migrating them."""

POLL_S = 0.02
PATIENCE_S = 3600.0

Figures = dict[str, float]


class Wrong(Exception):
    """A measure did not do what it measures."""


@dataclass
class Run:
    """The sizes, and what the measures should leave alike."""

    database: Database
    workload: Workload
    """`Compared`, but for (k)."""
    users: int
    naive_users: tuple[int, ...]
    sizes: tuple[int, int]
    """The two sizes at which the cost of a user is compared."""
    many: tuple[int, int]
    """Rows of the one large entity, and how many small ones it is among."""
    processes: int
    batch_size: int
    warm: int
    """Users that are migrated before the clock starts, so that every process has made its connections."""
    keys: list[Any] = field(default_factory=list)
    """The users in the order of their keys."""
    states: dict[str, str] = field(default_factory=dict)
    """Digests by what they are of."""

    def fresh(self, users: int | None = None) -> AbstractContextManager[str]:
        """A context with the URL of a new database, with those for warming."""
        return self.database.fresh(self.workload, (self.users if users is None else users) + self.warm)

    def look(self) -> dict[str, str]:
        """What decides about the database's speed and durability; it is filled for the first time, and its users are known."""
        with self.fresh() as url:
            self.keys = self.workload.keys(self.database, url)
            return self.database.settings(url)

    def agree(self, url: str, *, users: int | None = None, loose: bool = False) -> None:
        """Nothing, where the new rows are what every other measure left; of so many users, or of all that are compared."""
        number = min(len(self.keys), CHECKED if users is None else users)
        until = None if users is None and number == len(self.keys) else self.keys[number - 1]
        self._same(f"{number} users{' loosely' * loose}", url, self.workload.loose if loose else self.workload.new, until)

    def _same(self, name: str, url: str, shapes: Any, until: Any) -> None:
        digest = self.database.digest(url, shapes, until)
        if self.states.setdefault(name, digest) != digest:
            raise Wrong(f"{self.database.name}: two measures that should leave the same rows of {name} left different ones")

    def before(self, url: str) -> str:
        """What a rollback has to give back; nothing where comparing would take longer than all the rest."""
        shapes: tuple[Shape, ...] = tuple(self.workload.old)
        return self.database.digest(url, shapes) if self.users <= CHECKED else ""


def until(true: Callable[[], object], what: str) -> None:
    """Returns once it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            raise Wrong(f"{what} did not happen")
        time.sleep(POLL_S)


@contextmanager
def logged() -> Iterator[int]:
    """An open file for what processes say; it is shown if the block fails."""
    with tempfile.TemporaryDirectory(prefix="bt-bench-") as folder:
        path = Path(folder) / "log"
        with path.open("wb") as file:
            try:
                yield file.fileno()
            except BaseException:
                print(path.read_text(errors="replace")[-3000:])
                raise
