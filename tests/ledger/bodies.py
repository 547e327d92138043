"""What the docstring of ledger/event.py says, in code of its own: bodies taken apart and put together, and the chain recomputed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any


def netstring(data: bytes | None) -> bytes:
    """The bytes as a netstring; `-` for None."""
    return b"-" if data is None else str(len(data)).encode() + b":" + data + b","


def open_body(
    key: bytes | None = None, before: bytes | None = None, after: bytes | None = None, data: bytes | None = None
) -> bytes:
    """An open body, with the row's key written out."""
    return b"\x01" + b"".join(map(netstring, (key, before, after, data)))


def fields_of(body: bytes) -> list[bytes | None]:
    """The four fields of an open body, `=` resolved."""
    assert body[:1] == b"\x01", "the body lies open"
    rest, fields = body[1:], list[bytes | None]()
    while rest:
        if rest[:1] in (b"-", b"="):
            fields.append(None if rest[:1] == b"-" else b"=")
            rest = rest[1:]
            continue
        length, _, rest = rest.partition(b":")
        fields.append(rest[: int(length)])
        assert rest[int(length) : int(length) + 1] == b","
        rest = rest[int(length) + 1 :]
    key, before, after, data = fields
    if body[1:2] == b"=":
        image = before if after is None else after
        assert image is not None, "a key that is the first cell has an image"
        key = image.split(b"\x00")[0]
    return [key, before, after, data]


def commitment(secret: bytes, body: bytes) -> bytes:
    """What stands for a body in its event's hash."""
    if body[:1] == b"\x00":
        return body[1:]
    return hashlib.sha256((secret if body[:1] == b"\x01" else b"") + body).digest()


def chained(migration: str, origin: bytes, secret: bytes, rows: Sequence[Mapping[str, Any]]) -> list[bytes]:
    """The whole hashes that the events of one stream should have; `shape` of a row is the shape's text."""
    previous = hashlib.sha256(b"backtrail-ledger-2" + netstring(migration.encode()) + netstring(origin)).digest()
    hashes = []
    for row in rows:
        numbers = [str(row[name]).encode() for name in ("version", "kind", "campaign", "at")]
        shape = None if row["shape"] is None else hashlib.sha256(row["shape"].encode()).digest()
        parts = [previous, *numbers, shape, commitment(secret, row["body"])]
        previous = hashlib.sha256(b"".join(map(netstring, parts))).digest()
        hashes.append(previous)
    return hashes
