"""Fields of events that one document could not hold: kept in pieces, each a document of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from bson.binary import Binary
from pymongo.client_session import ClientSession

from ledger.journal import Placed, chunks
from ledger.mongo.collections import Document, Documents, whole

INLINE = 1_000_000
"""Up to how many bytes a field stands in its event's own document."""

PIECE = 8_000_000
"""How many bytes go into one document of `chunks`: MongoDB takes none above 16 MB."""

FIELDS = ("before", "after", "data")
"""The fields of an event that can be large."""


def packed(placed: Placed, field: str, value: bytes) -> tuple[Any, list[Document]]:
    """What stands in the event's document instead of a large value, and the documents that hold it."""
    at: Document = {"s": placed.stream, "v": placed.event.version, "i": field}
    pieces = [value[start : start + PIECE] for start in range(0, len(value), PIECE)]
    documents: list[Document] = [{"_id": at | {"n": number}, "data": Binary(piece)} for number, piece in enumerate(pieces)]
    return {"chunks": len(pieces)}, documents


def size_of(document: Document) -> int:
    """About how many bytes the event's large fields are."""
    values = [document.get(field) for field in FIELDS]
    return sum(
        one["chunks"] * PIECE if isinstance(one, dict) and whole(one.get("chunks")) > 0 else len(one or "") for one in values
    )


def unpack(chunked: Documents, session: ClientSession, documents: Sequence[Document]) -> None:
    """Nothing; the events' documents hold their large values themselves.

    A piece that is missing or is not what it was gives another value, which the event's hash does not fit.
    """
    wanted = {place: (document, place[2]) for document in documents for place in _places(document)}
    parts: dict[tuple[Any, Any, str], list[bytes]] = {place: [] for place in wanted}
    for place, data in _pieces(chunked, session, list(wanted)):
        parts[place].append(data)
    for place, (document, field) in wanted.items():
        value = b"".join(parts[place])
        document[field] = value.decode("utf-8", "replace") if field == "data" else value


def _places(document: Document) -> Iterator[tuple[Any, Any, str]]:
    at = document["_id"]
    return ((at["s"], at["v"], field) for field in FIELDS if isinstance(document.get(field), dict))


def _pieces(
    chunked: Documents, session: ClientSession, places: Sequence[tuple[Any, Any, str]]
) -> Iterable[tuple[tuple[Any, Any, str], bytes]]:
    for part in chunks(places):
        ranges = [
            {"_id": {"$gte": {"s": s, "v": v, "i": field}, "$lt": {"s": s, "v": v, "i": f"{field}\0"}}} for s, v, field in part
        ]
        for piece in chunked.find({"$or": ranges}, session=session).sort("_id", 1):
            at, data = piece["_id"], piece.get("data")
            yield (at["s"], at["v"], at["i"]), data if isinstance(data, bytes) else b""
