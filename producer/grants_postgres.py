"""The grants of a production set-up on PostgreSQL: the ledger's owner, workers and the application apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backtrail.errors import BacktrailError
from backtrail.stores.base import Store
from backtrail.stores.sql import SqlStore
from ledger.rights import ACTIONS, FLAG, Action, Right, right_of
from ledger.sql.tables import SCHEMA, ledger_tables
from producer.needs import Needs, Part, Roles, Statement

PRIVILEGES = {Action.FIND: "SELECT", Action.INSERT: "INSERT", Action.UPDATE: "UPDATE", Action.REMOVE: "DELETE"}

WHY = {
    Right.APPEND_ONLY: "append-only: triggers refuse changes to everybody, and who has no right to them never gets so far",
    Right.KEPT: "never changed by a worker; removed by `erase`",
    Right.SHED: "for a look only; old ones are removed",
    Right.CHANGED: "never removed by a worker",
    Right.PASSING: "comes and goes",
    Right.FIXED: "which form the ledger has",
}


@dataclass
class Seen:
    """What the database says of the tables that the migrations name."""

    sql: dict[str, str] = field(default_factory=dict)
    """The table as it is written in SQL."""
    sequences: set[str] = field(default_factory=set)
    """Those that give keys to rows that are written."""
    referring: set[str] = field(default_factory=set)
    """Tables that refer to one that is written."""
    views: set[str] = field(default_factory=set)


def seen(store: Store, needs: Needs) -> Seen:
    """What the database says of the tables that are there; those that `expand` has yet to create are not."""
    found = Seen()
    if not isinstance(store, SqlStore):
        return found
    for name in needs.tables:
        try:
            table = store.table(name)
        except BacktrailError:
            continue
        found.sql[name] = _single(table.sql)
        if not table.lockable:
            found.views.add(name)
        if name in needs.written:
            defaults = [str(column.default) for column in table.columns if column.default is not None]
            found.sequences.update(
                one for text in defaults for one in re.findall(r"^nextval\('((?:[^']|'')+)'::regclass\)", text)
            )
            for key in table.incoming:
                found.referring.add(key.table)
                found.sql.setdefault(key.table, _single(store.table(key.table).sql))
    return found


def _single(sql: str) -> str:
    return sql.replace("%%", "%")


def quoted(name: str) -> str:
    """The identifier as SQL writes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def ledger_names() -> list[tuple[str, str]]:
    """Schema and name of every table of the ledger; Alembic's own is among them."""
    tables = ledger_tables("postgresql").metadata.sorted_tables
    return [*((table.schema or SCHEMA, table.name) for table in tables), (SCHEMA, "version")]


def ledger_sequences() -> list[str]:
    """Every sequence of the ledger as SQL writes it."""
    tables = ledger_tables("postgresql").metadata.sorted_tables
    return [
        f"{quoted(table.schema or SCHEMA)}.{quoted(f'{table.name}_{column.name}_seq')}"
        for table in tables
        for column in table.primary_key
        if column.autoincrement is True
    ]


def parts(needs: Needs, roles: Roles, database: str, found: Seen, *, update: bool) -> list[Part]:
    """What is to be run, by whom, in this order.

    Args:
        needs: what the migrations do.
        roles: who is granted what.
        database: the name of the database.
        found: what the database says, if it was asked.
        update: the roles are there already.
    """
    expand = " and ".join(f"`backtrail expand {name}`" for name in needs.names)
    return [
        Part("Once, as an administrator of the database", (*(() if update else _roles(roles)), *_outside(roles, database))),
        Part("As the owner of the data's tables: what the ledger's owner looks at", tuple(_for_owner(needs, roles, found))),
        Part(
            f"As {roles.owner}, after {expand}; where nothing is expanded, after a first `backtrail enqueue` by {roles.owner}",
            (BEGIN, *_on_ledger(roles), COMMIT),
        ),
        Part(
            f"As the owner of the data's tables, which for those that expand made is {roles.owner}",
            (BEGIN, *_on_data(needs, roles, found), COMMIT),
        ),
    ]


BEGIN = Statement("BEGIN;", "nobody is without rights for a moment")
COMMIT = Statement("COMMIT;", "")


def _roles(roles: Roles) -> Iterator[Statement]:
    yield Statement(
        f"CREATE ROLE {quoted(roles.owner)} LOGIN;", "owns the ledger; runs expand and the first command of a new version"
    )
    yield Statement(
        f"CREATE ROLE {quoted(roles.worker)} LOGIN;", "runs workers and all other commands; a member of no other role"
    )
    if roles.reader:
        yield Statement(f"CREATE ROLE {quoted(roles.reader)} LOGIN;", "runs status, verify, history and notes")


def _outside(roles: Roles, database: str) -> Iterator[Statement]:
    yield Statement(
        f"GRANT CONNECT, CREATE ON DATABASE {quoted(database)} TO {quoted(roles.owner)};", "CREATE: for the schema backtrail"
    )
    others = ", ".join(quoted(one) for one in (roles.worker, roles.reader) if one)
    yield Statement(f"GRANT CONNECT ON DATABASE {quoted(database)} TO {others};", "")
    yield Statement(
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
        "so it is since PostgreSQL 15: nobody puts a function there that others call unawares",
    )
    yield Statement(f"GRANT USAGE, CREATE ON SCHEMA public TO {quoted(roles.owner)};", "for the tables of expand")


def _for_owner(needs: Needs, roles: Roles, found: Seen) -> Iterator[Statement]:
    for name in sorted(needs.read - needs.written):
        text = f"GRANT SELECT, REFERENCES ON {_table(name, found)} TO {quoted(roles.owner)};"
        yield Statement(text, "expand may add foreign keys to it, and a first enqueue counts it")


def _on_ledger(roles: Roles) -> Iterator[Statement]:
    names = ledger_names()
    schemas = list(dict.fromkeys(schema for schema, _ in names))
    everybody = ", ".join(["PUBLIC", *(quoted(one) for one in (roles.worker, roles.application, roles.reader) if one)])
    for schema in schemas:
        for what in (f"SCHEMA {schema}", *(f"ALL {kind} IN SCHEMA {schema}" for kind in ("TABLES", "SEQUENCES", "FUNCTIONS"))):
            yield Statement(f"REVOKE ALL ON {what} FROM {everybody};", "nothing but what follows")
        users = [quoted(one) for one in (roles.worker, roles.reader) if one]
        yield Statement(f"GRANT USAGE ON SCHEMA {schema} TO {', '.join(users)};", "")
    for right, tables in _by_right(names).items():
        rights = ", ".join(PRIVILEGES[action] for action in ACTIONS[right])
        yield Statement(f"GRANT {rights} ON {', '.join(tables)} TO {quoted(roles.worker)};", WHY[right])
    for sequence in ledger_sequences():
        yield Statement(f"GRANT USAGE ON SEQUENCE {sequence} TO {quoted(roles.worker)};", "takes the next number; cannot set it")
    if roles.reader:
        every = ", ".join(f"{schema}.{quoted(name)}" for schema, name in names)
        yield Statement(f"GRANT SELECT ON {every} TO {quoted(roles.reader)};", "")
    yield Statement(f"GRANT USAGE ON SCHEMA {SCHEMA} TO {quoted(roles.application)};", "is_migrated")
    for table, columns in FLAG.items():
        some = f" ({', '.join(map(quoted, columns))})" if columns else ""
        yield Statement(f"GRANT SELECT{some} ON {SCHEMA}.{quoted(table)} TO {quoted(roles.application)};", "is_migrated")


def _by_right(names: Iterable[tuple[str, str]]) -> dict[Right, list[str]]:
    found: dict[Right, list[str]] = {}
    for schema, name in sorted(names):
        found.setdefault(right_of(name, schema), []).append(f"{schema}.{quoted(name)}")
    return found


def _on_data(needs: Needs, roles: Roles, found: Seen) -> Iterator[Statement]:
    worker = quoted(roles.worker)
    readers = ", ".join([worker, *([quoted(roles.reader)] if roles.reader else [])])
    tables = sorted({*needs.tables, *found.referring})
    for schema in sorted(_schemas(tables, found)):
        yield Statement(f"GRANT USAGE ON SCHEMA {schema} TO {readers};", "")
    for name in tables:
        table = _table(name, found)
        why = "" if name in needs.tables else "refers to rows that a rollback takes away: it refuses then"
        yield Statement(f"GRANT SELECT ON {table} TO {readers};", why)
        if name in needs.written:
            yield Statement(f"GRANT INSERT, UPDATE, DELETE ON {table} TO {worker};", "written, and taken back")
        elif name in needs.locked and name not in found.views:
            columns = ", ".join(map(quoted, sorted(needs.locked[name])))
            yield Statement(f"GRANT UPDATE ({columns}) ON {table} TO {worker};", "asked for by a row lock; nothing is written")
    for sequence in sorted(found.sequences):
        yield Statement(f"GRANT USAGE ON SEQUENCE {sequence} TO {worker};", "keys of rows that are created")


def _table(name: str, found: Seen) -> str:
    if name in found.sql:
        return found.sql[name]
    schema, _, bare = name.rpartition(".")
    return f"{quoted(schema)}.{quoted(bare)}" if schema else quoted(name)


def _schemas(tables: Iterable[str], found: Seen) -> set[str]:
    """The schemas of the tables as SQL writes them; public, where none is named."""
    written = [re.match(r'("(?:[^"]|"")+")\."', _table(name, found)) for name in tables]
    return {one[1] if one else quoted("public") for one in written}
