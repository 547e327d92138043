"""Values that their text does not give again: read with their binary form behind the text, and sent in that form."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from psycopg import pq
from psycopg.adapt import Dumper, PyFormat

from backtrail.stores.postgres.types import FLOAT_OIDS, NAMED_ARRAYS, NAMED_OIDS, XML, XMLS
from backtrail.stores.tables import Column
from backtrail.values import Opaque

EXACT = {
    **dict.fromkeys(NAMED_OIDS, "{}::oid"),
    **dict.fromkeys(NAMED_ARRAYS, "{}::oid[]"),
    XML: "{}::text",  # xml is printed without its declaration, and kept with it
    XMLS: "{}::text[]",
}
"""What reads columns whose types print less than they hold."""

SENT = "encode(record_send(ROW({})), 'hex')"
MARK = "\x02"
MARKED = re.compile(MARK + r"([0-9a-f]+)\Z")
"""What stands behind a text that does not give its value again: a row of the value alone in binary form, in hexadecimal digits."""


def exact(oid: int, cast: str, parts: set[int]) -> tuple[str, bool]:
    """What reads a column of that type, made of those parts, exactly, and whether that may be marked with the binary form."""
    if oid in EXACT or 0 in parts:  # 0 is a part that has no binary form
        return EXACT.get(oid, "{}"), False
    text = f"{{}}::text || chr({ord(MARK)}) || {SENT}"
    if parts & NAMED_OIDS:
        return text, True
    if parts & FLOAT_OIDS:
        again = SENT.replace("{}", f"{{}}::text::{cast}")
        return f"CASE WHEN position('NaN' IN {{}}::text) > 0 AND {SENT} <> {again} THEN {text} ELSE {{}}::text END", True
    return "{}", False


def marked_decoder(decode: Callable[[str], Any]) -> Callable[[str], Any]:
    """The decoder for texts of which some have the binary form behind them."""
    return lambda text: Opaque(text[: found.start()], text) if (found := MARKED.search(text)) else decode(text)


class Sent:
    """A value in the binary form of its type."""

    def __init__(self, row: str) -> None:
        # A row of one column: how many columns, and its type, its length and its bytes.
        data = bytes.fromhex(row)
        self.oid, self.data = int.from_bytes(data[4:8]), data[12:]


class SentDumper(Dumper):
    """Sends it as what it is."""

    format = pq.Format.BINARY

    def get_key(self, obj: Any, format: PyFormat) -> Any:
        return self.cls, obj.oid

    def upgrade(self, obj: Any, format: PyFormat) -> SentDumper:
        dumper = SentDumper(self.cls)
        dumper.oid = obj.oid
        return dumper

    def dump(self, obj: Any) -> bytes:
        return bytes(obj.data)


def parameter(column: Column, cell: Any) -> Any:
    """The cell as a parameter: its text, or its binary form where it has one."""
    found = MARKED.search(cell) if column.marked and cell is not None else None
    return Sent(found[1]) if found else cell
