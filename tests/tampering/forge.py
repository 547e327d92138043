"""What somebody can do who knows the format and has no key: write events anew with good hashes.

Written from the text at the head of `ledger/event.py`, and sharing no code with it: where the two differ, every forged stream is found at once,
and the cases that need a checkpoint say so (`tests/tampering/test_tampering.py`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from tests.tampering.dump import Dump, Row

FORMAT = b"backtrail-ledger-2"


KINDS = {"b": "begin", "c": "created", "u": "updated", "d": "deleted", "r": "compensated", "e": "end", "f": "failed"}
KINDS |= {"x": "conflict", "m": "unmapped", "n": "remark", "+": "expanded", "-": "retracted", "0": "erased"}
"""What the letters stand for that SQL holds instead of kinds."""


def kind_of(event: Row) -> str:
    return KINDS.get(event["kind"], event["kind"])


def netstring(data: bytes | None) -> bytes:
    return b"-" if data is None else str(len(data)).encode() + b":" + data + b","


def fields_of(body: bytes) -> list[bytes | None]:
    """The netstrings of an open body; a row's key that is the first cell of its image stands there as b"="."""
    assert body[:1] == b"\1"
    found: list[bytes | None] = []
    at = 1
    while at < len(body):
        if body[at : at + 1] in (b"-", b"="):
            found.append(None if body[at : at + 1] == b"-" else b"=")
            at += 1
            continue
        colon = body.index(b":", at)
        end = colon + 1 + int(body[at:colon])
        found.append(body[colon + 1 : end])
        at = end + 1
    assert len(found) == 4
    return found


def body_of(fields: list[bytes | None]) -> bytes:
    key = b"=" if fields[0] == b"=" else netstring(fields[0])
    return b"\1" + key + b"".join(netstring(field) for field in fields[1:])


def rechain(dump: Dump, stream: Row) -> None:
    """Nothing; every hash of the stream's events is what it should be over what they say now, and its row agrees."""
    for event, found in zip(events_of(dump, stream), hashes(dump, stream), strict=True):
        event["hash"] = found[: len(event["hash"])]
    agree(dump, stream)


def hashes(dump: Dump, stream: Row) -> list[bytes]:
    """The whole hash of each event over what it says now; what is kept may be the beginning of it."""
    secret = bytes(stream["secret"])
    origin = hashlib.sha256(secret + stream["key"].encode()).digest()
    previous = hashlib.sha256(FORMAT + netstring(stream["migration"].encode()) + netstring(origin)).digest()
    shapes = {row["id"]: row["body"] for row in dump["shapes"]}
    found = []
    for event in events_of(dump, stream):
        body, shape = whole(dump, event), event.get("shape")
        parts = [
            previous,
            str(event["version"]).encode(),
            kind_of(event).encode(),
            str(event["campaign"]).encode(),
            str(event["at"]).encode(),
            None if shape is None else hashlib.sha256(shapes[shape].encode()).digest(),
            hashlib.sha256((secret + body) if body[:1] == b"\1" else body).digest(),
        ]
        previous = hashlib.sha256(b"".join(netstring(part) for part in parts)).digest()
        found.append(previous)
    return found


def agree(dump: Dump, stream: Row) -> None:
    """Nothing; the stream's row says what its events say."""
    events = events_of(dump, stream)
    stream["version"], stream["campaign"] = events[-1]["version"], events[-1]["campaign"]
    stream["head"] = hashes(dump, stream)[-1][: len(stream["head"])]
    state, failed = "", False
    for event in events:
        if kind_of(event) == "end":
            state, failed = json.loads(fields_of(whole(dump, event))[3] or b"{}")["state"], False
        elif kind_of(event) == "failed":
            state, failed = state or "failed", True
    stream["state"], stream["failed"] = state, type(stream["failed"])(failed)


def events_of(dump: Dump, stream: Row) -> list[Row]:
    found = [event for event in dump["events"] if event["stream"] == stream["id"]]
    return sorted(found, key=lambda event: event["version"])


def whole(dump: Dump, event: Row) -> bytes:
    """The event's body, put together where MongoDB holds it in pieces."""
    body: Any = event["body"]
    if isinstance(body, dict):
        at = {"s": event["stream"], "v": event["version"]}
        pieces = [one for one in dump["chunks"] if at.items() <= one["id"].items()]
        body = b"".join(one["data"] for one in sorted(pieces, key=lambda one: one["id"]["n"]))
    return bytes(body)
