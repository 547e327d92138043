"""The short form of what takes long: as many turns in a row as there are kinds of databases leave nothing out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import pytest_collection_modifyitems

ALIKE = [
    f"tests/a.py::test_{word}[{kind}-{how}]"
    for word in "abc"
    for how in ("open", "sealed")
    for kind in ("sqlite", "postgres", "mongo")
]
OTHERS = ["tests/a.py::test_alone", "tests/a.py::test_here[mongo]", "tests/sqlite/test_b.py::test_other[open]"]


def chosen(turn: int | None) -> list[str]:
    """The names of what is left of all items, in their order; the others are told to have been left out."""
    out: list[Any] = []

    def left_out(items: list[Any]) -> None:
        out.extend(items)

    config: Any = SimpleNamespace(getoption=lambda name: turn, hook=SimpleNamespace(pytest_deselected=left_out))
    items: list[Any] = [SimpleNamespace(nodeid=name) for name in (*ALIKE, *OTHERS)]
    before = list(items)
    pytest_collection_modifyitems(config, items)
    assert [item for item in before if item not in out] == items
    return [item.nodeid for item in items]


def test_without_a_turn_all_are_there() -> None:
    assert chosen(None) == ALIKE + OTHERS


@pytest.mark.parametrize("turn", [0, 7, 2000])
def test_three_turns_are_all_of_them(turn: int) -> None:
    """Each turn has one of three, and what is there only once; no two turns have the same."""
    turns = [chosen(turn + step) for step in range(3)]
    assert all(len(one) == len(ALIKE) // 3 + len(OTHERS) and set(OTHERS) <= set(one) for one in turns)
    assert sorted(name for one in turns for name in one if name in ALIKE) == sorted(ALIKE)


def test_every_turn_has_every_database() -> None:
    """Not all tests on the same."""
    assert all(any(f"[{kind}-" in name for name in chosen(turn)) for turn in range(3) for kind in ("sqlite", "postgres", "mongo"))
