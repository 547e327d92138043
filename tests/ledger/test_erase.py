"""Erasing people: nothing of them can be read, the ledger still verifies, and nobody else notices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from backtrail.errors import BacktrailError, UsageError
from ledger.erase import Erasure, without
from ledger.keyring import new_master
from ledger.sql import scrub as scrubbing
from producer.campaign import moved
from tests.engine import Engine
from tests.ledger.erasing import (
    ANN,
    BOB,
    ZOE,
    erased,
    files,
    flags,
    key_of,
    left_by_the_application,
    moving,
    populated,
    readable,
    rows,
    run,
    verified,
)
from tests.ledger.sealing import Raw, compared, seal

URLS = ["sqlite", "postgres", "mongo"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The file of a new master key."""
    path = tmp_path / "master.keys"
    path.write_text(new_master() + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture(params=[False, True], ids=["open", "sealed"])
def masters(request: pytest.FixtureRequest, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """The file of a master key, which the application knows too; or none."""
    if not request.param:
        return None
    monkeypatch.setenv("BACKTRAIL_MASTER_KEY_FILE", str(key_file))
    return key_file


@pytest.fixture(params=URLS)
def anywhere(request: pytest.FixtureRequest, masters: Path | None) -> Iterator[Engine]:
    """The engine with people on every kind of database, encrypted and not."""
    with closing(Engine(request.getfixturevalue(request.param), masters=masters)) as engine:
        populated(engine)
        yield engine


@pytest.fixture
def engine(sqlite: str, masters: Path | None) -> Iterator[Engine]:
    """The engine with people on SQLite, encrypted and not: for what no kind of database does otherwise."""
    with closing(Engine(sqlite, masters=masters)) as engine:
        populated(engine)
        yield engine


# -- the whole story --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [("mail",), ("mail", "team")], ids="-".join)
def test_an_erased_person_is_gone_and_still_migrated(anywhere: Engine, columns: tuple[str, ...]) -> None:
    """Migrated, rolled back, redone, erased: rows and files hold no trace, the flag stays, the others go back, old checkpoints hold."""
    engine, cls = anywhere, moving(anywhere, *columns)
    zoe, ann = (key_of(*(mail, "red")[: len(columns)]) for mail in (ZOE, ANN))
    before = engine.dump("people", "copies")
    words: dict[str, Any] = {"params": {"guide": f"ask {ZOE}"}, "reason": f"for {ZOE.upper()}, and {ANN}"}
    assert engine.migrate(cls, **words)["migrated"] == 3
    early = seal(engine)
    back = engine.rollback(cls, only=[zoe], reason=f"{ZOE} asked")
    assert engine.redo(cls, back["campaign"])["migrated"] == 1
    assert engine.rerun(cls, only=[zoe], params={"guide": "x"})["migrated"] == 1
    with engine.store.transaction() as tx:
        campaign = engine.ledger.campaigns.find(tx, "c1")
        engine.ledger.campaigns.record_move(tx, campaign, moved("paused", 1, f"wait for {ZOE}", "", None))
    after = engine.dump("people", "copies")
    seen = {text for _, text in readable(ZOE, rows(engine))}
    sealing = engine.settings.master_key_file is not None
    assert seen == (set() if sealing else {ZOE, "Zoë Kanari", "ZOË KANARI", "Titled Zoë"})
    if sealing and (engine.postgres or engine.mongo):
        assert readable(ZOE, files(engine)) == [], "nothing readable ever was in the ledger"

    done = erased(engine, ZOE, "--reason", f"asked by {ZOE}")
    assert (done["streams"], done["keys"], done["encrypted"]) == (1, int(sealing), sealing)
    assert (done["redacted"] > 10) != sealing
    assert engine.dump("people", "copies") == after, "the application's own tables are left alone"
    assert readable(ZOE, rows(engine)) == []
    assert verified(engine, cls) == {"problems": {}, "erased": 1}
    key: Any = (ZOE, "red") if len(columns) > 1 else ZOE
    assert flags(engine, cls.name, key) == [True] * 3
    assert engine.events(cls, zoe)[-1].facts["reason"] == "asked by (erased)"
    for note in (early.note, seal(engine).note):
        assert compared(engine, note).problems == 0
    left_by_the_application(engine, ZOE)
    if not (engine.mongo and not sealing):
        assert readable(ZOE, files(engine)) == []
        assert readable(ANN, rows(engine) if sealing else files(engine)) or sealing, "the search finds what is there"

    assert engine.migrate(cls)["migrated"] == 0, "the others were migrated before"
    assert verified(engine, cls) == {"problems": {}, "erased": 1}
    assert engine.rollback(cls, only=[ann])["rolled_back"] == 1
    assert [one for one in engine.dump("people") if b"lerche" in repr(one).encode()] == [
        one for one in before if b"lerche" in repr(one).encode()
    ]


def test_nothing_is_brought_back_and_it_says_why(anywhere: Engine) -> None:
    """Rollback, rerun and redo by key, by campaign and of all: the erased one fails with that word, the others go."""
    engine, cls = anywhere, moving(anywhere)
    first = engine.migrate(cls)["campaign"]
    erased(engine, ZOE)
    after = engine.dump("people", "copies")
    told = "Erased: it was erased: the ledger holds nothing that could be brought back"

    def refused(end: dict[str, Any], done: int) -> None:
        assert (end["failed"], end["rolled_back"] + end["migrated"], end["state"]) == (1, done, "completed")
        (failure,) = engine.failures(cls).values()
        assert f"{failure['error']}: {failure['reason']}" == told

    refused(engine.rollback(cls, only=[ZOE]), 0)
    refused(engine.rerun(cls, only=[ZOE]), 0)
    assert engine.dump("people", "copies") == after
    assert engine.rerun(cls, options={"stale": True})["failed"] == 0
    assert engine.rerun(cls, options={"failed": True})["migrated"] == 0
    back = engine.rollback(cls, options={"from": "campaign", "campaign": int(first[1:])})
    refused(back, 2)
    assert engine.redo(cls, back["campaign"])["migrated"] == 2
    refused(engine.rollback(cls, options={"from": "streams", "state": "migrated"}), 2)
    assert verified(engine, cls)["problems"].keys() <= {"coverage"}
    assert flags(engine, cls.name, ZOE) == [True] * 3
    assert engine.migrate(cls)["skipped"] == 3
    assert readable(ZOE, rows(engine)) == []


@pytest.mark.parametrize("sealed_", [False, True], ids=["open", "sealed"])
def test_numbers_as_keys_go_the_same_way(sqlite: str, key_file: Path, sealed_: bool) -> None:
    """The token that stands for an erased key is no number, and nobody takes it for one."""
    with closing(Engine(sqlite, masters=key_file if sealed_ else None)) as engine:
        populated(engine)
        cls = moving(engine, "id")
        campaign = engine.migrate(cls)["campaign"]
        erased(engine, "1")
        assert verified(engine, cls) == {"problems": {}, "erased": 1}
        for options in ({"from": "campaign", "campaign": int(campaign[1:])}, {"from": "streams", "state": "migrated"}):
            end = engine.rollback(cls, options=options)
            assert (end["rolled_back"], end["failed"], end["state"]) == (2, 1, "completed")
            engine.redo(cls, end["campaign"])
        assert engine.rerun(cls, options={"failed": True})["failed"] == 1
        assert engine.rerun(cls, options={"stale": True})["failed"] == 0


# -- what is whose ----------------------------------------------------------------------------------------------------


def streams(engine: Engine) -> int:
    return sum(one.erased for cls_ in {c.migration for c in _campaigns(engine)} for one in _heads(engine, cls_))


def _campaigns(engine: Engine) -> list[Any]:
    with engine.store.transaction(write=False) as tx:
        return engine.ledger.campaigns.all(tx)


def _heads(engine: Engine, name: str) -> list[Any]:
    with engine.store.transaction(write=False) as tx:
        return engine.ledger.journal.page(tx, name, 0, 1000)


def test_all_that_is_of_a_person_goes_and_nothing_else(engine: Engine) -> None:
    """A person named by the second value of the key has several entities; one whose first value reads alike is somebody else."""
    engine.add("people", (4, BOB, "Zoë Kanari", "green"), (5, "red", "Red Robin", "red"))
    cls = moving(engine, "mail", "team", subject="team")
    assert engine.migrate(cls)["migrated"] == 5
    assert erased(engine, "red")["streams"] == 3
    heads = _heads(engine, cls.name)
    assert sorted(head.key for head in heads if not head.erased) == [key_of(BOB, "blue"), key_of(BOB, "green")]
    assert verified(engine, cls) == {"problems": {}, "erased": 3}
    again = run(engine, "erase", "red", masters=engine.settings.master_key_file)
    assert (again.exit_code, again.stdout) == (0, "erased before: nothing was left to do\n")


def test_one_key_may_be_two_people(engine: Engine) -> None:
    """`--migration` erases from one migration only; without it both are meant."""
    one, two = (
        moving(engine, "id"),
        moving(engine, "id", name="other", writes=("copies",), decide=lambda user: user.remark("seen")),
    )
    for cls in (one, two):
        assert engine.migrate(cls)["migrated"] == 3
    assert erased(engine, "1", "--migration", "other")["streams"] == 1
    assert [verified(engine, cls)["erased"] for cls in (one, two)] == [0, 1]
    assert engine.rollback(one, only=["1"])["rolled_back"] == 1
    assert erased(engine, "1")["streams"] == 1
    assert [verified(engine, cls) for cls in (one, two)] == [{"problems": {}, "erased": 1}] * 2


def test_a_key_that_only_reads_like_the_name_is_somebody_elses(engine: Engine) -> None:
    """The whole key of an entity with several values is nobody's name; nor is a part of a longer name."""
    longer = f"x{ZOE}"
    engine.add("people", (4, longer, "Xenia Kanarienvogel", "red"))
    plain, pair = (
        moving(engine),
        moving(engine, "mail", "team", name="pair", writes=("copies",), decide=lambda user: user.remark("seen")),
    )
    engine.migrate(plain, reason=f"for {longer}")
    engine.migrate(pair)
    refused = run(engine, "erase", key_of(ZOE, "red"), masters=engine.settings.master_key_file)
    assert (refused.exit_code, "nothing in the ledger is of this person" in str(refused.exception)) == (1, True)
    assert erased(engine, ZOE)["streams"] == 2
    assert {head.key for head in _heads(engine, "moving") if not head.erased} == {ANN, BOB, longer}
    assert _campaigns(engine)[0].reason == f"for {longer}"


def test_what_is_left_of_texts() -> None:
    """Names go however they are capitalized and wherever they stand in JSON; other people's longer names stay."""
    said = {"a": [f"{ZOE}, {ZOE.upper()}; mailto:{ZOE}'s", 5, None], ZOE: {"b": f"x{ZOE}"}}
    assert without(said, [ZOE]) == {"a": ["(erased), (erased); mailto:(erased)'s", 5, None], "(erased)": {"b": f"x{ZOE}"}}
    assert without(said, []) == said
    assert without(None, [ZOE]) is None


def test_a_name_that_is_also_a_word_of_ours_changes_no_list(anywhere: Engine) -> None:
    """Somebody is called like an option, a value of one and part of a parameter's name: nothing is renamed, and the next person is erased whole."""
    engine = anywhere
    for number, name in enumerate(("subject", "guide", "streams", "paused"), 4):
        engine.add("people", (number, name, "Somebody", "red"))
    cls = moving(engine, "team", "mail", subject="mail")
    params = {"guide": "ask guide, or streams", "lists": {"streams": [1, "guide"]}}
    assert engine.migrate(cls, params=params)["migrated"] == 7
    with engine.store.transaction() as tx:
        campaign = engine.ledger.campaigns.find(tx, "c1")
        engine.ledger.campaigns.record_move(tx, campaign, moved("paused", 1, "guide was paused", "", None))
        before = engine.ledger.campaigns.find(tx, "c1")
    for name in ("subject", "guide", "streams", "paused"):
        erased(engine, name)
    with engine.store.transaction(write=False) as tx:
        after = engine.ledger.campaigns.find(tx, "c1")
    (move,) = before.options["moves"]
    assert after.options == before.options | {"moves": [move | {"reason": "(erased) was (erased)"}]}
    assert after.params == {"guide": "ask (erased), or (erased)", "lists": {"(erased)": [1, "(erased)"]}}
    assert verified(engine, cls)["problems"] == {}
    erased(engine, ZOE)
    assert readable(ZOE, rows(engine)) == []


@pytest.mark.parametrize("state", ["rolled_back", "failed", "vanished"])
def test_whatever_state_an_entity_is_in_it_keeps_it(engine: Engine, state: str) -> None:
    """A later campaign skips it; whoever names it is told that it was erased."""
    check = {"check": lambda self, user: [f"{user.key} is wrong"] if user.key == ZOE else []} if state == "failed" else {}
    cls = moving(engine, **check)
    campaign = engine.open(cls, "migrate", only=[ZOE, ANN])
    if state == "vanished":
        engine.remove("people", mail=ZOE)
    engine.run(campaign)
    if state == "rolled_back":
        engine.rollback(cls, only=[ZOE])
    assert engine.states(cls)[ZOE] == state
    before = engine.dump("people", "copies")
    erased(engine, ZOE)
    (gone,) = [head for head in _heads(engine, cls.name) if head.erased]
    assert (gone.state, gone.failed) == (state, state == "failed")
    assert verified(engine, cls)["problems"].keys() <= {"coverage"}
    assert flags(engine, cls.name, ZOE) == [False] * 3
    assert engine.migrate(cls)["failed"] == 0
    named = "rerun" if state != "vanished" else None
    if named:
        assert engine.rerun(cls, only=[ZOE])["failed"] == 1
    status = run(engine, "status", "--json", masters=engine.settings.master_key_file)
    assert readable(ZOE, {"status": status.output.encode()} | rows(engine)) == []
    assert [line for line in engine.dump("people", "copies") if ZOE in repr(line)] == [
        line for line in before if ZOE in repr(line)
    ]


def test_recalls_of_jobs_that_were_never_done_go_too(engine: Engine) -> None:
    """What was paid for is kept before the job is; its stream may never come."""
    cls = moving(engine)
    campaign = engine.open(cls, "migrate", only=[ZOE])
    with engine.store.transaction() as tx:
        engine.ledger.journal.store_recall(tx, cls.name, ZOE, ZOE, ("title", "d"), "Titled Zoë")
        engine.ledger.campaigns.move(tx, campaign, "cancelled", now=1)
    assert engine.query("SELECT count(*) FROM backtrail_recalls") == [(1,)]
    assert erased(engine, ZOE)["lists"] == 1
    assert engine.query("SELECT count(*) FROM backtrail_recalls") == [(0,)]
    assert readable(ZOE, rows(engine)) == []


# -- refused, killed, at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["open", "paused", "halted"])
def test_a_campaign_that_is_not_over_refuses(engine: Engine, state: str) -> None:
    """It could bring the person back; nothing was changed, and it says what to do."""
    cls = moving(engine)
    engine.migrate(cls)
    campaign = engine.open(cls, "rerun", only=[ZOE])
    if state != "open":
        with engine.store.transaction() as tx:
            engine.ledger.campaigns.move(tx, campaign, state, now=1)  # type: ignore[arg-type]
    before = rows(engine)
    with pytest.raises(UsageError, match=f"c2 of moving is {state}: let it end, or `backtrail cancel c2`, first"):
        Erasure(engine.ledger, ZOE).run(by="me", reason=None)
    assert rows(engine) == before


@pytest.mark.parametrize("subject", ["", "  ", "~0123456789012345678901"])
def test_nobody_has_such_a_name(engine: Engine, subject: str) -> None:
    """A token names nobody: what it stands for was erased."""
    with pytest.raises(UsageError, match="erase takes the text that names a person"):
        Erasure(engine.ledger, subject)


@pytest.mark.parametrize("where", ["_erase_streams", "_erase_stream", "destroy", "_rewrite_batch", "_rewrite_campaign"])
def test_killed_in_the_middle_it_is_done_again(engine: Engine, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every place between and within its transactions; what stood in between verifies and works."""
    cls = moving(engine, "mail", "team")
    engine.migrate(cls, reason=f"for {ZOE}", params={"guide": ZOE})
    with monkeypatch.context() as patch:
        target = type(engine.ledger.keyring.vault) if where == "destroy" else Erasure
        patch.setattr(target, where, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            Erasure(engine.ledger, ZOE).run(by="me", reason=None)
    late = where.startswith("_rewrite")
    assert verified(engine, cls) == {"problems": {}, "erased": int(late)}
    back = engine.rollback(cls, options={"from": "campaign", "campaign": 1})
    assert (back["rolled_back"], back["failed"]) == ((2, 1) if late else (3, 0)), "erased, or not at all"
    engine.redo(cls, back["campaign"])
    assert erased(engine, ZOE)["streams"] == int(not late)
    assert readable(ZOE, rows(engine)) == []
    assert verified(engine, cls) == {"problems": {}, "erased": 1}


def test_a_campaign_that_began_meanwhile_is_named(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have put the name on a list again: erased again, that is gone too."""
    cls = moving(engine)
    engine.migrate(cls)
    original = Erasure._erase_streams

    def meanwhile(self: Erasure, *given: Any) -> None:
        if len(_campaigns(engine)) == 1:
            engine.open(cls, "rerun", only=[ZOE])
        original(self, *given)

    monkeypatch.setattr(Erasure, "_erase_streams", meanwhile)
    result = run(engine, "erase", ZOE, masters=engine.settings.master_key_file)
    assert result.exit_code == 1
    assert "c2 began meanwhile" in result.stderr
    monkeypatch.undo()
    if engine.settings.master_key_file is not None:
        monkeypatch.setenv("BACKTRAIL_MASTER_KEY_FILE", str(engine.settings.master_key_file))
    engine.run(_campaigns(engine)[1])
    assert erased(engine, ZOE)["lists"] == 1
    assert readable(ZOE, rows(engine)) == []


def test_twice_there_is_nothing_to_do(anywhere: Engine) -> None:
    """Exit code 0 and no event more; somebody who never was there is exit code 2."""
    cls = moving(anywhere)
    anywhere.migrate(cls)
    erased(anywhere, ZOE)
    before = rows(anywhere)
    again = erased(anywhere, ZOE)
    assert (again["streams"], again["lists"], again["keys"], again["before"]) == (0, 0, 0, 1)
    assert rows(anywhere) == before
    nobody = run(anywhere, "erase", "nobody@example.org", masters=anywhere.settings.master_key_file)
    assert isinstance(nobody.exception, UsageError)


def test_what_a_worker_had_in_hand_is_erased_with_the_rest(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a campaign that was cancelled a moment ago: it commits after the streams were looked for, and before its list was."""
    cls = moving(engine)
    campaign = engine.open(cls, "migrate")
    engine.feeder.step()
    with engine.store.transaction() as tx:
        engine.ledger.campaigns.move(tx, campaign, "cancelled", now=1)
    original = Erasure._rewrite_batches

    def late(self: Erasure, *given: Any) -> None:
        monkeypatch.undo()
        with engine.store.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE backtrail_campaigns SET state = 'running'")
        engine.work()
        with engine.store.transaction() as tx:
            tx.connection.exec_driver_sql("UPDATE backtrail_campaigns SET state = 'cancelled'")
        assert engine.states(cls)[ZOE] == "migrated"
        original(self, *given)

    monkeypatch.setattr(Erasure, "_rewrite_batches", late)
    assert Erasure(engine.ledger, ZOE).run(by="me", reason=None).streams == 1
    assert readable(ZOE, rows(engine)) == []
    assert verified(engine, cls) == {"problems": {}, "erased": 1}


# -- keys of the ledger -----------------------------------------------------------------------------------------------


def test_rotation_leaves_erased_what_is_and_makes_old_backups_useless(request: pytest.FixtureRequest, key_file: Path) -> None:
    """The old master key is gone: the others are read and go back; a key of a backup opens nothing."""
    with closing(Engine(request.getfixturevalue("sqlite"), masters=key_file)) as engine:
        populated(engine)
        cls = moving(engine)
        engine.migrate(cls)
        backup = dict(engine.query("SELECT subject, secret FROM backtrail_keys"))
        masters_then = {master for (master,) in engine.query("SELECT master FROM backtrail_keys")}
        erased(engine, ZOE)
        assert len(backup) == len(engine.query("SELECT 1 FROM backtrail_keys")) + 1 == 3
        assert run(engine, "keys", "new", "--to", str(key_file), masters=key_file).exit_code == 0
        assert oct(key_file.stat().st_mode & 0o777) == "0o600"
        result = run(engine, "keys", "rotate", "--json", masters=key_file)
        assert json.loads(result.stdout)["wrapped"] == 3, "two people and the lookup secret"
        key_file.write_text(key_file.read_text().splitlines()[0] + "\n")
        assert not masters_then & {master for (master,) in engine.query("SELECT master FROM backtrail_keys")}
    with closing(Engine(request.getfixturevalue("sqlite"), masters=key_file)) as engine:
        assert verified(engine, cls) == {"problems": {}, "erased": 1}
        assert engine.rollback(cls, only=[ANN])["rolled_back"] == 1
        (subject,) = set(backup) - {one for (one,) in engine.query("SELECT subject FROM backtrail_keys")}
        (old,) = masters_then
        engine.execute("INSERT INTO backtrail_keys VALUES (?, ?, ?)", subject, backup[subject], old)
        with pytest.raises(BacktrailError, match=f"the master key {old} is not here"):
            engine.events(cls, ZOE)


def test_a_ledger_that_is_encrypted_later_is_erased_whole(request: pytest.FixtureRequest, key_file: Path) -> None:
    """What lay open is redacted, what was sealed since has lost its key."""
    url = request.getfixturevalue("sqlite")
    with closing(Engine(url)) as engine:
        populated(engine)
        cls = moving(engine)
        engine.migrate(cls, reason=f"for {ZOE}")
    with closing(Engine(url, masters=key_file)) as engine:
        engine.ledger.create()
        back = engine.rollback(cls, only=[ZOE, ANN])
        assert engine.redo(cls, back["campaign"])["migrated"] == 2
        assert {event.body[0] for event in engine.events(cls, ZOE)} == {1, 2}
        done = erased(engine, ZOE)
        assert (done["streams"], done["keys"]) == (1, 1)
        assert done["redacted"] == 6, "begin, two changes, two notes, end"
        left_by_the_application(engine, ZOE)
        assert readable(ZOE, files(engine)) == []
        assert verified(engine, cls) == {"problems": {}, "erased": 1}
        assert engine.rollback(cls, only=[ANN])["rolled_back"] == 1


@pytest.mark.parametrize("wrong", ["missing", "open to others", "another", "no key"])
def test_without_the_master_key_nothing_is_erased(sqlite: str, key_file: Path, tmp_path: Path, wrong: str) -> None:
    """Exit code 2 in one line; nothing was changed. The application is told the same, and not that nobody is migrated."""
    with closing(Engine(sqlite, masters=key_file)) as engine:
        populated(engine)
        cls = moving(engine)
        engine.migrate(cls)
        other = tmp_path / "other.keys"
        if wrong != "missing":
            other.write_text("x" if wrong == "no key" else new_master())
            other.chmod(0o644 if wrong == "open to others" else 0o600)
        before = rows(engine)
        result = run(engine, "erase", ZOE, masters=other)
        assert isinstance(result.exception, UsageError)
        assert ("BACKTRAIL_MASTER_KEY_FILE" in str(result.exception)) == (wrong == "another")
        assert rows(engine) == before
        with pytest.MonkeyPatch.context() as patch, closing(engine.sqlite()) as connection:
            patch.setenv("BACKTRAIL_MASTER_KEY_FILE", str(other))
            from backtrail import is_migrated

            with pytest.raises(UsageError):
                is_migrated(connection, cls.name, ANN)


# -- tampering --------------------------------------------------------------------------------------------------------


def _without(*names: str) -> dict[str, None]:
    return dict.fromkeys(names)


def test_what_an_erasure_left_of_the_person_cannot_be_changed_unseen(anywhere: Engine) -> None:
    """The tokens in the stream's row stand in the erasure's own event; a redacted event is found by no row."""
    engine, cls = anywhere, moving(anywhere, "team", "mail", subject="mail")
    engine.migrate(cls)
    erased(engine, ZOE)
    (gone,) = [head for head in _heads(engine, cls.name) if head.erased]
    raw = Raw(engine)
    before = raw.rows("streams")
    for column, said in (("key", "key"), ("subject", "subject")):
        change = {column: "~" + "A" * 22}
        raw.edit("streams", lambda rows, change=change: [row | change if row[raw.id] == gone.id else row for row in rows])  # type: ignore[misc]
        problems = verified(engine, cls)["problems"]["ledger"]
        assert problems[0].endswith(f"its row says another {said} than the event of its erasure")
        raw.put("streams", before)
    assert verified(engine, cls) == {"problems": {}, "erased": 1}
    if engine.settings.master_key_file is None:
        raw.edit(
            "events", lambda rows: [row | {"ref": 7} if (row["stream"], row["version"]) == (gone.id, 2) else row for row in rows]
        )
        (problem,) = verified(engine, cls)["problems"]["ledger"]
        assert "version 2 (" in problem
        assert problem.endswith("is not what was appended")


def test_an_event_that_somebody_redacted_is_named(engine: Engine) -> None:
    """The triggers let a redaction pass; that nobody recorded an erasure tells it from one."""
    cls = moving(engine)
    engine.migrate(cls)
    (head,) = [one for one in _heads(engine, cls.name) if one.key == ZOE]
    body = engine.events(cls, ZOE)[1].body
    from ledger.event import commitment

    Raw(engine)
    engine.execute(
        "UPDATE backtrail_events SET body = ?, ref = NULL WHERE stream = ? AND version = 2",
        b"\0" + commitment(head.secret, body),
        head.id,
    )
    (problem,) = verified(engine, cls)["problems"]["ledger"]
    assert problem == f"{ZOE}: version 2 (created) cannot be read, and nobody recorded an erasure"


def test_a_key_that_somebody_destroyed_is_named(sqlite: str, key_file: Path) -> None:
    """Neither read nor recorded as erased: `verify` says so, before and after an attempt to erase what is left."""
    with closing(Engine(sqlite, masters=key_file)) as engine:
        populated(engine)
        one, pair = (
            moving(engine),
            moving(engine, "mail", "team", name="pair", writes=("copies",), decide=lambda user: user.remark("seen")),
        )
        for cls in (one, pair):
            engine.migrate(cls)
        token = engine.ledger.keyring.subject
        engine.execute("DELETE FROM backtrail_keys WHERE subject IN (?, ?)", token("moving", ZOE), token("pair", ZOE))
        for cls in (one, pair):
            problems = verified(engine, cls)["problems"]
            assert any("its row stands under another key than its own" in line for line in problems["ledger"]), problems
        result = run(engine, "erase", ZOE, masters=key_file)
        assert result.exit_code == 1
        assert "1 streams had lost their key before" in result.stderr
        assert verified(engine, one) == {"problems": {}, "erased": 1}, "the name that was typed is the key"
        assert "ledger" in verified(engine, pair)["problems"]


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE backtrail_streams SET origin = NULL WHERE origin IS NOT NULL",
        "UPDATE backtrail_streams SET origin = x'00' WHERE origin IS NOT NULL",
        "UPDATE backtrail_streams SET state = 'rolled_back' WHERE origin IS NOT NULL",
        "UPDATE backtrail_streams SET key = '~0123456789012345678901' WHERE origin IS NOT NULL",
        "UPDATE backtrail_streams SET origin = x'00' WHERE origin IS NULL",
        "DELETE FROM backtrail_events WHERE kind = '0'",
        "UPDATE backtrail_events SET body = replace(body, 'migrated', 'rolled_back') WHERE kind = '0'",
        "UPDATE backtrail_events SET kind = '0' WHERE kind = 'n'",
        "UPDATE backtrail_events SET kind = 'e' WHERE kind = '0'",
    ],
)
def test_an_erasure_that_is_edited_or_made_up_is_named(engine: Engine, edit: str) -> None:
    """Rows and events, of the erased person and of others."""
    cls = moving(engine)
    engine.migrate(cls)
    erased(engine, ZOE)
    assert verified(engine, cls) == {"problems": {}, "erased": 1}
    Raw(engine)
    engine.script(edit)
    assert "ledger" in verified(engine, cls)["problems"]


def test_an_edited_state_is_not_made_good_by_an_erasure(engine: Engine) -> None:
    """What the events say counts: afterwards nobody could tell any more."""
    cls = moving(engine)
    engine.migrate(cls)
    engine.execute("UPDATE backtrail_streams SET state = 'rolled_back', failed = 1")
    erased(engine, ZOE)
    (gone,) = [head for head in _heads(engine, cls.name) if head.erased]
    assert (gone.state, gone.failed) == ("migrated", False)
    assert flags(engine, cls.name, ZOE) == [True] * 3


def test_an_application_is_not_told_that_nobody_is_migrated(engine: Engine) -> None:
    """Without the lookup secret nobody's token can be found."""
    cls = moving(engine)
    engine.migrate(cls)
    erased(engine, ZOE)
    engine.execute("DELETE FROM backtrail_lookup")
    with pytest.raises(UsageError, match="the ledger's lookup secret is gone"):
        flags(engine, cls.name, ZOE)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for long."""
    monkeypatch.setattr(scrubbing, "WAIT_MS", 10)


def test_nothing_is_left_in_a_write_ahead_log(sqlite: str, impatient: None) -> None:
    """Of an open ledger: the log is emptied with the file. As long as somebody reads in it, it says that it could not."""
    with closing(Engine(sqlite)) as engine:
        populated(engine)
        engine.query("PRAGMA journal_mode = WAL")
        cls = moving(engine)
        engine.migrate(cls)
        left_by_the_application(engine, ANN)
        with closing(engine.sqlite()) as reader:
            reader.execute("BEGIN")
            assert reader.execute("SELECT count(*) FROM backtrail_events").fetchone()[0] > 3
            assert readable(ANN, files(engine))
            done = erased(engine, ANN)
            assert (done["streams"], done["files_rewritten"]) == (1, False)
            assert readable(ANN, files(engine))
        assert erased(engine, ANN)["files_rewritten"] is True
        assert readable(ANN, files(engine)) == []


def test_on_postgresql_the_statistics_of_the_planner_forget_too(postgres: str) -> None:
    """They hold values of columns, keys among them."""
    with closing(Engine(postgres)) as engine:
        populated(engine)
        cls = moving(engine)
        engine.migrate(cls, reason=f"for {ZOE}")
        engine.execute("ANALYZE")
        statistics = "SELECT string_agg(s::text, '') FROM pg_stats s WHERE schemaname LIKE 'backtrail%'"
        assert ZOE in engine.query(statistics)[0][0]
        erased(engine, ZOE)
        assert ZOE not in engine.query(statistics)[0][0]
        assert ANN in engine.query(statistics)[0][0]


def test_on_postgresql_what_an_older_transaction_sees_is_said_to_be_left(postgres: str, impatient: None) -> None:
    """It is in the new files too; and a table that is in use is not waited for for ever."""
    with closing(Engine(postgres)) as engine:
        populated(engine)
        cls = moving(engine)
        engine.migrate(cls)
        with psycopg.connect(postgres) as older:
            older.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            assert erased(engine, ZOE)["files_rewritten"] is False
            assert readable(ZOE, files(engine))
        with psycopg.connect(postgres) as older:
            older.execute("SELECT 1 FROM backtrail.streams")
            assert erased(engine, ZOE)["files_rewritten"] is False
        assert erased(engine, ZOE)["files_rewritten"] is True
        assert readable(ZOE, files(engine)) == []


def test_old_versions_can_be_left_for_later(engine: Engine) -> None:
    """`--no-vacuum` says that they are there; erased again they go."""
    cls = moving(engine)
    engine.migrate(cls)
    result = run(engine, "erase", ZOE, "--no-vacuum", masters=engine.settings.master_key_file)
    assert "old versions of rows may still be in the database's files" in result.stderr
    left_by_the_application(engine, BOB)
    again = run(engine, "erase", ZOE, "--vacuum", masters=engine.settings.master_key_file)
    assert "old versions" not in again.stderr
