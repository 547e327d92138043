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


BEGIN = NAMESPACE.bytes
"""What the standard hashes before the name."""


def _name(migration: str, key: str, label: tuple[Any, ...]) -> bytes:
    # The JSON array of the parts; written out, since ids are made several times for every entity.
    name = f"[{encode_basestring(migration)}, {encode_basestring(key)}"
    for part in label:
        name += f", {encode_basestring(part if type(part) is str else part_text(part))}"
    return f"{name}]".encode("utf-8", "surrogatepass")


def new_uuid(migration: str, key: str, label: tuple[Any, ...]) -> uuid.UUID:
    """The name-based UUID (RFC 9562, version 5) of a migration, a key's text and a label."""
    digest = hashlib.sha1(BEGIN + _name(migration, key, label), usedforsecurity=False).digest()
    return uuid.UUID(bytes=digest[:16], version=5)


def new_object_id(migration: str, key: str, label: tuple[Any, ...]) -> Any:
    """The ObjectId made of the first 12 bytes of SHA-256 over the migration, a key's text and a label."""
    try:
        from bson import ObjectId
    except ImportError as error:
        raise AuthorMistake("new_object_id needs pymongo: pip install 'backtrail[mongo]'") from error
    return ObjectId(hashlib.sha256(str(NAMESPACE).encode() + _name(migration, key, label)).digest()[:12])


PLAIN = {str, int, float, bool, type(None), list, dict, tuple}


def arguments_digest(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Which call this is: SHA-256, in hex, over its arguments as JSON."""
    for value in (*args, *kwargs.values()):
        # A plain container is not asked for its text, which is as long as all that is in it.
        if type(value) not in PLAIN and str(value) == object.__repr__(value):
            raise AuthorMistake(
                f"recall: an argument of type {type(value).__name__} looks different in every run: pass plain values"
            )
    return hashlib.sha256(_arguments(args, kwargs)).hexdigest()


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
    if _is_json(args) and _is_json(kwargs):
        try:
            return _json([args, kwargs]).encode()
        except (UnicodeEncodeError, RecursionError):
            pass  # half a surrogate pair, which `jsonable` spells out
    return _json([jsonable(args), jsonable(kwargs)]).encode()


_json = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
_SIMPLE = {str, int, bool, type(None)}
_NESTED = {dict, list, tuple}


def _is_json(value: Any) -> bool:
    """Whether the value is what `jsonable` would make of it, as far as its types tell."""
    items = value
    if type(value) is dict:
        items = value.values()
        if not {*map(type, value)} <= {str}:
            return False
    others = {*map(type, items)} - _SIMPLE
    return not others or (others <= _NESTED and all(_is_json(item) for item in items if type(item) in _NESTED))
