"""`expand` on MongoDB: adds once, goes on after a crash, takes back exactly what it added, and refuses without changing anything."""

from __future__ import annotations

import datetime as dt
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from bson.objectid import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import OperationFailure

from backtrail import Keys, Migration, Rows
from backtrail.errors import AuthorMistake, UnknownName, UsageError
from backtrail.schema.documents import carry
from ledger.entry import Entry, Fact, Head
from ledger.event import Event
from ledger.expansion import Expansion, expansion
from ledger.ledger import Ledger
from ledger.mongo import alone
from ledger.mongo.expansion import MongoExpansion
from tests.ledger.mongo.helpers import append, opened, plain

QUOTES = {
    "$jsonSchema": {"bsonType": "object", "required": ["text"], "properties": {"text": {"bsonType": "string", "pattern": "^."}}}
}
STEPS = [
    "create_collection quotes",
    "insert quotes",
    "create_index by_age on people",
    "create_index name.last_1_age_-1 on people",
    "set_validator people",
    "set_validator quotes",
    "execute",
]


def whole(schema: Any) -> None:
    """A step of every kind."""
    schema.create_collection(
        "quotes",
        validator=QUOTES,
        indexes=["author", {"keys": [("text", 1)], "name": "texts", "unique": True}, [("author", 1), ("text", -1)]],
        validationLevel="moderate",
    )
    schema.insert(
        "quotes",
        [{"text": "Know thyself", "at": dt.datetime(1, 1, 1, tzinfo=dt.UTC), "n": Decimal128("1.10")}, {"_id": 7, "text": "é😀"}],
    )
    schema.create_index("people", {"age": 1}, name="by_age", partialFilterExpression={"age": {"$gt": 17}})
    schema.create_index("people", [("name.last", 1), ("age", -1)], collation={"locale": "en", "strength": 2})
    schema.set_validator("people", {"name": {"$regex": "^[A-Z]", "$options": "i"}}, level="moderate", action="warn")
    schema.set_validator("quotes", {"$jsonSchema": {"required": ["text", "_id"]}})
    schema.execute({"create": "by_hand"}, undo={"drop": "by_hand"})


def opens(body: Callable[[Any], None]) -> Callable[[Ledger], Expansion]:
    def expand(self: Migration, schema: Any) -> None:
        body(schema)

    attributes = {"name": "trial", "keys": Keys("people", "_id"), "reads": (Rows("people", by="_id"),), "expand": expand}
    cls = type("Trial", (Migration,), attributes)
    return lambda ledger: expansion(ledger, cls())


WHOLE = opens(whole)


@pytest.fixture
def data(mongo: str):
    """The database of the data as any client sees it, with people in it."""
    with MongoClient[dict[str, Any]](mongo) as client:
        database = client.get_default_database()
        database.people.insert_many([{"_id": 1, "name": "Ada", "age": 36}, {"_id": 2, "name": "Plato", "age": 80}])
        # Its words about validation cannot be taken out of a collection again once it had some, only their meaning.
        database.command({"collMod": "people", "validationLevel": "strict", "validationAction": "error"})
        yield database


def form(database: Database[dict[str, Any]]) -> dict[str, Any]:
    """All that the server says of every collection and index but the identities that it gives to collections, and all documents' bytes."""
    found = {}
    for one in database.list_collections():
        documents = database[one["name"]].with_options(
            codec_options=database.codec_options.with_options(document_class=RawBSONDocument)
        )
        indexes = [dict(index) for index in database[one["name"]].list_indexes()]
        content = sorted(document.raw for document in documents.find())  # type: ignore[attr-defined]
        found[one["name"]] = [one["type"], one["options"], indexes, content]
    return found


def run(one: Expansion) -> list[str]:
    return [str(step) for step in one.expand(by="me@here", reason="ticket 7")]


def back(one: Expansion) -> list[str]:
    return [str(step) for step in one.retract(by="me@here", reason="not needed")]


def said(ledger: Ledger) -> list[Event]:
    with ledger.store.transaction(write=False) as tx:
        head = ledger.journal.heads(tx, "expand:trial", [""], lock=False)[""]
        return ledger.journal.events(tx, [head.id or 0])[head.id or 0]


def state(ledger: Ledger) -> str:
    with ledger.store.transaction(write=False) as tx:
        return ledger.journal.heads(tx, "expand:trial", [""], lock=False)[""].state


# -- the whole story --------------------------------------------------------------------------------------------------


def test_what_is_added_is_taken_back_without_a_trace(empty: Ledger, data: Any) -> None:
    """Every kind of step: shown, added once, and gone again; list_collections, list_indexes and all documents are as before."""
    before, one = form(data), WHOLE(empty)
    assert list(before) == ["people"]
    shown = one.script()
    assert [next(iter(json.loads(line))) for line in shown] == [
        *("create", "createIndexes", "insert", "createIndexes", "createIndexes", "collMod", "collMod", "create"),
    ]
    assert form(data) == before
    with plain(empty) as (database, _):
        assert database.list_collection_names() == []
    assert run(one) == STEPS
    after = form(data)
    assert set(after) == {"people", "quotes", "by_hand"}
    assert [index["name"] for index in after["quotes"][2]] == ["_id_", "author_1", "texts", "author_1_text_-1"]
    assert after["quotes"][1]["validator"] == {"$jsonSchema": {"required": ["text", "_id"]}}
    assert after["people"][1]["validationAction"] == "warn"
    assert [index["name"] for index in after["people"][2]] == ["_id_", "by_age", "name.last_1_age_-1"]
    assert data.quotes.find_one({"_id": 7}) == {"_id": 7, "text": "é😀"}
    assert run(one) == one.script() == []
    assert form(data) == after
    assert [str(step) for step in one.standing()] == STEPS[::-1]
    assert isinstance(one, MongoExpansion)
    assert one.missing() == []
    assert back(one) == STEPS[::-1]
    assert form(data) == before
    assert back(one) == []
    assert run(one) == STEPS
    assert {name: some[:3] for name, some in form(data).items()} == {name: some[:3] for name, some in after.items()}


def test_who_and_why_stand_in_the_ledger(empty: Ledger, data: Any) -> None:
    """Every step is an event of its own between the begin and the end of its job, as JSON."""
    one = WHOLE(empty)
    run(one)
    assert state(empty) == "expanded"
    back(one)
    assert state(empty) == "retracted"
    events = said(empty)
    assert [event.kind for event in events] == ["begin", *["expanded"] * 7, "end", "begin", *["retracted"] * 7, "end"]
    jobs = [event.facts for event in events if event.kind == "begin"]
    assert [(job["job"], job["by"], job["reason"]) for job in jobs] == [
        ("expand", "me@here", "ticket 7"),
        ("expand --undo", "me@here", "not needed"),
    ]


def test_an_extended_expand_adds_only_what_is_new(empty: Ledger, data: Any) -> None:
    """Steps of earlier runs are found by their place; one that was changed or left out is refused."""
    before = form(data)
    run(WHOLE(empty))
    longer = opens(lambda schema: (whole(schema), schema.create_index("quotes", "n")))(empty)
    assert run(longer) == ["create_index n_1 on quotes"]
    changed = opens(lambda schema: schema.create_collection("quotes"))(empty)
    with pytest.raises(UsageError, match="step 1 was create_collection quotes and is now written differently"):
        run(changed)
    with pytest.raises(UsageError, match="create_collection quotes was done and is not asked for any more"):
        opens(lambda _: None)(empty).script()
    assert len(back(longer)) == 8
    assert form(data) == before


def test_nothing_asked_for_leaves_no_ledger(empty: Ledger, data: Any) -> None:
    """A migration that expands nothing, and one that is refused beforehand, leave the server as it was."""
    assert run(opens(lambda _: None)(empty)) == back(WHOLE(empty)) == []
    with pytest.raises(UsageError):
        run(opens(lambda schema: schema.create_collection("people"))(empty))
    with plain(empty) as (database, _):
        assert database.list_collection_names() == []


# -- refusals ---------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[Any], None], type[Exception], str]] = {
    "a collection": (
        lambda schema: schema.create_collection("people"),
        UsageError,
        "create_collection people: it exists already",
    ),
    "an index": (
        lambda schema: schema.create_index("people", "age"),
        UsageError,
        "create_index age_1 on people: it exists already",
    ),
    "keys": (
        lambda schema: schema.create_index("people", "age", name="mine"),
        UsageError,
        "create_index mine on people: the index age_1 has the same keys: it exists already",
    ),
    "a command of SQL": (
        lambda schema: schema.execute("CREATE TABLE t (a int)", undo="DROP TABLE t"),
        AuthorMistake,
        "on MongoDB execute takes a command, and undo= one or several, as in {",
    ),
    "an undo of SQL": (lambda schema: schema.execute({"ping": 1}, undo="DROP TABLE t"), AuthorMistake, "execute takes a command"),
    "a table": (lambda schema: schema.create_table("t"), AuthorMistake, "this looks like a migration of SQL"),
    "a column": (lambda schema: schema.add_column("people", None), AuthorMistake, "this looks like a migration of SQL"),
    "no collection": (lambda schema: schema.create_index("poeple", "age"), UnknownName, "did you mean 'people'"),
    "no collection to check": (lambda schema: schema.set_validator("x", {}), UnknownName, "no collection named 'x'"),
    "no collection to fill": (lambda schema: schema.insert("x", [{}]), UnknownName, "no collection named 'x'"),
    "unknown": (
        lambda schema: schema.drop_collection("people"),
        AuthorMistake,
        "no 'drop_collection' on MongoDB: there are create_coll",
    ),
    "by command": (
        lambda schema: schema.execute({"create": "people"}, undo={"drop": "people"}),
        UsageError,
        "execute: it exists already",
    ),
    "no undo": (lambda schema: schema.execute({"ping": 1}), AuthorMistake, "needs undo="),
    "no BSON": (
        lambda schema: schema.insert("people", [{"a": object()}]),
        AuthorMistake,
        "insert people: a value that BSON does not",
    ),
    "an _id": (lambda schema: schema.insert("people", [{"_id": 1}]), UsageError, "insert people: 1 documents with these _ids"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_beforehand(empty: Ledger, data: Any, case: str) -> None:
    """In one line that names the step and the mend; the steps before it are not done either."""
    data.people.create_index("age")
    before = form(data)
    body, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message.replace("(", r"\(")):
        run(opens(lambda schema: (schema.create_collection("new"), body(schema)))(empty))
    assert form(data) == before


FAILING: dict[str, tuple[Callable[[Any], None], str]] = {
    "duplicates": (
        lambda schema: schema.create_index("people", "kind", unique=True),
        "create_index kind_1 on people: documents that are there",
    ),
    "a validator": (
        lambda schema: schema.insert("new", [{"text": "fine"}, {"secret": "Ada"}]),
        "insert new: a document would break",
    ),
    "bad options": (
        lambda schema: schema.create_index("people", "age", unknownThing=1),
        "create_index age_1 on people: .*unknownThing",
    ),
    "bad command": (lambda schema: schema.execute({"noSuchThing": 1}, undo={"drop": "people"}), "execute: .*noSuchThing"),
    "bad validator": (lambda schema: schema.set_validator("people", {"$nope": 1}), "set_validator people: .*nope"),
}


@pytest.mark.parametrize("case", FAILING)
def test_what_the_database_refuses_takes_everything_back(ledger: Ledger, data: Any, case: str) -> None:
    """The step is named, no value is shown, what was done before it is gone, and the ledger says so."""
    data.people.update_many({}, {"$set": {"kind": "secret"}})
    before = form(data)
    body, message = FAILING[case]

    def steps(schema: Any) -> None:
        schema.create_collection("new", validator={"text": {"$exists": True}})
        schema.set_validator("people", {"age": {"$gt": 1}}, level="moderate")
        schema.execute({"create": "by_hand"}, undo={"drop": "by_hand"})
        body(schema)

    with pytest.raises(UsageError, match=message) as refusal:
        run(opens(steps)(ledger))
    assert "secret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert form(data) == before
    assert [event.kind for event in said(ledger)] == ["begin", *["expanded"] * 4, *["retracted"] * 4, "end"]
    assert state(ledger) == "retracted"
    assert run(WHOLE(ledger)) == STEPS


def test_a_refused_addition_leaves_what_stood(empty: Ledger, data: Any) -> None:
    """Steps of earlier runs stay when later ones are refused."""
    run(WHOLE(empty))
    after = form(data)
    data.people.update_many({}, {"$set": {"kind": "same"}})
    with pytest.raises(UsageError, match="create_index kind_1"):
        run(
            opens(
                lambda schema: (
                    whole(schema),
                    schema.create_index("quotes", "n"),
                    schema.create_index("people", "kind", unique=True),
                )
            )(empty)
        )
    data.people.update_many({}, {"$unset": {"kind": ""}})
    assert form(data) == after
    assert state(empty) == "expanded"
    assert len(back(WHOLE(empty))) == 7


# -- undo -------------------------------------------------------------------------------------------------------------

IN_THE_WAY: dict[str, tuple[Callable[[Any], Any], str]] = {
    "a document": (
        lambda data: data.quotes.insert_one({"_id": 99, "text": "mine"}),
        "quotes holds 1 documents that expand did not insert",
    ),
    "a change": (
        lambda data: data.quotes.update_one({"_id": 7}, {"$set": {"text": "mine"}}),
        "1 documents of quotes that expand inserted were changed",
    ),
    "a type": (
        lambda data: data.quotes.replace_one({"_id": 7}, {"text": "é😀", "n": 1}),
        "1 documents of quotes that expand inserted were changed",
    ),
    "a validator": (
        lambda data: data.command({"collMod": "people", "validator": {"x": 1}}),
        "validator of people is not as expand left it",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_undo_refuses_to_take_what_is_not_its_own(empty: Ledger, data: Any, case: str) -> None:
    """Nothing is changed where somebody else's work would go with it."""
    one = WHOLE(empty)
    run(one)
    attack, message = IN_THE_WAY[case]
    attack(data)
    before, events = form(data), len(said(empty))
    with pytest.raises(UsageError, match=message):
        back(one)
    assert form(data) == before
    assert len(said(empty)) == events


def test_undo_refuses_while_it_is_used(empty: Ledger, data: Any) -> None:
    """Not while entities are migrated."""
    one = WHOLE(empty)
    run(one)
    append(empty, Entry(Head("trial", "1"), "migrated", [Fact("begin", "{}")]))
    before = form(data)
    with pytest.raises(UsageError, match="1 entities are migrated: `backtrail rollback trial --all` first"):
        back(one)
    assert form(data) == before


def test_what_is_gone_already_stays_gone(empty: Ledger, data: Any) -> None:
    """An undo takes the rest; before it, what is missing is told by name."""
    before, one = form(data), WHOLE(empty)
    run(one)
    data.people.drop_index("by_age")
    data.quotes.delete_one({"_id": 7})
    data.quotes.drop_index("texts")
    data.command({"collMod": "people", "validator": {}})
    assert isinstance(one, MongoExpansion)
    assert one.missing() == [
        "index texts of quotes",
        "1 documents of quotes that expand inserted",
        "index by_age of people",
        "validator of people as expand left it",
    ]
    data.command({"collMod": "people", "validator": {"name": {"$regex": "^[A-Z]", "$options": "i"}}})
    data.quotes.drop()
    assert one.missing() == ["collection quotes", "index by_age of people"]
    assert len(back(one)) == 7
    assert form(data) == before


def test_a_document_that_comes_in_the_middle_of_undo_is_kept(empty: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written after it was looked at: the undo stops there, all that it took back stands again, and it says why."""
    one = WHOLE(empty)
    run(one)
    delete = carry._BACK["insert"]

    def and_then(database: Any, step: Any) -> None:
        delete(database, step)
        database.quotes.insert_one({"_id": 99, "text": "mine"})

    after = form(data)
    monkeypatch.setitem(carry._BACK, "insert", and_then)
    with pytest.raises(UsageError, match="quotes holds 1 documents"):
        back(one)
    assert data.quotes.delete_one({"_id": 99}).deleted_count == 1
    assert form(data) == after
    assert state(empty) == "expanded"
    monkeypatch.undo()
    assert len(back(one)) == 7


# -- crashes ----------------------------------------------------------------------------------------------------------


class Crash(BaseException):
    """As if the process had been killed: nothing catches it."""


def crash_at(monkeypatch: pytest.MonkeyPatch, table: dict[str, Any], count: int, *, after: bool) -> None:
    """The process ends at its step of that number, before it or when it is just done."""
    seen = iter(range(1, 100))

    def wrapped(original: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def step(database: Any, one: Any) -> Any:
            now = next(seen)
            if now == count and not after:
                raise Crash
            answer = original(database, one)
            if now == count:
                raise Crash
            return answer

        return step

    for name in list(table):
        monkeypatch.setitem(table, name, wrapped(table[name]))


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("count", range(1, 8))
def test_an_expand_that_was_killed_goes_on(
    empty: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch, count: int, after: bool
) -> None:
    """Wherever it ended, the next one performs what is missing, once, and undo takes all of it back."""
    before, one = form(data), WHOLE(empty)
    crash_at(monkeypatch, carry._FORTH, count, after=after)
    with pytest.raises(Crash):
        run(one)
    monkeypatch.undo()
    assert state(empty) == "expanding"
    done = count if after else count - 1
    assert run(WHOLE(empty)) == STEPS[done:]
    assert [event.kind for event in said(empty)] == ["begin", *["expanded"] * 7, "end"]
    assert (state(empty), data.quotes.count_documents({})) == ("expanded", 2)
    assert isinstance(one, MongoExpansion)
    assert one.missing() == []
    assert len(back(one)) == 7
    assert form(data) == before


def test_a_command_is_not_run_twice_after_a_crash(empty: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was run before the crash is remembered, for nothing in the database tells of it."""

    def body(schema: Any) -> None:
        for name in ("first", "second"):
            schema.execute({"insert": name, "documents": [{}]}, undo={"drop": name})
        schema.create_collection("last")

    crash_at(monkeypatch, carry._FORTH, 3, after=False)
    with pytest.raises(Crash):
        run(opens(body)(empty))
    monkeypatch.undo()
    assert run(opens(body)(empty)) == ["create_collection last"]
    assert [data[name].count_documents({}) for name in ("first", "second")] == [1, 1]
    assert len(back(opens(body)(empty))) == 3


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("then", ["undo", "expand"])
def test_an_undo_that_was_killed_can_go_either_way(
    empty: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch, count: int, then: str
) -> None:
    """A second undo completes it; an expand puts back what is gone, the same documents included."""
    before, one = form(data), WHOLE(empty)
    run(one)
    stood = form(data)
    crash_at(monkeypatch, carry._BACK, count, after=True)
    with pytest.raises(Crash):
        back(one)
    monkeypatch.undo()
    assert state(empty) == "retracting"
    assert form(data) != stood
    if then == "expand":
        run(one)
        assert sorted(form(data)) == sorted(stood)
        assert form(data)["quotes"][1:] == stood["quotes"][1:]
        assert {index["name"] for index in form(data)["people"][2]} == {index["name"] for index in stood["people"][2]}
        assert state(empty) == "expanded"
    assert back(one) == STEPS[::-1]
    assert form(data) == before
    assert state(empty) == "retracted"


def test_a_crash_in_a_refused_expand_is_cleared_up(ledger: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while it took back what it had done, it is refused once more, and then everything is as it was."""
    data.people.update_many({}, {"$set": {"kind": "same"}})
    before = form(data)

    def body(schema: Any) -> None:
        schema.create_collection("new", indexes=["a"])
        schema.create_index("people", "kind", unique=True)

    crash_at(monkeypatch, carry._BACK, 1, after=False)
    with pytest.raises(Crash):
        run(opens(body)(ledger))
    monkeypatch.undo()
    assert form(data) != before
    with pytest.raises(UsageError, match="create_index kind_1"):
        run(opens(body)(ledger))
    assert form(data) == before
    assert state(ledger) == "retracted"


# -- several at once --------------------------------------------------------------------------------------------------


def test_of_several_at_once_one_adds_and_the_others_find_it_done(mongo: str, data: Any) -> None:
    """Neither an error nor a second document, though there is no ledger yet on which to wait."""
    start = threading.Barrier(4)

    def starter(number: int) -> int:
        ledger = opened(mongo)
        start.wait(20)
        try:
            return len(run(WHOLE(ledger)))
        finally:
            ledger.store.close()

    with ThreadPoolExecutor(4) as starters:
        assert sorted(starters.map(starter, range(4))) == [0, 0, 0, 7]
    assert data.quotes.count_documents({}) == 2


def test_who_is_at_it_is_named(ledger: Ledger, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another starter is refused by the lease's name while one is at work, and gets its turn when that one is gone."""
    monkeypatch.setattr(alone, "WAIT_S", 0.2)
    with alone.alone(ledger.store.ledger_database, "ada@there"):  # type: ignore[attr-defined]
        with pytest.raises(UsageError, match=r"ada@there is expanding or taking back in this database .lease 'expand' until"):
            run(WHOLE(ledger))
        assert set(form(data)) == {"people"}
    assert run(WHOLE(ledger)) == STEPS


def test_a_lease_runs_out_where_its_owner_was_killed(ledger: Ledger, data: Any) -> None:
    """Nobody has to clean up by hand."""
    with plain(ledger) as (database, _):
        past = int(dt.datetime.now(dt.UTC).timestamp() * 1000) - 1000
        database.leases.insert_one({"_id": "expand", "owner": "dead", "by": "ada", "until": past})
    assert run(WHOLE(ledger)) == STEPS


def test_a_lease_is_renewed_while_its_owner_works(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index can take longer to build than a lease lasts."""
    monkeypatch.setattr(alone, "LEASE_MS", 300)
    monkeypatch.setattr(alone, "WAIT_S", 1.0)
    database = ledger.store.ledger_database  # type: ignore[attr-defined]
    with alone.alone(database, "ada"), pytest.raises(UsageError, match="ada is expanding"), alone.alone(database, "other"):
        raise AssertionError("two at once")


# -- what documents may hold ------------------------------------------------------------------------------------------


def test_inserted_documents_are_exact(ledger: Ledger, data: Any) -> None:
    """Whatever BSON has comes as it was given, and is known again byte for byte."""
    given = {"_id": {"b": 1, "a": uuid.UUID(int=5)}, "z": -0.0, "a": [None, 2**40, b"\0", ObjectId()], "$x": {"y.z": "\0"}}
    before = form(data)
    one = opens(lambda schema: schema.insert("people", [given, {"late": 1, "_id": "x"}]))(ledger)
    run(one)
    stored = data.people.with_options(codec_options=data.codec_options.with_options(uuid_representation=4))
    assert list(stored.find_one({"z": 0.0})) == list(given)
    assert list(data.people.find_one({"_id": "x"})) == ["_id", "late"]
    data.people.update_one({"_id": "x"}, {"$set": {"late": 1.0}})
    with pytest.raises(UsageError, match="1 documents of people that expand inserted were changed"):
        back(one)
    data.people.update_one({"_id": "x"}, {"$set": {"late": 1}})
    assert back(one) == ["insert people"]
    assert form(data) == before


def test_a_validator_that_was_there_comes_back(ledger: Ledger, data: Any) -> None:
    """Also the second of two in one expand, and with its level and action."""
    old = {"age": {"$type": "number"}}
    data.command({"collMod": "people", "validator": old, "validationLevel": "moderate", "validationAction": "warn"})
    before = form(data)

    def body(schema: Any) -> None:
        schema.set_validator("people", {"age": {"$gt": 0}})
        schema.set_validator("people", {"age": {"$gt": 1}})

    one = opens(body)(ledger)
    assert len(run(one)) == 2
    with pytest.raises(OperationFailure):
        data.people.insert_one({"age": 1})
    assert len(back(one)) == 2
    assert form(data) == before
