"""The secrets of a ledger: what hides keys of entities from whoever has only the ledger, and one key per subject that can be destroyed.

Three kinds of secrets:

- The *lookup secret*, one per ledger, 32 random bytes. A token is 128 bits of HMAC-SHA256 (RFC 2104) with it: who has a key in hand can find its
  stream, who has only the token learns nothing.
- A *subject's key*, AES-256 in GCM (NIST SP 800-38D) with random nonces of 12 bytes: everything personal in the streams of one person is sealed with it.
  Destroying it erases the person.
- The *master keys*, outside the database. The first wraps subjects' keys and the lookup secret, all unwrap; so they can be rotated.

Without a master key nothing is sealed, and the lookup secret lies open in the ledger.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from json.encoder import encode_basestring_ascii
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from backtrail.errors import LockedOut, UsageError
from backtrail.stores.base import Transaction

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "~"  # noqa: S105 -- what a token begins with
NONCE = 12
KEY_BYTES = 32
HIDDEN = "sealed"
"""The one member of a JSON object that stands for a value nobody may read."""


class Damaged(UsageError):
    """A wrapped key is not what was kept."""


class Wrapped(NamedTuple):
    """A secret as the database holds it: encrypted by the master key of that name, or open where there is none."""

    secret: bytes
    master: str | None


class Rotated(NamedTuple):
    """How many keys of a page were wrapped anew, and where to go on; None: that was all."""

    wrapped: int
    after: str | None


@dataclass(frozen=True)
class Master:
    """A master key: 32 bytes, and the name by which what it wrapped says so."""

    secret: bytes

    @cached_property
    def name(self) -> str:
        """Eight hex digits of its SHA-256."""
        return hashlib.sha256(self.secret).hexdigest()[:8]

    @cached_property
    def cipher(self) -> AESGCM:
        """AES-GCM with it."""
        return cipher(self.secret)

    def wrap(self, secret: bytes, whose: str) -> Wrapped:
        """The secret encrypted, of use for nobody else."""
        return Wrapped(seal(self.cipher, secret, whose.encode()), self.name)


def read_masters(path: Path | None) -> tuple[Master, ...]:
    """The master keys of a file: one a line, 32 bytes in base64, the first of which wraps; none where there is no file.

    Raises:
        UsageError: it cannot be read, others may read it, or it holds something else.
    """
    if path is None:
        return ()
    try:
        mode, text = path.stat().st_mode, path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"master_key_file {path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}"
        ) from None
    if mode & 0o077:
        raise UsageError(f"master_key_file {path} can be read by others: chmod 600 {path}")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    try:
        secrets = [base64.b64decode(line.replace("-", "+").replace("_", "/"), validate=True) for line in lines]
    except ValueError:
        secrets = []
    if not secrets or any(len(secret) != 32 for secret in secrets):
        raise UsageError(
            f"master_key_file {path} does not hold a key of 32 bytes in base64 on each line: make one with `backtrail keys new`"
        )
    return tuple(Master(secret) for secret in secrets)


def new_master() -> str:
    """A new master key as a file of them has it."""
    return _base64(os.urandom(32))


class Vault(ABC):
    """Where the database keeps wrapped secrets: apart from the ledger that they open."""

    @abstractmethod
    def lookup(self, tx: Transaction) -> Wrapped | None:
        """The lookup secret; None where the ledger has none yet."""

    @abstractmethod
    def keep_lookup(self, tx: Transaction, wrapped: Wrapped) -> None:
        """Nothing; that is the lookup secret."""

    @abstractmethod
    def hold(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        """The keys of those of the subjects that have one, held: nobody destroys one of them until the end of the transaction."""

    @abstractmethod
    def find(self, tx: Transaction, subjects: Sequence[str]) -> dict[str, Wrapped]:
        """The keys of those of the subjects that have one."""

    @abstractmethod
    def add(self, tx: Transaction, keys: Mapping[str, Wrapped]) -> None:
        """Nothing; the subjects, which have none, have these keys.

        Raises:
            Retry: another transaction was first.
        """

    @abstractmethod
    def destroy(self, tx: Transaction, subject: str) -> bool:
        """Whether there was a key of the subject; now there is none."""

    @abstractmethod
    def page(self, tx: Transaction, after: str, limit: int, *, but: str) -> dict[str, Wrapped]:
        """The next keys after a subject's that another master than `but` wrapped, in the order of the subjects."""

    @abstractmethod
    def replace(self, tx: Transaction, keys: Mapping[str, tuple[Wrapped, Wrapped]]) -> None:
        """Nothing; keys that are still the first are the second."""


class Keyring:
    """The secrets of one ledger, as one process holds them."""

    def __init__(self, vault: Vault, masters: Sequence[Master] = ()) -> None:
        self.vault, self.masters = vault, tuple(masters)
        self._lookup: bytes | None = None
        self._sealing = False

    # -- the lookup secret ----------------------------------------------------------------------------------------

    @property
    def sealing(self) -> bool:
        """Whether what is written now is sealed; known once the keyring was opened."""
        if self._lookup is None:
            raise RuntimeError("the keyring was not opened")  # or what is personal would be kept open
        return self._sealing

    @property
    def lookup(self) -> bytes:
        """The ledger's own secret; known once the keyring was opened."""
        if self._lookup is None:
            raise RuntimeError("the keyring was not opened")
        return self._lookup

    def open(self, tx: Transaction, *, again: bool = False) -> None:
        """Nothing; the lookup secret is known.

        Raises:
            LockedOut: the ledger is encrypted, and no master key here opens it.
        """
        if self._lookup is not None and not again:
            return
        found = self.vault.lookup(tx)
        if found is None or found.secret is None:
            raise LockedOut("the ledger's lookup secret is gone: put backtrail.lookup back from a backup")
        self._lookup, self._sealing = self._unwrap(found, "lookup"), found.master is not None

    def complete(self, tx: Transaction) -> bool:
        """Whether `create` would do nothing."""
        found = self.vault.lookup(tx)
        return found is not None and (found.master is not None or not self.masters)

    def create(self, tx: Transaction) -> None:
        """Nothing; the ledger has a lookup secret, wrapped if there is a master key: from then on it is encrypted."""
        found = self.vault.lookup(tx)
        if found is None or (found.master is None and self.masters):
            secret = os.urandom(32) if found is None else self._unwrap(found, "lookup")
            self.vault.keep_lookup(tx, self.masters[0].wrap(secret, "lookup") if self.masters else Wrapped(secret, None))
        self.open(tx, again=True)

    def token(self, *parts: str) -> str:
        """What stands for the parts where they may not be read."""
        return token(self.lookup, *parts)

    def hide(self, value: Any) -> Any:
        """The JSON value as it is kept in lists and campaigns: itself, or sealed for whoever has no master key."""
        if not self.sealing or value in (None, {}, []):
            return value
        return conceal(cipher(self.lookup), value)

    def show(self, value: Any) -> Any:
        """The JSON value that was hidden."""
        return reveal(cipher(self.lookup), value) if is_hidden(value) else value

    def hide_text(self, text: str | None) -> str | None:
        """The text as it is kept in campaigns."""
        hidden = self.hide(text)
        return json.dumps(hidden) if is_hidden(hidden) else text

    def show_text(self, text: str | None) -> str | None:
        """The text that was hidden."""
        if text is None or not text.startswith(f'{{"{HIDDEN}"'):
            return text
        return str(self.show(json.loads(text)))

    # -- subjects -------------------------------------------------------------------------------------------------

    def subject(self, migration: str, text: str) -> str:
        """What stands for a person in a migration's streams, given the text that names them, or that itself.

        Each migration has keys of its own: 42 may be a user for one and an order for another.
        """
        return text if is_token(text) else self.token(migration, "", text)

    def ciphers(self, tx: Transaction, subjects: Iterable[str], *, write: bool = False) -> dict[str, AESGCM]:
        """What seals and unseals, by subject; with `write` those that had no key have a new one, and none is destroyed meanwhile.

        A key that somebody damaged is missing, as if it had been destroyed: the others can be read.

        Raises:
            Damaged: with `write` one is damaged; nothing should be sealed with another in its place.
        """
        wanted = sorted(set(subjects))
        found = (self.vault.hold if write else self.vault.find)(tx, wanted) if wanted else {}
        secrets: dict[str, bytes] = {}
        for subject, wrapped in found.items():
            try:
                secrets[subject] = self._key(wrapped, subject)
            except Damaged:
                if write:
                    raise
        if write:
            new = {subject: os.urandom(32) for subject in wanted if subject not in secrets}
            if new:
                self.vault.add(tx, {subject: self.masters[0].wrap(secret, subject) for subject, secret in new.items()})
            secrets |= new
        return {subject: cipher(secret) for subject, secret in secrets.items()}

    def rotate(self, tx: Transaction, after: str, limit: int) -> Rotated:
        """The next keys after a subject's, and at last the lookup secret, are wrapped by the first master key."""
        first = self.masters[0]
        found = self.vault.page(tx, after, limit, but=first.name)
        self.vault.replace(tx, {one: (wrapped, first.wrap(self._unwrap(wrapped, one), one)) for one, wrapped in found.items()})
        if len(found) == limit:
            return Rotated(len(found), max(found))
        lookup = self.vault.lookup(tx)
        if lookup is None or lookup.master == first.name:
            return Rotated(len(found), None)
        self.vault.keep_lookup(tx, first.wrap(self._unwrap(lookup, "lookup"), "lookup"))
        return Rotated(len(found) + 1, None)

    def _unwrap(self, wrapped: Wrapped, whose: str) -> bytes:
        return unwrap(self.masters, wrapped, whose)

    def _key(self, wrapped: Wrapped, subject: str) -> bytes:
        """The key of a subject, which is never kept open."""
        secret = b"" if wrapped.master is None else self._unwrap(wrapped, subject)
        if len(secret) != KEY_BYTES:
            raise damaged(subject)
        return secret


@lru_cache(maxsize=8192)  # each is asked for several times while a batch is done
def token(lookup: bytes, *parts: str) -> str:
    """What stands for the parts where they may not be read: 23 characters."""
    # The JSON array of the parts; written out, since every entity is looked for by its token as well.
    name = "[" + ", ".join(map(encode_basestring_ascii, parts)) + "]"
    return TOKEN + _base64(hmac.digest(lookup, name.encode(), "sha256")[:16]).rstrip("=")


def unwrap(masters: Sequence[Master], wrapped: Wrapped, whose: str) -> bytes:
    """The secret.

    Raises:
        LockedOut: the master key that wrapped it is not among these, or somebody put something else there.
    """
    if wrapped.master is None:
        return wrapped.secret
    for master in masters:
        if master.name == wrapped.master:
            try:
                return unseal(master.cipher, wrapped.secret, whose.encode())
            except ValueError:
                raise damaged(whose) from None
    raise LockedOut(
        f"this ledger is encrypted, and the master key {wrapped.master} is not here: set BACKTRAIL_MASTER_KEY_FILE to the file that has it"
    )


def damaged(whose: str) -> Damaged:
    """The refusal of a wrapped key that cannot be unwrapped."""
    return Damaged(f"the wrapped key of {whose} is not what was kept: put it back from a backup of the keys")


def is_token(text: str) -> bool:
    """Whether the text stands for something that may not be read."""
    return len(text) == 23 and text.startswith(TOKEN)


def is_hidden(value: Any) -> bool:
    """Whether a JSON value stands for another that may not be read."""
    return isinstance(value, dict) and value.keys() == {HIDDEN}


def conceal(with_: AESGCM, value: Any) -> dict[str, str]:
    """The JSON object that stands for a value."""
    return {HIDDEN: _base64(seal(with_, json.dumps(value).encode()))}


def reveal(with_: AESGCM | None, value: Any) -> Any:
    """The JSON value that an object stands for, or what stands open.

    Raises:
        ValueError: it was not sealed with this key.
    """
    if not is_hidden(value):
        return value
    if with_ is None:
        raise ValueError("its key is gone")
    return json.loads(unseal(with_, base64.urlsafe_b64decode(value[HIDDEN])))


def cipher(secret: bytes) -> AESGCM:
    """AES-GCM with that key."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # 30 ms that a ledger without encryption need not wait

    return AESGCM(secret)


def seal(with_: AESGCM, data: bytes, place: bytes = b"") -> bytes:
    """The data encrypted, of use in that place only: a random nonce of 12 bytes, the ciphertext, a tag of 16."""
    nonce = os.urandom(NONCE)
    return nonce + with_.encrypt(nonce, data, place)


def unseal(with_: AESGCM, data: bytes, place: bytes = b"") -> bytes:
    """The data that was sealed.

    Raises:
        ValueError: it was not sealed with this key, or not for this place.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return with_.decrypt(data[:NONCE], data[NONCE:], place)
    except (InvalidTag, TypeError):  # what is no bytes was put there by somebody
        raise ValueError("it is not what was sealed") from None


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
