"""Backtrail: data migrations with a ledger, and an exact way back. What a migration's author needs is here."""

from backtrail._version import __version__
from backtrail.entity import Entity
from backtrail.errors import BacktrailError
from backtrail.flag import is_migrated
from backtrail.migration import Invariant, Keys, Migration, Rows
from backtrail.row import NewRow, Row
from backtrail.values import Opaque

__all__ = [
    "BacktrailError",
    "Entity",
    "Invariant",
    "Keys",
    "Migration",
    "NewRow",
    "Opaque",
    "Row",
    "Rows",
    "__version__",
    "is_migrated",
]
