"""People in a ledger, what can be read of them past Backtrail, and `backtrail erase`: for the tests of erasure on every kind of database."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from click.testing import CliRunner, Result
from pydantic import BaseModel
from pymongo import MongoClient

from backtrail import Keys, Migration, Rows, is_migrated
from ledger.verify import Verifier
from producer.cli import backtrail
from tests.engine import Engine, migration

ZOE, ANN, BOB = "zoë.kanari@example.org", "ann.lerche@example.org", "bob.fink@example.org"
PEOPLE = {1: (ZOE, "Zoë Kanari", "red"), 2: (ANN, "Ann Lerche", "red"), 3: (BOB, "Bob Fink", "blue")}
CANARIES = {ZOE: (ZOE, "Zoë Kanari", "ZOË KANARI", "Titled Zoë"), ANN: (ANN, "Ann Lerche", "ANN LERCHE", "Titled Ann")}


class Params(BaseModel):
    """What a campaign is given."""

    guide: str = "nobody"
    lists: dict[str, Any] = {}


def populated(engine: Engine) -> None:
    engine.table("people", id=int, mail=str, name=str, team=str)
    engine.table("copies", id=int, mail=str, title=str)
    engine.add("people", *((number, mail, name, team) for number, (mail, name, team) in PEOPLE.items()))


def titled(name: str) -> str:
    return f"Titled {name.partition(' ')[0]}"


def moving(engine: Engine, *columns: str, name: str = "moving", **more: Any) -> type[Migration]:
    """A migration with all that can be personal: keys, rows that are created and updated, notes, parameters, recalls."""
    by = columns or ("mail",)

    def migrate(user: Any) -> None:
        row = user.one("people")
        user.create(
            "copies", {engine.id: row[engine.id], "mail": row["mail"], "title": user.recall("title", titled, row["name"])}
        )
        user.update(row, set={"name": row["name"].upper()})
        user.conflict("name", values=[row["name"], "?"], chosen=row["name"])
        user.remark(f"of {row['name']}", of=row["mail"])

    attributes = {"keys": Keys("people", *by), "reads": (Rows("people", by=by),), "writes": ("people", "copies"), **more}
    decide = attributes.pop("decide", migrate)
    return migration(decide, name=name, __annotations__={"params": Params}, **attributes)


def key_of(*parts: str) -> str:
    return parts[0] if len(parts) == 1 else json.dumps(parts, ensure_ascii=False, separators=(",", ":"))


def left_by_the_application(engine: Engine, mail: str) -> None:
    """Nothing; the application has deleted the person from its own tables, and its database the person's bytes from those."""
    for table in ("people", "copies"):
        engine.remove(table, mail=mail)
    if not engine.mongo and not engine.postgres:
        engine.execute("VACUUM")


# -- past Backtrail ---------------------------------------------------------------------------------------------------


def forms(text: str) -> set[bytes]:
    """How the text may be written: plain, as JSON escapes it, in UTF-16, in hexadecimal, in base64 wherever it begins."""
    plain = text.encode()
    found = {plain, json.dumps(text)[1:-1].encode(), text.encode("utf-16-le"), text.encode("utf-16-be"), plain.hex().encode()}
    found.add(plain.hex().upper().encode())
    for shift in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            found.add(encode(b"\0" * shift + plain)[4 if shift else 0 : -4])
    return found


def readable(mail: str, places: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Where something of the person can be read, and what."""
    written = {text: forms(text) for text in CANARIES[mail]}
    return [
        (place, text) for place, data in places.items() for text, found in written.items() if any(one in data for one in found)
    ]


def rows(engine: Engine) -> dict[str, bytes]:
    """All that is in the ledger's tables and in those of its keys, as plain drivers give it, by the table."""
    if engine.mongo:
        return dict(_documents(engine.url))
    if engine.postgres:
        with psycopg.connect(engine.url) as connection:
            names = [name for (name,) in connection.execute(_RELATIONS.format("relkind = 'r'"))]
            return {name: _copied(connection, name) for name in names}
    names = [name for (name,) in engine.query("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'backtrail%'")]
    cells = {name: [cell for row in engine.query(f"SELECT * FROM {name}") for cell in row] for name in names}
    return {
        name: b"\n".join(one if isinstance(one, bytes) else str(one).encode() for one in some) for name, some in cells.items()
    }


def _copied(connection: psycopg.Connection[Any], name: str) -> bytes:
    with connection.cursor().copy(f"COPY {name} TO STDOUT (FORMAT binary)") as copy:  # type: ignore[arg-type]
        return b"".join(copy)


_RELATIONS = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN ('backtrail', 'backtrail_keys') AND {}
"""


def _documents(url: str) -> Iterator[tuple[str, bytes]]:
    with MongoClient[dict[str, Any]](url) as client:
        ledger = f"{client.get_default_database().name}_backtrail"
        raw = CodecOptions(document_class=RawBSONDocument)
        for name in (ledger, f"{ledger}_keys"):
            for collection in client[name].list_collection_names():
                documents = client[name].get_collection(collection, codec_options=raw).find()
                yield f"{name}.{collection}", b"".join(bytes(one.raw) for one in documents)


def files(engine: Engine) -> dict[str, bytes]:
    """The files in which the ledger lies, everything that was written being in them."""
    if engine.mongo:
        return dict(_mongo_files(engine.url))
    if engine.postgres:
        with psycopg.connect(engine.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            own = _RELATIONS.format("true").replace("c.oid::regclass::text", "unnest(ARRAY[c.oid, c.reltoastrelid])")
            query = f"SELECT oid, pg_read_binary_file(pg_relation_filepath(oid)) FROM ({own}) o (oid) WHERE pg_relation_filepath(oid) IS NOT NULL"
            return {str(oid): data for oid, data in connection.execute(query)}  # type: ignore[arg-type]
    path = Path(engine.url.removeprefix("sqlite:///"))
    return {one.name: one.read_bytes() for one in path.parent.glob(f"{path.name}*")}


def _mongo_files(url: str) -> Iterator[tuple[str, bytes]]:
    with MongoClient[dict[str, Any]](url) as client:
        folder = Path(client.admin.command("getCmdLineOpts")["parsed"]["storage"]["dbPath"])
        client.admin.command("fsync")
        ledger = f"{client.get_default_database().name}_backtrail"
        for name in (ledger, f"{ledger}_keys"):
            for collection in client[name].list_collection_names():
                uri = client[name].command("collStats", collection)["wiredTiger"]["uri"].rpartition(":")[2]
                yield f"{name}.{collection}", (folder / f"{uri}.wt").read_bytes()


# -- what is asked of it ----------------------------------------------------------------------------------------------


def run(engine: Engine, *arguments: str, masters: Path | None = None) -> Result:
    """What a command did, in this process."""
    environment = {"BACKTRAIL_DATABASE_URL": engine.url}
    if masters is not None:
        environment["BACKTRAIL_MASTER_KEY_FILE"] = str(masters)
    return CliRunner(env=environment).invoke(backtrail, arguments, prog_name="backtrail", catch_exceptions=True)


def erased(engine: Engine, subject: str, *arguments: str) -> dict[str, Any]:
    """What `erase` says that it did; nothing that it prints names the person."""
    result = run(engine, "erase", subject, *arguments, "--json", masters=engine.settings.master_key_file)
    assert result.exit_code == 0, (result.output, result.exception)
    assert readable(ZOE, {"printed": result.output.encode()}) == []
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def verified(engine: Engine, cls: type[Migration]) -> dict[str, Any]:
    """The problems by checks, and what was summed of the ledger."""
    document = Verifier(engine.ledger, engine.found(cls)).run()
    checks = {one["name"]: one for one in document["checks"]}
    problems = {name: one["examples"] for name, one in checks.items() if not one["ok"]}
    return {"problems": problems, "erased": checks["ledger"].get("sums", {}).get("erased", 0)}


def flags(engine: Engine, name: str, key: Any) -> list[bool]:
    """What `is_migrated` says through every kind of connection there is for the database."""
    if engine.mongo:
        with MongoClient[dict[str, Any]](engine.url) as client, client.start_session() as session:
            database = client.get_default_database()
            return [is_migrated(one, name, key) for one in (database, client, session)]
    import sqlalchemy as sa
    from sqlalchemy.orm import Session

    found = []
    plain: Callable[[], Any] = (lambda: psycopg.connect(engine.url)) if engine.postgres else engine.sqlite
    with closing(plain()) as connection:
        found.append(is_migrated(connection, name, key))
    alchemy = sa.create_engine(engine.url.replace("postgresql://", "postgresql+psycopg://"))
    with alchemy.connect() as connection, Session(alchemy) as session:
        found += [is_migrated(connection, name, key), is_migrated(session, name, key)]
    alchemy.dispose()
    return found


def with_environment(settings: Mapping[str, str | None]) -> Callable[[], None]:
    """What puts the environment back; the variables are set, or gone, until then."""
    before = {name: os.environ.get(name) for name in settings}
    _set(settings)
    return lambda: _set(before)


def _set(settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def texts(events: Sequence[Any]) -> list[Any]:
    """What the events say that can be read."""
    return [event.facts for event in events if not event.erased]
