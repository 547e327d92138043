"""A private RabbitMQ node of the Debian package `rabbitmq-server`: its own name, ports, cookie and folders, all on the loopback.

A keeper process reads a pipe from us, as those of tests/servers.py do: when we end, however that happens, the node ends, its port mapper
(epmd) with it, and the folder is removed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from kombu import Connection

from tests.servers import free_port, until

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
ACCOUNT = "rabbitmq"
PASSWORD = "p@ss/w0rd?of#all"
START_TIMEOUT = 90.0

KEEPER = """
import json, os, shutil, signal, subprocess, sys
plan = json.loads(sys.argv[1])
def start(*command):
    with open(plan["folder"] + "/server.log", "ab") as log:
        return subprocess.Popen(command, env=plan["environment"], cwd=plan["folder"], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                start_new_session=True, user=plan["user"], group=plan["user"],
                                extra_groups=None if plan["user"] is None else [])
def end(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
mapper = start("epmd", "-port", plan["environment"]["ERL_EPMD_PORT"], "-address", "127.0.0.1")
server = start(plan["server"])
for line in sys.stdin:
    end(server)
    if line.strip() == "start":
        server = start(plan["server"])
    print("done", flush=True)
end(server)
end(mapper)
shutil.rmtree(plan["folder"], ignore_errors=True)
"""


@dataclass(frozen=True)
class User:
    """A user of the node and what it may configure, write and read, as regular expressions."""

    name: str
    configure: str = ".*"
    write: str = ".*"
    read: str = ".*"
    password: str = PASSWORD


@dataclass
class Node:
    """A node that runs."""

    port: int
    keeper: subprocess.Popen[str]
    users: list[User] = field(default_factory=list)

    def url(self, user: str = "admin", password: str = PASSWORD, vhost: str = "campaigns") -> str:
        """Its address for a user."""
        return f"amqp://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{quote(vhost, safe='')}"

    def kill(self) -> None:
        """Signal 9; what is durable stays in its folder."""
        self._tell("kill")

    def start(self) -> None:
        """Starts it again, after a kill or instead of what runs; returns once it answers."""
        self._tell("start")
        self.until_answers()

    def until_answers(self) -> None:
        """Returns once it takes connections."""
        until(self.answers, what="the start of RabbitMQ", timeout=START_TIMEOUT)

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            with Connection(self.url(), connect_timeout=3) as connection:
                connection.connect()
        except (OSError, *Connection("amqp://").connection_errors):
            return False
        return True

    def _tell(self, word: str) -> None:
        assert self.keeper.stdin is not None and self.keeper.stdout is not None
        self.keeper.stdin.write(f"{word}\n")
        self.keeper.stdin.flush()
        assert self.keeper.stdout.readline() == "done\n"


@contextmanager
def node(*users: User) -> Iterator[Node]:
    """A node with the user `admin`, who may do everything, and those users, in the virtual host `campaigns`."""
    assert SERVER.exists(), "RabbitMQ is not installed: apt-get install --no-install-recommends rabbitmq-server"
    everybody = [User("admin"), *users]
    folder = Path(tempfile.mkdtemp(prefix="bt-rabbitmq-"))
    port, own = free_port(), os.geteuid() != 0
    try:
        _furnish(folder, port, everybody)
        if not own:
            for path in (folder, *folder.rglob("*")):
                shutil.chown(path, ACCOUNT, ACCOUNT)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # no keeper has it yet
        raise
    plan = {
        "folder": str(folder),
        "server": str(SERVER),
        "environment": _environment(folder, port),
        "user": None if own else ACCOUNT,
    }
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, json.dumps(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal must reach the server only through the keeper
    )
    one = Node(port, keeper, everybody)
    try:
        try:
            one.until_answers()
        except TimeoutError as error:
            raise RuntimeError(f"{error}: {(folder / 'server.log').read_text()[-3000:]}") from error
        yield one
    finally:
        assert keeper.stdin is not None
        keeper.stdin.close()
        keeper.wait(30)


def _furnish(folder: Path, port: int, users: list[User]) -> None:
    cookie = folder / ".erlang.cookie"
    cookie.write_text(uuid.uuid4().hex)
    cookie.chmod(0o400)
    (folder / "plugins").write_text("[].")
    (folder / "definitions.json").write_text(json.dumps(_definitions(users)))
    lines = {
        "listeners.tcp.default": f"127.0.0.1:{port}",
        "load_definitions": folder / "definitions.json",
        "loopback_users": "none",
        "disk_free_limit.absolute": "50MB",
        "log.console": "false",
    }
    (folder / "rabbitmq.conf").write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))


def _definitions(users: list[User]) -> dict[str, object]:
    vhost = "campaigns"
    return {
        "users": [{"name": one.name, "password_hash": _hash(one.password), "tags": []} for one in users],
        "vhosts": [{"name": vhost}, {"name": "other"}],
        "permissions": [
            {"user": one.name, "vhost": vhost, "configure": one.configure, "write": one.write, "read": one.read} for one in users
        ],
    }


def _hash(password: str) -> str:
    """RabbitMQ's own: four bytes of salt, then the digest of salt and password."""
    salt = os.urandom(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _environment(folder: Path, port: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(folder),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_NODENAME": f"bt{port}@localhost",
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
