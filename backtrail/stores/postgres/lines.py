"""Lines of COPY in text format (https://www.postgresql.org/docs/current/sql-copy.html, Text Format) as images of rows."""

from __future__ import annotations

import re
from collections.abc import Callable

from backtrail.stores.cells import ref_key
from backtrail.stores.tables import Table

_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def image_of_line(line: bytes) -> bytes:
    """The image of the row that a line holds, whose cells are the server's texts.

    A tab that is no separator, and a line feed that is not the end, are escaped; so is every backslash but that of a NULL.
    """
    line = line.removesuffix(b"\n")
    if b"\\" not in line:
        return b"v" + line.replace(b"\t", b"\0v")
    image = (b"\t" + line).replace(b"\t\\N", b"\0n").replace(b"\t", b"\0v")[1:]
    return _ESCAPE.sub(_unescaped, image) if b"\\" in image else image


def _unescaped(escape: re.Match[bytes]) -> bytes:
    return _ESCAPED.get(escape[1], escape[1])


def image_key(table: Table) -> Callable[[bytes], str]:
    """What gives the text of the primary key from a row's image."""
    places = table.key_positions
    if len(places) == 1:
        (at,) = places
        return lambda image: image.split(b"\0", at + 1)[at].decode()
    return lambda image: ref_key([cell.decode() for cell in map(image.split(b"\0").__getitem__, places)])
