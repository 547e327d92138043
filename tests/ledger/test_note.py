"""Signed notes, judged by the vectors of the format's first implementation (golang.org/x/mod/sumdb/note) and by OpenSSL's Ed25519."""

from __future__ import annotations

import base64
import hashlib
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from backtrail.errors import UsageError
from ledger.note import Forged, SigningKey, VerifierKey, opened, read_note, sign

PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = f"{TEXT}\n\u2014 PeterNeumann {SIGNATURE}\n"
KEY = VerifierKey.parse(PETER)


def test_the_known_note_opens_and_is_signed_the_same() -> None:
    """The vector's note has the vector's text; signing that with the vector's key gives the note, byte for byte."""
    assert opened(NOTE, KEY) == TEXT
    key = SigningKey("PeterNeumann", ed25519.Ed25519PrivateKey.from_private_bytes(base64.b64decode(SEED)[1:]))
    assert str(key.verifier) == str(KEY) == PETER
    assert sign(TEXT, key) == NOTE


def test_no_changed_note_opens() -> None:
    """Every bit of text and signature counts: turned, the note is forged, of another key, or no note at all."""
    raw = NOTE.encode()
    refused = 0
    for at in range(len(raw)):
        changed = bytearray(raw)
        changed[at] ^= 1 + at % 7
        try:
            with pytest.raises((Forged, UsageError)):
                opened(changed.decode(), KEY)
        except UnicodeDecodeError:
            continue
        refused += 1
    assert refused > 190


def test_signatures_of_others_are_passed_by() -> None:
    """Above or below ours, of another name or another id; but a note without ours, or with a bad one of ours beside a good one, does not open."""
    other = base64.b64encode(b"1234" + bytes(64)).decode()
    stranger, namesake = f"\u2014 witness.example/w {other}\n", f"\u2014 PeterNeumann {other}\n"
    good, forged = f"\u2014 PeterNeumann {SIGNATURE}\n", f"\u2014 PeterNeumann {base64.b64encode(KEY.id + bytes(64)).decode()}\n"
    assert opened(f"{TEXT}\n{stranger}{good}{namesake}", KEY) == TEXT
    with pytest.raises(UsageError, match=r"signed by witness\.example/w, PeterNeumann, not by the key PeterNeumann"):
        opened(f"{TEXT}\n{stranger}{namesake}", KEY)
    with pytest.raises(Forged):
        opened(f"{TEXT}\n{good}{forged}", KEY)


def test_the_text_ends_at_the_last_empty_line() -> None:
    """A text may have empty lines itself."""
    key = SigningKey("a/b", ed25519.Ed25519PrivateKey.generate())
    assert opened(sign("one\n\ntwo\n", key), key.verifier) == "one\n\ntwo\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        TEXT,
        f"{TEXT}\n",
        NOTE.removesuffix("\n"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("think", "think\t"),
        NOTE.replace("\u2014", "-"),
        NOTE.replace("PeterNeumann ", "Peter Neumann "),
        f"{TEXT}\n\u2014 PeterNeumann x08g\n",
        f"{TEXT}\n\u2014 PeterNeumann {SIGNATURE.removesuffix('=')}\n",
        NOTE + "\u2014 more\n",
        NOTE + "x" * 1_000_000 + "\n",
    ],
)
def test_what_is_no_note(note: str) -> None:
    """Without an empty line or signatures, with other newlines, dashes or control characters, it is no note."""
    with pytest.raises(UsageError):
        opened(note, KEY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.replace("c74f", "c74e"),
        PETER[:-1],
        PETER.replace("+ARpc", "+BBpc"),
    ],
)
def test_what_is_no_verifier_key(text: str) -> None:
    """A name with spaces, another id, a missing character or another type of key are refused."""
    with pytest.raises(UsageError):
        VerifierKey.parse(text)


def test_a_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    """The file has mode 0600 and gives the same key again; it is never overwritten, and refused once others may read it."""
    path = tmp_path / "key.pem"
    made = SigningKey.create(path, "ledger.example.com/app")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    loaded = SigningKey.load(path)
    assert (loaded.name, str(loaded.verifier)) == ("ledger.example.com/app", str(made.verifier))
    assert opened(sign(TEXT, loaded), VerifierKey.parse(str(made.verifier))) == TEXT
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        SigningKey.create(path)
    assert path.read_bytes() == before
    path.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        SigningKey.load(path)


def test_a_plain_pem_has_a_name_of_its_own(tmp_path: Path) -> None:
    """A key that OpenSSL made is named after itself, the same every time."""
    private = ed25519.Ed25519PrivateKey.generate()
    path = tmp_path / "plain.pem"
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    path.chmod(0o600)
    name = f"backtrail/{hashlib.sha256(private.public_key().public_bytes_raw()).hexdigest()[:12]}"
    assert SigningKey.load(path).name == name


def test_what_is_no_signing_key(tmp_path: Path) -> None:
    """A missing file, one that is no PEM, and a key of another kind are refused in one line; a bad name makes no key."""
    path = tmp_path / "x.pem"
    with pytest.raises(UsageError, match="cannot be read"):
        SigningKey.load(path)
    for content in (
        b"",
        b"-----BEGIN PRIVATE KEY-----\nAA\n",
        x25519.X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ):
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(UsageError, match="no PEM file of an Ed25519 key"):
            SigningKey.load(path)
    for name in ("a b", "a+b", "x" * 300):
        with pytest.raises(UsageError, match="no key's name"):
            SigningKey.create(tmp_path / "new.pem", name)
    assert not (tmp_path / "new.pem").exists()


def test_a_key_that_cannot_be_written_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty file would be in the way of the next try."""
    with pytest.raises(UnicodeEncodeError):
        SigningKey.create(tmp_path / "new.pem", "\udcff")
    handles = []

    def full(handle: int, _mode: str) -> None:
        handles.append(handle)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ledger.note.os.fdopen", full)
    with pytest.raises(UsageError, match="cannot be written: No space left"):
        SigningKey.create(tmp_path / "new.pem")
    os.close(*handles)
    assert list(tmp_path.iterdir()) == []


def test_a_key_may_be_longer_than_a_files_name(tmp_path: Path) -> None:
    """Given as itself, it is not looked for as a file."""
    made = SigningKey.create(tmp_path / "key.pem", "l" * 200)
    assert len(str(made.verifier)) > 250
    assert VerifierKey.load(str(made.verifier)) == made.verifier
    with pytest.raises(UsageError, match="no verifier key"):
        VerifierKey.load("a" * 300)


def test_files_of_keys_and_notes(tmp_path: Path) -> None:
    """A verifier key is given as itself or as its file; a note's newlines stay as they are."""
    path = tmp_path / "k"
    path.write_text(f"{PETER}\n")
    assert VerifierKey.load(str(path)) == VerifierKey.load(PETER) == KEY
    path.write_bytes(NOTE.replace("\n", "\r\n").encode())
    assert "\r\n" in read_note(path)
    path.write_bytes(b"\xff")
    for given in (path, tmp_path / "none"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_note(given)
