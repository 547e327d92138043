"""The application's documents before the redesign, of people who never were: any number of users, the same ones for the same seed.

Every user is made from the seed and the user's number alone. Of each forty users in a row, every one has another part to play: its
edge case is `EDGES[number % 40]`. Every twentieth is a coach, with whom the next nineteen work.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from bson import ObjectId
from bson.codec_options import CodecOptions, TypeRegistry
from bson.decimal128 import Decimal128

from backtrail.catalog.coaching_redesign import sample_edges as edges
from backtrail.catalog.coaching_redesign import sample_texts as texts
from backtrail.catalog.coaching_redesign.sample_edges import EDGES

Document = dict[str, Any]
Documents = dict[str, list[Document]]

BEGIN: Final = dt.datetime(2024, 1, 8, 8, tzinfo=dt.UTC)
CHUNK: Final = 500
"""Users in memory at once."""
MANY: Final = 60
"""Sessions of the user who has many: more than one recall takes."""
RELATIONSHIPS: Final = "coaching_relationships"

PERIOD: Final = len(EDGES)
COACHED: Final = 20
"""A coach, and those who work with that coach, in a row."""

INDEXED: Final[Mapping[str, tuple[str, ...]]] = {
    "profiles": ("user_id",),
    "session_insights": ("client_user_id", "coach_user_id"),
    "goals": ("user_id",),
    RELATIONSHIPS: ("client_user_id", "coach_user_id"),
}


def edge_of(number: int) -> str:
    """The edge case that the user with this number has; `plain` is none."""
    return EDGES[number % PERIOD]


def user_id(number: int, seed: int = 1) -> ObjectId:
    """The id of the user with this number."""
    return _id(seed, "user", number, 0, BEGIN)


def user(number: int, seed: int = 1) -> Documents:
    """The documents that belong to the user, by collection; ownerless ones come with the user who left them."""
    return _User(number, seed).documents()


def users(number: int, seed: int = 1) -> Iterator[Documents]:
    """The documents of so many users, one user after the other; the first are the same for every number of them."""
    return (user(one, seed) for one in range(number))


def create(database: Any, users: int, seed: int = 1, relationships: str = RELATIONSHIPS) -> None:
    """Nothing; the database (of pymongo) holds so many users, and the indexes that such an application has.

    Args:
        database: the application's; a second call with the same seed would make the same documents, and fails.
        users: how many.
        seed: another one makes other people.
        relationships: the collection of the coaching relationships.
    """
    names = {RELATIONSHIPS: relationships}
    # Only the encoder of decimals: the caller's own options may be anything.
    options: CodecOptions[Any] = CodecOptions(tz_aware=True, type_registry=TypeRegistry(fallback_encoder=_encoded))
    for first in range(0, users, CHUNK):
        chunk: Documents = {name: [] for name in INDEXED}
        for number in range(first, min(first + CHUNK, users)):
            for name, documents in user(number, seed).items():
                chunk[name] += documents
        for name, documents in chunk.items():
            if documents:
                database.get_collection(names.get(name, name), codec_options=options).insert_many(documents, ordered=False)
    for name, fields in INDEXED.items():
        for field in fields:
            database[names.get(name, name)].create_index(field)


def _encoded(value: Any) -> Any:
    return Decimal128(value) if isinstance(value, decimal.Decimal) else value


def _id(seed: int, kind: str, number: int, part: int, moment: dt.datetime) -> ObjectId:
    # As a driver makes them: the time first, so that new documents come last in the index.
    digest = hashlib.sha256(f"{seed} {kind} {number} {part}".encode()).digest()
    return ObjectId(int(moment.timestamp()).to_bytes(4, "big") + digest[:8])


class _User:
    """One user, and the chance that makes the user's documents."""

    def __init__(self, number: int, seed: int) -> None:
        self.number, self.seed = number, seed
        self.edge = edge_of(number)
        self.random = random.Random(f"{seed} {number}")  # noqa: S311 -- samples are to be the same every time
        self.id = user_id(number, seed)
        self.coach = user_id(number - number % COACHED, seed)
        if self.edge == "coach and client":
            self.coach = user_id(number - COACHED, seed)
        self.since = BEGIN + dt.timedelta(seconds=97 * number)

    def documents(self) -> Documents:
        """All of the user's documents."""
        made: Documents = {
            "profiles": self._profiles(),
            "session_insights": [],
            "goals": [],
            RELATIONSHIPS: [],
        }
        if self.edge == "only a coach":
            return made
        made[RELATIONSHIPS] = self._relationships()
        made["session_insights"] = self._sessions(made[RELATIONSHIPS])
        made["goals"] = self._goals()
        if self.edge == "ownerless documents":
            self._disown(made)
        return made

    # -- profiles -------------------------------------------------------------------------------------------------

    def _profiles(self) -> list[Document]:
        number = {"no profile": 0, "two profiles": 2}.get(self.edge, 1)
        return [{**self._profile(part), **edges.profile(self.edge)} for part in range(number)]

    def _profile(self, part: int) -> Document:
        return {
            "_id": self._new("profile", part),
            "user_id": self.id,
            "first_name": self._pick(texts.NAMES),
            "email": f"user{self.number}@example.org",
            "timezone": self._pick(("Europe/Paris", "America/New_York", "Asia/Tokyo", "UTC")),
            "preferences": {"newsletter": self.random.random() < 0.5, "language": self._pick(("en", "fr", "de"))},
            "created_at": self.since,
            "updated_at": self.since + dt.timedelta(days=3),
        }

    # -- relationships --------------------------------------------------------------------------------------------

    def _relationships(self) -> list[Document]:
        if self.edge == "no relationship":
            return []
        made = [self._relationship(part) for part in range(2 if self.edge == "two coaches" else 1)]
        status = edges.STATUSES.get(self.edge, "active")
        # The application wrote no status at first: of the others, a part has none either.
        if self.edge != "no status" and (status != "active" or self.number % 3):
            made[0]["status"] = status
        if self.edge == "two coaches":
            made[0]["status"] = "inactive"
            made[1]["coach_user_id"] = user_id(max(self.number - self.number % COACHED - COACHED, 0), self.seed)
        if self.edge == "invited by email":
            made[0] |= {"coach_user_id": None, "invited_by_email": "coach@example.org"}
        return made

    def _relationship(self, part: int) -> Document:
        return {
            "_id": self._new("relationship", part),
            "coach_user_id": self.coach,
            "client_user_id": self.id,
            "started_at": self.since + dt.timedelta(days=1),
            "notes": self._pick(texts.DISCOVERIES),
            "created_at": self.since + dt.timedelta(days=1),
        }

    # -- sessions -------------------------------------------------------------------------------------------------

    def _sessions(self, relationships: Sequence[Document]) -> list[Document]:
        number = {"no sessions": 0, "many sessions": MANY}.get(self.edge) or 1 + self.random.randrange(4)
        if self.edge == "no sessions":
            return []
        made = [self._session(part, relationships) for part in range(number)]
        edges.spoil_session(self.edge, made[0])
        return made

    def _session(self, part: int, relationships: Sequence[Document]) -> Document:
        held = self.since + dt.timedelta(days=7 * (part + 1), milliseconds=self.random.randrange(1000))
        coach = relationships[0]["coach_user_id"] if relationships else None
        return {
            "_id": _id(self.seed, "session", self.number, part, held),
            "coaching_relationship_id": relationships[0]["_id"] if relationships else None,
            "client_user_id": self.id,
            "coach_user_id": coach,
            "session_date": held,
            "transcript_content": self._transcript(),
            "tags": self._some(texts.TAGS, 3),
            "metadata": {
                "duration_minutes": 45 + self.random.randrange(20),
                "language": "en",
                "model": {"name": "m", "version": 1.0},
            },
            "celebrations": [
                {"text": text, "confidence": round(self.random.random(), 3)} for text in self._some(texts.CELEBRATIONS, 2)
            ],
            "intentions": [{"intention": text, "due": held + dt.timedelta(days=14)} for text in self._some(texts.INTENTIONS, 2)],
            "client_discoveries": [{"discovery": text} for text in self._some(texts.DISCOVERIES, 1)],
            "goal_progress": [{"goal": self._pick(texts.GOALS), "delta": self.random.randrange(-5, 20)}],
            "coaching_presence": {"score": self.random.random() * 10, "notes": None},
            "powerful_questions": [{"question": text} for text in self._some(texts.QUESTIONS, 2)],
            "action_items": [{"action": self._pick(texts.INTENTIONS), "done": False}],
            "emotional_shifts": [{"from": "tense", "to": "calm"}],
            "values_beliefs": [],
            "communication_patterns": [],
            "status": "completed",
            "overall_session_quality": self._pick(("good", "excellent", None)),
            "created_at": held + dt.timedelta(hours=1),
            "updated_at": held + dt.timedelta(hours=2),
            "completed_at": held + dt.timedelta(hours=2),
        }

    def _transcript(self) -> str:
        lines = [self._pick(texts.GREETINGS)]
        for _ in range(7):
            lines += [f"Coach: {self._pick(texts.QUESTIONS)}", f"Client: {self._pick(texts.ANSWERS)}"]
        return "\n".join(lines)

    # -- goals ----------------------------------------------------------------------------------------------------

    def _goals(self) -> list[Document]:
        if self.edge == "no goals":
            return []
        made = [self._goal(part) for part in range(1 + self.random.randrange(3))]
        edges.spoil_goal(self.edge, made[0], self.since)
        return made

    def _goal(self, part: int) -> Document:
        made = self.since + dt.timedelta(days=2 + part)
        return {
            "_id": _id(self.seed, "goal", self.number, part, made),
            "user_id": self.id,
            "goal_statement": self._pick(texts.GOALS),
            "success_vision": self._pick(texts.VISIONS),
            "progress_percentage": self.random.randrange(101),
            "progress_emoji": self._pick(texts.EMOJI),
            "progress_notes": self._pick((None, "slower than planned", "on the way")),
            "status": self._pick(("active", "completed", "paused")),
            "tags": self._some(texts.TAGS, 2),
            "created_at": made,
            "updated_at": made + dt.timedelta(days=10),
        }

    # -- nobody's -------------------------------------------------------------------------------------------------

    def _disown(self, made: Documents) -> None:
        """Beside the user's own, a document of each kind that says nobody's name: without the field, or with a null in it."""
        session = self._session(900, [])
        goal = self._goal(900)
        relationship = self._relationship(900)
        del session["client_user_id"]
        goal["user_id"] = relationship["client_user_id"] = None
        for name, document in (("session_insights", session), ("goals", goal), (RELATIONSHIPS, relationship)):
            made[name].append(document)

    # -- chance ---------------------------------------------------------------------------------------------------

    def _new(self, kind: str, part: int) -> ObjectId:
        return _id(self.seed, kind, self.number, part, self.since)

    def _pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.random.random() * len(choices))]

    def _some(self, choices: Sequence[str], number: int) -> list[str]:
        first = int(self.random.random() * len(choices))
        return [choices[(first + step) % len(choices)] for step in range(number)]
