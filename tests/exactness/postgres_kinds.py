"""Kinds of values and of tables for PostgreSQL's part of the matrix: how a column is declared, and what is odd about its table."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.exactness.postgres_values import BIG, HARD, MORE, XML


@dataclass(frozen=True)
class Kind:
    """Values of one type, and how the column that holds them is declared."""

    label: str
    """What the matrix calls it."""
    type: str
    values: tuple[str, ...]
    """SQL expressions."""
    column: str = ""
    """Its name, where that is what is tried."""
    suffix: str = ""
    """What follows the type in the column's declaration."""
    after: str = ""
    """Statements that follow the table, with {table} and {column}."""
    by_value: bool = True
    """Whether a value that goes through Python arrives as it was."""
    computed: bool = False
    """Whether the database computes the column."""

    @property
    def array(self) -> Kind:
        """Arrays of them: all of them, none, two dimensions with NULL, and bounds that do not begin at 1."""
        typed = [f"({value})::{self.type}" for value in self.values if "generate_series" not in value]
        first, last = typed[0], typed[-1]
        values = (
            f"ARRAY[{', '.join(typed)}, NULL]::{self.type}[]",
            f"'{{}}'::{self.type}[]",
            f"ARRAY[[{first}, NULL], [{last}, {first}]]::{self.type}[]",
            f"array_fill({last}, ARRAY[2, 1], ARRAY[-1, 5])",
        )
        return replace(self, label=f"{self.label}[]", type=f"{self.type}[]", values=values)


WITHOUT_ARRAYS = {"page"}
"""Arrays of domains over xml, and xml in composites, lose the declarations: the server has no way of giving them out."""

UNALIKE = {"json", "jsonb", "json[]", "jsonb[]"}
"""Documents are dicts and lists to authors, which know neither whitespace nor 1.10: created from them they are alike, not identical."""


def kinds(*, xml: bool) -> list[Kind]:
    """Every type with its own values."""
    more = {**MORE, **XML} if xml else MORE
    types = dict.fromkeys([*HARD, *more])
    return [Kind(name, name, (*HARD.get(name, ()), *more.get(name, ())), by_value=name not in UNALIKE) for name in types]


HOSTILE = (
    "order", "MixedCase", 'q"uote', "per%cent %s", "what?", ":x", "a b", "t", "k", "s", "column1", "ünï", "user", "a.b", "'", "x" * 63, " ",
    "\\", "select", "xmin_", "excluded", "{brace}", "tab\tnl\n",
)  # fmt: skip
"""Names of columns that a careless statement trips over."""


def special() -> list[Kind]:
    """Columns that are odd in how they are declared or stored."""
    big = ("repeat('x', 3000)", BIG.format(100), BIG.format(3000), "repeat('long ', 30000)", "''")
    stored = [
        Kind(f"text, STORAGE {storage}", "text", big, after=f"ALTER TABLE {{table}} ALTER {{column}} SET STORAGE {storage}")
        for storage in ("EXTERNAL", "EXTENDED", "MAIN")
    ]
    stored.append(
        Kind(
            "text, STORAGE PLAIN",
            "text",
            ("repeat('x', 300)", "''"),
            after="ALTER TABLE {table} ALTER {column} SET STORAGE PLAIN",
        )
    )
    pglz = Kind(
        "bytea, COMPRESSION pglz", "bytea", (r"decode(repeat('00ff', 300000), 'hex')", r"'\x00'"), suffix="COMPRESSION pglz"
    )
    toasted = Kind("jsonb, toasted", "jsonb", (f"jsonb_build_object('a', {BIG.format(3000)})",), by_value=False)
    hostile = [Kind("hostile column names", "text", ("'a'", "''", "'%s'", "'it''s'"), column=name) for name in HOSTILE]
    return [
        *stored, pglz, toasted, *hostile,
        Kind("generated STORED", "numeric", ("'x'",) * 6, suffix="GENERATED ALWAYS AS (m * 1.10) STORED", computed=True),
        Kind("generated STORED, from text", "text", ("'x'",) * 6, suffix="GENERATED ALWAYS AS (upper(note)) STORED", computed=True),
        Kind("generated VIRTUAL", "numeric", ("'x'",) * 6, suffix="GENERATED ALWAYS AS (m * 1.10) VIRTUAL", computed=True),
        Kind("column with DEFAULT", "int", ("1", "2"), suffix="DEFAULT 7"),
        Kind("serial column", "int", ("1", "2"), suffix="DEFAULT nextval('numbering')"),
        Kind("added with a missing value", "text", ("'kept'", "''"), after="ALTER TABLE {table} ADD gone_{at} int DEFAULT 5; ALTER TABLE {table} DROP gone_{at}"),
    ]  # fmt: skip


NO_COLUMN = {
    "gtsvector": "no expression gives a value of it: it is what GiST keeps of a tsvector in its index",
    "pg_node_tree": "no client can write a value (cannot accept a value of type pg_node_tree)",
    "pg_ndistinct": "no client can write a value (cannot accept a value of type pg_ndistinct)",
    "pg_dependencies": "no client can write a value (cannot accept a value of type pg_dependencies)",
    "pg_mcv_list": "no client can write a value (cannot accept a value of type pg_mcv_list)",
    "pg_brin_bloom_summary": "no client can write a value (cannot accept a value of type pg_brin_bloom_summary)",
    "pg_brin_minmax_multi_summary": "no client can write a value (cannot accept a value of type pg_brin_minmax_multi_summary)",
    "_cstring": "its elements are of the pseudo-type cstring, so that no column can be of it",
    "pg_attribute": "its row has a column of the pseudo-type anyarray, so that no column can be of it",
    "pg_statistic": "its row has columns of the pseudo-type anyarray, so that no column can be of it",
    "pg_statistic_ext_data": "its row holds rows of pg_statistic, so that no column can be of it",
    "pg_stats_ext_exprs": "its row has columns of the pseudo-type anyarray, so that no column can be of it",
    "pg_stats": "its row has columns of the pseudo-type anyarray, so that no column can be of it",
}
"""Built-in types, and what stands against columns of them or values in them."""

EXTRA = {
    "xml[]": "{c}::text[]::text",
    "xleaf": "({c}).x::text",
    "xleaf[]": "(SELECT array_agg((l).x::text)::text FROM unnest({c}) l)",
}
"""What an observer must also look at, by type: xml inside another type is printed without its declaration, and sent so too."""


@dataclass(frozen=True)
class Layout:
    """How a table is made, for which {columns} are declared, and what is odd about it."""

    label: str
    create: str
    """Statements with {table} and {columns}."""
    numbered: bool = True
    """Whether rows are given their id; otherwise the database gives it, or there is none."""
    name: str = ""
    """The table's own name, where that is what is tried."""
    keyed: bool = False
    """Whether the value is part of the key."""


ROW = "m int, n int, role text, note text"
PLAIN = Layout(
    "", f"CREATE TABLE {{table}} (id int PRIMARY KEY, gone int, {ROW}, {{columns}}); ALTER TABLE {{table}} DROP COLUMN gone"
)
KEYED = Layout("", f"CREATE TABLE {{table}} ({ROW}, {{columns}}, PRIMARY KEY ({{column}}, role))", numbered=False, keyed=True)


def layouts() -> list[Layout]:
    """Tables that are odd in how they are keyed, divided or named."""
    given = f"CREATE TABLE {{table}} (id {{}} PRIMARY KEY, {ROW}, {{columns}})"
    of = {
        "key GENERATED ALWAYS AS IDENTITY": "bigint GENERATED ALWAYS AS IDENTITY",
        "key GENERATED BY DEFAULT AS IDENTITY": "int GENERATED BY DEFAULT AS IDENTITY (START 100 INCREMENT 10)",
        "key bigserial": "bigserial",
        "key uuid DEFAULT gen_random_uuid()": "uuid DEFAULT gen_random_uuid()",
    }
    made = [Layout(label, given.replace("{}", kind), numbered=False) for label, kind in of.items()]
    divided = f"CREATE TABLE {{table}} (id int, {ROW}, {{columns}}, PRIMARY KEY (id, role)) PARTITION BY"
    part = "CREATE TABLE {part} PARTITION OF {table}"
    return [
        *made,
        Layout("table with columns dropped at both ends and between", f"CREATE TABLE {{table}} (a int, id int PRIMARY KEY, {ROW}, b text, {{columns}}, c int);"
               " ALTER TABLE {table} DROP a; ALTER TABLE {table} DROP b; ALTER TABLE {table} DROP c"),
        Layout("partitioned by list", f"{divided} LIST (role);"
               f"{part.replace('part}', 'part1}')} FOR VALUES IN ('source', 'noted', 'emptied'); {part.replace('part}', 'part2}')} DEFAULT"),
        Layout("partitioned by hash", f"{divided} HASH (id, role); {part.replace('part}', 'part1}')} FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
               f"{part.replace('part}', 'part2}')} FOR VALUES WITH (MODULUS 2, REMAINDER 1)"),
        Layout("key of three columns", f"CREATE TABLE {{table}} (id int, {ROW}, {{columns}}, PRIMARY KEY (role, m, id))"),
        Layout("unique key, no primary key", f"CREATE TABLE {{table}} (id int NOT NULL UNIQUE, {ROW}, {{columns}})"),
        Layout("unlogged table", f"CREATE UNLOGGED TABLE {{table}} (id int PRIMARY KEY, {ROW}, {{columns}})"),
        Layout("hostile table name", f"CREATE TABLE {{table}} (id int PRIMARY KEY, {ROW}, {{columns}})", name='Ta"b%le \'?:x {}'),
    ]  # fmt: skip


LAID = Kind("", "text", ("'a'", "''", "E'\\\\N\\t'", "repeat('x', 5000)"))
"""What the rows of odd tables hold."""
