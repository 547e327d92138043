"""What a MongoDB database holds: the bytes of every document, by a plain client."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient, UpdateOne

from tests import hard_bson as hard

Seen = Counter[tuple[str, bytes]]
"""How often each collection holds each document, by its bytes."""

ANSWERS: CodecOptions[Any] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
"""The server names the keys of what it took, which Python may not have."""
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def look(url: str, *collections: str) -> Seen:
    """Every document of the collections."""
    with MongoClient[Any](url) as client:
        database = client.get_default_database()
        return Counter(
            (name, bytes(one.raw)) for name in collections for one in database.get_collection(name, codec_options=RAW).find()
        )


def insert(url: str, collection: str, documents: Iterable[tuple[bytes, bytes]], *, index: str) -> None:
    """Nothing; the documents, each after its `_id`, are in the new collection with that index, byte for byte.

    A pipeline makes them: an insert would put the server's time in the place of a timestamp of zero.
    """
    with MongoClient[Any](url) as client:
        made = client.get_default_database().create_collection(collection, codec_options=ANSWERS)
        upserts = [
            UpdateOne(_same_id(key), [{"$replaceWith": {"$literal": RawBSONDocument(raw)}}], upsert=True)
            for key, raw in documents
        ]
        made.create_index(index)
        if upserts:
            made.bulk_write(upserts, ordered=False)


def _same_id(key: bytes) -> Any:
    return RawBSONDocument(hard.document(("_id", key)))
