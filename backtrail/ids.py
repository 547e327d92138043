"""Ids that are the same on every run: made of the migration, the entity and a label, never of chance or time."""

from __future__ import annotations

import hashlib
import json
import uuid
from json.encoder import encode_basestring
from typing import Any

from backtrail.errors import AuthorMistake
from backtrail.image import jsonable
from backtrail.keys import part_text

NAMESPACE = uuid.UUID("6f0c6a3e-6d0b-5e0c-9d0e-3f2f4a9d1b57")
"""The namespace of all ids of Backtrail, drawn once; another one would give other ids."""


def _name(migration: str, key: str, label: tuple[Any, ...]) -> str:
    # The JSON array of the parts; written out, since ids are made several times for every entity.
    return "[" + ", ".join(map(encode_basestring, (migration, key, *map(part_text, label)))) + "]"


def new_uuid(migration: str, key: str, label: tuple[Any, ...]) -> uuid.UUID:
    """The name-based UUID (RFC 9562, version 5) of a migration, a key's text and a label."""
    name = _name(migration, key, label).encode("utf-8", "surrogatepass")
    return uuid.UUID(bytes=hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).digest()[:16], version=5)


def new_object_id(migration: str, key: str, label: tuple[Any, ...]) -> Any:
    """The ObjectId made of the first 12 bytes of SHA-256 over the migration, a key's text and a label."""
    try:
        from bson import ObjectId
    except ImportError as error:
        raise AuthorMistake("new_object_id needs pymongo: pip install 'backtrail[mongo]'") from error
    name = f"{NAMESPACE}{_name(migration, key, label)}".encode("utf-8", "surrogatepass")
    return ObjectId(hashlib.sha256(name).digest()[:12])


PLAIN = {str, int, float, bool, type(None), list, dict, tuple}


def arguments_digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Which call this is: SHA-256, in hex, over its arguments as JSON."""
    for value in (*args, *kwargs.values()):
        # A plain container is not asked for its text, which is as long as all that is in it.
        if type(value) not in PLAIN and str(value) == object.__repr__(value):
            raise AuthorMistake(
                f"recall: an argument of type {type(value).__name__} looks different in every run: pass plain values"
            )
    text = json.dumps([jsonable(args), jsonable(kwargs)], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
