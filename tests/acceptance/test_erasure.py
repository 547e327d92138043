"""Erasing people through the program itself, and with the roles of a production set-up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from backtrail import is_migrated
from ledger.keyring import new_master
from producer.cli import backtrail
from tests import servers
from tests.acceptance.conftest import a_place
from tests.engine import Engine
from tests.ledger.erasing import ANN, BOB, CANARIES, ZOE, files, forms, moving, populated, readable, rows, run, verified
from tests.processes import Place
from tests.roles import Production, production

MAILS = '''
from backtrail import Keys, Migration, Rows


class Mails(Migration):
    """A copy of everybody."""

    name = "mails"
    keys = Keys("people", "mail")
    reads = (Rows("people", by="mail"),)
    writes = ("people", "copies")

    def migrate(self, user):
        row = user.one("people")
        user.create("copies", {"id": row["id"], "mail": row["mail"], "title": user.recall("title", str.title, row["name"])})
        user.update(row, {"name": row["name"].upper()})
        user.conflict("name", values=[row["name"], "?"], chosen=row["name"])

    def check(self, user):
        if user.one("people")["team"] == "blue":
            yield f"{user.key} is blue"
'''


@pytest.fixture
def place() -> Iterator[Place]:
    """A folder with people in an SQLite file, and the code of a migration that quarantines one of them."""
    with a_place("sqlite", None) as one, closing(Engine(one.database)) as engine:
        populated(engine)
        (one.folder / "mails.py").write_text(MAILS)
        yield one


@pytest.mark.long
@pytest.mark.parametrize("sealed", [False, True], ids=["open", "sealed"])
def test_the_whole_way_of_a_request(place: Place, sealed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key, worker, campaign, erasure, proof, rotation: no word of the person on any output, log, or file but the application's own."""
    keys, said = place.folder / "master.keys", list[str]()
    if sealed:
        place.run("keys", "new", "--to", str(keys))
        assert keys.stat().st_mode & 0o777 == 0o600
        place = Place(place.folder, place.database, more={"BACKTRAIL_MASTER_KEY_FILE": str(keys)})
    monkeypatch.chdir(place.folder)
    with place.worker(processes=1):
        done = place.json("enqueue", "mails.py", "--watch", "--reason", f"for {ZOE}", code=1)
        assert (done["migrated"], done["failed"]) == (2, 1)
        answer = place.run("erase", ZOE, "--reason", f"{ZOE} asked")
        assert answer.out.startswith("erased: 1 streams, ")
        assert ("keys destroyed" in answer.out) == sealed
        back = place.run("rollback", "mails.py", "--only", ZOE, "--watch", code=1)
        assert "Erased: it was erased" in back.out
        for command in ("rollback mails.py --campaign c1 --watch", "rerun mails.py --failed --watch", "enqueue mails.py --watch"):
            said.append(within(place, *command.split()))
    for command in ("verify mails.py", "status", "notes mails.py", f"history mails.py {ZOE} --json", f"erase {ZOE}"):
        said.append(within(place, *command.split()))
    assert "erased 1" in said[3]
    assert "erased before: nothing was left to do" in said[-1]
    said += [answer.out + answer.err, back.out + back.err]
    place.refused("erase", "nobody@example.org", words="nothing in the ledger is of this person")
    printed = {str(at): one.encode() for at, one in enumerate(said)}
    assert readable(ZOE, printed) == []
    logs = {log.name: log.read_bytes() for log in place.folder.glob("**/*.log")}
    assert logs
    for mail in (ZOE, ANN):
        assert readable(mail, logs) == []
    with closing(Engine(place.database, masters=keys if sealed else None)) as engine:
        assert readable(ZOE, rows(engine)) == []
        for table in ("people", "copies"):
            engine.remove(table, mail=ZOE)
        engine.execute("VACUUM")
        assert readable(ZOE, files(engine)) == []
    if sealed:
        place.run("keys", "new", "--to", str(keys))
        assert place.json("keys", "rotate")["wrapped"] == 3
        keys.write_text(keys.read_text().splitlines()[0])
        document = place.json("verify", "mails.py", code=None)
        ledger = next(one for one in document["checks"] if one["name"] == "ledger")
        assert (ledger["problems"], ledger["sums"]["erased"]) == (0, 1)


def within(place: Place, *arguments: str) -> str:
    """All that a command prints that runs in this process."""
    return CliRunner(env=place.environment()).invoke(backtrail, arguments, prog_name="backtrail").output


def test_a_file_that_holds_no_keys_is_left_alone(place: Place) -> None:
    """`keys new --to` adds to files of master keys only, and says in one line what is wrong with others."""
    other = place.folder / "notes.txt"
    other.write_text("mine")
    other.chmod(0o600)
    place.refused("keys", "new", "--to", str(other), words="does not hold a key")
    assert other.read_text() == "mine"
    place.refused(
        "keys", "new", "--to", str(place.folder / "nowhere" / "k"), words="cannot be written: No such file or directory"
    )
    place.refused("keys", "rotate", words="no master_key_file")
    assert len(place.run("keys", "new").out.strip()) == 44


# -- roles ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["open", "sealed"])
def apart(postgres_url: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Production, Path | None]]:
    """A database with three people migrated and every role apart, encrypted and not."""
    masters = tmp_path / "master.keys"
    masters.write_text(new_master())
    masters.chmod(0o600)
    given = masters if request.param else None
    with servers.postgres_database(postgres_url) as url, production(url) as one:
        with closing(Engine(url)) as admin:
            populated(admin)
            found = admin.found(moving(admin))
        one.begin([found])
        with closing(Engine(one.owner, masters=given)) as owner:
            owner.ledger.create()
        one.grant([found])
        yield one, given


def test_who_may_erase(apart: tuple[Production, Path | None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's role does where nothing lies open; else the owner's, and the triggers let that do nothing but redact."""
    one, masters = apart
    with closing(Engine(one.worker, masters=masters)) as worker:
        cls = moving(worker)
        assert worker.migrate(cls)["migrated"] == 3
        before = rows_of(one)
        result = run(worker, "erase", ZOE, masters=masters)
        if masters is None:
            assert "may not" in str(result.exception) or "permission" in str(result.exception), result.exception
            assert rows_of(one) == before
            with closing(Engine(one.owner)) as owner:
                result = run(owner, "erase", ZOE)
            assert result.stderr == ""
        else:
            assert "with the wrapped key: as their owner" in result.stderr
            with closing(Engine(one.owner, masters=masters)) as owner:
                assert "wrapped key" not in run(owner, "erase", ZOE, masters=masters).stderr
        assert result.exit_code == 0, (result.output, result.exception)
        with closing(Engine(one.url, masters=masters)) as admin:
            assert readable(ZOE, rows(admin)) == []
        assert verified(worker, cls) == {"problems": {}, "erased": 1}
        assert worker.rollback(cls, only=[ANN])["rolled_back"] == 1
    if masters is not None:
        monkeypatch.setenv("BACKTRAIL_MASTER_KEY_FILE", str(masters))
    with psycopg.connect(one.application) as connection:
        assert [is_migrated(connection, "moving", key) for key in (ZOE, ANN, BOB)] == [True, False, True]


REDACTED = "body = '\\x00'::bytea || sha256((SELECT secret FROM backtrail.streams s WHERE s.id = stream) || body), ref = NULL"
ALMOST = {
    "another commitment": "body = '\\x00'::bytea || sha256(body), ref = NULL",
    "no commitment": "body = '\\x00'::bytea, ref = NULL",
    "another body": "body = '\\x01'::bytea || body, ref = NULL",
    "the ref stays": REDACTED.removesuffix(", ref = NULL"),
    "another kind": REDACTED + ", kind = 'e'",
    "another time": REDACTED + ", at = at + 1",
    "another campaign": REDACTED + ", campaign = campaign + 1",
    "another version": REDACTED + ", version = version + 100",
    "another stream": REDACTED + ", stream = stream + 100",
    "another hash": REDACTED + ", hash = sha256(hash)",
    "another shape": REDACTED + ", shape = NULL",
}


def test_the_owner_can_redact_and_nothing_else(apart: tuple[Production, Path | None]) -> None:
    """Every other update of an event is refused to the owner and to an administrator; a sealed body not even that one is let through."""
    one, masters = apart
    with closing(Engine(one.worker, masters=masters)) as worker:
        worker.migrate(moving(worker))
    where = " WHERE kind = 'u' AND ref IS NOT NULL"
    before = rows_of(one)
    for url in (one.owner, one.url):
        with psycopg.connect(url) as connection:
            for name, change in ALMOST.items():
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"), connection.transaction():
                    connection.execute(f"UPDATE backtrail.events SET {change}{where}")  # type: ignore[arg-type]
                    raise AssertionError(name)
            if masters is not None:
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                    connection.execute(f"UPDATE backtrail.events SET {REDACTED}{where}")  # type: ignore[arg-type]
            else:
                assert connection.execute(f"UPDATE backtrail.events SET {REDACTED}{where}").rowcount == 3  # type: ignore[arg-type]
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
                    connection.execute("UPDATE backtrail.events SET body = '\\x00' WHERE kind = 'u'")
            connection.rollback()
    assert rows_of(one) == before


def rows_of(one: Production) -> list[Any]:
    return [
        row
        for table in ("events", "streams", "batches", "campaigns")
        for row in one.query(f"SELECT t::text FROM backtrail.{table} t ORDER BY 1")
    ]


def test_the_search_for_words_finds_them_in_every_writing() -> None:
    """Otherwise the tests of erasure could not fail."""
    for text in CANARIES[ZOE]:
        assert len(forms(text)) >= 8
        for one in forms(text):
            assert readable(ZOE, {"x": b"\0" + one + b"\0"}) == [("x", text)]
