"""The old tables, filled with people who never were: any number of them, the same ones for the same seed.

Of the users, 3 % have conflicting fields, about 5 % fields without a new place, 1 % a context nobody knows and 1 % two context profiles
of one type; 4 % have no context profile, and 3 % of the context profiles no profile.
"""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from backtrail.catalog.unified_profile.fields import CONTEXTS

CHUNK = 1000
"""Users in memory at once."""

BEGIN = dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)

old_tables = sa.MetaData()


def _time(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


users = sa.Table(
    "users",
    old_tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("email", sa.Text, nullable=False),
    _time("created_at"),
)
context_profiles = sa.Table(
    "context_profiles",
    old_tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("context_type", sa.Text, nullable=False),
    sa.Column("tone_preference", sa.Text),
    _time("created_at"),
)
profiles = sa.Table(
    "profiles",
    old_tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("context_profile_id", sa.Text, sa.ForeignKey("context_profiles.id"), nullable=False, index=True),
    sa.Column("data", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
    sa.Column("completeness", sa.Integer, nullable=False),
    _time("created_at"),
    _time("updated_at"),
)
chat_messages = sa.Table(
    "chat_messages",
    old_tables,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("context_profile_id", sa.Text, sa.ForeignKey("context_profiles.id"), nullable=False, index=True),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    _time("created_at"),
)

NAMES: Final = (
    *(
        "Zoë",
        "José",
        "李雷",
        "Олена",
        "Aisha",
        "Björn",
        "Nguyễn An",
        "Chloe",
        "Σοφία",
        "محمد",
        "Ana María",
        "Łukasz",
        "Priya",
        "さくら",
    ),
    *(
        "Siobhán",
        "Kwame",
        "O'Brien",
        "François",
        "Jürgen",
        "Emma 🌻",
        "Liam",
        "Noor",
        "Renée",
        "Ivan",
        "김민준",
        "Mária",
        "Sam",
        "Tāne",
    ),
)
PLACES: Final = (
    *(
        "San Francisco",
        "New York",
        "Zürich",
        "São Paulo",
        "København",
        "北京",
        "Київ",
        "Kraków",
        "Montréal",
        "Nairobi",
        "Αθήνα",
        "Oslo",
    ),
    *("Lagos", "東京", "Malmö", "Austin", "Wellington", "Córdoba", "Reykjavík", "Mumbai"),
)
AGES: Final = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
VALUES: Final = ("honesty", "curiosity", "kindness", "ambition", "family", "freedom", "humour", "loyalty", "créativité", "faith")
CONSTRAINTS: Final = (
    "no smokers",
    "weekends only",
    "remote only",
    "wheelchair access",
    "vegan",
    "no late nights",
    "two children 👧🧒",
)
TONES: Final = ("warm", "direct", "playful", "formal", None)
WORDS: Final = (
    "Hi!",
    "Tell me about yourself.",
    "I love hiking ⛰️",
    "¿Qué tal?",
    "Let's talk about values.",
    "That's lovely.",
    "好的",
)
OBJECTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "beliefs": {
        "politics": ("progressive", "moderate", "conservative", "none"),
        "religion": ("none", "christian", "muslim", "buddhist", "jewish", "hindu"),
        "environment": ("essential", "important", "neutral"),
    },
    "interactionStyle": {
        "pace": ("slow", "steady", "fast"),
        "humor": ("dry", "silly", "gentle"),
        "directness": ("blunt", "tactful"),
    },
    "lifestyle": {
        "smoking": ("never", "sometimes", "daily"),
        "exercise": ("daily", "weekly", "rarely"),
        "diet": ("vegan", "vegetarian", "omnivore"),
    },
}
CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "relationshipTimeline": ("taking_my_time", "open_to_soon", "actively_looking"),
    "exclusivityExpectation": ("monogamous", "open", "figuring_it_out"),
    "familyIntentions": ("want_kids", "dont_want_kids", "open", "already_have"),
    "attractionImportance": ("critical", "important", "balanced", "less_important"),
    "friendshipDepth": ("casual", "close", "best_friend"),
    "groupActivityPreference": ("one_on_one", "small_group", "large_group", "flexible"),
    "emotionalSupportExpectation": ("minimal", "moderate", "high"),
    "partnershipType": ("cofounder", "collaborator", "advisor", "employee", "contractor"),
    "commitmentHorizon": ("project_based", "ongoing", "long_term"),
    "equityOrRevShare": ("equity", "rev_share", "salary", "hybrid", "tbd"),
    "creativeType": ("music", "writing", "visual_art", "film", "performance", "other"),
    "roleNeeded": ("co_creator", "contributor", "feedback", "production"),
    "processStyle": ("structured", "spontaneous", "hybrid"),
    "egoBalance": ("shared_vision", "lead_follow", "independent"),
    "compensationExpectation": ("paid", "profit_share", "free", "depends"),
    "serviceType": ("offering", "seeking"),
    "budgetRange": ("under_1k", "1k_5k", "5k_20k", "20k_plus", "flexible"),
    "timelineNeeded": ("urgent", "weeks", "months", "flexible"),
    "credentialsRequired": ("licensed", "experienced", "portfolio", "flexible"),
}
SKILLS: Final = ("python", "design", "sales", "law", "finance", "marketing", "Español", "hardware")
STRAYS: Final[Mapping[str, Any]] = {
    "zodiacSign": "Leo",
    "pets": [{"kind": "cat", "name": "Mööp"}],
    "heightCm": 171.5,
    "newsletter": True,
    "attachmentStyle": {"self": "secure", "score": 7},
}

Row = dict[str, Any]


def create(connection: sa.Connection, users: int, seed: int = 1) -> None:
    """Nothing; the old tables exist and hold this many users more. The transaction is the caller's.

    The first users are the same for every number of them. A second call with the same seed would make the same rows, and fails.
    """
    old_tables.create_all(connection)
    made = _Sample(seed)
    for first in range(0, users, CHUNK):
        for table, rows in made.chunk(first, min(CHUNK, users - first)).items():
            _insert(connection, old_tables.tables[table], rows)


def _insert(connection: sa.Connection, table: sa.Table, rows: list[Row]) -> None:
    if not rows:
        return
    if connection.dialect.name != "postgresql":
        connection.execute(table.insert(), rows)
        return
    # One parameter for all rows: ten times as fast as one statement a row, and no driver's own COPY is needed.
    names = ", ".join(column.name for column in table.columns)
    statement = (
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM json_populate_recordset(NULL::{table.name}, CAST(:rows AS json))"  # noqa: S608 -- names of our own tables
    )
    connection.execute(sa.text(statement), {"rows": json.dumps(rows, ensure_ascii=False, default=dt.datetime.isoformat)})


class _Sample:
    """One run of chance, and the rows that come of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)  # noqa: S311 -- samples are to be the same every time
        self.chance = self.random.random

    def chunk(self, first: int, number: int) -> dict[str, list[Row]]:
        """The rows of the next users by table, in the order in which foreign keys need them."""
        self.rows: dict[str, list[Row]] = {table.name: [] for table in old_tables.sorted_tables}
        for at in range(first, first + number):
            self._user(at)
        return self.rows

    def _user(self, number: int) -> None:
        name = self._pick(NAMES)
        created = BEGIN + dt.timedelta(seconds=97 * number)
        user_id = self._id("u", number)
        email = f"user{number}.{self.random.getrandbits(24):06x}@example.org"
        self.rows["users"].append({"id": user_id, "name": name, "email": email, "created_at": created})
        conflicting = self.chance() < 0.03
        types = self._context_types(2 if conflicting else 0)
        person = self._person(name)
        intents: dict[str, Row] = {}
        data: list[Row] = []
        for at, context_type in enumerate(types):
            made = created + dt.timedelta(days=3 * at, seconds=11 * at)
            context_id = self._id("x", number * 16 + at)
            tone = self._pick(TONES)
            self.rows["context_profiles"].append(
                {
                    "id": context_id,
                    "user_id": user_id,
                    "context_type": context_type,
                    "tone_preference": tone,
                    "created_at": made,
                }
            )
            if self.chance() > 0.03 or (conflicting and at < 2):
                data.append(self._data(person, context_type, intents.setdefault(context_type, {})))
                self._profile(number * 16 + at, context_id, data[-1], made)
            if self.chance() < 0.3:
                self._messages(number * 16 + at, context_id, made)
        if conflicting:
            self._disagree(data[0], data[1], same_type=types[0] == types[1])
        if data and self.chance() < 0.05:
            field = self._pick(tuple(STRAYS))
            self._pick(data)[field] = STRAYS[field]

    def _context_types(self, at_least: int) -> list[str]:
        if self.chance() < 0.04 and not at_least:
            return []
        number = max(at_least, self.random.choices((1, 2, 3, 4, 5), (15, 35, 35, 10, 5))[0])
        types = self.random.sample(tuple(CONTEXTS), number)
        if self.chance() < 0.01:
            types.insert(1, types[0])
        if self.chance() < 0.01:
            types.append("travel")
        return types

    def _person(self, name: str) -> Row:
        """What all profiles of one user agree in."""
        person: Row = {"name": name, "location": self._pick(PLACES), "ageRange": self._pick(AGES)}
        for field, choices in OBJECTS.items():
            person[field] = {key: self._pick(values) for key, values in choices.items()}
        return person

    def _data(self, person: Row, context_type: str, own: Row) -> Row:
        often = 0.97 if self.chance() < 0.85 else 0.4
        data: Row = {}
        for field, value in person.items():
            if self.chance() < often:
                # Each profile knows some of what there is to know; null is what an unanswered question left behind.
                data[field] = None if self.chance() < 0.02 else self._some(value)
        for field, choices in (("coreValues", VALUES), ("constraints", CONSTRAINTS)):
            if self.chance() < often:
                data[field] = self._list(choices)
        for field in CONTEXTS.get(context_type, ("destination", "travelStyle")):
            if field not in own:
                own[field] = self._pick(CHOICES.get(field, ("slow", "far", "near")))
            if self.chance() < often:
                data[field] = self._list(SKILLS) if field == "complementarySkills" else own[field]
        return data

    def _disagree(self, first: Row, second: Row, *, same_type: bool) -> None:
        shared = ("location", "ageRange", "name", "beliefs", "lifestyle")
        field = "relationshipTimeline" if same_type and "relationshipTimeline" in first else self._pick(shared)
        if field in OBJECTS:
            key, choices = self._pick(tuple(OBJECTS[field].items()))
            first[field], second[field] = ({**(data.get(field) or {}), key: None} for data in (first, second))
            first[field][key], second[field][key] = self.random.sample(choices, 2)
        else:
            choices = {"location": PLACES, "ageRange": AGES, "name": NAMES}.get(field) or CHOICES[field]
            first[field], second[field] = self.random.sample(choices, 2)

    def _profile(self, number: int, context_id: str, data: Row, made: dt.datetime) -> None:
        self.rows["profiles"].append(
            {
                "id": self._id("p", number),
                "context_profile_id": context_id,
                "data": data,
                "completeness": min(100, 8 * len(data)),
                "created_at": made,
                "updated_at": made + dt.timedelta(hours=5),
            }
        )

    def _messages(self, number: int, context_id: str, made: dt.datetime) -> None:
        for at in range(self.random.randrange(1, 4)):
            self.rows["chat_messages"].append(
                {
                    "id": self._id("m", number * 4 + at),
                    "context_profile_id": context_id,
                    "role": ("assistant", "user")[at % 2],
                    "content": self._pick(WORDS),
                    "created_at": made + dt.timedelta(minutes=at),
                }
            )

    def _some(self, value: Any) -> Any:
        return {key: part for key, part in value.items() if self.chance() < 0.8} if isinstance(value, dict) else value

    def _list(self, choices: tuple[str, ...]) -> list[str]:
        first = int(self.chance() * len(choices))
        return [choices[(first + step) % len(choices)] for step in range(2 + int(self.chance() * 3))]

    def _pick(self, choices: Any) -> Any:
        return choices[int(self.chance() * len(choices))]

    def _id(self, kind: str, number: int) -> str:
        # Like a cuid: time and counter first, so that new rows come last in the index, then chance.
        return f"cm{kind}{number:010x}{self.random.getrandbits(48):012x}"
