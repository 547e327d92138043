"""Between what an event or a stream says and what the ledger holds of it: open, or sealed with the key of the person whose data it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from backtrail.image import Ref
from backtrail.stores.base import Transaction
from ledger.entry import Fact, Head
from ledger.event import REDACTED, SEALED, Content, Event, genesis, origin, pack, ref_number, unpack
from ledger.keyring import Keyring, seal, unseal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM


_REDACTED = bytes([REDACTED])


class Sealing:
    """Seals and opens with the keys of one ledger's keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring

    # -- streams --------------------------------------------------------------------------------------------------

    def opened(self, head: Head, ciphers: Mapping[str, AESGCM]) -> Head:
        """The head with the key that stands sealed in it; misplaced where it cannot be opened, or belongs elsewhere."""
        try:
            key = unseal(ciphers[head.subject or ""], head.name or b"", head.migration.encode()).decode("utf-8", "surrogatepass")
        except (KeyError, ValueError):
            return head._replace(misplaced=True)
        return head._replace(key=key, misplaced=head.misplaced or self.keyring.token(head.migration, key) != head.place)

    def ciphers(self, tx: Transaction, heads: Sequence[Head]) -> dict[str, AESGCM]:
        """What seals what is appended; nothing where the ledger is not encrypted."""
        if not self.keyring.sealing:
            return {}
        subjects = [self.subject(head) for head in heads]
        return self.keyring.ciphers(tx, [subject for subject in subjects if subject is not None], write=True)

    def subject(self, head: Head) -> str | None:
        """The token of whose data a stream holds; None where it is nobody's, or is erased."""
        name = head.key if head.subject is None else head.subject
        if not self.keyring.sealing or head.erased or (head.subject is None and not name):
            return None
        return self.keyring.subject(head.migration, name)

    def begun(self, head: Head, stream: int, secret: bytes, cipher: AESGCM | None) -> Head:
        """The head of a new stream with that secret of 16 random bytes, before its first event."""
        key, subject = head.key, head.subject
        first = genesis(head.migration, origin(secret, key))
        if cipher is None:
            subject = None if subject == key else subject
            return Head(head.migration, key, stream, 0, first, subject=subject, secret=secret, place=key)
        return head._replace(
            id=stream,
            secret=secret,
            place=self.keyring.token(head.migration, key),
            subject=self.subject(head),
            name=seal(cipher, key.encode("utf-8", "surrogatepass"), head.migration.encode()),
            hash=first,
        )

    def gone_on(self, head: Head, cipher: AESGCM | None) -> Head:
        """The head of a stream that goes on, perhaps in a ledger that is encrypted since."""
        return head if cipher is None else head._replace(subject=self.subject(head))

    # -- events ---------------------------------------------------------------------------------------------------

    def event(self, stream: int, version: int, campaign: int, at: int, fact: Fact, cipher: AESGCM | None) -> Event:
        """The event that says the fact there, with its body, and without its hash."""
        kind, data, written = fact
        if written is None:
            body = pack(Content(None, None, None, data))
            event = Event(version, kind, campaign, at, data=data, body=body)
        else:
            ref, before, after = written
            image = after or before
            shape = None if image is None else image.shape
            old, new = None if before is None else before.data, None if after is None else after.data
            body = pack(Content(ref.key, old, new, data))
            event = Event(version, kind, campaign, at, ref, shape, old, new, data, body)
            event.index = self._index(event)
        if cipher is not None:
            event.body = bytes([SEALED]) + seal(cipher, event.body, b"%d:%d" % (stream, version))
        return event

    def _index(self, event: Event) -> int | None:
        # Where the row did not exist before, nobody else can have had it.
        return None if event.ref is None or event.before is None else ref_number(self.keyring.lookup, event.ref)

    def read(self, event: Event, body: bytes) -> None:
        """Nothing; the event says what the open body says, or that it cannot be read."""
        try:
            key, event.before, event.after, event.data = unpack(body)
        except (ValueError, TypeError):
            # What was redacted is found by no row any more.
            event.erased, event.misplaced = True, body[:1] == _REDACTED and event.index is not None
            return
        event.ref = None if event.shape is None or key is None else Ref(event.shape.table, key)
        if event.before is not None or event.index is not None:
            event.misplaced = event.index != self._index(event)
