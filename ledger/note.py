"""Signed notes: a text with signatures below it, as transparency logs write and read them.

The form is https://c2sp.org/signed-note with Ed25519 (type 1): the text, an empty line, and for each signature a line of a dash, the key's name, and
base64 of the key's id (4 bytes: of SHA-256 over name, newline, type and public key) and the signature over the text. A verifier key is
`name+id+base64(type, public key)`. The private key lies in a PEM file; its name stands before it, where PEM allows text (RFC 7468, 5.2).
"""

from __future__ import annotations

import base64
import binascii
import errno
import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from backtrail.errors import Tampered, UsageError

ED25519 = b"\x01"
"""The type of signature."""

MAX_BYTES = 1_000_000
"""No note is larger."""

_NAME = re.compile(r"[^\s+]{1,200}\Z")
_SIGNATURE = re.compile(r"\u2014 (?P<name>[^\s+]+) (?P<value>\S+)\Z")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_NAMED = re.compile(rb"^Name: (\S+)\s*$", re.MULTILINE)


class Forged(Tampered):
    """A signature of a known key is not one of this text: somebody changed it."""


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A name and the public key that belongs to it: what whoever verifies must have got on a way that they trust."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The key's number of 4 bytes, by which a signature names it."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    @property
    def label(self) -> str:
        """The name and the id: the key, as short as it can be told from others."""
        return f"{self.name}+{self.id.hex()}"

    def __str__(self) -> str:
        return f"{self.label}+{base64.b64encode(ED25519 + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """The key of that text.

        Raises:
            UsageError: it is none.
        """
        name, _, rest = text.strip().partition("+")
        number, _, encoded = rest.partition("+")
        raw = decoded(encoded)
        if not _NAME.match(name) or raw is None or len(raw) != 33 or raw[:1] != ED25519:
            raise UsageError("no verifier key of Ed25519: it looks like name+12345678+AbC…, on one line")
        found = cls(name, raw[1:])
        if found.id.hex() != number:
            raise UsageError(f"the verifier key of {name} does not have the id {number}: a part of it was changed or lost")
        return found

    @classmethod
    def load(cls, given: str) -> VerifierKey:
        """The key that is given, as itself or as the file that holds it.

        Raises:
            UsageError: it is neither.
        """
        path = Path(given)
        try:
            is_file = path.is_file()
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # then it is none: a key may have more characters than a file's name
                raise UsageError(f"{path} cannot be read as the verifier key: {error.strerror}") from None
            is_file = False
        return cls.parse(_text(path, "the verifier key") if is_file else given)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The private key of a name."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> VerifierKey:
        """What others verify with."""
        return VerifierKey(self.name, self.private.public_key().public_bytes_raw())

    @classmethod
    def create(cls, path: Path, name: str | None = None) -> SigningKey:
        """A new key, in a new file that nobody else may read.

        Raises:
            UsageError: the file exists or cannot be written, or that can be no name.
        """
        private = Ed25519PrivateKey.generate()
        name = name or _unnamed(private)
        if not _NAME.match(name):
            raise UsageError(f"{name!r} can be no key's name: write one like ledger.example.com/production, without spaces and +")
        content = f"Name: {name}\n".encode() + private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise UsageError(f"{path} exists, and a key is never overwritten: name another file") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
        except OSError as error:
            path.unlink()
            raise UsageError(f"{path} cannot be written: {error.strerror}") from None
        return cls(name, private)

    @classmethod
    def load(cls, path: Path) -> SigningKey:
        """The key in the file.

        Raises:
            UsageError: there is none, or others may read it.
        """
        try:
            mode, content = path.stat().st_mode, path.read_bytes()
        except OSError as error:
            raise UsageError(f"signing_key_file {path} cannot be read: {error.strerror}") from None
        if stat.S_IMODE(mode) & 0o077:
            raise UsageError(f"signing_key_file {path} can be read by others: chmod 600 {path}")
        try:
            private = load_pem_private_key(content, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            private = None
        if not isinstance(private, Ed25519PrivateKey):
            raise UsageError(
                f"signing_key_file {path} is no PEM file of an Ed25519 key: make one by backtrail checkpoint --new-key FILE"
            )
        named = _NAMED.search(content.partition(b"-----BEGIN")[0])
        name = named[1].decode("utf-8", "replace") if named else _unnamed(private)
        if not _NAME.match(name):
            raise UsageError(f"signing_key_file {path} names its key {name!r}, which has a + or is too long")
        return cls(name, private)


def sign(text: str, key: SigningKey) -> str:
    """The note of the text, which ends with a newline."""
    value = base64.b64encode(key.verifier.id + key.private.sign(text.encode())).decode()
    return f"{text}\n\u2014 {key.name} {value}\n"


def opened(note: str, key: VerifierKey) -> str:
    """The text of the note, which the key has signed.

    Raises:
        Forged: it was changed since.
        UsageError: it is no note, or not of this key.
    """
    text, lines = _parts(note)
    signed = False
    for line in lines:
        match = _SIGNATURE.match(line)
        raw = None if match is None else decoded(match["value"])
        if match is None or raw is None or len(raw) < 5:
            raise UsageError("this is no signed note: a line below the empty one is no signature")
        if (match["name"], raw[:4]) == (key.name, key.id):
            _check(text, key, raw[4:])
            signed = True
    if not signed:
        names = ", ".join(line.split(" ")[1] for line in lines)
        raise UsageError(f"it is signed by {names}, not by the key {key.label}: give the verifier key that belongs to it")
    return text


def decoded(text: str) -> bytes | None:
    """The bytes of base64 in its one proper form; None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None


def _parts(note: str) -> tuple[str, list[str]]:
    text, empty, below = note.rpartition("\n\n")
    if not empty or not below.endswith("\n") or _CONTROL.search(note) or len(note) > MAX_BYTES:
        raise UsageError("this is no signed note: text, an empty line, and lines of signatures")
    return f"{text}\n", below.removesuffix("\n").split("\n")


def _check(text: str, key: VerifierKey, signature: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, text.encode())
    except InvalidSignature:
        raise Forged(f"the signature of {key.label} is not of this text: it was changed after it was signed") from None


def _unnamed(private: Ed25519PrivateKey) -> str:
    """The name of a key that was given none: one that no other key has."""
    return f"backtrail/{hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:12]}"


def _text(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is too large to be {what}")
        # Newlines as they are: a signature is over these very bytes.
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} cannot be read as {what}: {getattr(error, 'strerror', None) or 'it is no UTF-8 text'}"
        ) from None


def read_note(path: Path) -> str:
    """The note in the file, not yet verified.

    Raises:
        UsageError: it cannot be read.
    """
    return _text(path, "a checkpoint")
