"""Whatever one value of the ledger is made into, `verify` and a seal come to their end, and look at everybody else."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from bson.decimal128 import Decimal128

from backtrail.errors import BacktrailError
from backtrail.stores.base import Transaction
from ledger.leaves import leaves_of
from ledger.ledger import Ledger
from ledger.sealer import Sealer
from tests.engine import Engine
from tests.tampering.dump import Dump, Refused, Text
from tests.tampering.stage import KEY, Stage

TABLES = ("streams", "events", "shapes", "batches", "campaigns", "recalls")
"""What is looked at entity by entity; of the others, all of it is said to be wrong or nothing."""

VALUES: list[Any] = [None, "zzz", b"\xff\xfe", 7, -1, 1.5, 2**62, "[]", "null", '"zzz"', "[1]", '{"sealed":"x"}', Text(b"\xff")]

OF_MONGO: list[Any] = [True, [], {}, {"a": 1}, float("inf"), float("nan"), Decimal128("2.5")]

SOME = 12
"""How many values are tried on each kind of database; a thousand were, by hand."""


@pytest.fixture
def stage(everywhere: Engine) -> Iterator[Stage]:
    with closing(Stage(everywhere)) as one:
        yield one


def edits(stage: Stage) -> list[tuple[str, str, Any]]:
    """A table, a column and another value, of all there are."""
    values = [one for one in VALUES if not (stage.engine.mongo and isinstance(one, Text))] + (
        OF_MONGO if stage.engine.mongo else []
    )
    return [
        (table, column, value)
        for table in TABLES
        for column in dict.fromkeys(name for row in stage.pristine[table] for name in row)
        for value in values
    ]


def looked_at(stage: Stage) -> list[str]:
    """What `verify` says of the ledger, and what a seal over all of it refuses."""
    sealer = Sealer(Ledger(stage.engine.store, stage.engine.ledger.keyring.masters), leaves_of(stage.engine.store), KEY)
    refused = sealer._do(lambda tx: _all_refused(sealer, tx), write=False)
    return [*stage.verify(sealed=True)["ledger"], *refused]


def _all_refused(sealer: Sealer, tx: Transaction) -> list[str]:
    until = sealer.leaves.window(tx, 0, 1000)
    return [] if until is None else sealer._changed(tx, 0, until)[1]


def attempt(stage: Stage, chance: random.Random, table: str, column: str, value: Any) -> str | None:
    """What is wrong with what came of one edit, or None; it is taken back."""
    after: Dump = copy.deepcopy(stage.pristine)
    if not after[table]:
        return None
    chance.choice(after[table])[column] = value
    try:
        changed = stage.attacker.write(stage.pristine, after)
    except Refused:
        return None
    try:
        looked_at(stage)
    except BacktrailError as error:
        return f"{table}.{column} = {value!r}: refused: {type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 -- whatever it is, nobody is named by it
        return f"{table}.{column} = {value!r}: {type(error).__name__}: {error}"
    finally:
        stage.attacker.write({name: [] for name in changed}, {name: stage.pristine[name] for name in changed})
    return None


def test_no_value_ends_a_look(stage: Stage) -> None:
    chance = random.Random(7)
    wrong = [attempt(stage, chance, *edit) for edit in chance.sample(edits(stage), SOME)]
    assert [one for one in wrong if one is not None] == []
