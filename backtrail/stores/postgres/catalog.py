"""What the server's catalogue says of tables, views and their columns."""

from __future__ import annotations

import decimal
from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy.engine import Connection

from backtrail.stores.cells import tag_server_text, tag_server_texts
from backtrail.stores.postgres.marked import MARKED, exact, marked_decoder
from backtrail.stores.postgres.types import JSON_OIDS, KEY_TYPES, NUMBERS, UNEQUAL_OIDS
from backtrail.stores.postgres.values import decoder, encoder
from backtrail.stores.tables import Column, ForeignKey, Table

COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull, a.attgenerated <> '', a.attidentity <> '',
       pg_get_expr(d.adbin, d.adrelid), format_type(a.atttypid, -1),
       (WITH RECURSIVE base(oid) AS (SELECT t.oid UNION ALL SELECT d.typbasetype FROM base JOIN pg_type d USING (oid) WHERE d.typtype = 'd')
        SELECT b.oid FROM base b JOIN pg_type p USING (oid) WHERE p.typtype <> 'd')::int, coalesce(NOT c.collisdeterministic, false),
       pg_get_serial_sequence(quote_ident(n.nspname) || '.' || quote_ident(r.relname), a.attname),
       (WITH RECURSIVE part(oid) AS (
          SELECT t.oid UNION
          SELECT x.oid FROM part JOIN pg_type i USING (oid) CROSS JOIN LATERAL (
            SELECT i.typbasetype WHERE i.typtype = 'd' UNION ALL SELECT i.typelem WHERE i.typcategory = 'A'
            UNION ALL SELECT rngsubtype FROM pg_range WHERE i.typtype IN ('r', 'm') AND i.oid IN (rngtypid, rngmultitypid)
            UNION ALL SELECT f.atttypid FROM pg_attribute f WHERE i.typtype = 'c' AND f.attrelid = i.typrelid AND f.attnum > 0 AND NOT f.attisdropped
          ) x(oid))
        SELECT array_agg(CASE WHEN i.typsend = 0 THEN 0 WHEN i.typname = 'citext' THEN -1 ELSE i.oid::bigint END) FROM part JOIN pg_type i USING (oid))
FROM pg_attribute a
JOIN pg_class r ON r.oid = a.attrelid JOIN pg_namespace n ON n.oid = r.relnamespace JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

MADE_OF = """
SELECT g.attname, a.attname FROM pg_attribute g
JOIN pg_attrdef e ON e.adrelid = g.attrelid AND e.adnum = g.attnum
JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = e.oid
                 OR d.classid = 'pg_class'::regclass AND d.objid = g.attrelid AND d.objsubid = g.attnum
JOIN pg_attribute a ON a.attrelid = g.attrelid AND a.attnum = d.refobjsubid AND a.attnum > 0
WHERE g.attrelid = %s AND g.attgenerated <> '' AND d.refclassid = 'pg_class'::regclass AND d.refobjid = g.attrelid
"""
"""The computed columns, each with those that its expression names; which of the two depends on these is another before version 15."""

UNIQUE = """
SELECT i.indisprimary, array_agg(a.attname ORDER BY k.ord)
FROM pg_index i CROSS JOIN unnest(i.indkey::int[], i.indclass::oid[], i.indcollation::oid[]) WITH ORDINALITY k(num, class, coll, ord)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
LEFT JOIN pg_collation c ON c.oid = a.attcollation
LEFT JOIN pg_opclass o ON o.oid = k.class
LEFT JOIN pg_amop e ON e.amopfamily = o.opcfamily AND e.amoplefttype = o.opcintype AND e.amoprighttype = o.opcintype AND e.amopstrategy = 3
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL AND k.ord <= i.indnkeyatts
GROUP BY i.indexrelid, i.indisprimary
HAVING bool_and((coalesce(c.collisdeterministic, true) OR k.coll = c.oid) AND e.amopopr = (
    WITH RECURSIVE base(oid) AS (SELECT a.atttypid UNION ALL SELECT d.typbasetype FROM base JOIN pg_type d USING (oid) WHERE d.typtype = 'd')
    SELECT q.amopopr FROM pg_opclass p JOIN pg_amop q ON q.amopfamily = p.opcfamily AND q.amoplefttype = p.opcintype
    AND q.amoprighttype = p.opcintype AND q.amopstrategy = 3
    WHERE p.opcmethod = o.opcmethod AND p.opcdefault AND (p.opcintype = o.opcintype OR p.opcintype IN (SELECT oid FROM base))
    ORDER BY p.opcintype IN (SELECT oid FROM base) DESC LIMIT 1))
ORDER BY i.indisprimary DESC
"""
"""The unique indexes that tell no more values apart than `=` does (strategy 3 of a B-tree), with their columns."""

FOREIGN = """
WITH own AS (SELECT %s::oid AS oid),
     part AS (SELECT oid FROM own UNION SELECT p.relid FROM own CROSS JOIN pg_partition_tree(own.oid::regclass) p)
SELECT c.conrelid = own.oid, c.confrelid IN (SELECT oid FROM part),
       (SELECT array_agg(a.attname ORDER BY k.ord) FROM unnest(c.conkey) WITH ORDINALITY k(num, ord)
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
       (SELECT array_agg(a.attname ORDER BY k.ord) FROM unnest(c.confkey) WITH ORDINALITY k(num, ord)
        JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num),
       CASE WHEN pg_table_is_visible(o.oid) THEN o.relname ELSE n.nspname || '.' || o.relname END,
       c.condeferrable, c.confupdtype NOT IN ('a', 'r')
FROM own CROSS JOIN pg_constraint c JOIN pg_class o ON o.oid = CASE WHEN c.conrelid = own.oid THEN c.confrelid ELSE c.conrelid END
JOIN pg_namespace n ON n.oid = o.relnamespace
WHERE c.contype = 'f' AND (
    c.conrelid = own.oid AND c.conparentid = 0 OR c.confrelid IN (SELECT oid FROM part) AND NOT EXISTS (
        SELECT 1 FROM pg_constraint w WHERE w.oid = c.conparentid AND w.confrelid IN (SELECT oid FROM part)))
"""
"""Whether it goes out from the table, and whether it comes in, also onto a partition of it or, by way of the partitioned table, onto this one."""

WHOLES = """
SELECT CASE WHEN pg_table_is_visible(c.oid) THEN c.relname ELSE n.nspname || '.' || c.relname END
FROM pg_partition_ancestors(%s::oid::regclass) p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
"""

TRIGGERS = """
WITH part AS (SELECT %s::oid AS oid UNION SELECT relid FROM pg_partition_tree(%s::oid::regclass))
SELECT tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM part) AND NOT tgisinternal AND tgenabled <> 'D'
UNION SELECT rulename FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM part) AND ev_type <> '1' AND ev_enabled <> 'D' ORDER BY 1
"""
"""Those of a table and its partitions."""

CLASHING = """
SELECT DISTINCT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum > 0 AND NOT a.attisdropped
WHERE i.indrelid = %s AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary AND (
    a.attnum = ANY (i.indkey::int[]) OR EXISTS (
        SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))
"""
"""The columns of unique and exclusion indexes, also those of their expressions and conditions."""


def table_names(connection: Connection) -> list[str]:
    """The names of the tables and views of the database, without a schema where none is needed."""
    sql = (
        "SELECT CASE WHEN pg_table_is_visible(c.oid) THEN relname ELSE nspname || '.' || relname END FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND nspname NOT IN ('pg_catalog', 'information_schema', 'backtrail') AND nspname NOT LIKE 'pg_%%'"
    )
    return [name for (name,) in connection.exec_driver_sql(sql, ())]


def reflect(connection: Connection, name: str, quote: Callable[[str], str]) -> Table | None:
    """The table or view of that name as the database has it now, if there is one."""
    schema, _, bare = name.rpartition(".")
    found = connection.exec_driver_sql(
        "SELECT c.oid::int, n.nspname, c.relname, c.relkind, EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.relname = %s AND pg_table_is_visible(c.oid) OR c.relname = %s AND n.nspname = %s)",
        (name, bare, schema),
    ).first()
    if found is None:
        return None
    oid, schema, bare, kind, has_children = found
    inherited = has_children and kind != "p"
    made_of: dict[str, set[str]] = {}
    for computed, other in connection.exec_driver_sql(MADE_OF, (oid,)):
        made_of.setdefault(computed, set()).add(other)
    columns = tuple(_column(name, row, made_of) for row in connection.exec_driver_sql(COLUMNS, (oid,)))
    nullable = {column.name for column in columns if column.nullable}
    # What is unique in a table is not in its children, whose rows are read with its own.
    indexes = () if inherited else connection.exec_driver_sql(UNIQUE, (oid,))
    unique = [(primary, tuple(names)) for primary, names in indexes]
    key = next((names for primary, names in unique if primary or not set(names) & nullable), ())
    targets, incoming, outgoing = set(), [], []
    for goes_out, comes_in, names, others, other, deferrable, follows in connection.exec_driver_sql(FOREIGN, (oid,)):
        source, target = name if goes_out else other, name if comes_in else other
        one = ForeignKey(source, tuple(names), target, tuple(others), deferrable, follows)
        if goes_out:
            targets.add(target)
            outgoing.append(one)
        if comes_in:
            incoming.append(one)
    return Table(
        name=name,
        sql=f"{quote(schema)}.{quote(bare)}",
        columns=columns,
        tag=tag_server_text,
        tag_all=tag_server_texts,
        key=key,
        unique=frozenset(frozenset(names) for _, names in unique),
        targets=frozenset(targets),
        incoming=tuple(incoming),
        outgoing=tuple(outgoing),
        clashing=frozenset(row[0] for row in connection.exec_driver_sql(CLASHING, (oid,))) - set(key),
        triggers=tuple(row[0] for row in connection.exec_driver_sql(TRIGGERS, (oid, oid))),
        parted=kind == "p",
        wholes=frozenset(row[0] for row in connection.exec_driver_sql(WHOLES, (oid,))) - {name},
        inherited=inherited,
        lockable=kind in ("r", "p"),
    )


def _column(table: str, row: Any, made_of: Mapping[str, Collection[str]]) -> Column:
    name, kind, nullable, generated, identity, default, cast, oid, folds, sequence, parts = row
    cast = cast.replace("%", "%%")
    reading, marked = exact(oid, cast, set(parts))
    decode = decoder(oid)
    if identity and sequence is not None:
        default = "nextval('" + sequence.replace("'", "''") + "'::regclass)"
    number = oid in NUMBERS
    return Column(
        name=name,
        type=kind,
        nullable=nullable,
        decode=marked_decoder(decode) if marked else decode,
        encode=encoder(table, name, oid, marked=marked),
        order=_by_value if number and oid not in {20, 21, 23, 26} else int if number else str,
        cast=cast,
        key_type=KEY_TYPES.get(oid, "other"),
        key=decoder(oid) if oid in KEY_TYPES else str,
        generated=generated,
        made_of=frozenset(made_of.get(name, ())),
        default=default,
        folds=folds or (kind.replace("%", "%%") == cast and not UNEQUAL_OIDS.isdisjoint(parts)),
        exact=reading,
        marked=marked,
        takes_text=oid not in JSON_OIDS,
    )


def _by_value(cell: str) -> tuple[bool, decimal.Decimal]:
    """What sorts numbers as the server does: NaN, which Python refuses to compare, comes last."""
    value = decimal.Decimal(MARKED.sub("", cell))
    return value.is_nan(), decimal.Decimal() if value.is_nan() else value
