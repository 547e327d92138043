"""What a PostgreSQL server shows of how it bears the load: to an administrator, and to a user without rights."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest

from backtrail.stores import open_store
from backtrail.stores.base import Store
from backtrail.stores.health import Health
from tests import servers
from tests.roles import as_user
from tests.servers import until


@contextmanager
def a_store(url: str) -> Iterator[Store]:
    with closing(open_store(url, lock_timeout_ms=1000)) as store:
        yield store


def look(store: Store) -> Health:
    with store.transaction(write=False) as tx:
        return store.health(tx)


@pytest.fixture
def nobody(postgres: str) -> Iterator[str]:
    """The database as a user without any rights."""
    name = f"nobody_{urlsplit(postgres).path[-8:]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'secret'")  # type: ignore[arg-type]
        yield as_user(postgres, name)
        connection.execute(f"DROP ROLE {name}")  # type: ignore[arg-type]


def test_who_waits_for_our_locks(postgres: str, nobody: str) -> None:
    """Sessions of others that wait for a lock of ours are counted, also by a user who may not see them; those who wait for another are not."""
    with ExitStack() as stack:
        ours = stack.enter_context(psycopg.connect(postgres, application_name="backtrail", autocommit=True))
        other = stack.enter_context(psycopg.connect(postgres))
        ours.execute("CREATE TABLE rows (id int PRIMARY KEY); INSERT INTO rows VALUES (1), (2), (3)")
        looking = [stack.enter_context(a_store(url)) for url in (postgres, nobody)]
        assert [look(store).lock_waits for store in looking] == [0, 0]
        ours.autocommit = False
        ours.execute("UPDATE rows SET id = id WHERE id = 1")
        other.execute("UPDATE rows SET id = id WHERE id = 2")
        waiting = [threading.Thread(target=_update, args=(postgres, row)) for row in (1, 1, 2)]
        for thread in waiting:
            thread.start()
        with psycopg.connect(postgres, autocommit=True) as eye:
            until(
                lambda: eye.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").fetchone() == (3,),
                what="3 waits",
            )
        assert [look(store).lock_waits for store in looking] == [2, 2]
        other.rollback()
        ours.rollback()
        for thread in waiting:
            thread.join()
        assert [look(store).lock_waits for store in looking] == [0, 0]


def _update(url: str, row: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE rows SET id = id WHERE id = %s", (row,))


def test_the_share_of_connections(postgres: str, nobody: str) -> None:
    """With every connection more the share grows by the same; it is of those that are not reserved."""
    with a_store(nobody) as store, ExitStack() as stack:
        shares = [look(store).connections_share]
        for _ in range(3):
            stack.enter_context(psycopg.connect(postgres))
            shares.append(look(store).connections_share)
        limit, reserved = stack.enter_context(psycopg.connect(postgres)).execute(
            "SELECT current_setting('max_connections')::int, current_setting('superuser_reserved_connections')::int"
        ).fetchone() or (0, 0)
        assert limit > reserved > 0
        assert (shares[-1] or 0) - (shares[0] or 0) == pytest.approx(3 / (limit - reserved))
        assert sorted(set(map(str, shares))) == sorted(map(str, shares))
        assert shares[0] is not None and 0 < shares[0] < 0.5


def test_without_replicas_nothing_is_hidden(postgres: str, nobody: str) -> None:
    """A server without replicas has no lag, and nobody is told to grant anything."""
    for url in (postgres, nobody):
        with a_store(url) as store:
            found = look(store)
            assert (found.replication_lag_s, found.hidden) == (None, None)


@pytest.mark.long
def test_a_standby_that_stops_replaying_is_behind() -> None:
    """A standby that has paused is behind from then on, and no more once it replays; who may not see it is told what to grant."""
    with servers.postgres() as primary, servers.postgres_standby(primary) as standby, a_store(primary) as store:
        until(lambda: look(store).replication_lag_s is not None, what="a standby")
        with psycopg.connect(primary, autocommit=True) as here, psycopg.connect(standby, autocommit=True) as there:
            here.execute("CREATE TABLE rows (id int)")
            until(lambda: there.execute("SELECT to_regclass('rows')").fetchone() != (None,), what="a standby that has everything")
            until(lambda: look(store).replication_lag_s == 0, what="no lag")
            there.execute("SELECT pg_wal_replay_pause()")
            until(lambda: there.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",), what="a pause")
            here.execute("INSERT INTO rows VALUES (1)")
            assert there.execute("SELECT count(*) FROM rows").fetchone() == (0,)
            until(lambda: (look(store).replication_lag_s or 0) > 1.5, what="a lag", timeout=20)
            here.execute("CREATE ROLE nobody LOGIN")
            with a_store(as_user(primary, "nobody")) as blind:
                found = look(blind)
                assert found.replication_lag_s is None and "pg_read_all_stats" in (found.hidden or "")
                here.execute("GRANT pg_read_all_stats TO nobody")
            with a_store(as_user(primary, "nobody")) as seeing:
                assert look(seeing).hidden is None and look(seeing).replication_lag_s is not None
            there.execute("SELECT pg_wal_replay_resume()")
            until(lambda: look(store).replication_lag_s == 0, what="a standby that has caught up")
            assert there.execute("SELECT count(*) FROM rows").fetchone() == (1,)
