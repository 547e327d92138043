"""What these tests do to a real database: the new collections through pymongo alone, and documents of the sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from pymongo.database import Database

Documents = list[dict[str, Any]]


class PlainSchema:
    """The two operations that `expand` uses, done at once."""

    def __init__(self, database: Database[dict[str, Any]]) -> None:
        self.database = database

    def create_collection(self, name: str, validator: Mapping[str, Any] | None = None, indexes: Sequence[Any] = ()) -> None:
        self.database.create_collection(name, validator=validator)
        for index in indexes:
            options = dict(index)
            self.database[name].create_index(options.pop("keys"), **options)

    def insert(self, name: str, documents: Documents) -> None:
        self.database[name].insert_many(documents)


def read(database: Database[dict[str, Any]], name: str) -> Documents:
    """All documents of the collection as an author sees them."""
    options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
    return [python(document) for document in database.get_collection(name, codec_options=options).find().sort("_id")]


def write(database: Database[dict[str, Any]], name: str, documents: Documents) -> None:
    """Nothing; the documents are in the collection."""
    database[name].insert_many([stored(document) for document in documents])


def python(value: Any) -> Any:
    return _with(value, lambda item: item.to_decimal() if isinstance(item, Decimal128) else item)


def stored(value: Any) -> Any:
    return _with(value, lambda item: Decimal128(item) if type(item).__name__ == "Decimal" else item)


def _with(value: Any, convert: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with(item, convert) for name, item in value.items()}
    if isinstance(value, list):
        return [_with(item, convert) for item in value]
    return convert(value)
