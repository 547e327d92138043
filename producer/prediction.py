"""A dry run's predicted events in a file, to be compared with the real ones afterwards (compare.py).

Each line is JSON. The first says of what it is: {"backtrail": "prediction", "migration", "fingerprint", "salt", "at"}. Then a line per entity:

    {"key", "mark", "events": [{"kind", "table", "row", "columns": {name: digest}, "now": [names], "timed": [names]}], "notes": [[kind, digest]]}
    {"key", "varies": true}     what is decided depends on the time
    {"key", "recalls": true}    it was not decided, since what it recalls is not known
    {"key", "failed": {"error", "reason"}}

No value is in it, only digests: HMAC-SHA256, keyed with the file's own salt, over the entity's key, the table, the column and the value. So one
value has another digest in every place and every file, and no list of digests made beforehand fits. Whoever has the file has the salt: of
a column with few possible values each can be tried. That and the keys are why only its owner may read it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from backtrail.changes import Note
from backtrail.discovery import Found
from backtrail.entity import note_json
from backtrail.errors import BacktrailError, UsageError
from backtrail.image import Image, Ref
from backtrail.stores.base import Plan, Store, Transaction, Write

SHIFT = timedelta(days=403, hours=3, minutes=5, seconds=7, milliseconds=11)
"""By how much later each entity is decided once more: every part of a date is another then, and what depends on the time shows."""

KINDS = {"create": "created", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True)
class Digests:
    """What stands for values in one file."""

    salt: bytes

    def of(self, *where: str, value: bytes) -> str:
        """128 bits for the value in that place."""
        message = json.dumps(where).encode() + b"\0" + value
        return base64.b64encode(hmac.digest(self.salt, message, hashlib.sha256)[:16]).decode().rstrip("=")

    def columns(self, store: Store, key: str, image: Image) -> dict[str, str]:
        """The digests of an image of one of the entity's rows, by column."""
        table = image.shape.table
        return {name: self.of(key, table, name, value=value) for name, value in store.parts(image).items()}

    def row(self, key: str, ref: Ref) -> str:
        """The digest of which row it is."""
        return self.of(key, ref.table, value=ref.key.encode("utf-8", "surrogatepass"))

    def note(self, key: str, data: Any) -> str:
        """The digest of what a note says."""
        return self.of(key, value=note_json(data).encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Decided:
    """One entity's decision, and what would be decided at a later time."""

    key: str
    plan: Plan
    later: Plan | None
    notes: Sequence[Note]

    @property
    def varies(self) -> bool:
        """Whether the time decides more than the values of some columns."""
        return self.later is None or [*map(_place, self.plan.writes)] != [*map(_place, self.later.writes)]


class Prediction:
    """The file, while it is written."""

    def __init__(self, path: Path, found: Found, at: datetime) -> None:
        """A file that holds nothing yet.

        Raises:
            UsageError: it is there already, or cannot be written.
        """
        try:
            self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--events {path} cannot be written: {error.strerror}") from None
        self.path, self.entities = path, 0
        salt = secrets.token_bytes(32)
        self.digests = Digests(salt)
        self._line(
            backtrail="prediction",
            migration=found.name,
            fingerprint=found.fingerprint,
            salt=base64.b64encode(salt).decode(),
            at=at.isoformat(timespec="milliseconds"),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()
        if kind is not None:
            # Half a prediction would be taken for a whole one.
            with suppress(OSError):
                self.path.unlink()

    def _line(self, **what: Any) -> None:
        self._file.write(json.dumps(what, ensure_ascii=False, separators=(",", ":")) + "\n")

    def fail(self, key: str, error: BacktrailError) -> None:
        """Nothing; the entity will fail."""
        self._entity(key=key, failed={"error": type(error).__name__, "reason": str(error)})

    def recall(self, key: str) -> None:
        """Nothing; the entity was not decided."""
        self._entity(key=key, recalls=True)

    def decide(self, tx: Transaction, store: Store, decided: Sequence[Decided]) -> None:
        """Nothing; that will be done. The database is asked how it would hold the values, of all entities at once."""
        sure = [one for one in decided if not one.varies]
        images = iter(tx.foreseen([write for one in sure for write in one.plan.writes]))
        others = iter(tx.foreseen([write for one in sure if one.later for write in one.later.writes]))
        for one in decided:
            if one.varies:
                self._entity(key=one.key, varies=True)
                continue
            events = [self._event(tx, store, one.key, write, next(images), next(others)) for write in one.plan.writes]
            told = [[note.kind, self.digests.note(one.key, note.data)] for note in one.notes]
            self._entity(key=one.key, mark=one.plan.mark, events=events, notes=told)

    def _event(
        self, tx: Transaction, store: Store, key: str, write: Write, image: Image | None, other: Image | None
    ) -> dict[str, Any]:
        event: dict[str, Any] = {"kind": KINDS[write.op], "table": write.table}
        if write.ref is not None:
            event["row"] = self.digests.row(key, write.ref)
        if image is not None and other is not None:
            event["columns"] = self.digests.columns(store, key, image)
            then = store.parts(other)
            timed = [name for name, value in store.parts(image).items() if then.get(name) != value]
            now = [name for name in timed if _is(store, image, name, tx.now)]
            event |= {"now": now, "timed": [name for name in timed if name not in now]} if timed else {}
        return event

    def _entity(self, **what: Any) -> None:
        self.entities += 1
        self._line(**what)


def _place(write: Write) -> tuple[Any, ...]:
    return write.op, write.table, write.columns, write.ref


def _is(store: Store, image: Image, column: str, moment: datetime) -> bool:
    """Whether the column holds just that moment."""
    (record,) = store.records([image])
    return bool(record.value(column) == moment)
