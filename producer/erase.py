"""What `erase` and `keys` do: from what was typed to `ledger.erase` and the keyring."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from backtrail.errors import UnknownName, UsageError
from ledger.erase import Erasure
from ledger.keyring import new_master, read_masters
from producer.campaign import whoami
from producer.context import Context

SMALL = 1024**3
"""Files of up to a gigabyte are rewritten at once; larger ones when somebody says so, since nobody can write meanwhile."""

PAGE = 1000


def erase(context: Context, subject: str, *, migrations: Sequence[str], vacuum: bool | None, reason: str | None) -> int:
    """The exit code; the person's data in the ledger is unreadable."""
    ledger = context.ledger
    with ledger.store.transaction(write=False) as tx:
        if not ledger.exists(tx):
            raise UsageError("no campaign was ever opened in this database: there is nothing to erase")
        known = {campaign.migration for campaign in ledger.campaigns.all(tx)}
        ledger.keyring.open(tx)
        sealing = ledger.keyring.sealing
    for name in migrations:
        if name not in known:
            raise UnknownName("migration", name, known)
    done = Erasure(ledger, subject, migrations).run(by=whoami(), reason=reason)
    if not done.anything:
        raise UsageError("nothing in the ledger is of this person: check how the key is written, see `backtrail history`")
    # What was only ever sealed is unreadable in old versions of rows too; but the key, wrapped, is in one.
    keys_only = sealing and not done.redacted and not vacuum
    left = 0 if vacuum is False else ledger.scrub(None if vacuum else SMALL, keys_only=keys_only)
    document = asdict(done) | {"encrypted": sealing, "files_rewritten": left is None, "bytes_left": left}
    if context.json:
        context.print_json(document)
    else:
        _print(context, document)
    return 1 if done.again or done.nameless else 0


def _print(context: Context, done: dict[str, Any]) -> None:
    if done["streams"] or done["lists"] or done["keys"]:
        destroyed = f", {done['keys']} keys destroyed" if done["keys"] else ""
        context.out.print(
            f"erased: {done['streams']} streams, {done['redacted']} events redacted, {done['lists']} lists rewritten{destroyed}",
            markup=False,
        )
    else:
        context.out.print("erased before: nothing was left to do", markup=False)
    for line in _remains(context, done):
        context.err.print(line, markup=False)


def _remains(context: Context, done: dict[str, Any]) -> Iterator[str]:
    """What whoever erases has to know, or to do yet."""
    if done["again"]:
        yield f"{', '.join(done['again'])} began meanwhile and may name the person anew: erase again once it is over"
    if done["nameless"]:
        yield f"{done['nameless']} streams had lost their key before, and could not be closed: see `backtrail verify`"
    mongo, lay_open = context.ledger.store.kind == "mongodb", bool(done["redacted"]) or not done["encrypted"]
    if mongo and lay_open:
        yield "MongoDB's files and oplog keep what lay open for a while: see docs/erasure.md"
    elif not mongo and not done["files_rewritten"]:
        what = "what lay open" if lay_open else "the wrapped key"
        yield f"old versions of rows may still be in the database's files, with {what}: as their owner, while nobody uses them, erase again with --vacuum"
    if done["keys"]:
        yield "backups still have the key, wrapped: `backtrail keys new`, `backtrail keys rotate`, and destroy the old master key"


def new_key(context: Context, path: Path | None) -> int:
    """The exit code; a new master key was printed, or put first in a file that only this user can read."""
    key = new_master()
    if path is None:
        context.print_json({"key": key}) if context.json else context.out.print(key, markup=False)
        return 0
    masters = read_masters(path) if path.exists() else ()
    before = path.read_text() if masters else ""
    try:
        _replace(path, f"{key}\n{before}")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror} ({error.filename})") from error
    if context.json:
        context.print_json({"file": str(path), "keys": len(masters) + 1})
    else:
        after = (
            "restart every worker and application, then: backtrail keys rotate"
            if before
            else f"set BACKTRAIL_MASTER_KEY_FILE={path}"
        )
        context.err.print(f"{path} begins with a new master key; {after}", markup=False)
    return 0


def _replace(path: Path, text: str) -> None:
    """Nothing; the file holds the text, on the disk: what a key has wrapped is lost with it."""
    fresh = path.with_name(f"{path.name}.new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def rotate(context: Context) -> int:
    """The exit code; the first master key wraps everything."""
    ledger = context.ledger
    if not ledger.keyring.masters:
        raise UsageError("no master_key_file: set BACKTRAIL_MASTER_KEY_FILE to the file whose first key shall wrap everything")
    ledger.create()
    wrapped, after = 0, ""
    with context.err.status("wrapping keys") as spinner:
        while True:
            with ledger.store.transaction() as tx:
                page = ledger.keyring.rotate(tx, after, PAGE)
            wrapped += page.wrapped
            spinner.update(f"wrapping keys: {wrapped:,}")
            if page.after is None:
                break
            after = page.after
    if context.json:
        context.print_json({"wrapped": wrapped, "master": ledger.keyring.masters[0].name})
    else:
        context.out.print(
            f"{wrapped:,} keys are wrapped by the first master key; the others are of use for older backups only", markup=False
        )
    return 0
