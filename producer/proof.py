"""What the database itself says about each user's rows: a dump that shares no code with the engine whose work it judges."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection


def digests(url: str, owners: Mapping[str, str]) -> dict[str, str]:
    """By owner the SHA-256, in hex, over every value of all of its rows.

    Args:
        url: the database, `sqlite:///…` or `postgresql://…`.
        owners: for each table the SQL expression that names the owner of a row `t`. Every table has a key `id`.
    """
    parsed = sa.make_url(url)
    postgres = parsed.get_backend_name() == "postgresql"
    engine = sa.create_engine(parsed.set(drivername="postgresql+psycopg") if postgres else parsed)
    found: dict[str, Any] = {}
    try:
        with engine.connect() as connection:
            for table, owner in owners.items():
                lines = _copied(connection, table, owner) if postgres else _hexed(connection, table, owner)
                for name, line in lines:
                    digest = found.setdefault(name, hashlib.sha256())
                    digest.update(f"{table}\t{line}\n".encode())
    finally:
        engine.dispose()
    return {name: digest.hexdigest() for name, digest in found.items()}


def together(found: Mapping[str, str], names: Iterable[str]) -> str:
    """One SHA-256, in hex, over those of several owners; an owner without rows counts as that."""
    lines = (f"{name}\t{found.get(name, '')}\n" for name in sorted(names))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _hexed(connection: Connection, table: str, owner: str) -> Iterator[tuple[str, str]]:
    # Storage class and bytes of every value: what a driver makes of them could hide a difference.
    columns = [name for (name,) in connection.exec_driver_sql("SELECT name FROM pragma_table_xinfo(?)", (table,))]
    cells = " || ' ' || ".join(f'typeof(t."{name}") || \':\' || hex(t."{name}")' for name in columns)
    rows = connection.exec_driver_sql(f'SELECT {owner}, {cells} FROM "{table}" t ORDER BY t.id')  # noqa: S608 -- our own tables
    return ((name, line) for name, line in rows)


def _copied(connection: Connection, table: str, owner: str) -> Iterator[tuple[str, str]]:
    # The server's own text form, which has all that a value has.
    cursor: Any = connection.connection.driver_connection
    with cursor.cursor().copy(f'COPY (SELECT {owner}, t.* FROM "{table}" t ORDER BY t.id) TO STDOUT') as lines:  # noqa: S608
        for line in lines:
            name, _, rest = bytes(line).decode().rstrip("\n").partition("\t")
            yield name, rest
