"""The oracle for SQLite tells what is hard to tell apart, and what the matrix makes of a difference."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from backtrail.stores.cells import tag_stored
from backtrail.stores.sqlite import catalog as product
from tests.engine import Engine
from tests.exactness import sqlite_values as values
from tests.exactness.sqlite import World, judged_world
from tests.exactness.sqlite_oracle import NotUtf8, insert, look

PAIRS: list[tuple[Any, Any]] = [
    (0.0, -0.0),
    (0, 0.0),
    (1, "1"),
    (1, 1.0),
    ("1", b"1"),
    ("", b""),
    ("", None),
    (0.3, 0.1 + 0.2),
    (2**53, 2.0**53),
    (2**53, 2**53 + 1),
    (5e-324, 0.0),
    (1e308, float("inf")),
    (float("inf"), float("-inf")),
    ("nul", "nul\0"),
    ("nul\0a", "nul\0b"),
    ("\u00e9", "e\u0301"),
    ("a", "a "),
    (NotUtf8(b"\xff"), NotUtf8(b"\xfe")),
    (NotUtf8(b"\xff"), b"\xff"),
    (NotUtf8(b"\xff"), "\ufffd"),
    (NotUtf8(b"\xed\xa0\x80"), "\ufffd"),
    (bytes(1000), bytes(1001)),
]


def test_near_pairs(tmp_path: Path) -> None:
    """Values that Python or a printed float takes for each other differ, and each is equal to itself."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (tag TEXT, v)")
        for at, value in enumerate(value for pair in PAIRS for value in (*pair, *pair)):
            insert(connection, "t", {"tag": str(at), "v": value})
        connection.commit()
    seen = look(path, "t")
    cells = [seen["t", str(at)]["v"] for at in range(4 * len(PAIRS))]
    assert cells[0::4] == cells[2::4]
    assert cells[1::4] == cells[3::4]
    assert [pair for pair, one, other in zip(PAIRS, cells[0::4], cells[1::4], strict=True) if one == other] == []


def test_a_float_that_is_printed_alike() -> None:
    """The eight bytes are needed: SQLite's own print of these floats is one."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for one, other in ((0.0, -0.0), (0.3, 0.1 + 0.2)):
            printed = "SELECT hex(CAST(? AS BLOB)) = hex(CAST(? AS BLOB)), typeof(?) = typeof(?)"
            assert connection.execute(printed, (one, other, one, other)).fetchone() == (1, 1)


def test_rows_of_one_name(tmp_path: Path) -> None:
    """Two rows of one tag are no answer."""
    path = tmp_path / "data.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE t (tag TEXT); INSERT INTO t VALUES ('a'), ('a')")
    with pytest.raises(AssertionError, match="two rows of t are a"):
        look(path, "t")


def small(monkeypatch: pytest.MonkeyPatch, sqlite: str, tag: Any) -> list[tuple[str, str]]:
    """The case and the beginning of what is wrong, of every value that the matrix finds wrong under a codec."""

    def tag_all(cells: Sequence[Any]) -> list[str]:
        return [tag(cell) for cell in cells]

    monkeypatch.setattr(product, "tag_stored", tag)
    monkeypatch.setattr(product, "tag_stored_all", tag_all)
    world = World("small", {"c0": ""}, {str(at): value for at, value in enumerate(values.ALIKE)}, lambda declared, stored: stored)
    with closing(Engine(sqlite)) as engine:
        verdicts = list(judged_world(engine, world))
    assert len(verdicts) == 7 * len(values.ALIKE)
    return [(verdict.case, verdict.wrong) for verdict in verdicts if verdict.wrong]


def test_a_codec_that_is_exact(monkeypatch: pytest.MonkeyPatch, sqlite: str) -> None:
    """Nothing is wrong under the codec as it is: each of the values also takes the place of one that is easily taken for it."""
    assert small(monkeypatch, sqlite, tag_stored) == []


def test_a_codec_that_rounds(monkeypatch: pytest.MonkeyPatch, sqlite: str) -> None:
    """A codec that keeps 15 digits, and reads back what it expects, is found by the matrix: in deleted rows, and where the value changed."""
    wrong = small(monkeypatch, sqlite, lambda cell: f"r{cell:.15g}" if type(cell) is float else tag_stored(cell))
    assert {case for case, _ in wrong} >= {"deleted", "copied", "created"}
    assert all("not exact when" in text for _, text in wrong)


def test_a_codec_that_forgets_the_sign(monkeypatch: pytest.MonkeyPatch, sqlite: str) -> None:
    """A codec for which -0.0 is 0.0 is found by the matrix."""
    wrong = small(monkeypatch, sqlite, lambda cell: "r0.0" if type(cell) is float and cell == 0 else tag_stored(cell))
    minus = str([repr(value) for value in values.ALIKE].index("-0.0"))
    assert {text.split()[0] for case, text in wrong if case == "deleted"} == {minus}
