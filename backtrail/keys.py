"""Keys of entities as text: what the program prints, it accepts back, and the type is kept.

One value is its plain text; several are a JSON array. The text is what names the entity's stream in the ledger.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import re
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from backtrail.errors import UsageError
from backtrail.values import Opaque

KeyType = str
"""`int`, `number`, `text`, `uuid`, `bytes`, `bool`, `date`, `datetime`, `objectid` or `other` (the database's own text)."""


def _int(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise ValueError(text)  # Python's own reader also takes 1_000 and other scripts' digits
    return int(text)


def _bytes(text: str) -> bytes:
    if not text.startswith("\\x"):
        raise ValueError(text)
    return bytes.fromhex(text[2:])


def _bool(text: str) -> bool:
    return {"true": True, "false": False}[text]


def _number(text: str) -> int | float:
    return int(text) if re.fullmatch(r"-?[0-9]+", text) else float(text)


def _object_id(text: str) -> Any:
    from bson import ObjectId

    if not ObjectId.is_valid(text):
        raise ValueError(text)  # bson's own error is none
    return ObjectId(text)


def _or_beyond(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    def time(text: str) -> Any:
        try:
            return parse(text)
        except ValueError:
            if re.fullmatch(BEYOND_PYTHON, text):
                return Opaque(text)
            raise

    return time


BEYOND_PYTHON = r"-?infinity|\d{4,}-\d\d-\d\d.* BC|\d{5,}-\d\d-\d\d.*"
"""Times of PostgreSQL that Python cannot hold."""

PARSERS: dict[KeyType, Callable[[str], Any]] = {
    "int": _int,
    "number": _number,
    "decimal": decimal.Decimal,
    "text": str,
    "other": str,
    "uuid": uuid.UUID,
    "bytes": _bytes,
    "bool": _bool,
    "date": _or_beyond(dt.date.fromisoformat),
    "datetime": _or_beyond(dt.datetime.fromisoformat),
    "objectid": _object_id,
}


def type_of(value: object) -> KeyType:
    """The key type of a Python value."""
    for kind, name in (
        (bool, "bool"),
        (int, "int"),
        (float, "number"),
        (decimal.Decimal, "decimal"),
        (str, "text"),
        (uuid.UUID, "uuid"),
        (bytes, "bytes"),
        (dt.datetime, "datetime"),
        (dt.date, "date"),
    ):
        if isinstance(value, kind):
            return name
    return "objectid" if type(value).__name__ == "ObjectId" else "other"


def part_text(value: object) -> str:
    """One value of a key as plain text."""
    if type(value) is str:
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(_whole(value))


def _whole(value: object) -> object:
    """The number as an int where it is one: databases find 2 and 2.0 equal, and so they name one entity."""
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**63 else value


def _json_part(value: object) -> object:
    value = _whole(value)
    return value if value is None or isinstance(value, (bool, int, str)) else part_text(value)


def key_text(key: object) -> str:
    """The key as the program prints it and the ledger names its stream."""
    if type(key) is not str and isinstance(key, (tuple, list)):
        return json.dumps([_json_part(part) for part in key], ensure_ascii=False, separators=(",", ":"))
    return part_text(key)


def parse_key(text: str, types: Sequence[KeyType]) -> Any:
    """The key that `text` names, its parts of the given types.

    Raises:
        UsageError: the text is no key of these types.
    """
    try:
        if len(types) == 1:
            return PARSERS[types[0]](text)
        parts = json.loads(text)
        if not isinstance(parts, list) or len(parts) != len(types):
            raise ValueError(text)  # noqa: TRY301 -- one place says what is wrong with a key
        return tuple(
            None if part is None else PARSERS[kind](part if isinstance(part, str) else json.dumps(part))
            for part, kind in zip(parts, types, strict=True)
        )
    except (ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        form = types[0] if len(types) == 1 else "a JSON array of " + ", ".join(types)
        raise UsageError(f"{text!r} is no key of this migration: it takes {form}") from error
