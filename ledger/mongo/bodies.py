"""Bodies of events that one document could not hold: kept in pieces, each a document of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson.binary import Binary
from bson.int64 import Int64
from pymongo.client_session import ClientSession

from ledger.entry import Placed
from ledger.journal import chunks
from ledger.mongo.collections import Document, Documents, whole

INLINE = 1_000_000
"""Up to how many bytes a body stands in its event's own document."""

PIECE = 8_000_000
"""How many bytes go into one document of `chunks`: MongoDB takes none above 16 MB."""

Place = tuple[Any, Any]


def packed(placed: Placed) -> tuple[Document, list[Document]]:
    """What stands in the event's document instead of a large body, and the documents that hold it."""
    body = placed.event.body
    pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
    at: Document = {"s": Int64(placed.stream), "v": placed.event.version}
    return {"chunks": len(pieces)}, [{"_id": at | {"n": number}, "data": Binary(piece)} for number, piece in enumerate(pieces)]


def size_of(document: Document) -> int:
    """About how many bytes the event's body is."""
    body = document.get("body")
    return body["chunks"] * PIECE if isinstance(body, dict) and whole(body.get("chunks")) > 0 else len(body or "")


def unpack(chunked: Documents, session: ClientSession, documents: Sequence[Document]) -> None:
    """Nothing; the events' documents hold their large bodies themselves.

    A piece that is missing or is not what it was gives another body, which the event's hash does not fit.
    """
    wanted = {_place(document): document for document in documents if isinstance(document.get("body"), dict)}
    parts: dict[Place, list[bytes]] = {place: [] for place in wanted}
    for place, data in _pieces(chunked, session, list(wanted)):
        parts[place].append(data)
    for place, document in wanted.items():
        document["body"] = b"".join(parts[place])


def remove(chunked: Documents, session: ClientSession, stream: int, versions: Iterable[int]) -> None:
    """Nothing; there are no pieces of the bodies of these versions."""
    for part in chunks([(stream, version) for version in versions]):
        chunked.delete_many({"$or": _ranges(part)}, session=session)


def _place(document: Document) -> Place:
    return document["_id"]["s"], document["_id"]["v"]


def _ranges(places: Sequence[Place]) -> list[Document]:
    return [{"_id": {"$gte": {"s": s, "v": v}, "$lt": {"s": s, "v": v + 1}}} for s, v in places]


def _pieces(chunked: Documents, session: ClientSession, places: Sequence[Place]) -> Iterator[tuple[Place, bytes]]:
    for part in chunks(places):
        for piece in chunked.find({"$or": _ranges(part)}, session=session).sort("_id", 1):
            data = piece.get("data")
            yield _place(piece), data if isinstance(data, bytes) else b""
