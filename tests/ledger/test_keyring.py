"""The secrets of a ledger: what seals, what unseals, and who is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from backtrail.errors import UsageError
from backtrail.stores import open_store
from ledger.keyring import (
    Keyring,
    Master,
    Wrapped,
    cipher,
    conceal,
    is_hidden,
    is_token,
    new_master,
    read_masters,
    reveal,
    seal,
    unseal,
)
from ledger.ledger import Ledger

ONE, TWO, THREE = (Master(bytes([number]) * 32) for number in (1, 2, 3))
NOT_HERE = (
    r"this ledger is encrypted, and the master key [0-9a-f]{8} is not here: set BACKTRAIL_MASTER_KEY_FILE to the file that has it"
)


@dataclass
class Place:
    """A ledger's secrets in an SQLite file, for keyrings of any number of processes."""

    url: str

    def ledger(self, *masters: Master) -> Ledger:
        return Ledger(open_store(self.url), masters)

    def created(self, *masters: Master) -> Keyring:
        ledger = self.ledger(*masters)
        ledger.create()
        return ledger.keyring

    def opened(self, *masters: Master) -> Keyring:
        """The keyring of a process that finds the ledger there."""
        keyring = self.ledger(*masters).keyring
        with self.transaction() as tx:
            keyring.open(tx)
        return keyring

    def transaction(self, *, write: bool = False) -> Any:
        return open_store(self.url).transaction(write=write)

    def secrets(self, keyring: Keyring, *subjects: str, write: bool = False) -> dict[str, AESGCM]:
        with self.transaction(write=write) as tx:
            return keyring.ciphers(tx, subjects, write=write)

    def lookup(self) -> Wrapped | None:
        """The lookup secret as the database holds it."""
        with self.transaction() as tx:
            return self.ledger().keyring.vault.lookup(tx)

    def kept(self, *subjects: str) -> Mapping[str, Wrapped]:
        with self.transaction() as tx:
            return self.ledger().keyring.vault.find(tx, subjects)


@pytest.fixture
def place(sqlite: str) -> Iterator[Place]:
    with closing(open_store(sqlite)):
        yield Place(sqlite)


# -- wrapping ---------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=50), st.binary(max_size=8))
def test_what_is_sealed_is_aes_gcm_with_the_place(data: bytes, place: bytes) -> None:
    """A plain AES-GCM reader, which knows the nonce's length only, reads it; and the other way round."""
    key = bytes(range(32))
    sealed = seal(cipher(key), data, place)
    assert len(sealed) == 12 + len(data) + 16
    assert AESGCM(key).decrypt(sealed[:12], sealed[12:], place) == data
    assert unseal(cipher(key), b"n" * 12 + AESGCM(key).encrypt(b"n" * 12, data, place), place) == data
    assert seal(cipher(key), data, place) != sealed, "a nonce is never used again"


@pytest.mark.parametrize("at", [0, 11, 12, 15, 20, -1])
def test_one_bit_makes_it_unreadable(at: int) -> None:
    """Whichever bit: of the nonce, the data or the tag; and so do another key, another place, and a part of it."""
    sealed = bytearray(seal(cipher(bytes(32)), b"secret", b"1:2"))
    assert unseal(cipher(bytes(32)), bytes(sealed), b"1:2") == b"secret"
    for with_, place, cut in ((b"\1" * 32, b"1:2", 99), (bytes(32), b"1:3", 99), (bytes(32), b"1:2", 20), (bytes(32), b"1:2", 0)):
        with pytest.raises(ValueError, match=r"."):
            unseal(cipher(with_), bytes(sealed)[:cut], place)
    sealed[at] ^= 1
    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(cipher(bytes(32)), bytes(sealed), b"1:2")


def test_a_master_key_wraps_for_one_only() -> None:
    """What it wrapped is of use for whom it was wrapped, and says by which master key."""
    wrapped = ONE.wrap(b"s" * 32, "ann")
    assert wrapped.master == ONE.name == hashlib.sha256(b"\1" * 32).hexdigest()[:8] != TWO.name
    secret = wrapped.secret or b""
    assert AESGCM(ONE.secret).decrypt(secret[:12], secret[12:], b"ann") == b"s" * 32
    assert b"s" * 8 not in secret
    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(cipher(ONE.secret), secret, b"bob")


# -- the lookup secret ------------------------------------------------------------------------------------------------


def test_without_a_master_key_nothing_is_sealed(place: Place) -> None:
    """The lookup secret lies open, and values stay as they are."""
    keyring = place.created()
    assert place.lookup() == Wrapped(keyring.lookup, None)
    assert len(keyring.lookup) == 32
    assert not keyring.sealing
    assert keyring.hide({"a": 1}) == {"a": 1}
    assert keyring.hide_text("why") == "why"
    assert place.opened(ONE).lookup == keyring.lookup, "a master key that nothing needs does no harm"


def test_a_ledger_that_is_encrypted_later_keeps_its_lookup_secret(place: Place) -> None:
    """Rows and tokens are found as before; from then on whoever has no master key is refused."""
    before = place.created()
    after = place.created(ONE)
    assert after.lookup == before.lookup
    assert after.sealing
    found = place.lookup()
    assert found is not None
    assert found.master == ONE.name
    assert before.lookup not in (found.secret or b"")
    with pytest.raises(UsageError, match=NOT_HERE):
        place.opened()
    assert place.opened(TWO, ONE).lookup == before.lookup


@pytest.mark.parametrize("masters", [(), (TWO,), (TWO, THREE)], ids=["none", "another", "two others"])
def test_a_wrong_master_key_is_refused(place: Place, masters: Sequence[Master]) -> None:
    """In words that name the key that is missing, and the mend; nothing is opened."""
    place.created(ONE)
    with pytest.raises(UsageError, match=NOT_HERE) as refused:
        place.opened(*masters)
    assert ONE.name in str(refused.value)
    keyring = place.ledger(*masters).keyring
    with pytest.raises(RuntimeError, match="not opened"):
        _ = keyring.lookup


def test_a_lookup_secret_that_is_gone_is_said(place: Place) -> None:
    """Nobody makes another one in its place: every row and token would be lost."""
    keyring = place.ledger(ONE).keyring
    place.created(ONE)
    with place.transaction(write=True) as tx:
        tx.connection.exec_driver_sql("DELETE FROM backtrail_lookup")
    with place.transaction() as tx, pytest.raises(UsageError, match=r"put backtrail\.lookup back from a backup"):
        keyring.open(tx)


# -- subjects ---------------------------------------------------------------------------------------------------------


def test_every_subject_has_a_key_of_its_own(place: Place) -> None:
    """Made when something is first written, found again by other processes, and not readable in the database."""
    keyring = place.created(ONE)
    ann, bob = (keyring.subject("m", name) for name in ("ann", "bob"))
    assert place.secrets(keyring, ann) == {}, "reading makes none"
    made = place.secrets(keyring, ann, bob, ann, write=True)
    sealed = {name: seal(made[name], b"x") for name in (ann, bob)}
    assert set(made) == {ann, bob}
    again = place.secrets(place.opened(ONE), ann, bob, keyring.subject("m", "carl"))
    assert set(again) == {ann, bob}
    assert unseal(again[ann], sealed[ann]) == b"x"
    with pytest.raises(ValueError, match="not what was sealed"):
        unseal(again[bob], sealed[ann])
    assert {wrapped.master for wrapped in place.kept(ann, bob).values()} == {ONE.name}
    assert place.secrets(keyring, ann, write=True).keys() == {ann}
    assert place.kept(ann) == place.kept(ann), "writing again keeps the key"


def test_of_two_master_keys_the_first_wraps_and_both_unwrap(place: Place) -> None:
    """Old keys are read by the second; new ones need the first."""
    old = place.created(ONE)
    ann, bob = old.subject("m", "ann"), old.subject("m", "bob")
    sealed = seal(place.secrets(old, ann, write=True)[ann], b"x")
    both = place.opened(TWO, ONE)
    found = place.secrets(both, ann, bob, write=True)
    assert unseal(found[ann], sealed) == b"x"
    assert {subject: wrapped.master for subject, wrapped in place.kept(ann, bob).items()} == {ann: ONE.name, bob: TWO.name}
    with pytest.raises(UsageError, match=NOT_HERE):
        place.secrets(place.opened(ONE), bob)


def test_rotation_leaves_nothing_for_the_old_master_key(place: Place) -> None:
    """Page by page everything is wrapped anew, the lookup secret too, and opens what it opened before."""
    old = place.created(ONE)
    subjects = [old.subject("m", str(number)) for number in range(7)]
    sealed = {one: seal(with_, b"x") for one, with_ in place.secrets(old, *subjects, write=True).items()}
    both = place.opened(TWO, ONE)
    after: str | None = ""
    wrapped = 0
    while after is not None:
        with place.transaction(write=True) as tx:
            done = both.rotate(tx, after, 3)
        after, wrapped = done[1], wrapped + done[0]
    assert wrapped == 8
    new = place.opened(TWO)
    assert new.lookup == old.lookup
    assert {one: unseal(with_, sealed[one]) for one, with_ in place.secrets(new, *subjects).items()} == dict.fromkeys(
        subjects, b"x"
    )
    with pytest.raises(UsageError, match=NOT_HERE):
        place.opened(ONE)


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_tokens_are_hmac_with_the_ledgers_own_secret(place: Place, tmp_path: Path) -> None:
    """128 bits of HMAC-SHA256, the same for the same parts, and other ones in another ledger."""
    keyring = place.created()
    other = Place(f"sqlite:///{tmp_path / 'other.db'}").created()
    expected = hmac.new(keyring.lookup, json.dumps(["m", "ann@example.org"]).encode(), "sha256").digest()[:16]
    token = keyring.token("m", "ann@example.org")
    assert token == "~" + base64.urlsafe_b64encode(expected).decode().rstrip("=")
    assert len({token, other.token("m", "ann@example.org"), keyring.token("n", "ann@example.org")}) == 3
    assert keyring.token("a", "b", "c") != keyring.token("a", "bc") != keyring.token("ab", "c")


def test_a_person_is_someone_else_for_another_migration(place: Place) -> None:
    """And never what an entity of that name is; what stands for one stands for itself."""
    keyring = place.created()
    found = {keyring.subject("m", "42"), keyring.subject("n", "42"), keyring.token("m", "42")}
    assert len(found) == 3
    assert all(map(is_token, found))
    assert {keyring.subject("m", one) for one in found} == found


@pytest.mark.parametrize("text", ["", "~", "~" + "a" * 21, "~" + "a" * 23, "a" * 23, " ~" + "a" * 21, "ann@example.org"])
def test_what_is_no_token(text: str) -> None:
    """It has a mark and its length."""
    assert not is_token(text)
    assert is_token("~" + "a" * 22)


# -- values that are hidden -------------------------------------------------------------------------------------------

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


class OneSecret(Keyring):
    """A keyring that is open, of an encrypted ledger."""

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type] # nothing is looked up
        self._lookup, self._sealing = bytes(32), True


@given(values)
def test_what_is_hidden_is_shown(value: Any) -> None:
    """Any JSON value comes back; what is empty says nothing, and is left alone."""
    keyring = OneSecret()
    hidden = keyring.hide(value)
    assert keyring.show(hidden) == value
    assert is_hidden(hidden) != (value is None or value == [] or value == {})
    assert keyring.show(json.loads(json.dumps(hidden))) == value


@given(st.none() | st.text(st.characters(exclude_categories=[])))
def test_texts_that_are_hidden_are_shown(text: str | None) -> None:
    """Also those that look like something hidden."""
    keyring = OneSecret()
    hidden = keyring.hide_text(text)
    assert keyring.show_text(hidden) == text
    assert text is None or (hidden or "").startswith('{"sealed": "')


def test_nothing_is_readable_of_what_is_hidden() -> None:
    """Neither names nor values; and with another secret it is refused."""
    hidden = conceal(cipher(bytes(32)), {"email": "ann@example.org"})
    raw = base64.urlsafe_b64decode(hidden["sealed"])
    assert not {b"email", b"ann", b"example"} & {raw[at : at + size] for at in range(len(raw)) for size in (3, 5, 7)}
    assert reveal(cipher(bytes(32)), hidden) == {"email": "ann@example.org"}
    for with_, message in ((cipher(b"\1" * 32), "not what was sealed"), (None, "its key is gone")):
        with pytest.raises(ValueError, match=message):
            reveal(with_, hidden)
    assert reveal(None, {"a": 1}) == {"a": 1}


def test_nothing_is_hidden_by_a_keyring_that_was_not_opened() -> None:
    """It does not know whether the ledger is encrypted: what it let pass could be readable for ever."""
    keyring = Keyring(None, [ONE])  # type: ignore[arg-type] # nothing is looked up
    for use in (
        lambda: keyring.hide({"a": 1}),
        lambda: keyring.hide_text("why"),
        lambda: keyring.token("m", "1"),
        lambda: keyring.sealing,
    ):
        with pytest.raises(RuntimeError, match="not opened"):
            use()


# -- the file of master keys ------------------------------------------------------------------------------------------


def written(path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


def test_a_file_holds_master_keys_one_a_line(tmp_path: Path) -> None:
    """In their order, with comments and empty lines; what `new_master` gives is such a line."""
    lines = [new_master(), new_master()]
    path = written(tmp_path / "keys", f"# the new one\n{lines[0]}\n\n  {lines[1]}  \n")
    assert read_masters(path) == tuple(Master(base64.urlsafe_b64decode(line)) for line in lines)
    assert len(set(lines)) == 2
    assert all(len(master.secret) == 32 for master in read_masters(path))
    assert read_masters(None) == ()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that mends it."""
    path = written(tmp_path / "keys", new_master(), mode)
    with pytest.raises(UsageError, match=f"^master_key_file {path} can be read by others: chmod 600 {path}$"):
        read_masters(path)


SOMETHING_ELSE = {
    "words": "no base64!",
    "one letter": "A",
    "31 bytes": base64.urlsafe_b64encode(bytes(31)).decode(),
    "33 bytes": base64.urlsafe_b64encode(bytes(33)).decode(),
}


@pytest.mark.parametrize("text", ["", "\n# only this\n", *SOMETHING_ELSE.values()], ids=["empty", "a comment", *SOMETHING_ELSE])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    """In one line that says what it should hold and how to make one."""
    path = written(tmp_path / "keys", text)
    message = f"master_key_file {path} does not hold a key of 32 bytes in base64 on each line: make one with `backtrail keys new`"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        read_masters(path)


@pytest.mark.parametrize("text", SOMETHING_ELSE.values(), ids=SOMETHING_ELSE)
def test_one_line_that_is_no_key_spoils_the_file(tmp_path: Path, text: str) -> None:
    """What was meant as a key would be missing later; and nothing that the file holds is printed."""
    good = new_master()
    with pytest.raises(UsageError, match="does not hold a key") as refused:
        read_masters(written(tmp_path / "keys", f"{good}\n{text}\n"))
    assert good not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, or no text: named, with what is wrong."""
    with pytest.raises(UsageError, match=r"^master_key_file \S+missing cannot be read: No such file or directory$"):
        read_masters(tmp_path / "missing")
    with pytest.raises(UsageError, match=r"^master_key_file \S+ cannot be read: Is a directory$"):
        read_masters(tmp_path)
    with pytest.raises(UsageError, match=r"^master_key_file \S+ cannot be read: it is no text$"):
        read_masters(written(tmp_path / "bytes", b"\xff\xfe\0"))
