"""The whole migration as INSERT … SELECT on SQLite, in one connection. What it leaves out stands in docs/performance.md."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from backtrail.catalog.unified_profile.fields import COLUMNS, CONTEXTS, REQUIRED, SHARED

LISTS, OBJECTS, TEXTS = ([field for field, kind in SHARED.items() if kind is one] for one in (list, dict, str))
OWN = [field for fields in CONTEXTS.values() for field in fields]
SKILLS = "complementarySkills"

# In the order of its key, so that whatever is grouped by user comes oldest first, and nothing is sorted again.
PIECES = """
CREATE TEMP TABLE pieces (
  user_id TEXT, context_type TEXT, at INTEGER, profile_id TEXT, data TEXT, stray TEXT, PRIMARY KEY (user_id, at)) WITHOUT ROWID
"""
FILL = """
INSERT INTO pieces SELECT c.user_id, c.context_type,
  row_number() OVER (PARTITION BY c.user_id ORDER BY c.created_at, c.id, p.created_at, p.id), p.id, p.data,
  nullif(CASE c.context_type {known} ELSE {shared} END, '{{}}')
FROM context_profiles c LEFT JOIN profiles p ON p.context_profile_id = c.id
"""

PROFILES = """
INSERT INTO unified_profiles (id, user_id, {columns}, completeness, missing, legacy_data, created_at, updated_at)
WITH found AS MATERIALIZED (
    SELECT u.id AS user_id, {aggregates},
      json_group_array(json_object('profile_id', profile_id, 'context_type', context_type, 'fields', json(stray)))
        FILTER (WHERE stray IS NOT NULL) AS legacy
    FROM users u LEFT JOIN pieces p ON p.user_id = u.id GROUP BY u.id),
  whole AS MATERIALIZED (SELECT user_id, {values}, nullif(legacy, '[]') AS legacy FROM found),
  counted AS MATERIALIZED (SELECT *, {missing} AS missing FROM whole)
SELECT lower(hex(randomblob(16))), user_id, {columns}, {percent}, missing, legacy, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP FROM counted
"""

INTENTS = """
INSERT INTO context_intents (id, user_id, context_type, {columns}, completeness, missing, created_at, updated_at)
WITH found AS MATERIALIZED (
    SELECT user_id, context_type, {aggregates}
    FROM (SELECT * FROM pieces ORDER BY user_id, context_type, at) GROUP BY user_id, context_type),
  whole AS MATERIALIZED (SELECT user_id, context_type, {values} FROM found),
  counted AS MATERIALIZED (
    SELECT *, CASE context_type {missing} ELSE '[]' END AS missing, CASE context_type {total} END AS total FROM whole)
SELECT lower(hex(randomblob(16))), user_id, context_type, {columns},
  coalesce(CAST(round(100.0 * (total - json_array_length(missing)) / total) AS INTEGER), 0),
  missing, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP
FROM counted
"""


def _fill() -> str:
    known = _cases({context: _without([*SHARED, *own]) for context, own in CONTEXTS.items()})
    return FILL.format(known=known, shared=_without(SHARED))


def _profiles() -> str:
    values = [f"{_merged(field)} AS {COLUMNS[field]}" for field in OBJECTS]
    values += [f"coalesce({_unique(field)}, '[]') AS {COLUMNS[field]}" for field in LISTS]
    values += [f"{field} AS {COLUMNS[field]}" for field in TEXTS]
    return PROFILES.format(
        columns=_columns([*OBJECTS, *LISTS, *TEXTS]),
        aggregates=", ".join([*map(_all, [*OBJECTS, *LISTS]), *map(_first, TEXTS)]),
        values=", ".join(values),
        missing=_missing(REQUIRED),
        percent=f"CAST(round(100.0 * ({len(REQUIRED)} - json_array_length(missing)) / {len(REQUIRED)}) AS INTEGER)",
    )


def _intents() -> str:
    values = {field: field for field in OWN} | {SKILLS: _unique(SKILLS)}
    return INTENTS.format(
        columns=_columns(OWN),
        aggregates=", ".join(_all(field) if field == SKILLS else _first(field) for field in OWN),
        values=", ".join(f"{value} AS {COLUMNS[field]}" for field, value in values.items()),
        missing=_cases({context: _missing(own) for context, own in CONTEXTS.items()}),
        total=_cases({context: str(len(own)) for context, own in CONTEXTS.items()}),
    )


def _columns(fields: Iterable[str]) -> str:
    return ", ".join(COLUMNS[field] for field in fields)


def _cases(cases: dict[str, str]) -> str:
    return " ".join(f"WHEN '{context}' THEN {value}" for context, value in cases.items())


def _without(fields: Iterable[str]) -> str:
    paths = [f"'$.{field}'" for field in fields]
    return f"json_remove(p.data, {', '.join(paths)})"


def _first(field: str) -> str:
    """The oldest text: the least one when its place stands before it."""
    return f"substr(min(printf('%06d', at) || (data ->> '{field}')), 7) AS {field}"


def _all(field: str) -> str:
    """All lists or objects of the field, oldest first."""
    value = f"json_extract(data, '$.{field}')"
    return f"json_group_array({value}) FILTER (WHERE {value} IS NOT NULL) AS {field}"


def _merged(objects: str) -> str:
    # Of each key the value of the oldest object: SQLite takes a bare column from the row of the minimum.
    one = f"SELECT e.key AS name, e.value AS value, min(o.key) FROM json_each({objects}) o, json_each(o.value) e"
    many = f"(SELECT json_group_object(name, value) FROM ({one} WHERE e.value IS NOT NULL GROUP BY e.key))"
    return f"CASE json_array_length({objects}) WHEN 0 THEN '{{}}' WHEN 1 THEN json_extract({objects}, '$[0]') ELSE {many} END"


def _unique(lists: str) -> str:
    one = f"SELECT e.value AS value, min(o.key * 100000 + e.key) AS place FROM json_each({lists}) o, json_each(o.value) e"
    many = f"(SELECT json_group_array(value) FROM ({one} GROUP BY e.value ORDER BY place))"
    return f"CASE json_array_length({lists}) WHEN 0 THEN NULL ELSE {many} END"


def _missing(fields: Iterable[str]) -> str:
    empty = [
        f"CASE WHEN coalesce({COLUMNS[field]}, '') IN ('', '[]', '{{}}') THEN ',\"{field}\"' ELSE '' END" for field in fields
    ]
    return f"'[' || substr({' || '.join(empty)}, 2) || ']'"


def migrate(url: str) -> None:
    """All users are migrated, in one transaction."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(PIECES)
        for statement in ("BEGIN IMMEDIATE", _fill(), _profiles(), _intents(), "COMMIT"):
            connection.execute(statement)
