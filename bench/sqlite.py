"""SQLite: a file for every run."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.database import expand
from bench.sql import SqlDatabase
from bench.workload import Workload


class Sqlite(SqlDatabase):
    """Files in a folder; each run's is a copy of a template."""

    name, ledger, mark = "sqlite", "backtrail_", "?"

    def __init__(self, folder: Path, journal: str) -> None:
        self.folder, self.journal = folder, journal

    @contextmanager
    def fresh(self, workload: Workload, users: int) -> Iterator[str]:
        template = self.folder / f"{workload.name}-{users}.db"
        if not template.exists():
            with sqlite3.connect(template) as raw:
                raw.execute(f"PRAGMA journal_mode = {self.journal}")
            workload.fill(f"sqlite:///{template}", users)
            expand(f"sqlite:///{template}", workload)
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            shutil.copy(template, folder / "bench.db")
            yield f"sqlite:///{folder / 'bench.db'}"
        finally:
            shutil.rmtree(folder)

    def connect(self, url: str) -> Any:
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)

    def server_process(self, url: str) -> int | None:
        return None

    def settings(self, url: str) -> dict[str, str]:
        found = {"version": sqlite3.sqlite_version}
        for name in ("journal_mode", "synchronous"):
            found[name] = str(next(self.rows(url, f"PRAGMA {name}"))[0])
        return found

    def ledger_bytes(self, url: str) -> int:
        sql = "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name LIKE '%backtrail%'"
        try:
            return int(next(self.rows(url, sql))[0])
        except sqlite3.OperationalError:  # Python's own SQLite may come without dbstat
            return 0


@contextmanager
def opened(journal: str) -> Iterator[Sqlite]:
    """Files in a new folder."""
    with tempfile.TemporaryDirectory(prefix="bt-bench-") as folder:
        yield Sqlite(Path(folder), journal)
