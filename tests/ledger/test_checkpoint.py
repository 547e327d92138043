"""Checkpoints: what is sealed stays provable while the ledger grows, and whatever is done to it afterwards is found."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Callable, Sequence

import psycopg
import pytest
from pymerkle import InmemoryTree

from backtrail.errors import UsageError
from ledger import merkle, sealer
from ledger.checkpoint import Checkpoint, Unsound, read_checkpoint, reader
from ledger.leaves import Leaf
from ledger.note import opened, sign
from ledger.sealer import Occupied, Sealer
from tests.engine import Engine
from tests.ledger.sealing import KEY, OTHER, USERS, Raw, Row, compared, leaves, populated, seal, shouting


def netstrings(*fields: bytes) -> bytes:
    return b"".join(str(len(field)).encode() + b":" + field + b"," for field in fields)


def theirs(engine: Engine) -> InmemoryTree:
    """Pymerkle's tree over the leaves as the database's rows say them, put together here."""
    raw = Raw(engine)
    tree = InmemoryTree(algorithm="sha256")
    for row in sorted(raw.rows("leaves"), key=lambda row: row[raw.number]):
        fields = (str(row["stream"]).encode(), row["migration"].encode(), str(row["version"]).encode(), bytes(row["head"]))
        tree.append_entry(netstrings(b"backtrail-leaf-1", *fields))
    return tree


# -- sealing ----------------------------------------------------------------------------------------------------------


def test_a_ledger_that_grows_is_sealed_again_and_again(everywhere: Engine) -> None:
    """Migrated, rolled back and done by a second migration: every checkpoint is the tree over all heads so far, and begins with the ones before."""
    engine = everywhere
    populated(engine)
    populated(engine, 3, "places")
    users, places = shouting(engine), shouting(engine, "places", "places")
    engine.migrate(users)
    seals = [seal(engine)]
    engine.rollback(users, only=["2", "5"])
    engine.migrate(places)
    seals.append(seal(engine, reason="nightly"))
    engine.rerun(users, only=["2"])
    seals.append(seal(engine))
    assert [one.checkpoint.size for one in seals] == [USERS, USERS + 5, USERS + 6]
    assert [one.sealed for one in seals] == [USERS, 5, 1]
    assert all(one.uncovered.events == 0 and not one.refused for one in seals)
    tree = theirs(engine)
    for one in seals:
        assert one.checkpoint.root == tree.get_root(one.checkpoint.size)
        assert compared(engine, one.note).document()["ok"], compared(engine, one.note)
    with engine.store.transaction(write=False) as tx:
        for old in seals:
            for new in seals[seals.index(old) :]:
                proof = merkle.consistency(reader(leaves(engine), tx), old.checkpoint.size, new.checkpoint.size)
                assert merkle.consistent(
                    old.checkpoint.size, new.checkpoint.size, proof, old.checkpoint.root, new.checkpoint.root
                )
    again = seal(engine, olds=[one.checkpoint for one in seals])
    assert (again.note, again.sealed, len(again.proofs)) == (seals[-1].note, 0, 3)
    kept = Raw(engine).rows("checkpoints")
    assert sorted(row["size"] for row in kept) == [USERS, USERS + 5, USERS + 6], "one that says nothing new is not kept twice"
    assert {(row["by"], row["reason"]) for row in kept} == {("ada@tests", None), ("ada@tests", "nightly")}


def test_the_text_is_the_format_of_transparency_logs(on_sqlite: Engine) -> None:
    """Origin, size and root on a line each, an empty line, a signature with the key's id; and no key of an entity in any leaf."""
    engine = on_sqlite
    populated(engine)
    engine.migrate(shouting(engine))
    note = seal(engine).note
    root = theirs(engine).get_root()
    public = KEY.private.public_key()
    raw = public.public_bytes_raw()
    number = hashlib.sha256(b"ledger.example/tests\n\x01" + raw).digest()[:4]
    text = f"ledger.example/tests\n{USERS}\n{base64.b64encode(root).decode()}\n"
    assert note.startswith(f"{text}\n\u2014 ledger.example/tests ")
    signature = base64.b64decode(note.removesuffix("\n").rpartition(" ")[2])
    assert signature[:4] == number
    public.verify(signature[4:], text.encode())
    assert read_checkpoint(note, KEY.verifier) == Checkpoint("ledger.example/tests", USERS, root)


def test_an_empty_ledger_has_a_checkpoint_too(on_sqlite: Engine) -> None:
    """Of no leaves, with which every later one is consistent."""
    engine = on_sqlite
    engine.ledger.create()
    empty = seal(engine)
    assert empty.checkpoint == Checkpoint(KEY.name, 0, hashlib.sha256(b"").digest())
    assert compared(engine, empty.note).problems == 0
    populated(engine)
    engine.migrate(shouting(engine))
    grown = seal(engine, olds=[empty.checkpoint])
    assert (grown.checkpoint.size, grown.proofs) == (USERS, [[]])
    finding = compared(engine, empty.note)
    assert (finding.problems, finding.checked, finding.sums["unsealed_streams"]) == (0, 0, USERS)


def test_what_came_after_is_said_to_be_uncovered(everywhere: Engine) -> None:
    """Events after the checkpoint are no problem, and counted."""
    engine = everywhere
    populated(engine)
    users = shouting(engine)
    engine.migrate(users, only=["1", "2"])
    first = seal(engine)
    one = len(engine.events(users, "1"))
    engine.migrate(users)
    engine.rollback(users, only=["1"])
    finding = compared(engine, first.note)
    new = sum(len(engine.events(users, str(number))) for number in range(1, USERS + 1)) - 2 * one
    assert finding.problems == 0
    assert finding.sums == {"leaves": 2, "unsealed_streams": USERS - 1, "unsealed_events": new}
    assert finding.note is not None
    assert f"{new} events of {USERS - 1} streams" in finding.note
    assert compared(engine, seal(engine).note).note is None


def test_large_seals_take_several_windows(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of three streams, pages of two leaves and pieces of what is read at once give the same tree, kept levels included."""
    engine = on_sqlite
    for name, value in {
        "ledger.checkpoint.WINDOW": 3,
        "ledger.walk.WINDOW": 3,
        "ledger.walk.AT_ONCE": 2,
        "ledger.sealer.LEAVES": 2,
        "ledger.sealed.LEAVES": 2,
    }.items():
        monkeypatch.setattr(name, value)
    monkeypatch.setattr("ledger.merkle.STEP", 1)
    populated(engine, 40)
    users = shouting(engine)
    engine.migrate(users)
    seal(engine)
    engine.rollback(users, only=["7", "8", "9", "31"])
    last = seal(engine)
    assert last.checkpoint.size == 44
    assert last.checkpoint.root == theirs(engine).get_root()
    finding = compared(engine, last.note)
    assert (finding.problems, finding.checked) == (0, 44)
    assert len(Raw(engine).rows("nodes")) == 44 // 2 + 44 // 4 + 44 // 8 + 44 // 16 + 44 // 32


@pytest.mark.parametrize("statement", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "INSERT OR REPLACE INTO {} SELECT * FROM {}"])
def test_the_database_keeps_what_was_sealed(engine: Engine, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """Leaves, nodes and checkpoints are append-only: no change, no removal, no replacement goes through."""
    monkeypatch.setattr("ledger.merkle.STEP", 1)
    populated(engine, 2)
    engine.migrate(shouting(engine))
    before = seal(engine)
    for name, column in (("leaves", "stream"), ("nodes", "level"), ("checkpoints", "size")):
        table = f"backtrail.{name}" if engine.postgres else f"backtrail_{name}"
        assert engine.query(f"SELECT count(*) FROM {table}") != [(0,)]
        if "REPLACE" in statement and engine.postgres:
            continue
        with pytest.raises((psycopg.errors.InsufficientPrivilege, sqlite3.IntegrityError), match="append-only"):
            engine.script(statement.format(*((table, column, column) if "SET" in statement else (table, table))))
    assert seal(engine).note == before.note


# -- several at once, and ends in the middle --------------------------------------------------------------------------


def test_only_one_seals_at_a_time(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is at work another is told so; as soon as that has ended it is its turn."""
    engine = everywhere
    populated(engine)
    engine.migrate(shouting(engine))
    monkeypatch.setattr(sealer, "TURN_S", 0)
    refused: list[str] = []

    def meanwhile(_: int) -> None:
        with pytest.raises(Occupied, match="another checkpoint of this ledger is being made") as caught:
            seal(engine)
        refused.append(str(caught.value))

    assert seal(engine, progress=meanwhile).checkpoint.size == USERS
    assert len(refused) == 1
    assert seal(engine).checkpoint.size == USERS


def test_a_sealer_that_is_killed_harms_nothing(everywhere: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it had done, the next one goes on from there, and its checkpoint is the tree over all leaves."""
    engine = everywhere
    monkeypatch.setattr("ledger.merkle.STEP", 1)
    populated(engine)
    users = shouting(engine)
    engine.migrate(users, only=["1", "2", "3"])
    first = seal(engine)
    engine.migrate(users)

    def die(self: Sealer, *arguments: object) -> None:
        raise KeyboardInterrupt

    for where in ("_grow", "_keep_nodes", "_keep"):
        with pytest.raises(KeyboardInterrupt):
            type("Killed", (Sealer,), {where: die})(engine.ledger, leaves(engine), KEY).seal(by="x")
    assert len(Raw(engine).rows("nodes")) == 3 + 1, "the last of them had kept its nodes"
    engine.rollback(users, only=["4"])
    last = seal(engine, olds=[first.checkpoint])
    assert last.checkpoint.size == USERS + 1
    assert last.checkpoint.root == theirs(engine).get_root()
    assert compared(engine, last.note).problems == 0


def test_another_key_begins_from_the_leaves(on_sqlite: Engine) -> None:
    """A new key signs the same tree, keeps its own checkpoint, and each opens with its own key only."""
    engine = on_sqlite
    populated(engine)
    engine.migrate(shouting(engine))
    old, new = seal(engine), seal(engine, OTHER)
    assert old.checkpoint == new.checkpoint
    assert opened(new.note, OTHER.verifier) == opened(old.note, KEY.verifier)
    assert compared(engine, new.note, key=OTHER).problems == 0
    with pytest.raises(UsageError, match="give the verifier key"):
        compared(engine, new.note)
    assert len(Raw(engine).rows("checkpoints")) == 2


# -- tampering --------------------------------------------------------------------------------------------------------


class Lived:
    """A ledger sealed twice, and the rows as they were before what was sealed last."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        populated(engine)
        self.users = shouting(engine)
        engine.migrate(self.users)
        self.first = seal(engine)
        self.raw = Raw(engine)
        self.earlier = {name: self.raw.rows(name) for name in ("events", "streams")}
        engine.rollback(self.users, only=["2", "3"])
        self.last = seal(engine)
        finding = compared(engine, self.last.note)
        assert (finding.problems, finding.checked) == (0, USERS + 2)

    @property
    def two(self) -> int:
        """The number of the second user's stream."""
        with self.engine.store.transaction(write=False) as tx:
            return self.engine.ledger.journal.heads(tx, "shouting", ["2"], lock=False)["2"].id or 0

    def problems(self, note: str | None = None, only: str | None = None) -> list[str]:
        finding = compared(self.engine, note or self.last.note, only)
        assert finding.problems == len(finding.examples)
        return finding.examples

    def without(self, name: str, stream: int, field: str) -> None:
        self.raw.edit(name, lambda rows: [row for row in rows if row[field] != stream])


def test_an_edited_event_is_found_and_not_sealed(everywhere: Engine) -> None:
    """The first bad event of the stream is named; the stream is not sealed anew, the others are."""
    lived = Lived(everywhere)
    stream = lived.two

    def edit(rows: list[Row]) -> list[Row]:
        return [row | {"kind": "remark"} if (row["stream"], row["version"]) == (stream, 2) else row for row in rows]

    lived.raw.edit("events", edit)
    [problem] = lived.problems()
    assert problem.startswith("2: version ")
    assert "version 2 (remark) is not what was appended" in problem
    everywhere.migrate(shouting(everywhere, "second"))
    everywhere.rerun(lived.users, only=["3"])
    again = seal(everywhere)
    assert (again.sealed, again.refused) == (USERS + 1, [])
    lived.raw.put(
        "streams",
        [row | {"version": row["version"] + 1} if row[lived.raw.id] == stream else row for row in lived.raw.rows("streams")],
    )
    refusing = seal(everywhere)
    assert refusing.sealed == 0
    assert [line.startswith("2: version ") for line in refusing.refused] == [True]
    assert refusing.uncovered.streams == 1


def test_a_tail_that_was_cut_off_is_found(everywhere: Engine) -> None:
    """With the state row put back too, which nothing inside the ledger can see; it is not sealed either."""
    lived = Lived(everywhere)
    for name, rows in lived.earlier.items():
        lived.raw.put(name, rows)
    problems = lived.problems()
    assert sorted(one.partition(":")[0] for one in problems) == ["2", "3"]
    assert all("was sealed" in one and "its events end at version" in one for one in problems)
    assert lived.problems(lived.first.note) == [], "what the older checkpoint covers is all there"
    refused = seal(everywhere).refused
    assert sorted(one.partition(":")[0] for one in refused) == ["2", "3"]


def test_a_tail_that_was_written_anew_with_good_hashes_is_found(everywhere: Engine) -> None:
    """Cut off and done again at another time, so that every hash is right: another history than the one that was sealed."""
    lived = Lived(everywhere)
    for name, rows in lived.earlier.items():
        lived.raw.put(name, rows)
    everywhere.change("users", {"name": "user 2!"}, id=2)
    assert everywhere.rollback(lived.users, only=["2"])["rolled_back"] == 1
    everywhere.change("users", {"name": "user 3!"}, id=3)
    assert everywhere.rollback(lived.users, only=["3"])["rolled_back"] == 1
    problems = lived.problems()
    assert sorted(one.partition(":")[0] for one in problems) == ["2", "3"]
    assert all("written anew, with good hashes" in one for one in problems)
    everywhere.rerun(lived.users, only=["2"])
    assert [one.partition(":")[0] for one in seal(everywhere).refused] == ["2"]


def test_a_stream_that_was_removed_is_found(everywhere: Engine) -> None:
    """With its state row, so that nobody knows whose it was; and each half of it alone."""
    lived = Lived(everywhere)
    stream = lived.two
    before = lived.raw.rows("streams")
    lived.without("events", stream, "stream")
    [problem] = lived.problems()
    assert problem.startswith("2: version ")
    assert "its events end at version 0" in problem
    lived.without("streams", stream, lived.raw.id)
    [problem] = lived.problems()
    assert problem.startswith(f"(stream {stream} of shouting): version ")
    assert problem.endswith("and the stream is gone")
    assert lived.problems(only="shouting") == [problem]
    assert lived.problems(only="other") == []
    last = max(row[lived.raw.id] for row in before)
    lived.raw.put("streams", before)
    lived.without("streams", last, lived.raw.id)
    assert any(one.startswith(f"(stream {last} of shouting)") for one in lived.problems()), (
        "the last one, after which there is no window"
    )


Change = Callable[[Raw, list[Row]], list[Row]]

LEAVES: dict[str, tuple[Change, str]] = {
    "its hash": (
        lambda raw, rows: [row | {"head": bytes(32)} if row[raw.number] == 2 else row for row in rows],
        "do not give the root",
    ),
    "its version": (
        lambda raw, rows: [row | {"version": 1} if row[raw.number] == 2 else row for row in rows],
        "do not give the root",
    ),
    "its stream": (
        lambda raw, rows: [row | {"stream": 4711} if row[raw.number] == 2 else row for row in rows],
        "do not give the root",
    ),
    "its migration": (
        lambda raw, rows: [row | {"migration": "x"} if row[raw.number] == 2 else row for row in rows],
        "do not give the root",
    ),
    "one removed": (
        lambda raw, rows: [row for row in rows if row[raw.number] != 2],
        f"1 of {USERS + 2} leaves are missing, the first is leaf 2",
    ),
    "the last removed": (
        lambda raw, rows: [row for row in rows if row[raw.number] < USERS + 1],
        f"the first is leaf {USERS + 1}",
    ),
    "all removed": (lambda raw, rows: [], f"{USERS + 2} of {USERS + 2} leaves are missing"),
    "two swapped": (
        lambda raw, rows: [row | {raw.number: {1: 2, 2: 1}.get(row[raw.number], row[raw.number])} for row in rows],
        "fit the ledger as it is: it was written anew together with them",
    ),
}


def test_leaves_that_were_tampered_with_are_found_and_never_signed(everywhere: Engine) -> None:
    """`verify` says what is wrong with them, and a new checkpoint is refused as long as they are wrong."""
    lived = Lived(everywhere)
    before = lived.raw.rows("leaves")
    for change, said in LEAVES.values():
        lived.raw.edit("leaves", lambda rows, change=change: change(lived.raw, rows))  # type: ignore[misc]
        assert said in lived.problems()[-1]
        with pytest.raises(Unsound):
            seal(everywhere)
        lived.raw.put("leaves", before)
        assert lived.problems() == []
    assert len(lived.raw.rows("checkpoints")) == 2
    everywhere.rollback(lived.users, only=["1"])
    assert seal(everywhere, olds=[lived.last.checkpoint]).sealed == 1


def test_a_ledger_that_was_written_anew_is_found(everywhere: Engine) -> None:
    """With its leaves, nodes and checkpoints, all of them good: it is another root, and an older checkpoint forbids to sign it."""
    lived = Lived(everywhere)
    for name in ("events", "streams", "leaves", "nodes", "checkpoints"):
        lived.raw.put(name, [])
    everywhere.change("users", {"name": "somebody else"}, id=2)
    everywhere.rerun(lived.users, only=[str(number) for number in range(1, USERS + 1)])
    with pytest.raises(Unsound, match="the older checkpoint covers"):
        seal(everywhere, olds=[lived.last.checkpoint])
    with pytest.raises(Unsound, match="are not those of the older checkpoint: the ledger was written anew"):
        seal(everywhere, olds=[lived.first.checkpoint])
    forged = seal(everywhere)
    assert forged.checkpoint.size == USERS
    assert compared(everywhere, forged.note).problems == 0, "inside itself it is perfect"
    [problem] = lived.problems(lived.first.note)
    assert problem.endswith("and fit the ledger as it is: it was written anew together with them")


def test_a_checkpoint_in_the_database_is_no_evidence(on_sqlite: Engine) -> None:
    """One that was changed there stops the next; one that says too much as well."""
    lived = Lived(on_sqlite)
    for change in ({"note": lived.last.note.replace("\n8\n", "\n7\n")}, {"note": seal(on_sqlite, OTHER).note}, {"note": "x"}):
        rows = lived.raw.rows("checkpoints")
        lived.raw.edit(
            "checkpoints",
            lambda found, change=change: [
                row | change if row["size"] == 8 and row["signer"] == KEY.verifier.label else row for row in found
            ],
        )  # type: ignore[misc]
        with pytest.raises(Unsound, match="is not what was signed"):
            seal(on_sqlite)
        lived.raw.put("checkpoints", rows)


def test_kept_nodes_are_never_believed(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify` hashes the leaves themselves; a node that was changed stops the sealer, whose root would otherwise be wrong."""
    monkeypatch.setattr("ledger.merkle.STEP", 1)
    lived = Lived(on_sqlite)
    lived.raw.edit("nodes", lambda rows: [row | {"hash": bytes(32)} for row in rows])
    assert lived.problems() == []
    with pytest.raises(Unsound, match="are not those of the last checkpoint"):
        seal(on_sqlite)
    lived.raw.put("nodes", [])
    with pytest.raises(Unsound, match="missing"):
        seal(on_sqlite)


def test_a_changed_file_is_found(on_sqlite: Engine) -> None:
    """Size, root or signature changed: said of the file itself, and nothing else is looked at."""
    lived = Lived(on_sqlite)
    note = lived.last.note
    root = note.split("\n")[2]
    for changed in (
        note.replace("\n8\n", "\n6\n"),
        note.replace(root, base64.b64encode(bytes(32)).decode()),
        note.replace("tests\n8", "rests\n8"),
    ):
        assert changed != note
        [problem] = lived.problems(changed)
        assert problem.startswith("the checkpoint itself: the signature of ledger.example/tests+")
    for text in (
        "a\n8\n",
        "ledger.example/tests\n08\n" + root + "\n",
        "ledger.example/tests\n8\nAAAA\n",
        f"other\n8\n{root}\n",
        f"ledger.example/tests\n8\n{root}\n\nx\n",
    ):
        with pytest.raises(UsageError):
            compared(on_sqlite, sign(text, KEY))


def test_extension_lines_are_read_past() -> None:
    """The format allows lines after the root; they say nothing to us."""
    root = base64.b64encode(bytes(32)).decode()
    assert read_checkpoint(sign(f"ledger.example/tests\n8\n{root}\nmore\n", KEY), KEY.verifier).size == 8


def test_a_leaf_holds_what_it_says() -> None:
    """Its bytes are five netstrings, and every field counts."""
    leaf = Leaf(3, 17, "split", 4, bytes(range(32)))
    assert leaf.data == netstrings(b"backtrail-leaf-1", b"17", b"split", b"4", bytes(range(32)))
    others: Sequence[Leaf] = [
        leaf._replace(stream=1),
        leaf._replace(migration="7split"),
        leaf._replace(version=44),
        leaf._replace(head=bytes(32)),
    ]
    assert len({one.hash for one in (leaf, *others)}) == 5
    assert leaf.hash == hashlib.sha256(b"\0" + leaf.data).digest()
