"""Writes of raw documents as plain commands.

The driver's own methods look into documents that replace others, and into what the server answers, and fail over values that Python does not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import WriteError

from backtrail.stores.mongo.document import ARRAY, DOCUMENT, EMPTY_DOCUMENT, Element, join, spans, split
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
_TIMESTAMP = bytes([TIMESTAMP])
_KINDS = {"insert": "documents", "update": "updates", "delete": "deletes"}

RawCollection = Collection[RawBSONDocument]


class Refused(WriteError):
    """One of several writes was refused, the one at that position."""

    def __init__(self, said: Mapping[str, Any], position: int) -> None:
        super().__init__("", said["code"], said)
        self.position = position


def delete(collection: RawCollection, condition: bytes, session: ClientSession) -> None:
    """Nothing; all documents that the filter finds are gone."""
    limit = Element("limit", 0x10, bytes(4))
    _run("delete", collection, [join([Element("q", DOCUMENT, condition), limit])], session)


def update(collection: RawCollection, updates: Sequence[tuple[Element, bytes]], session: ClientSession) -> int:
    """How many of the documents there are: each `_id` comes with the operators, or with the document that takes its place."""
    return _run("update", collection, [_statement(key, change) for key, change in updates], session)


def replace(
    collection: RawCollection, documents: Sequence[tuple[Element, bytes]], session: ClientSession, *, bypass: bool
) -> int:
    """How many of the documents there are: each, which can replace, has taken the place of the one with that `_id`."""
    return _run("update", collection, [_statement(key, document) for key, document in documents], session, bypass=bypass)


def insert(
    collection: RawCollection, documents: Sequence[tuple[Element, bytes]], session: ClientSession, *, bypass: bool = False
) -> None:
    """Nothing; the documents, each with its `_id` before it, are there."""
    places: dict[bool, list[int]] = {True: [], False: []}
    for at, (_, document) in enumerate(documents):
        places[is_kept(document)].append(at)
    for keeps, some in places.items():
        statements = [documents[at][1] if keeps else _upsert(*documents[at]) for at in some]
        try:
            _run("insert" if keeps else "update", collection, statements, session, bypass=bypass)
        except Refused as refused:
            refused.position = some[refused.position]
            raise


def can_replace(document: bytes) -> bool:
    """Whether the document may take another one's place as it is: the others can only be inserted.

    The server refuses names that begin with $.
    """
    has_name = b"$" in document and any(name.startswith("$") for name, *_ in spans(document))
    return not has_name and is_kept(document)


def is_kept(document: bytes) -> bool:
    """Whether the server, told to insert the document, which begins with its `_id`, stores these bytes and no others.

    It puts its own time in the place of timestamps of zero. What else it does to a document, is to bring `_id` to its begin; a validator
    refuses, and changes nothing.
    """
    return not (
        EMPTY in document
        and _TIMESTAMP in document
        and any(kind == TIMESTAMP and document[at:stop] == EMPTY and name != "_id" for name, kind, _, at, stop in spans(document))
    )


def _upsert(key: Element, document: bytes) -> bytes:
    """The insertion of a document whose timestamps of zero the server leaves alone.

    It finds no document, so that one whose `_id` is equal makes it fail: a server ends when such a statement changes a document whose names
    are there twice.
    """
    stage = join([Element("$replaceWith", DOCUMENT, join([Element("$literal", DOCUMENT, document)]))])
    pipeline = join([Element("0", DOCUMENT, stage)])
    none = Element("$nor", ARRAY, join([Element("0", DOCUMENT, EMPTY_DOCUMENT)]))
    condition = join([*split(by_id(key)), none])
    return join([Element("q", DOCUMENT, condition), Element("u", ARRAY, pipeline), Element("upsert", 0x08, b"\1")])


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
    count = done = 0
    for part in _parts(statements):
        command: dict[str, Any] = {name: collection.name, _KINDS[name]: [*map(RawBSONDocument, part)], "ordered": False}
        if bypass:
            command["bypassDocumentValidation"] = True
        answer = collection.database.command(command, session=session, codec_options=ANSWERS)
        for error in answer.get("writeErrors", ()):
            raise Refused(error, done + error["index"])
        count += answer["n"]
        done += len(part)
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
