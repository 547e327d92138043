"""The C codec of `bson`: it has whole documents and lists at once, and is believed where it makes the same bytes again."""

from __future__ import annotations

import datetime as dt
import decimal
import struct
from typing import Any

import bson
from bson.binary import STANDARD
from bson.codec_options import CodecOptions, TypeDecoder, TypeEncoder, TypeRegistry
from bson.dbref import DBRef
from bson.errors import BSONError

from backtrail.stores.mongo.decimal128 import from_decimal128, to_decimal128

BEYOND = (ValueError, OverflowError, TypeError, RecursionError, struct.error, BSONError)
"""What Python's types and bson's raise for a value that they cannot hold."""


class _Decimals(TypeDecoder, TypeEncoder):
    """Decimal128 as Python's Decimal, and back."""

    bson_type, python_type = bson.Decimal128, decimal.Decimal

    def transform_bson(self, value: Any) -> Any:
        return from_decimal128(value.bid)

    def transform_python(self, value: Any) -> Any:
        return bson.Decimal128.from_bid(to_decimal128(value))


class _NoReferences(TypeDecoder):
    """Documents that look like a DBRef are documents: the codec is not to decode what holds one."""

    bson_type = DBRef

    def transform_bson(self, value: Any) -> Any:
        raise ValueError("a DBRef")


class _NoScopes(TypeDecoder):
    """Code that has a scope is opaque wherever it stands."""

    bson_type = bson.Code

    def transform_bson(self, value: Any) -> Any:
        if value.scope is not None:
            raise ValueError("code with a scope")
        return value


OPTIONS: CodecOptions[Any] = CodecOptions(
    tz_aware=True,
    tzinfo=dt.UTC,
    uuid_representation=STANDARD,
    type_registry=TypeRegistry([_Decimals(), _NoReferences(), _NoScopes()]),
)


def _wrapped(kind: int, data: bytes) -> bytes:
    return b"%b%c\0%b\0" % (struct.pack("<i", len(data) + 7), kind, data)


def at_once(kind: int, data: bytes) -> Any:
    """The document or list as the codec has it.

    Raises:
        ValueError: it would make other bytes of it, or none.
    """
    raw = _wrapped(kind, data)
    try:
        value = bson.decode(raw, OPTIONS)
        if bson.encode(value, codec_options=OPTIONS) == raw:
            return value[""]
    except BEYOND as error:
        raise ValueError("no value of the codec") from error
    raise ValueError("not what the codec makes of it")
