"""The whole migration as INSERT … SELECT on PostgreSQL, in two connections. What it leaves out stands in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psycopg

from backtrail.catalog.unified_profile.fields import COLUMNS, CONTEXTS, REQUIRED, SHARED

# Of objects the last one given wins, of lists all are kept: so the newest profile is given first to the one, and last to the other.
AGGREGATES = (
    "CREATE AGGREGATE pg_temp.merged (jsonb) (SFUNC = jsonb_concat, STYPE = jsonb, INITCOND = '{}')",
    "CREATE AGGREGATE pg_temp.joined (jsonb) (SFUNC = jsonb_concat, STYPE = jsonb)",
)

LISTS, OBJECTS, TEXTS = ([field for field, kind in SHARED.items() if kind is one] for one in (list, dict, str))
OWN = [field for fields in CONTEXTS.values() for field in fields]
SKILLS = "complementarySkills"
KINDS = {**SHARED, **{field: kind for fields in CONTEXTS.values() for field, kind in fields.items()}}
EMPTY: dict[type, str] = {list: "[]", dict: "{}", str: ""}

PIECES = """
SELECT c.user_id, c.context_type, p.id AS profile_id, jsonb_strip_nulls(p.data) AS data,
  row_number() OVER (PARTITION BY c.user_id ORDER BY c.created_at, c.id, p.created_at, p.id) AS at
FROM context_profiles c LEFT JOIN profiles p ON p.context_profile_id = c.id WHERE c.user_id > %(after)s AND c.user_id <= %(until)s
"""

PROFILES = """
INSERT INTO unified_profiles (id, user_id, {columns}, completeness, missing, legacy_data, created_at, updated_at)
WITH pieces AS ({pieces}),
  sorted AS (SELECT *, data - CASE context_type {known} ELSE {shared} END AS stray FROM pieces),
  found AS (
    SELECT user_id, {aggregates},
      jsonb_agg(jsonb_build_object('profile_id', profile_id, 'context_type', context_type, 'fields', stray) ORDER BY at)
        FILTER (WHERE stray <> '{{}}') AS legacy
    FROM sorted GROUP BY user_id),
  whole AS MATERIALIZED (SELECT u.id AS user_id, {values}, legacy FROM users u LEFT JOIN found ON user_id = u.id WHERE u.id > %(after)s AND u.id <= %(until)s),
  counted AS MATERIALIZED (SELECT *, {missing} AS missing FROM whole)
SELECT gen_random_uuid(), user_id, {columns}, {percent}, to_jsonb(missing), legacy, now(), now() FROM counted
"""

INTENTS = """
INSERT INTO context_intents (id, user_id, context_type, {columns}, completeness, missing, created_at, updated_at)
WITH pieces AS ({pieces}),
  found AS (
    SELECT user_id, context_type, pg_temp.merged(data ORDER BY at DESC) AS own, pg_temp.joined(data -> '{skills}' ORDER BY at) AS skills
    FROM pieces GROUP BY user_id, context_type),
  whole AS MATERIALIZED (SELECT user_id, context_type, {values} FROM found),
  counted AS MATERIALIZED (SELECT *, CASE context_type {missing} ELSE '{{}}' END AS missing, CASE context_type {total} END AS total FROM whole)
SELECT gen_random_uuid(), user_id, context_type, {columns},
  coalesce(round(100 * (total - cardinality(missing)) / total::numeric), 0), to_jsonb(missing), now(), now() FROM counted
"""


def _profiles() -> str:
    aggregates = [f"pg_temp.merged(data -> '{field}' ORDER BY at DESC) AS {field}" for field in OBJECTS]
    aggregates += [f"pg_temp.joined(data -> '{field}' ORDER BY at) AS {field}" for field in LISTS]
    aggregates += [
        f"(array_agg(data ->> '{field}' ORDER BY at DESC) FILTER (WHERE data ? '{field}')) AS all_{field}" for field in TEXTS
    ]
    values = [f"coalesce({field}, '{{}}') AS {COLUMNS[field]}" for field in OBJECTS]
    values += [f"coalesce({_unique(field)}, '[]') AS {COLUMNS[field]}" for field in LISTS]
    values += [f"all_{field}[cardinality(all_{field})] AS {COLUMNS[field]}" for field in TEXTS]
    return PROFILES.format(
        columns=_columns([*OBJECTS, *LISTS, *TEXTS]),
        pieces=PIECES,
        known=_cases({context: _array([*SHARED, *own]) for context, own in CONTEXTS.items()}),
        shared=_array(SHARED),
        aggregates=", ".join(aggregates),
        values=", ".join(values),
        missing=_missing(REQUIRED),
        percent=f"round(100 * ({len(REQUIRED)} - cardinality(missing)) / {len(REQUIRED)}::numeric)",
    )


def _intents() -> str:
    values = {field: f"own ->> '{field}'" for field in OWN} | {SKILLS: _unique("skills")}
    return INTENTS.format(
        columns=_columns(OWN),
        pieces=PIECES,
        skills=SKILLS,
        values=", ".join(f"{value} AS {COLUMNS[field]}" for field, value in values.items()),
        missing=_cases({context: _missing(own) for context, own in CONTEXTS.items()}),
        total=_cases({context: str(len(own)) for context, own in CONTEXTS.items()}),
    )


def _columns(fields: Iterable[str]) -> str:
    return ", ".join(COLUMNS[field] for field in fields)


def _cases(cases: dict[str, str]) -> str:
    return " ".join(f"WHEN '{context}' THEN {value}" for context, value in cases.items())


def _array(fields: Iterable[str]) -> str:
    return f"'{{{','.join(fields)}}}'::text[]"


def _unique(items: str) -> str:
    one = (
        f"SELECT value, min(place) AS place FROM jsonb_array_elements({items}) WITH ORDINALITY AS e (value, place) GROUP BY value"
    )
    return f"(SELECT jsonb_agg(value ORDER BY place) FROM ({one}) e)"


def _missing(fields: Iterable[str]) -> str:
    tests = [
        f"CASE WHEN {COLUMNS[field]} IS NULL OR {COLUMNS[field]} = '{EMPTY[KINDS[field]]}' THEN '{field}' END" for field in fields
    ]
    return f"array_remove(ARRAY[{', '.join(tests)}], NULL)"


def migrate(url: str) -> None:
    """All users are migrated; each of two connections has half of them."""
    with psycopg.connect(url) as connection:
        middle = connection.execute("SELECT id FROM users ORDER BY id OFFSET (SELECT count(*) / 2 FROM users) LIMIT 1").fetchone()
    cut = middle[0] if middle else ""
    with ThreadPoolExecutor(2) as pool:
        for half in [pool.submit(_half, url, "", cut), pool.submit(_half, url, cut, "~")]:
            half.result()


def _half(url: str, after: str, until: str) -> None:
    with psycopg.connect(url) as connection:
        for statement in ("SET work_mem = '256MB'", *AGGREGATES):
            connection.execute(statement)
        for statement in (_profiles(), _intents()):
            connection.execute(statement, {"after": after, "until": until})
