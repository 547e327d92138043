"""What PostgreSQL and SQLite have in common."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from bench.database import Database
from bench.workload import Shape


class SqlDatabase(Database):
    """A database that speaks SQL."""

    ledger: str
    """What stands before the names of the ledger's tables."""
    mark: str
    """What stands for a parameter."""

    @abstractmethod
    def connect(self, url: str) -> Any:
        """A connection that commits every statement by itself."""

    def rows(self, url: str, sql: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of a statement, as they come."""
        with closing(self.connect(url)) as connection:
            # Without values psycopg leaves a % alone.
            yield from connection.execute(sql, values) if values else connection.execute(sql)

    @contextmanager
    def progress(self, url: str) -> Iterator[Callable[[int], bool]]:
        sql = (
            f"SELECT fed AND NOT EXISTS (SELECT 1 FROM {self.ledger}batches b WHERE b.campaign = c.id AND b.state <> 'done')"
            f" FROM {self.ledger}campaigns c WHERE c.id = {self.mark}"
        )
        with closing(self.connect(url)) as connection:
            yield lambda campaign: bool(connection.execute(sql, (campaign,)).fetchone()[0])

    def values(self, url: str, table: str, column: str) -> list[Any]:
        return [row[0] for row in self.rows(url, f"SELECT DISTINCT {column} FROM {table} ORDER BY {column}")]

    def count(self, url: str, table: str, where: tuple[str, Any] | None = None) -> int:
        sql = f"SELECT count(*) FROM {table}"
        found = self.rows(url, sql) if where is None else self.rows(url, f"{sql} WHERE {where[0]} = {self.mark}", where[1])
        return int(next(found)[0])

    def digest(self, url: str, shapes: Sequence[Shape], until: Any = None) -> str:
        found = hashlib.sha256()
        for shape in shapes:
            sql = f"SELECT {', '.join(shape.columns)} FROM {shape.table}"
            values: tuple[Any, ...] = ()
            if until is not None and shape.owner:
                sql, values = f"{sql} WHERE {shape.owner} <= {self.mark}", (until,)
            for row in self.rows(url, f"{sql} ORDER BY {', '.join(shape.order)}", *values):
                found.update(f"{shape.table}{[_plain(cell) for cell in row]}\n".encode())
        return found.hexdigest()


def _plain(cell: Any) -> Any:
    # JSON is kept as text on SQLite, where writers differ in blanks.
    if isinstance(cell, str) and cell[:1] in "[{":
        return json.dumps(json.loads(cell), sort_keys=True)
    return json.dumps(cell, sort_keys=True) if isinstance(cell, (dict, list)) else str(cell)
