"""What `checkpoint`, `prove` and `verify --checkpoint` do: keys and files around `ledger.sealer` and `ledger.sealed`."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from backtrail.errors import UsageError
from ledger.checkpoint import Checkpoint, Unsound, departure, prove_inclusion, read_checkpoint, reader
from ledger.finding import Finding
from ledger.leaves import Leaf, Leaves, leaves_of
from ledger.merkle import leaf_hash
from ledger.note import Forged, SigningKey, VerifierKey, read_note
from ledger.sealed import Sealed
from ledger.sealer import Seal, Sealer
from producer import show
from producer.campaign import whoami
from producer.context import Context

NO_KEY = (
    "no signing_key_file: make a key by backtrail checkpoint --new-key FILE, then set BACKTRAIL_SIGNING_KEY_FILE,"
    " or signing_key_file in backtrail.toml, to that file"
)


def new_key(context: Context, path: Path, name: str | None) -> int:
    """The exit code; a new key is in the file, and its verifier key was printed."""
    key = SigningKey.create(path, name)
    if context.json:
        context.print_json({"file": str(path), "name": key.name, "verifier": str(key.verifier)})
    else:
        context.write(str(key.verifier))
        context.err.print(
            f"{path} holds the private key. The line above is what others verify with: keep it with them", markup=False
        )
    return 0


def checkpoint(context: Context, *, to: Path | None, consistent_with: Path | None, reason: str | None) -> int:
    """The exit code; everything committed was sealed, signed, printed and written to the file."""
    key = _signing_key(context)
    olds = [] if consistent_with is None else [_checkpoint(consistent_with, key.verifier)]
    if to is not None and to.exists():
        olds.append(_before(to, key.verifier))
    leaves = _leaves(context)
    with context.err.status("sealing") as spinner:
        progress = _counting(lambda seen: spinner.update(f"sealing: looked at {seen:,} streams"))
        seal = Sealer(context.ledger, leaves, key).seal(by=whoami(), reason=reason, olds=olds, progress=progress)
    if to is not None:
        _write(to, seal.note)
    proof = None if consistent_with is None else _consistency(olds[0], seal, seal.proofs[0])
    if context.json:
        context.print_json(_document(key.verifier, seal, to, reason) | ({} if proof is None else {"consistency": proof}))
    else:
        _print(context, seal, to, proof)
    return 1 if seal.refused else 0


def prove(context: Context, migration: str, key: str, file: Path | None, verifier: str | None) -> int:
    """The exit code; the proof that the entity's events are under the root of a checkpoint was printed, as JSON.

    Raises:
        Unsound: they are not, or not any more.
    """
    leaves, ledger = _leaves(context), context.ledger
    name = context.migration(migration).name
    trusted = _verifier(context, verifier)
    with ledger.store.transaction(write=False) as tx:
        kept = leaves.checkpoint(tx, trusted.label) if file is None else None
        if file is None and kept is None:
            raise UsageError(f"the database has no checkpoint of the key {trusted.label}: make one by backtrail checkpoint")
        note = read_note(file) if file is not None else kept.note  # type: ignore[union-attr] # one of the two is there
        signed = read_checkpoint(note, trusted)
        head = ledger.journal.heads(tx, name, [key], lock=False).get(key)
        if head is None or head.id is None:
            raise UsageError(f"nothing was ever done about {key!r} by {name}")
        leaf = leaves.of(tx, head.id, signed.size)
        if leaf is None:
            raise UsageError(f"no event of {key!r} is covered by this checkpoint: make another by backtrail checkpoint")
        wrong = departure(head, ledger.journal.events(tx, [head.id])[head.id], leaf)
        if wrong is not None:
            raise Unsound(f"{key}: {wrong}")
        proof = prove_inclusion(reader(leaves, tx), leaf, signed)
    later = {"later_events": head.version - leaf.version}
    context.print_json({"migration": name, "key": key} | _inclusion(leaf, signed, proof) | later | {"checkpoint": note})
    return 0


def comparison(context: Context, file: Path, verifier: str | None, migration: str | None) -> Sealed:
    """What `verify --checkpoint` has to check.

    Raises:
        UsageError: the file is no checkpoint, or not of the key.
    """
    note, trusted = read_note(file), _verifier(context, verifier)
    with suppress(Forged):  # that is one of the things to be found
        _checked(file, note, trusted)
    return Sealed(context.ledger, _leaves(context), note, trusted, migration)


def verify_all(context: Context, file: Path, verifier: str | None) -> int:
    """The exit code; the whole ledger was compared with the checkpoint, and the finding printed."""
    sealed = comparison(context, file, verifier, None)
    with context.err.status("comparing") as spinner:
        finding = sealed.check(_counting(lambda seen: spinner.update(f"comparing: {seen:,} leaves")))
    document = with_finding({"ok": True, "checks": []}, finding)
    context.print_json(document) if context.json else show.print_findings(context.out, document)
    return 0 if document["ok"] else 1


def with_finding(document: dict[str, Any], finding: Finding) -> dict[str, Any]:
    """The verification document with one check more."""
    one = finding.document()
    return {"ok": document["ok"] and one["ok"], "checks": [*document["checks"], one]}


# -- keys and files ---------------------------------------------------------------------------------------------------


def _signing_key(context: Context) -> SigningKey:
    path = context.settings.signing_key_file
    if path is None:
        raise UsageError(NO_KEY)
    return SigningKey.load(path)


def _verifier(context: Context, given: str | None) -> VerifierKey:
    if given is not None:
        return VerifierKey.load(given)
    if context.settings.signing_key_file is None:
        raise UsageError(
            "no key to verify with: give --verifier, the line that backtrail checkpoint --new-key printed, or its file"
        )
    return SigningKey.load(context.settings.signing_key_file).verifier


def _leaves(context: Context) -> Leaves:
    with context.ledger.store.transaction(write=False) as tx:
        if not context.ledger.exists(tx):
            raise UsageError("no campaign was ever opened in this database: there is nothing to seal")
    return leaves_of(context.ledger.store)


def _checkpoint(path: Path, key: VerifierKey) -> Checkpoint:
    return _checked(path, read_note(path), key)


def _checked(path: Path, note: str, key: VerifierKey) -> Checkpoint:
    try:
        return read_checkpoint(note, key)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _before(path: Path, key: VerifierKey) -> Checkpoint:
    try:
        return _checkpoint(path, key)
    except UsageError as error:
        raise UsageError(f"{error}; it is not overwritten: name another file") from None


def _write(path: Path, note: str) -> None:
    # In one step: whoever copies the file elsewhere never finds half of it.
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_bytes(note.encode())
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


def _counting(tell: Callable[[int], None]) -> Callable[[int], None]:
    seen = 0

    def progress(count: int) -> None:
        nonlocal seen
        seen += count
        tell(seen)

    return progress


# -- what is printed --------------------------------------------------------------------------------------------------


def _document(key: VerifierKey, seal: Seal, to: Path | None, reason: str | None) -> dict[str, Any]:
    return {
        "origin": seal.checkpoint.origin,
        "size": seal.checkpoint.size,
        "root": _text(seal.checkpoint.root),
        "verifier": str(key),
        "note": seal.note,
        "file": None if to is None else str(to),
        "sealed": seal.sealed,
        "refused": seal.refused,
        "unsealed": {"streams": seal.uncovered.streams, "events": seal.uncovered.events},
        "by": whoami(),
        "reason": reason,
    }


def _consistency(old: Checkpoint, seal: Seal, proof: Sequence[bytes]) -> dict[str, Any]:
    new = seal.checkpoint
    sizes = {"old_size": old.size, "old_root": _text(old.root), "size": new.size, "root": _text(new.root)}
    return sizes | {"proof": [_text(one) for one in proof]}


def _inclusion(leaf: Leaf, signed: Checkpoint, proof: Sequence[bytes]) -> dict[str, Any]:
    return {
        "stream": leaf.stream,
        "version": leaf.version,
        "head": leaf.head.hex(),
        "leaf": _text(leaf.data),
        "leaf_hash": _text(leaf_hash(leaf.data)),
        "index": leaf.number,
        "size": signed.size,
        "root": _text(signed.root),
        "proof": [_text(one) for one in proof],
    }


def _print(context: Context, seal: Seal, to: Path | None, proof: dict[str, Any] | None) -> None:
    if proof is not None:
        # As a witness takes it: https://c2sp.org/tlog-witness, add-checkpoint.
        context.write("\n".join([f"old {proof['old_size']}", *proof["proof"], ""]))
    if proof is not None or to is None:
        context.write(seal.note, nl=False)
    for line in seal.refused:
        context.err.print(f"not sealed: {line}", markup=False)
    rest = seal.uncovered
    later = f"; {rest.events:,} events of {rest.streams:,} streams are not sealed yet" if rest.events else ""
    context.err.print(f"sealed {seal.sealed:,} heads of streams, {seal.checkpoint.size:,} in all{later}", markup=False)
    if proof is not None:
        context.err.print(f"it begins with the {proof['old_size']:,} of the older checkpoint", markup=False)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
