"""Events, and the hash that chains those of one stream.

The hash of an event is SHA-256 over these, each as a netstring (its length in decimal, a colon, its bytes, a comma;
https://cr.yp.to/proto/netstrings.txt), None as `-`: the previous event's hash, the version, the kind, the campaign, the time (numbers in
decimal), the digest of the shape, the row's key, the images before and after, the data. The first previous hash is SHA-256 over the
format's name as it is, and the migration and the entity's key as netstrings. So no event can be edited, moved to another stream or put
elsewhere in its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from backtrail.image import Image, Ref, Shape

FORMAT = b"backtrail-ledger-1"

CHANGES = {"created", "updated", "deleted", "compensated"}
"""The kinds of events that changed a row."""

NOTES = {"conflict", "unmapped", "remark"}
"""The kinds of events that say something about an entity."""


@dataclass(slots=True)
class Event:
    """One fact in a stream. `at` is in milliseconds since 1970, UTC; `data` is JSON text."""

    version: int
    kind: str
    campaign: int
    at: int
    ref: Ref | None = None
    shape: Shape | None = None
    before: bytes | None = None
    after: bytes | None = None
    data: str | None = None
    hash: bytes = b""
    index: int | None = None
    """The number under which the events of a row that existed before are found. Not hashed: it follows from the rest."""

    @property
    def facts(self) -> dict[str, Any]:
        """The data of the event as JSON gives it; empty where there is none."""
        return {} if self.data is None else dict(json.loads(self.data))

    @property
    def before_image(self) -> Image | None:
        """What the row held before; None where it did not exist."""
        return None if self.before is None or self.shape is None else Image(self.shape, self.before)

    @property
    def after_image(self) -> Image | None:
        """What the row held after; None where it was gone."""
        return None if self.after is None or self.shape is None else Image(self.shape, self.after)


def genesis(migration: str, key: str) -> bytes:
    """What the first event of a stream is chained to: 32 bytes."""
    return hashlib.sha256(FORMAT + _netstring(migration.encode()) + _netstring(key.encode("utf-8", "surrogatepass"))).digest()


def digest(previous: bytes, event: Event) -> bytes:
    """The hash of an event that follows one with the hash `previous`: 32 bytes."""
    ref = event.ref
    fields = (
        previous,
        b"%d" % event.version,
        event.kind.encode(),
        b"%d" % event.campaign,
        b"%d" % event.at,
        None if event.shape is None else event.shape.digest,
        None if ref is None else ref.key.encode("utf-8", "surrogatepass"),
        event.before,
        event.after,
        None if event.data is None else event.data.encode(),
    )
    return hashlib.sha256(b"".join([b"-" if field is None else b"%d:%b," % (len(field), field) for field in fields])).digest()


def _netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)


def index_of(ref: Ref | None, before: bytes | None) -> int | None:
    """The number under which an event is found by its row; None where the row did not exist before, so that nobody else can have had it."""
    return None if ref is None or before is None else ref_number(ref)


def ref_number(ref: Ref) -> int:
    """A 63-bit number of a row, for finding the events of a row through an index; several rows may share one."""
    text = f"{ref.table}\0{ref.key}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1
