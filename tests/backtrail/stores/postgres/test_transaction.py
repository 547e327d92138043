"""A transaction on PostgreSQL writes the rows that it was asked to, and no other."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest

from backtrail.errors import BadValue
from tests.engine import Engine


@pytest.mark.parametrize("how", ["update", "update marked", "delete"])
@pytest.mark.parametrize("watched", [False, True])
def test_rows_that_share_a_key(on_postgres: Engine, how: str, watched: bool) -> None:
    """Whatever makes one key several rows, a stranger's is not written: the job is refused."""
    on_postgres.script("CREATE TABLE people (id int PRIMARY KEY, v float8); INSERT INTO people VALUES (1, 1), (2, 2)")
    store: Any = on_postgres.store
    table = store.table("people")
    # The table is known from before.
    on_postgres.script("CREATE TABLE staff () INHERITS (people); INSERT INTO staff VALUES (1, 3)")
    before = on_postgres.dump("people")
    nan = "NaN\x0200000001000002bd00000008fff8000000000000"
    with pytest.raises(BadValue, match="several rows of people have one key"), store.transaction() as tx:
        tx.watch = tx.watcher([table]) if watched else None
        match how:
            case "update":
                tx.update(table, ("v",), [(["2"], ["7"]), (["1"], ["7"])])
            case "update marked":
                tx.update(table, ("v",), [(["2"], [nan]), (["1"], [nan])])
            case "delete":
                tx.delete(table, [["2"], ["1"]])
    assert on_postgres.dump("people") == before
    with store.transaction() as tx:
        tx.update(table, ("v",), [(["2"], ["7"]), (["9"], ["7"])])
    assert on_postgres.query("SELECT v FROM people WHERE id = 2") == [(7.0,)]


def test_what_was_committed_meanwhile_is_seen(on_postgres: Engine) -> None:
    """Also where the database's own default is another isolation: whoever waits for a lock must not fail because of what he waited for."""
    on_postgres.script(
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO serializable', current_database()); END $$"
    )
    with closing(Engine(on_postgres.url)) as fresh, fresh.store.transaction() as tx:
        before = tx.rows_of("SELECT count(*) FROM pg_class WHERE relname = 'late'", [])  # type: ignore[attr-defined] # of this store
        on_postgres.script("CREATE TABLE late (id int)")
        after = tx.rows_of("SELECT count(*) FROM pg_class WHERE relname = 'late'", [])  # type: ignore[attr-defined] # as above
    assert (before[0][0], after[0][0]) == ("0", "1")
