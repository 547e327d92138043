"""What is appended to streams: the heads at which they stand, and facts that have no place yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backtrail.image import Written
from ledger.event import Event, genesis, origin


class Head(NamedTuple):
    """Where a stream stands: its last version and hash, the entity's state, and the campaign of its last job."""

    migration: str
    key: str
    id: int | None = None
    version: int = 0
    hash: bytes = b""
    state: str = ""
    failed: bool = False
    campaign: int = 0
    subject: str | None = None
    """Whose data is in the stream; as the ledger holds it, where it is there. None where the key is the subject, or there is none."""
    secret: bytes = b""
    """What keeps the stream's hashes from being guessed; empty after an erasure."""
    place: str | None = None
    """The key as the ledger holds it: itself, or a token."""
    name: bytes | None = None
    """The key sealed, in an encrypted ledger."""
    origin: bytes | None = None
    """What is left of an erased entity's key: what its chain begins with."""
    misplaced: bool = False
    """Whether it stands under another key than its own."""

    @property
    def label(self) -> str:
        """What messages call it: the entity's key, or the stream's own name where it is no entity's, as that of `expand`."""
        return self.key or self.migration

    @property
    def erased(self) -> bool:
        """Whether the entity's data was made unreadable."""
        return self.origin is not None

    @property
    def genesis(self) -> bytes:
        """What the stream's first event is chained to."""
        return genesis(self.migration, origin(self.secret, self.key) if self.origin is None else self.origin)

    def moved(self, version: int, last: bytes, state: str, campaign: int, *, failed: bool) -> Head:
        """The head after a job: the version and hash of its last event, the state that it left, and whose job it was."""
        _, key, id_, _, _, _, _, _, subject, secret, place, name, origin, misplaced = self
        return Head(
            self.migration, key, id_, version, last, state, failed, campaign, subject, secret, place, name, origin, misplaced
        )


class Fact(NamedTuple):
    """What is to be appended: an event without its place in a stream."""

    kind: str
    data: str | None = None
    written: Written | None = None


@dataclass(slots=True)
class Entry:
    """All that one job appends to one stream, and the state that it leaves the entity in."""

    head: Head
    state: str
    facts: list[Fact] = field(default_factory=list)
    failed: bool = False


class Placed(NamedTuple):
    """An event with the number of its stream."""

    stream: int
    event: Event


class Recall(NamedTuple):
    """The result of a recall as the database holds it: under the entity's key or its token, open or sealed."""

    place: str
    label: str
    digest: str
    result: Any
