"""The expert's reference: `unified-profile` as a bulk script for one day, without ledger, way back, locks, retries or notes.

Everything is tuned for this one migration: one joined read of a thousand users, one pass over their rows, COPY lines made by hand
(executemany on SQLite), a commit per thousand.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Iterable, Sequence
from hashlib import sha1
from typing import Any

import psycopg
from orjson import dumps, loads

CHUNK = 1000
"""Users in one transaction."""

READ = """
SELECT u.id, c.id, c.context_type, p.id, {data} FROM users u
LEFT JOIN context_profiles c ON c.user_id = u.id LEFT JOIN profiles p ON p.context_profile_id = c.id
WHERE u.id >= {mark} AND u.id <= {mark} ORDER BY u.id, c.created_at, c.id, p.created_at, p.id
"""

LISTS, OBJECTS, TEXTS = (
    ("coreValues", "constraints"),
    ("beliefs", "interactionStyle", "lifestyle"),
    ("location", "ageRange", "name"),
)
SHARED = dict.fromkeys(LISTS, list) | dict.fromkeys(OBJECTS, dict) | dict.fromkeys(TEXTS, str)
REQUIRED = ("coreValues", "beliefs", "interactionStyle", "lifestyle", "constraints", "location", "ageRange")
CONTEXTS: dict[str, dict[str, type]] = {
    "romantic": dict.fromkeys(
        ("relationshipTimeline", "exclusivityExpectation", "familyIntentions", "attractionImportance"), str
    ),
    "friendship": dict.fromkeys(("friendshipDepth", "groupActivityPreference", "emotionalSupportExpectation"), str),
    "professional": {
        "partnershipType": str,
        "commitmentHorizon": str,
        "complementarySkills": list,
        "equityOrRevShare": str,
    },
    "creative": dict.fromkeys(("creativeType", "roleNeeded", "processStyle", "egoBalance", "compensationExpectation"), str),
    "service": dict.fromkeys(("serviceType", "budgetRange", "timelineNeeded", "credentialsRequired"), str),
}
PLACES = {name: SHARED | fields for name, fields in CONTEXTS.items()}
PROFILE = "id, user_id, core_values, beliefs, interaction_style, lifestyle, constraints, location, age_range, name, completeness, missing, legacy_data, created_at, updated_at"
INTENT = (
    "id, user_id, context_type, relationship_timeline, exclusivity_expectation, family_intentions, attraction_importance, friendship_depth,"
    " group_activity_preference, emotional_support_expectation, partnership_type, commitment_horizon, complementary_skills, equity_or_rev_share,"
    " creative_type, role_needed, process_style, ego_balance, compensation_expectation, service_type, budget_range, timeline_needed,"
    " credentials_required, completeness, missing, created_at, updated_at"
)
FIELDS = tuple(field for fields in CONTEXTS.values() for field in fields)
# The namespace of Backtrail's ids, so that the final states can be compared; an expert's random ids would take as long.
NAMESPACE = bytes.fromhex("6f0c6a3e6d0b5e0c9d0e3f2f4a9d1b57")

Line = Sequence[str | int | None]


# -- the conversion ---------------------------------------------------------------------------------------------------


def convert(rows: Iterable[tuple[Any, ...]], now: str) -> tuple[list[Line], list[Line]]:
    """The new profiles and intents of the users whose rows these are."""
    profiles: list[Line] = []
    intents: list[Line] = []
    user: str | None = None
    shared: dict[str, Any] = {}
    contexts: dict[str, dict[str, Any]] = {}
    legacy: list[dict[str, Any]] = []
    for user_id, context_id, context_type, profile_id, text in rows:
        if user_id != user:
            if user is not None:
                _finish(user, shared, contexts, legacy, now, profiles, intents)
            user, shared, contexts, legacy = user_id, {}, {}, []
        if context_id is None:
            continue
        own = contexts.setdefault(context_type, {})
        if text is None:
            continue
        if strays := _sort(loads(text), PLACES.get(context_type, SHARED), shared, own):
            legacy.append({"profile_id": profile_id, "context_type": context_type, "fields": strays})
    if user is not None:
        _finish(user, shared, contexts, legacy, now, profiles, intents)
    return profiles, intents


def _sort(data: dict[str, Any], places: dict[str, type], shared: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    strays = {}
    for field, value in data.items():
        if value is None:
            continue
        if type(value) is not places.get(field):
            strays[field] = value
            continue
        target = shared if field in SHARED else own
        if field not in target:
            target[field] = value
        elif type(value) is list:
            target[field] = target[field] + value
        elif type(value) is dict:
            target[field] = _joined(target[field], value)
    return strays


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    joined = first.copy()
    for key, value in second.items():
        if joined.get(key) is None:
            joined[key] = value
    return joined


def _finish(
    user: str,
    shared: dict[str, Any],
    contexts: dict[str, dict[str, Any]],
    legacy: list[dict[str, Any]],
    now: str,
    profiles: list[Line],
    intents: list[Line],
) -> None:
    get = shared.get
    missing = [field for field in REQUIRED if not get(field)]
    profiles.append(
        (
            _id(f'["unified-profile", "{user}", "profile"]'),
            user,
            _list(get("coreValues")),
            _json(get("beliefs") or {}),
            _json(get("interactionStyle") or {}),
            _json(get("lifestyle") or {}),
            _list(get("constraints")),
            get("location"),
            get("ageRange"),
            get("name"),
            round(100 * (7 - len(missing)) / 7),
            _json(missing),
            _json(legacy) if legacy else None,
            now,
            now,
        )
    )
    for context_type, own in contexts.items():
        required = CONTEXTS.get(context_type, ())
        missing = [field for field in required if not own.get(field)]
        values = [own.get(field) for field in FIELDS]
        if (skills := values[SKILLS]) is not None:
            values[SKILLS] = _list(skills)
        intents.append(
            (
                _id(f'["unified-profile", "{user}", "intent", "{context_type}"]'),
                user,
                context_type,
                *values,
                round(100 * (len(required) - len(missing)) / len(required)) if required else 0,
                _json(missing),
                now,
                now,
            )
        )


SKILLS = FIELDS.index("complementarySkills")


def _list(items: list[Any] | None) -> str:
    # The sample's lists are of texts.
    return _json(list(dict.fromkeys(items))) if items else "[]"


def _json(value: Any) -> str:
    return dumps(value).decode()


def _id(name: str) -> str:
    h = sha1(NAMESPACE + name.encode()).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:32]}"


# -- the databases ----------------------------------------------------------------------------------------------------


class Postgres:
    """Reads texts, writes COPY lines."""

    def __init__(self, url: str) -> None:
        self.raw = psycopg.connect(url)

    def parts(self) -> list[tuple[str, str]]:
        with self.raw.transaction():
            return _bounds([row[0] for row in self.raw.execute("SELECT id FROM users ORDER BY id")])

    def do(self, part: tuple[str, str]) -> None:
        with self.raw.transaction():
            rows = self.raw.execute(READ.format(data="p.data::text", mark="%s"), part).fetchall()
            profiles, intents = convert(rows, dt.datetime.now(dt.UTC).isoformat())
            for table, columns, lines in (("unified_profiles", PROFILE, profiles), ("context_intents", INTENT, intents)):
                with self.raw.cursor().copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
                    copy.write("".join(["\t".join(map(_cell, line)) + "\n" for line in lines]))


def _cell(value: str | int | None) -> str:
    if value is None:
        return "\\N"
    if type(value) is int:
        return str(value)
    text: str = value  # type: ignore[assignment]
    if "\\" in text:
        text = text.replace("\\", "\\\\")
    return text if text.isprintable() else text.replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


class Sqlite:
    """Reads and converts outside the write lock, writes with executemany."""

    def __init__(self, url: str) -> None:
        self.raw = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)
        self.raw.execute("PRAGMA foreign_keys = ON")

    def parts(self) -> list[tuple[str, str]]:
        return _bounds([row[0] for row in self.raw.execute("SELECT id FROM users ORDER BY id")])

    def do(self, part: tuple[str, str]) -> None:
        rows = self.raw.execute(READ.format(data="p.data", mark="?"), part).fetchall()
        profiles, intents = convert(rows, str(dt.datetime.now(dt.UTC).replace(tzinfo=None)))
        self.raw.execute("BEGIN IMMEDIATE")
        for table, columns, lines in (("unified_profiles", PROFILE, profiles), ("context_intents", INTENT, intents)):
            marks = ", ".join("?" * (columns.count(",") + 1))
            self.raw.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", lines)
        self.raw.execute("COMMIT")


def _bounds(ids: list[str]) -> list[tuple[str, str]]:
    return [(ids[at], ids[min(at + CHUNK, len(ids)) - 1]) for at in range(0, len(ids), CHUNK)]


def connect(url: str) -> Postgres | Sqlite:
    """The script for the database of that URL."""
    return Sqlite(url) if url.startswith("sqlite") else Postgres(url)
