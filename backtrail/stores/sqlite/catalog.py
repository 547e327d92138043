"""What a SQLite file says of its tables, views and their columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from backtrail.stores.cells import tag_stored, tag_stored_all
from backtrail.stores.sqlite.values import decoder, encoder, key_maker, order
from backtrail.stores.tables import Column, ForeignKey, Table

TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?) ORDER BY rowid"


def table_names(connection: Connection) -> list[str]:
    """The names of the tables and views of the file, without those of the ledger."""
    sql = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite!_%' ESCAPE '!'"
    return [name for (name,) in connection.exec_driver_sql(sql) if not name.startswith("backtrail_")]


def reflect(connection: Connection, name: str, quote: Callable[[str], str]) -> Table | None:
    """The table or view of that name as the file has it now, if there is one."""
    rows = connection.exec_driver_sql(
        "SELECT name, sql, type FROM sqlite_master WHERE name = ? AND type IN ('table', 'view')", (name,)
    )
    found = rows.first()
    if found is None:
        return None
    sql = found[1] or ""
    infos = [
        info
        for info in connection.exec_driver_sql(
            'SELECT name, type, "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?) ORDER BY cid', (name,)
        )
        if info[5] != 1
    ]
    key = tuple(info[0] for info in sorted((info for info in infos if info[4]), key=lambda info: info[4]))
    # SQLite does not say which collation a column has; a view has those of the columns behind it.
    folds = "collate" in sql.lower() or found[2] == "view"
    columns = tuple(
        Column(
            name=info[0],
            type=info[1],
            nullable=not info[2] and not (len(key) == 1 and info[0] == key[0] and info[1].upper() == "INTEGER"),
            decode=decoder(info[1]),
            encode=encoder(name, info[0], info[1]),
            order=order,
            generated=info[5] in (2, 3),
            made_of=frozenset(one[0] for one in infos) - {info[0]} if info[5] in (2, 3) else frozenset(),
            default=info[3],
            folds=folds and not (info[4] and info[1].upper() == "INTEGER"),
            key=key_maker(name, info[0], info[1]),
            takes_text=not info[1].upper().startswith("JSON"),
        )
        for info in infos
    )
    unique = _unique(connection, name)
    # A foreign key may name its table in any case.
    named = 'SELECT m.name FROM pragma_foreign_key_list(?) f JOIN sqlite_master m ON lower(m.name) = lower(f."table")'
    targets = {row[0] for row in connection.exec_driver_sql(named, (name,))}
    return Table(
        name=name,
        sql=quote(name),
        columns=columns,
        tag=tag_stored,
        tag_all=tag_stored_all,
        key=key or _unique_key(columns, unique),
        unique=frozenset(unique | ({frozenset(key)} if key else set())),
        targets=frozenset(targets),
        incoming=tuple(_incoming(connection, name, key)),
        lockable=False,
        clashing=_clashing(connection, name, {info[0] for info in infos}) - set(key),
        triggers=tuple(row[0] for row in connection.exec_driver_sql(TRIGGERS, (name,))),
        # A comment may stand before the word; and always to say so would overrule what triggers say of their own statements.
        conflicts=" OR ABORT" if re.search(r"\bconflict\b", sql, re.IGNORECASE) else "",
    )


def _unique(connection: Connection, name: str) -> set[frozenset[str]]:
    sql = 'SELECT l.name, i.name FROM pragma_index_list(?) l, pragma_index_info(l.name) i WHERE l."unique" AND NOT l.partial'
    # An expression has no name, and with one the columns alone are not unique.
    sets: dict[str, set[str | None]] = {}
    for index, column in connection.exec_driver_sql(sql, (name,)):
        sets.setdefault(index, set()).add(column)
    return {frozenset(name for name in columns if name is not None) for columns in sets.values() if None not in columns}


def _clashing(connection: Connection, name: str, columns: set[str]) -> frozenset[str]:
    sql = (
        "SELECT i.name, m.sql FROM pragma_index_list(?) l LEFT JOIN sqlite_master m ON m.name = l.name, pragma_index_info(l.name) i"
        " WHERE l.\"unique\" AND l.origin <> 'pk'"
    )
    found: set[str] = set()
    for column, text in connection.exec_driver_sql(sql, (name,)):
        # An expression is its text only, and so is the condition of a partial index.
        found |= {column} if column else {one for one in columns if one.lower() in text.lower()}
    return frozenset(found & columns)


def _incoming(connection: Connection, name: str, key: tuple[str, ...]) -> list[ForeignKey]:
    # A foreign key may name its table and columns in any case.
    sql = (
        'SELECT m.name, f.id, f.on_update, f."from", f."to" IS NULL, c.name FROM sqlite_master m, pragma_foreign_key_list(m.name) f'
        ' LEFT JOIN pragma_table_xinfo(?) c ON f."to" = c.name COLLATE NOCASE'
        " WHERE m.type = 'table' AND lower(f.\"table\") = lower(?) ORDER BY m.name, f.id, f.seq"
    )
    found: dict[tuple[str, int, bool], list[tuple[str, bool, str | None]]] = {}
    for table, number, action, *pair in connection.exec_driver_sql(sql, (name, name)):
        found.setdefault((table, number, action not in ("NO ACTION", "RESTRICT")), []).append(tuple(pair))
    keys = []
    for (table, _, follows), pairs in found.items():
        columns, unnamed, named = zip(*pairs, strict=True)
        # One that names no column refers to the primary key.
        targets = key if all(unnamed) else tuple(one for one in named if one is not None)
        # Where they do not fit, SQLite refuses whatever would need them.
        if len(targets) == len(columns):
            keys.append(ForeignKey(table, columns, name, targets, follows=follows))
    return keys


def _unique_key(columns: Sequence[Column], unique: set[frozenset[str]]) -> tuple[str, ...]:
    """A unique key without NULL, where there is no primary key; the shortest, then the first by name."""
    nullable = {column.name for column in columns if column.nullable}
    whole = sorted((key for key in unique if not key & nullable), key=lambda key: (len(key), sorted(key)))
    return tuple(column.name for column in columns if column.name in whole[0]) if whole else ()
