"""What a stored value is in Python, and what is stored of what an author gives, by the type that the column declares."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import uuid
from collections.abc import Callable
from typing import Any

from backtrail.errors import BadValue, UsageError
from backtrail.jsontext import json_writer
from backtrail.stores.cells import RawText, json_reader
from backtrail.values import Opaque

json_text = json_writer(allow_nan=False)
EMPTY: dict[type, str] = {dict: "{}", list: "[]"}
RANKS = {int: 1, float: 1, str: 2, RawText: 2, bytes: 3}


def order(cell: Any) -> tuple[int, Any]:
    """SQLite's own order among storage classes, binary within text and blobs."""
    if cell is None:
        return 0, 0
    return RANKS[type(cell)], cell.encode() if type(cell) is str else cell


def affinity(declared: str) -> str:
    """The affinity of a declared type (https://www.sqlite.org/datatype3.html, 3.1)."""
    declared = declared.upper()
    for mark, name in (("INT", "integer"), ("CHAR", "text"), ("CLOB", "text"), ("TEXT", "text"), ("BLOB", "blob")):
        if mark in declared:
            return name
    if not declared:
        return "blob"
    return "real" if any(mark in declared for mark in ("REAL", "FLOA", "DOUB")) else "numeric"


def _plain(cell: Any) -> Any:
    return Opaque(cell.decode(errors="replace"), cell) if type(cell) is RawText else cell


def key_maker(table: str, name: str, declared: str) -> Callable[[Any], Any]:
    """What turns cells of a column into keys: the stored value, since its text must find the row again."""
    keep = affinity(declared) == "real"

    def key(cell: Any) -> Any:
        if type(cell) is RawText:
            raise UsageError(
                f"{table}.{name} holds text that is not UTF-8, which is no key: give Keys({table!r}, {name!r}, key=)"
            )
        # 1 and 1.0 are equal to SQLite, hence one key: always the same of the two.
        return int(cell) if type(cell) is float and cell.is_integer() and abs(cell) < 2**63 and not keep else cell

    return key


def _as(convert: Callable[[str], Any], kinds: tuple[type, ...] = (str,)) -> Callable[[Any], Any]:
    """A decoder that gives what `convert` makes of a cell of those classes, and `Opaque` where it cannot."""

    def decode(cell: Any) -> Any:
        if type(cell) not in kinds:
            return _plain(cell)
        try:
            return convert(cell)
        except (ValueError, TypeError, ArithmeticError, RecursionError):
            return Opaque(str(cell), cell)

    return decode


def _datetime(text: str) -> dt.datetime:
    value = dt.datetime.fromisoformat(text)
    # Text without an offset is UTC, as SQLite's own functions have it.
    return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value


DECODERS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("JSON", json_reader(_as(json.loads))),
    ("DATETIME", _as(_datetime)),
    ("TIMESTAMP", _as(_datetime)),
    ("DATE", _as(dt.date.fromisoformat)),
    ("TIME", _as(dt.time.fromisoformat)),
    ("BOOL", lambda cell: bool(cell) if type(cell) is int and cell in (0, 1) else _plain(cell)),
)


def decoder(declared: str) -> Callable[[Any], Any]:
    """What turns cells of a column of that declared type into Python values."""
    return next((decode for mark, decode in DECODERS if declared.upper().startswith(mark)), _plain)


def encoder(table: str, name: str, declared: str) -> Callable[[Any], Any]:
    """What turns Python values into cells of that column."""
    is_json = declared.upper().startswith("JSON")
    last: Any = object()
    last_text: Any = None

    def encode(value: Any) -> Any:
        nonlocal last, last_text
        if value is last:
            return last_text
        if isinstance(value, Opaque):
            return value.exact
        try:
            kind = type(value)
            cell = _json(value) if is_json or isinstance(value, (dict, list, tuple)) else _stored(value)
            if kind is dt.datetime:
                last, last_text = value, cell  # the time of the job stands in all rows of a batch
            return cell  # noqa: TRY300 -- nothing more can fail
        except (TypeError, ValueError, OverflowError) as error:
            raise BadValue(f"{table}.{name} cannot hold a value of type {type(value).__name__}") from error

    return encode


def _json(value: Any) -> str:
    return EMPTY[type(value)] if not value and type(value) in EMPTY else json_text(value)


def _stored(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise OverflowError
        return int(value)
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 -- NaN; SQLite would quietly store NULL
            raise ValueError
        return float(value)
    if isinstance(value, str):
        value.encode()  # a lone surrogate is a ValueError
        return str(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, dt.datetime):
        return str(value.astimezone(dt.UTC).replace(tzinfo=None)) if value.tzinfo else str(value)
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, enum.Enum):
        return _stored(value.value)
    raise TypeError
