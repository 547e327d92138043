"""The form of events and their hash chain, judged by an oracle that knows only what the module's docstring says."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from backtrail import Keys, Rows
from backtrail.image import Ref, Shape
from ledger.event import KEPT, Content, Event, commitment, digest, genesis, origin, pack, ref_number, unpack
from tests.engine import Engine, migration
from tests.ledger import bodies

SHAPE = Shape("users", (("id", "integer"), ("name", "text")))
SECRET = bytes(range(16))
CONTENT = Content("i5", b"i5\0tAnn", b"i5\0tBob", '{"a":1}')
EVENT = Event(3, "updated", 7, 1_700_000_000_123, shape=SHAPE, body=pack(CONTENT))
LETTERS = {"b": "begin", "c": "created", "u": "updated", "d": "deleted", "r": "compensated", "e": "end", "x": "conflict"}

images = st.one_of(st.none(), st.binary(max_size=8), st.sampled_from([b"-", b"=", b"1:a,", b"0:,", b",", b"\0", b"i5", b"i5\0t"]))
surrogates = st.text(st.characters(exclude_categories=[]), max_size=8)
texts = st.one_of(st.none(), surrogates, st.sampled_from(["", "-", "=", "i5", "1:a,", "\0", "\ud800"]))
contents = st.builds(Content, texts, images, images, texts)


def test_an_independent_reader_recomputes_every_hash_from_the_raw_rows(database: str) -> None:
    """The chain of every stream, and the images, follow from the rows in the database and the description alone, for all kinds of events."""
    engine = Engine(database)
    engine.script(
        "CREATE TABLE users (id integer PRIMARY KEY, name text); CREATE TABLE people (id integer PRIMARY KEY, name text);"
        "INSERT INTO users VALUES (1, 'Ann'), (2, NULL), (3, 'Zoë 😀'); INSERT INTO people VALUES (2, 'old')"
    )

    def move(user: Any) -> None:
        row = user.one("users")
        old = user.one_or_none("people")
        if row["name"] is None:
            user.delete(old)
        else:
            user.create("people", {"id": user.key, "name": row["name"]})
            user.update(row, set={"name": "moved"})
        user.conflict("name", values=[1, 2], chosen="é")

    cls = migration(move, keys=Keys("users", "id"), reads=(Rows("users", "id"), Rows("people", "id")), writes=("people", "users"))
    engine.migrate(cls)
    engine.rollback(cls)
    engine.rerun(cls, only=["1", "2"])
    prefix = "backtrail." if engine.postgres else "backtrail_"
    names = ("stream", "version", "kind", "campaign", "at", "shape", "body", "hash")
    rows = [
        dict(zip(names, row, strict=True)) for row in engine.query(f"SELECT {', '.join(names)} FROM {prefix}events ORDER BY 1, 2")
    ]
    shapes = dict(engine.query(f"SELECT id, body FROM {prefix}shapes"))
    for row in rows:
        row |= {"kind": LETTERS[row["kind"]], "shape": shapes.get(row["shape"]), "body": bytes(row["body"])}
    streams = engine.query(f"SELECT id, key, version, head, secret FROM {prefix}streams")
    kinds = {row["kind"] for row in rows}
    assert kinds == {"begin", "created", "updated", "deleted", "compensated", "conflict", "end"}, "the fixture is not trivial"
    assert {len(secret) for *_, secret in streams} == {16}
    assert len({bytes(secret) for *_, secret in streams}) == len(streams) == 3, "no two streams share their secret"
    for stream, key, version, head, kept in streams:
        own, secret = [row for row in rows if row["stream"] == stream], bytes(kept)
        assert [row["version"] for row in own] == list(range(1, version + 1)), "versions have no gaps"
        hashes = bodies.chained("trial", hashlib.sha256(secret + key.encode()).digest(), secret, own)
        assert [bytes(row["hash"]) for row in own] == [found[:16] for found in hashes]
        assert bytes(head) == hashes[-1]
    tag = b"v" if engine.postgres else b"t"
    number = b"v1" if engine.postgres else b"i1"
    (first,) = (stream for stream, key, *_ in streams if key == "1")
    found = {row["kind"]: bodies.fields_of(row["body"]) for row in reversed(rows) if row["stream"] == first}
    assert found["updated"] == [number, number + b"\0" + tag + b"Ann", number + b"\0" + tag + b"moved", None]
    assert found["created"] == [number, None, number + b"\0" + tag + b"Ann", None]
    assert json.loads(found["conflict"][3] or b"") == {"field": "name", "values": [1, 2], "chosen": "é"}
    engine.close()


# -- bodies -----------------------------------------------------------------------------------------------------------


@given(contents)
@example(Content("i5", None, b"i5\0tAnn", None))
@example(Content("", b"", None, None))
@example(Content("=", None, None, "="))
@example(Content("-", b"-", b"-", "-"))
def test_a_body_says_what_was_packed(content: Content) -> None:
    """Whatever the fields hold comes back exactly, also to a reader who knows only the description."""
    body = pack(content)
    assert unpack(body) == content
    texts = [None if text is None else text.encode("utf-8", "surrogatepass") for text in (content.key, content.data)]
    assert bodies.fields_of(body) == [texts[0], content.before, content.after, texts[1]]


@given(contents, contents)
def test_bytes_cannot_wander_from_one_field_to_the_next(left: Content, right: Content) -> None:
    """Two bodies are one only if they say the same, however their fields are cut; and so it is with the hashes."""
    same = left == right
    assert (pack(left) == pack(right)) == same
    hashes = [digest(b"p" * 32, replace(EVENT, body=pack(one)), SECRET) for one in (left, right)]
    assert (hashes[0] == hashes[1]) == same


def test_a_key_that_is_the_first_cell_is_kept_once() -> None:
    """It costs one byte; any other key, one that only begins alike too, is written out."""
    assert pack(CONTENT) == b"\1=7:i5\0tAnn,7:i5\0tBob,7:" + b'{"a":1},'
    assert pack(Content("i5", b"i6\0tAnn", None)) == b"\x012:i5,7:i6\0tAnn,--"
    assert pack(Content("i5", None, b"i55\0tAnn")).startswith(b"\x012:i5,")
    assert pack(Content("i5", b"i5", b"i6")).startswith(b"\x012:i5,"), "it is the image after that counts"
    assert pack(Content("i5", b"i5", None)) == b"\1=2:i5,--"
    assert pack(Content()) == b"\1----"
    assert pack(Content("i5", None, b"i5\0tAnn\0n")) == b"\1=-9:i5\0tAnn\0n,-", "of many cells it is the first"
    assert pack(Content("", None, b"\0n")) == b"\1=-2:\0n,-", "an empty one is one, too"


BROKEN = [b"", b"\0" + b"x" * 32, b"\2", b"\1", b"\1---", b"\1-5", b"\1x:a,---", b"\1=1:a", b"\1=1:a,-", b"\1-2:a"]


@pytest.mark.parametrize("body", BROKEN)
def test_what_is_no_open_body_is_none(body: bytes) -> None:
    """Redacted, sealed, cut off or scrambled: ValueError, and nothing else."""
    with pytest.raises(ValueError, match=r"."):
        unpack(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "no open body"), (b"\2i5", "no open body"), (b"\1", "a body that was cut off"), (b"\1---", "a body that was cut off")],
)
def test_why_it_is_no_open_body_is_said(body: bytes, said: str) -> None:
    """Another kind of body, or one of which the end is missing."""
    with pytest.raises(ValueError, match=f"^{said}$"):
        unpack(body)


@given(st.binary(max_size=30))
def test_no_bytes_make_unpacking_fail_otherwise(rest: bytes) -> None:
    """What somebody wrote into the database is either a content or a ValueError."""
    try:
        content = unpack(b"\1" + rest)
    except ValueError:
        return
    kinds = (str, bytes, bytes, str)
    assert all(field is None or type(field) is kind for field, kind in zip(content, kinds, strict=True))


# -- the commitment and what it gives ---------------------------------------------------------------------------------


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=40))
def test_the_commitment_is_what_the_description_says(secret: bytes, rest: bytes) -> None:
    """Open bodies with the secret, sealed ones without, redacted ones hold it."""
    for first in (b"\1", b"\2"):
        found = commitment(secret, first + rest)
        assert found == bodies.commitment(secret, first + rest)
        assert commitment(secret, b"\0" + found) == found
    assert commitment(secret, b"\1" + rest) != commitment(bytes(16), b"\1" + rest) or secret == bytes(16)
    assert commitment(secret, b"\2" + rest) == commitment(b"", b"\2" + rest), "a sealed body is verified without the secret"


@given(contents)
def test_a_redaction_keeps_the_hash(content: Content) -> None:
    """An event whose body was replaced by its commitment hashes as before; with one bit of it changed it does not."""
    event = replace(EVENT, body=pack(content))
    left = b"\0" + commitment(SECRET, event.body)
    before = digest(b"p" * 32, event, SECRET)
    assert digest(b"p" * 32, replace(event, body=left), SECRET) == before
    assert digest(b"p" * 32, replace(event, body=left), b"") == before, "the secret is gone by then"
    other = left[:-1] + bytes([left[-1] ^ 1])
    assert digest(b"p" * 32, replace(event, body=other), SECRET) != before


def test_a_short_value_cannot_be_guessed_from_what_is_left() -> None:
    """Without the secret, the commitments of the same body in two streams have nothing in common."""
    body = pack(Content("i1", None, b"i1\0tyes"))
    secrets = [os.urandom(16) for _ in range(3)]
    assert len({commitment(secret, body) for secret in secrets} | {hashlib.sha256(body).digest()}) == 4
    assert len({origin(secret, "ann@example.org") for secret in secrets} | {hashlib.sha256(b"ann@example.org").digest()}) == 4


CHANGES: list[dict[str, Any]] = [
    {"version": 4},
    {"kind": "created"},
    {"campaign": 8},
    {"at": EVENT.at + 1},
    {"shape": Shape("people", SHAPE.columns)},
    {"shape": Shape("users", (("id", "integer"), ("name", "varchar")))},
    {"shape": Shape("users", (("id", "integer"), ("Name", "text")))},
    {"shape": None},
    *(
        {"body": pack(CONTENT._replace(**change))}
        for change in (
            {"key": "i6"},
            {"key": None},
            {"before": b"i5\0tAnm"},
            {"before": None},
            {"before": b""},
            {"after": b"i5\0tBob\0n"},
            {"after": None},
            {"data": '{"a":2}'},
            {"data": None},
            {"data": ""},
        )
    ),
    {"body": b"\2" + EVENT.body[1:]},
]


@pytest.mark.parametrize("change", CHANGES, ids=[f"{at}-{next(iter(change))}" for at, change in enumerate(CHANGES)])
def test_no_field_can_change_without_another_hash(change: dict[str, Any]) -> None:
    """Every field of an event, and the one before it, is in the hash."""
    previous = genesis("m", origin(SECRET, "1"))
    whole = digest(previous, EVENT, SECRET)
    assert len(whole) == 32
    assert digest(previous, replace(EVENT, **change), SECRET)[:KEPT] != whole[:KEPT]
    assert digest(genesis("m", origin(SECRET, "2")), EVENT, SECRET) != whole
    assert digest(previous, EVENT, SECRET[::-1]) != whole


def test_every_field_of_an_event_is_among_those_that_were_changed() -> None:
    """A field that somebody adds later must be put into the hash, or be named here."""
    changed = {name for change in CHANGES for name in change}
    read = {"ref", "before", "after", "data"}  # what the body says
    marks = {"index", "misplaced", "erased"}  # what follows from the rest
    assert changed == set(Event.__dataclass_fields__) - read - marks - {"hash"}


def test_the_hash_is_what_the_description_says() -> None:
    """Of one event written out by hand, and of one without shape."""
    for event in (EVENT, replace(EVENT, shape=None)):
        shape = None if event.shape is None else event.shape.dump()
        row = {"version": 3, "kind": "updated", "campaign": 7, "at": 1_700_000_000_123, "shape": shape, "body": event.body}
        first = hashlib.sha256(SECRET + b"k").digest()
        assert [digest(genesis("m", origin(SECRET, "k")), event, SECRET)] == bodies.chained("m", first, SECRET, [row])


@given(st.text(max_size=5), surrogates, st.text(max_size=5), surrogates)
def test_streams_have_beginnings_of_their_own(one: str, key: str, other: str, other_key: str) -> None:
    """No two pairs of migration and key start a chain alike, however the texts are cut."""
    assume(not any("\ud800" <= letter <= "\udfff" for letter in one + other))
    same = genesis(one, origin(SECRET, key)) == genesis(other, origin(SECRET, other_key))
    assert same == ((one, key) == (other, other_key))


# -- rows -------------------------------------------------------------------------------------------------------------


def test_rows_have_numbers_that_tell_nothing_without_the_secret() -> None:
    """63 bits, told by table and key, and other ones in every ledger."""
    refs = [Ref(table, key) for table in ("a", "b") for key in ("i1", "i2", "t1")]
    one, other = ({ref_number(lookup, ref) for ref in refs} for lookup in (bytes(32), b"\1" * 32))
    assert len(one | other) == 12
    assert all(0 <= number < 2**63 for number in one | other)
    assert ref_number(bytes(32), refs[0]) in one
    expected = hashlib.sha256(b"s" * 32 + b"a\0i1").digest()[:8]
    assert ref_number(b"s" * 32, refs[0]) == int.from_bytes(expected, "big") // 2


def test_images_of_an_event_carry_its_shape() -> None:
    """What a row was is an image of the event's shape, and None where there was no row."""
    event = replace(EVENT, before=b"i5\0tAnn", after=None, data='{"a": 1}')
    assert event.before_image is not None
    assert event.before_image.shape == SHAPE
    assert event.after_image is None
    assert replace(event, data=None).facts == {}
    assert event.facts == {"a": 1}
