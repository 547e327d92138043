"""How a PostgreSQL server bears the load, as far as the user may see it."""

from __future__ import annotations

from backtrail.stores.health import Health, Trail
from backtrail.stores.writing import SqlTransaction

# Positions in bytes. What receives the log without replaying it (a backup, pg_receivewal) has no position and is no replica. The time is the
# server's own figure, which is there on the first look already.
REPLICAS = """
SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::text, pg_wal_lsn_diff(replay_lsn, '0/0')::text,
       extract(epoch FROM replay_lag)::text, (state IS NULL)::text
FROM pg_stat_replication WHERE state IS NULL OR (state IN ('streaming', 'catchup') AND replay_lsn IS NOT NULL)
"""

# The number of sessions of every database may be seen by everybody. Connections that are reserved are not for us; the second setting came
# with version 16.
CONNECTIONS = """
SELECT (SELECT sum(numbackends) FROM pg_stat_database)::float
       / (current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
          - coalesce(current_setting('reserved_connections', true), '0')::int)
"""

# Locks and the names of sessions may be seen by everybody; what others wait for may not. Of several that want one row, all but the first
# wait for each other.
WAITS = """
WITH RECURSIVE ours AS MATERIALIZED (SELECT pid FROM pg_stat_activity WHERE application_name = %s),
     waits AS MATERIALIZED (SELECT pid, unnest(pg_blocking_pids(pid)) AS holder FROM (SELECT DISTINCT pid FROM pg_locks WHERE NOT granted) w),
     held AS (SELECT pid FROM ours UNION SELECT waits.pid FROM waits JOIN held ON held.pid = waits.holder)
SELECT count(*) FROM held WHERE pid NOT IN (SELECT pid FROM ours)
"""

HIDDEN = "replication lag is hidden from this user: GRANT pg_read_all_stats to it"


def health(tx: SqlTransaction, trail: Trail, application: str) -> Health:
    """What the server shows.

    Args:
        tx: in which is asked.
        trail: where the log was when.
        application: the name of our own sessions.
    """
    replicas = tx.rows_of(REPLICAS)
    hidden = any(row[3] == "true" for row in replicas)
    return Health(
        replication_lag_s=None if hidden else _lag(replicas, trail),
        connections_share=float(tx.rows_of(CONNECTIONS)[0][0]),
        lock_waits=int(tx.rows_of(WAITS, [application])[0][0]),
        hidden=HIDDEN if hidden else None,
    )


def _lag(replicas: list[tuple[str, ...]], trail: Trail) -> float | None:
    if not replicas:
        return None
    primary = int(replicas[0][0])
    behind = [row for row in replicas if int(row[1]) < primary]
    own = max((float(row[2]) for row in behind if row[2] is not None), default=0.0)
    return max(own, trail.behind(primary, [int(row[1]) for row in replicas]) or 0.0)
