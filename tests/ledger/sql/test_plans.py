"""SQLite's own plans: what is asked page by page reads no table from end to end, however many streams there are."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import sqlalchemy as sa

from ledger.leaves import leaves_of
from ledger.walk import heads_in
from tests.engine import Engine
from tests.ledger.sealing import populated, seal, shouting


def plans(engine: Engine, statements: list[tuple[str, Any]]) -> list[str]:
    with closing(engine.sqlite()) as connection:
        return [row[3] for sql, values in statements for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]


def test_windows_of_streams_and_leaves_are_found_by_their_ids(on_sqlite: Engine) -> None:
    """Pages of streams go by the rowid, not by the index of keys, which would sort them all; leaves go by index too."""
    engine = on_sqlite
    populated(engine)
    engine.migrate(shouting(engine))
    seal(engine)
    engine.rollback(shouting(engine), only=["2"])
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    sa.event.listen(engine.store.engine, "before_cursor_execute", note)  # type: ignore[attr-defined]
    leaves = leaves_of(engine.store)
    with engine.store.transaction(write=False) as tx:
        assert [one.key for one in leaves.unsealed(tx, 0, 1000)] == ["2"]
        assert len(heads_in(engine.ledger.journal, tx, dict.fromkeys(range(1, 50), "shouting"))) == 6
        assert len(leaves.among(tx, 0, 1000, 6)) == 6
    found = [line for line in plans(engine, asked) if "streams" in line or "leaves" in line or " l " in line]
    assert any("backtrail_streams USING INTEGER PRIMARY KEY" in line for line in found), found
    assert not [line for line in found if "SCAN" in line or "autoindex_backtrail_streams" in line], found
