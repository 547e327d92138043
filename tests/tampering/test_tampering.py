"""Some of the cases of `make tampering` on every kind of database; all of them take a minute and more."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.engine import Engine
from tests.tampering.cases import EXEMPT, UNSEEN, Case, cases, evenly
from tests.tampering.run import run
from tests.tampering.stage import Stage

SOME = 20
"""How many cases are tried on each kind of database."""


@pytest.fixture
def stage(everywhere: Engine) -> Iterator[Stage]:
    with closing(Stage(everywhere)) as one:
        yield one


def some(every: list[Case]) -> list[Case]:
    """As many from each part of the cases as from any other, and those that need a checkpoint among them."""
    picked = evenly(every, SOME - 2, seed=4)
    forged = [case for case in every if case.sealed and "written anew" in case.name and case not in picked]
    return picked + random.Random(4).sample(forged, 2)


def test_tampering_is_found_and_named_and_nothing_else_is(stage: Stage) -> None:
    """Edited, deleted, moved and forged rows are named by their entity, and the untouched ledger in between is not."""
    every = cases(stage.pristine, dynamic=not stage.engine.postgres)
    assert len(every) > 700, "the cases are made from the ledger's rows"
    result = run(stage, some(every))
    assert result.cases + result.refused == SOME
    assert result.missed == []
    assert result.found == result.cases > SOME / 2
    assert result.alarms == 0


def test_every_table_and_column_is_attacked_or_says_why_not(stage: Stage) -> None:
    """A table or column that somebody adds later is attacked like the others, unless a reason stands beside it."""
    every = cases(stage.pristine, dynamic=not stage.engine.postgres)
    for table, rows in stage.pristine.items():
        if table in EXEMPT:
            assert len(EXEMPT[table]) > 10
            continue
        for column in {name for row in rows for name in row} - {column for name, column in UNSEEN if name == table}:
            assert any(case.name.startswith(f"{table} ") and f": {column} " in case.name for case in every), (table, column)
