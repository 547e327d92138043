"""What was done before a ledger was frozen: by the version of then, on the database that is handed in."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ledger.erase import Erasure
from ledger.leaves import leaves_of
from ledger.note import SigningKey
from ledger.sealer import Sealer
from tests.engine import Engine
from tests.frozen.migration import Frozen

USERS = range(1, 13)
FAILS, BACK, AGAIN, ERASED, DRIFTED, LARGE = 9, 2, 3, 6, 10, 7
"""Users: one that never passes the check, one rolled back, one rolled back and migrated again, one erased, one changed since, one with much text."""

TABLES = ("users", "remarks", "people")


def tag(user: int) -> str:
    """What stands in each of the user's rows and in no other's."""
    return f"tag-{user:02}-"


def populate(engine: Engine) -> None:
    """Nothing; there are users with remarks."""
    engine.table("users", id=int, number=int, tag=str, name=str, score=int)
    engine.table("remarks", id=int, user=int, tag=str, text=str)
    engine.table("people", id=None, tag=str, first=str, title=str, note=str)
    names = {FAILS: "Nobody", 4: "Plato"}
    engine.add("users", *[(user, user, tag(user), names.get(user, f"Zoë{user} van Ä{user}"), user) for user in USERS])
    remarks = [
        (user * 10 + at, user, tag(user), f"remark {at}\n" * (250 if user == LARGE else 1)) for user in USERS for at in range(2)
    ]
    engine.add("remarks", *remarks)


def live(engine: Engine, key: SigningKey) -> dict[str, Any]:
    """What the tables held before and after the migration, and the checkpoint of when nobody was erased yet."""
    before = rows(engine)
    assert engine.migrate(Frozen)["failed"] == 1
    engine.rollback(Frozen, only=[str(BACK), str(AGAIN)])
    engine.rerun(Frozen, only=[str(AGAIN)])
    note = Sealer(engine.ledger, leaves_of(engine.store), key).seal(by="tests", reason="before the erasure").note
    Erasure(engine.ledger, str(ERASED)).run(by="tests", reason="asked for it")
    migrated = rows(engine)
    engine.change("people", {"first": "Xantippe"}, tag=tag(DRIFTED))
    return {"before": before, "migrated": migrated, "note": note}


def rows(engine: Engine) -> list[str]:
    """Every row exactly, as text."""
    return sorted(repr(line) for line in engine.dump(*TABLES))


def of(lines: list[str], *users: int) -> list[str]:
    """The rows of those users."""
    return [line for line in lines if any(tag(user) in line or tag(user).encode().hex() in line.lower() for user in users)]


def close(engine: Engine) -> None:
    """Nothing; the engine's connections are given back, whatever state they are in."""
    with suppress(Exception):
        engine.close()
