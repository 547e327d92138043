"""Commands and documents as text that says exactly what they are: the base64 of their BSON."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection
from pymongo.database import Database

from backtrail.schema.step import Step

Document = dict[str, Any]
Data = Database[Document]

CODEC: CodecOptions[Document] = CodecOptions(uuid_representation=4)  # what other programs call a UUID
RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)


def kept(document: Mapping[str, Any]) -> str:
    """The document as text."""
    return base64.b64encode(bson.encode(document, codec_options=CODEC)).decode()


def command(text: str) -> Document:
    """The command that was kept as this text."""
    return bson.decode(base64.b64decode(text), CODEC)


def raw(text: str) -> RawBSONDocument:
    """The document that was kept as this text, byte for byte."""
    return RawBSONDocument(base64.b64decode(text))


class Inserted:
    """The documents that a step inserts, in the database as it is now."""

    def __init__(self, database: Data, step: Step) -> None:
        self.collection: Collection[RawBSONDocument] = database[str(step.table)].with_options(codec_options=RAW)
        self.documents = [raw(text) for text in step.back["documents"]]
        ids = [document["_id"] for document in self.documents]
        found = _raw(self.collection.find({"_id": {"$in": ids}}))
        self._found = {_id(document): document for document in found}

    @property
    def present(self) -> int:
        """How many of them are there, whatever became of them."""
        return sum(_id(document) in self._found for document in self.documents)

    @property
    def changed(self) -> int:
        """How many of them are there and not what they were."""
        return self.present - len(self.intact)

    @property
    def intact(self) -> list[RawBSONDocument]:
        """Those that are there as they were inserted."""
        same = (self._found.get(_id(document)) for document in self.documents)
        return [old for old, now in zip(self.documents, same, strict=True) if now is not None and now.raw == old.raw]

    @property
    def absent(self) -> list[RawBSONDocument]:
        """Those that are not there."""
        return [document for document in self.documents if _id(document) not in self._found]


def _raw(documents: Iterable[Any]) -> list[RawBSONDocument]:
    return list(documents)


def _id(document: RawBSONDocument) -> bytes:
    # By what the database compares: 1 and 1.0 are one _id, but whoever inserts a document writes it as the other did.
    return bson.encode({"_id": document["_id"]}, codec_options=CODEC)
