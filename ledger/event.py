"""Events, and the hash that chains those of one stream.

An event's body holds what may be personal: the row's key, its images before and after, and the data. Its first byte says how:

    1  open: the four as netstrings (length in decimal, colon, bytes, comma; https://cr.yp.to/proto/netstrings.txt), `-` for None, and `=` for a
       row's key that is the first cell of its image
    2  sealed: what would stand there open, encrypted with the key of the stream's subject (`ledger.keyring`)
    0  redacted: the commitment of what once stood there, 32 bytes, and nothing else

The commitment of an open body is SHA-256 over the stream's secret and the body, that of a sealed one SHA-256 over the body. The secret is 16 random
bytes: without it a short value could be guessed from its hash. So a body can be destroyed and the event still be verified.

The hash of an event is SHA-256 over these, each as a netstring, None as `-`: the previous event's hash, the version, the kind, the campaign, the
time (numbers in decimal), the digest of the shape, the commitment of the body. The first previous hash is SHA-256 over the format's name as it
is, and as netstrings the migration and the stream's origin, which is SHA-256 over the secret and the entity's key. So no event can be edited,
moved to another stream or put elsewhere in its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from backtrail.image import Image, Ref, Shape

FORMAT = b"backtrail-ledger-2"

REDACTED, OPEN, SEALED = 0, 1, 2
"""The first byte of a body."""

CHANGES = {"created", "updated", "deleted", "compensated"}
"""The kinds of events that changed a row."""

NOTES = {"conflict", "unmapped", "remark"}
"""The kinds of events that say something about an entity."""

ERASED = "erased"
"""The kind of the event that says that everything before it was made unreadable."""


KEPT = 16
"""How many bytes of its hash stand with each event."""

_sha256 = hashlib.sha256

_SAME, _NONE = b"=-"
"""What stands in a body for a row's key that is the first cell of its image, and for None."""


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
    body: bytes = b""
    """What the ledger holds of the four: the hash is over this."""
    hash: bytes = b""
    """The first 16 bytes of its hash: enough to name the one that was changed. What nobody can forge is the whole, at the end of the chain."""
    index: int | None = None
    """The number under which the events of a row that existed before are found. Not hashed: it follows from the rest."""
    misplaced: bool = False
    """Whether that number is not the row's."""
    erased: bool = False
    """Whether the body cannot be read any more."""

    @property
    def facts(self) -> dict[str, Any]:
        """The data of the event as JSON gives it, to be read only; empty where there is none."""
        return {} if self.data is None else _facts(self.data)

    @property
    def before_image(self) -> Image | None:
        """What the row held before; None where it did not exist."""
        return None if self.before is None or self.shape is None else Image(self.shape, self.before)

    @property
    def after_image(self) -> Image | None:
        """What the row held after; None where it was gone."""
        return None if self.after is None or self.shape is None else Image(self.shape, self.after)


@lru_cache(maxsize=4)  # the end of a stream is asked for its facts two or three times, one stream after the other
def _facts(data: str) -> dict[str, Any]:
    return dict(json.loads(data))


class Content(NamedTuple):
    """What a body says: the row's key, its images, the data."""

    key: str | None = None
    before: bytes | None = None
    after: bytes | None = None
    data: str | None = None


def pack(content: Content) -> bytes:
    """The open body that says this."""
    key, before, after, data = content
    if key is None:
        name = b"-"
    else:
        name, image = _bytes(key), before if after is None else after
        name = b"=" if image is not None and _first_cell(image) == name else b"%d:%b," % (len(name), name)
    text = None if data is None else _bytes(data)
    return b"\1%b%b%b%b" % (name, _field(before), _field(after), _field(text))


def unpack(body: bytes) -> tuple[str | None, bytes | None, bytes | None, str | None]:
    """What the open body says: the fields of its content.

    Raises:
        ValueError: it is none.
    """
    if body[:1] != b"\1":
        raise ValueError("no open body")
    fields: list[bytes | None] = []
    try:
        same = body[1] == _SAME
        at = 2 if same else 1
        while len(fields) < 4 - same:
            if body[at] == _NONE:
                fields.append(None)
                at += 1
            else:
                colon = body.index(b":", at)
                end = colon + 1 + int(body[at:colon])
                fields.append(body[colon + 1 : end])
                at = end + 1
    except IndexError:
        raise ValueError("a body that was cut off") from None
    if same:
        before, after, _ = fields
        fields.insert(0, _first_cell((before if after is None else after) or b""))
    key, before, after, data = fields
    return None if key is None else _text(key), before, after, None if data is None else _text(data)


def genesis(migration: str, origin: bytes) -> bytes:
    """What the first event of a stream is chained to: 32 bytes."""
    return hashlib.sha256(FORMAT + _field(migration.encode()) + _field(origin)).digest()


def origin(secret: bytes, key: str) -> bytes:
    """What stands for the entity's key in its stream's chain: 32 bytes."""
    return hashlib.sha256(secret + _bytes(key)).digest()


def commitment(secret: bytes, body: bytes) -> bytes:
    """What stands for the body in its event's hash: 32 bytes."""
    if body[0] == REDACTED:
        return body[1:]
    return _sha256(secret + body if body[0] == OPEN else body).digest()


def digest(previous: bytes, event: Event, secret: bytes) -> bytes:
    """The hash of an event that follows one with the hash `previous`, in a stream with that secret: 32 bytes."""
    shape = event.shape
    common = _common(event.version, event.kind, event.campaign, event.at, None if shape is None else shape.digest)
    return _sha256(b"32:%b%b32:%b," % (previous, common, commitment(secret, event.body))).digest()


@lru_cache(maxsize=4096)
def _common(version: int, kind: str, campaign: int, at: int, shape: bytes | None) -> bytes:
    """What stands between the two hashes, which is the same for many of the events that one transaction appends."""
    return b",%b" % b"".join(map(_field, (b"%d" % version, kind.encode(), b"%d" % campaign, b"%d" % at, shape)))


def ref_number(lookup: bytes, ref: Ref) -> int:
    """A 63-bit number of a row, for finding the events of a row through an index; several rows may share one.

    Args:
        lookup: the ledger's own secret, without which nobody can tell the row from the number.
        ref: the row.
    """
    return int.from_bytes(hashlib.sha256(lookup + _bytes(f"{ref.table}\0{ref.key}")).digest()[:8], "big") >> 1


def _field(data: bytes | None) -> bytes:
    return b"-" if data is None else b"%d:%b," % (len(data), data)


def _first_cell(image: bytes) -> bytes:
    end = image.find(b"\0")
    return image if end < 0 else image[:end]


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
