"""Exact images of rows: what the database holds, as bytes that say nothing else.

An image of an SQL row is its cells, each with a one-letter tag, joined by NUL. The tags and what follows them:

    n   NULL
    v   the server's own text of the value (PostgreSQL, under pinned settings)
    i   an integer, r a float (shortest exact text), t text, b a blob (hex), x text with a NUL or invalid UTF-8 (hex)
        (SQLite: the value's own storage class, whatever type the column declares)

No payload can hold a NUL: PostgreSQL's text has none, and SQLite's that has goes as `x`. The columns and their types are not
repeated in each image; they are the image's shape, which the ledger keeps once.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=False)
class Shape:
    """The table of an image, and its columns' names and types in the order of the cells (none for documents)."""

    table: str
    columns: tuple[tuple[str, str], ...] = ()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the canonical JSON of the shape: 32 bytes."""
        return hashlib.sha256(self.dump().encode()).digest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(name for name, _ in self.columns)

    def shared(self) -> Shape:
        """The one object for all equal shapes of this process: images that have it are compared without looking at their columns."""
        return _SHARED.setdefault(self, self)

    def dump(self) -> str:
        """The shape as canonical JSON, for keeping."""
        return json.dumps([self.table, self.columns], ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def load(cls, text: str) -> Shape:
        """The shape that `dump` gave as text."""
        table, columns = json.loads(text)
        return cls(table, tuple((name, kind) for name, kind in columns)).shared()


_SHARED: dict[Shape, Shape] = {}


class Image(NamedTuple):
    """One row or document exactly: its shape, and its bytes."""

    shape: Shape
    data: bytes


class Ref(NamedTuple):
    """Which row: its table and its primary key, in the store's own exact text."""

    table: str
    key: str


class Written(NamedTuple):
    """One row as a job left it: what it held before (None: it did not exist) and after (None: it is gone)."""

    ref: Ref
    before: Image | None
    after: Image | None


def join_cells(cells: list[str]) -> bytes:
    """The image of tagged cells."""
    return "\0".join(cells).encode()


def split_cells(data: bytes) -> list[str]:
    """The tagged cells of an image."""
    return data.decode().split("\0")


def jsonable(value: Any) -> Any:
    """The value as JSON can show it: itself where JSON has the type, its text otherwise."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        if value.isascii():
            return str(value)
        # A lone surrogate, which JSON text can spell, has no bytes that a database would take.
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (dict, Mapping)):  # most are dicts, which is told at once
        return {jsonable(str(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (set, frozenset)):
        # In one order: Python's own is another in every process.
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "\\x" + bytes(value).hex()
    return jsonable(str(value))
