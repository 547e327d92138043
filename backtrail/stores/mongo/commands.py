"""Writes of raw documents as plain commands.

The driver's own methods look into documents that replace others, and into what the server answers, and fail over values that Python does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import WriteError

from backtrail.stores.mongo.document import DOCUMENT, Element, join, split
from backtrail.stores.mongo.record import by_id

ANSWERS: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
"""Answers quote documents, whatever is in them."""

MAX_BYTES, MAX_STATEMENTS = 16_000_000, 10_000
"""The driver sends a command of up to 16 MB and a little, which holds one document of the largest size."""

TIMESTAMP, EMPTY = 0x11, bytes(8)
_KINDS = {"insert": "documents", "update": "updates", "delete": "deletes"}

RawCollection = Collection[RawBSONDocument]


def delete(collection: RawCollection, condition: bytes, session: ClientSession) -> None:
    """Nothing; all documents that the filter finds are gone."""
    limit = Element("limit", 0x10, bytes(4))
    _run("delete", collection, [join([Element("q", DOCUMENT, condition), limit])], session)


def update(collection: RawCollection, updates: Sequence[tuple[Element, bytes]], session: ClientSession) -> int:
    """How many of the documents there are: each `_id` comes with the operators, or with the document that takes its place."""
    return _run("update", collection, [_statement(key, change) for key, change in updates], session)


def replace(
    collection: RawCollection, documents: Sequence[tuple[Element, bytes]], session: ClientSession, *, bypass: bool
) -> None:
    """Nothing; each document has taken the place of the one with that `_id`."""
    _run("update", collection, [_statement(key, document) for key, document in documents], session, bypass=bypass)
    _empty_timestamps(collection, documents, session, bypass=bypass)


def insert(
    collection: RawCollection, documents: Sequence[tuple[Element, bytes]], session: ClientSession, *, bypass: bool = False
) -> None:
    """Nothing; the documents, each with its `_id` before it, are there."""
    _run("insert", collection, [document for _, document in documents], session, bypass=bypass)
    _empty_timestamps(collection, documents, session, bypass=bypass)


def can_replace(document: bytes) -> bool:
    """Whether the document may take another one's place: one with names that begin with $ can only be inserted."""
    return b"$" not in document or not any(element.name.startswith("$") for element in split(document))


def _empty_timestamps(
    collection: RawCollection, documents: Iterable[tuple[Element, bytes]], session: ClientSession, *, bypass: bool
) -> None:
    """Sets timestamps of zero, in whose place the server puts its own time wherever a whole document is written."""
    statements = []
    for key, document in documents:
        found = _empty(document) if EMPTY in document else []
        if found:
            statements.append(_statement(key, join([Element("$set", DOCUMENT, join(found))])))
    _run("update", collection, statements, session, bypass=bypass)


def _empty(document: bytes) -> list[Element]:
    fields = {element.name: element for element in reversed(split(document)) if element.name != "_id"}
    return [
        element
        for name, element in fields.items()
        if element.kind == TIMESTAMP and element.data == EMPTY and name and "." not in name and name[0] != "$"
    ]


def _statement(key: Element, change: bytes) -> bytes:
    return join([Element("q", DOCUMENT, by_id(key)), Element("u", DOCUMENT, change)])


def _run(
    name: Literal["insert", "update", "delete"],
    collection: RawCollection,
    statements: Sequence[bytes],
    session: ClientSession,
    *,
    bypass: bool = False,
) -> int:
    count = 0
    for part in _parts(statements):
        command: dict[str, Any] = {name: collection.name, _KINDS[name]: [*map(RawBSONDocument, part)], "ordered": False}
        if bypass:
            command["bypassDocumentValidation"] = True
        answer = collection.database.command(command, session=session, codec_options=ANSWERS)
        for error in answer.get("writeErrors", ()):
            raise WriteError("", error["code"], error)
        count += answer["n"]
    return count


def _parts(statements: Sequence[bytes]) -> Iterator[list[bytes]]:
    """The statements in portions that fit into a message each."""
    part: list[bytes] = []
    size = 0
    for statement in statements:
        if part and (size + len(statement) > MAX_BYTES or len(part) == MAX_STATEMENTS):
            yield part
            part, size = [], 0
        part.append(statement)
        size += len(statement)
    if part:
        yield part
