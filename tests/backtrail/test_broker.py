"""The embedded broker: shared, private, and gone with the last of its users, however they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import redis
from kombu import Connection

from backtrail.broker import check, embedded
from backtrail.errors import UnsuitableBroker
from tests import servers
from tests.processes import command
from tests.servers import until

DATABASE = "sqlite:////srv/data.db"
ROOT = Path(__file__).parents[2]

USER = """
import sys
from pathlib import Path
from backtrail.broker import embedded
with embedded(sys.argv[1], Path(sys.argv[2])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""

# A worker as Celery's prefork makes one: children by fork, which outlive a killed parent for as long as they have work.
FORKING_USER = """
import os, sys, time
from pathlib import Path
from backtrail.broker import embedded
with embedded(sys.argv[1], Path(sys.argv[2])) as url:
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    print(url, child, flush=True)
    sys.stdin.read()
"""


# A child that ends in the ordinary way, and so leaves the context that it never entered.
USER_WITH_ENDED_CHILD = """
import os, sys
from pathlib import Path
from backtrail.broker import embedded
with embedded(sys.argv[1], Path(sys.argv[2])) as url:
    child = os.fork()
    if not child:
        sys.exit(0)
    _, status = os.waitpid(child, 0)
    print(url, status, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A private folder with a short name, in which nothing runs any more when the test is over."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    yield folder
    until(lambda: not processes(folder), what="the end of everything in the folder", timeout=20)
    shutil.rmtree(folder)


class User:
    """A process that uses the broker until it is let go or killed."""

    def __init__(self, runtime: Path, database: str = DATABASE, code: str = USER) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, database, str(runtime)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def words(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    def url(self) -> str:
        return self.words()[0]

    def leave(self) -> None:
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0

    def interrupt(self) -> None:
        # As a terminal does it: to the whole process group.
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.communicate(timeout=20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)  # not communicate: a child of it can still hold the pipe


def processes(folder: Path) -> list[psutil.Process]:
    """Servers and supervisors in this folder."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(folder) in line and process.status() != psutil.STATUS_ZOMBIE and re.search(r"valkey|-m backtrail", line):
                found.append(process)
    return found


def running(folder: Path, kind: str) -> list[int]:
    return [process.pid for process in processes(folder) if kind in command(process)]


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url.replace("redis+socket://", "unix://"))


def ended(folder: Path) -> bool:
    return not processes(folder)


def test_two_share_and_the_last_ends_it(runtime: Path):
    """Two users have one server; it lives while one of them does, and not longer."""
    first, second = User(runtime), User(runtime)
    url = first.url()
    assert second.url() == url
    client(url).set("message", "here")
    (server,) = running(runtime, "valkey-server")
    first.leave()
    time.sleep(0.5)  # long enough for a supervisor that errs to end it
    assert running(runtime, "valkey-server") == [server]
    assert client(url).get("message") == b"here"
    second.leave()
    until(lambda: ended(runtime), what="the end of the broker")


def test_starters_at_once(runtime: Path):
    """However many start at the same moment, there is one server and one supervisor."""
    users = [User(runtime) for _ in range(6)]
    assert len({user.url() for user in users}) == 1
    assert len(running(runtime, "valkey-server")) == 1
    assert len(running(runtime, "backtrail.broker")) == 1
    for user in users:
        user.kill()
    until(lambda: ended(runtime), what="the end of the broker")


def test_other_database_other_broker(runtime: Path):
    """Two databases never share a queue; two roles of one database do."""
    urls = []
    with (
        embedded("postgresql://owner:a@h/one", runtime) as one,
        embedded("postgresql://worker:b@h/one", runtime) as same,
        embedded("postgresql://owner:a@h/two", runtime) as other,
    ):
        urls = [one, same, other]
        client(one).set("x", "1")
        assert client(other).get("x") is None
    assert urls[0] == urls[1] != urls[2]
    until(lambda: ended(runtime), what="the end of both brokers")


def test_two_uses_in_one_process(runtime: Path):
    """Leaving one of two uses in the same process does not end the other's broker."""
    with embedded(DATABASE, runtime) as url:
        with embedded(DATABASE, runtime):
            pass
        time.sleep(0.5)  # long enough for a supervisor that errs to end it
        assert client(url).ping()


@pytest.mark.parametrize("end", ["interrupt", "kill"])
def test_sudden_end(runtime: Path, end: str):
    """Ctrl-C and kill -9 of the only user end the broker too."""
    user = User(runtime)
    assert client(user.url()).ping()
    getattr(user, end)()
    until(lambda: ended(runtime), what="the end of the broker")


def test_interrupt_of_one_leaves_it_to_the_other(runtime: Path):
    """Ctrl-C at the terminal that started the broker does not take it from somebody at another one."""
    first = User(runtime)
    url = first.url()
    second = User(runtime)
    assert second.url() == url
    first.interrupt()
    time.sleep(0.5)  # long enough for a signal that went too far
    assert client(url).ping()
    second.leave()


def test_children_of_a_killed_worker_do_not_hold_it(runtime: Path):
    """What a killed worker forked does not keep the broker alive."""
    user = User(runtime, code=FORKING_USER)
    url, child = user.words()
    try:
        assert client(url).ping()
        user.kill()
        until(lambda: ended(runtime), what="the end of the broker")
        assert psutil.pid_exists(int(child))
    finally:
        os.kill(int(child), signal.SIGKILL)


def test_end_of_a_child(runtime: Path):
    """A child that ends does not let go of its parent's broker."""
    user = User(runtime, code=USER_WITH_ENDED_CHILD)
    url, status = user.words()
    assert status == "0"
    time.sleep(0.5)  # long enough for a supervisor that errs to end it
    assert client(url).ping()
    user.leave()


def test_queue_is_kept(runtime: Path):
    """What waited in the queue when the last user left is there for the next."""
    with embedded(DATABASE, runtime) as url:
        client(url).lpush("queue", "message")
    until(lambda: ended(runtime), what="the end of the broker")
    with embedded(DATABASE, runtime) as url:
        assert client(url).lrange("queue", 0, -1) == [b"message"]


def test_coming_and_going(runtime: Path):
    """A newcomer in the very moment of the end gets a broker that stays."""
    for _ in range(15):
        with embedded(DATABASE, runtime) as url:
            assert client(url).ping()
        time.sleep(0.03 * (_ % 8))  # meets the supervisor at different points of its round
    until(lambda: ended(runtime), what="the end of the broker")


def test_killed_supervisor_and_newcomer(runtime: Path):
    """A newcomer takes over the server that a killed supervisor left, without a break for those who use it."""
    first = User(runtime)
    url = first.url()
    client(url).set("message", "here")
    (server,), (supervisor,) = running(runtime, "valkey-server"), running(runtime, "backtrail.broker")
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not running(runtime, "backtrail.broker"), what="the end of the supervisor")
    second = User(runtime)
    assert second.url() == url
    assert running(runtime, "valkey-server") == [server]
    assert len(running(runtime, "backtrail.broker")) == 1
    assert client(url).get("message") == b"here"
    first.leave()
    second.leave()
    until(lambda: ended(runtime), what="the end of the broker")


def test_killed_supervisor_and_nobody_new(runtime: Path):
    """Without a supervisor, the last user ends the server itself."""
    users = [User(runtime), User(runtime)]
    assert users[0].url() == users[1].url()
    (supervisor,) = running(runtime, "backtrail.broker")
    os.kill(supervisor, signal.SIGKILL)
    users[0].leave()
    assert running(runtime, "valkey-server")
    users[1].leave()
    until(lambda: ended(runtime), what="the end of the broker")


def test_everything_killed(runtime: Path):
    """After kill -9 of users and supervisor, and then of the server too, the next user finds a working broker and its queue."""
    for also_server in (False, True):
        user = User(runtime)
        url = user.url()
        client(url).config_set("appendfsync", "always")
        client(url).set("message", "here")
        servers_, supervisors = running(runtime, "valkey-server"), running(runtime, "backtrail.broker")
        for pid in supervisors + (servers_ if also_server else []):
            os.kill(pid, signal.SIGKILL)
        user.kill()
    with embedded(DATABASE, runtime) as url:
        assert client(url).get("message") == b"here"


def test_killed_server_comes_back(runtime: Path):
    """The supervisor starts a server that died again, at the same place."""
    with embedded(DATABASE, runtime) as url:
        (server,) = running(runtime, "valkey-server")
        os.kill(server, signal.SIGKILL)

        def answers() -> bool:
            with suppress(redis.ConnectionError):
                return bool(client(url).ping()) and running(runtime, "valkey-server") != [server]
            return False

        until(answers, what="the return of the server")


def test_usable_by_kombu(runtime: Path):
    """The URL is one that Celery's library can send and receive through."""
    with embedded(DATABASE, runtime) as url, Connection(url) as connection:
        queue = connection.SimpleQueue("greetings")
        queue.put({"hello": "world"})
        assert queue.get(timeout=5).payload == {"hello": "world"}
        queue.close()


def test_private(runtime: Path):
    """Nobody else can reach the folder or the socket, and there is no TCP port."""
    with embedded(DATABASE, runtime) as url:
        socket = Path(url.removeprefix("redis+socket://"))
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        assert client(url).config_get("port") == {"port": "0"}
        for file in socket.parent.rglob("*"):
            assert not stat.S_IMODE(file.lstat().st_mode) & 0o077, file


def test_no_password_in_supervisor(runtime: Path, monkeypatch: pytest.MonkeyPatch):
    """The processes that outlive the command do not carry its settings."""
    monkeypatch.setenv("BACKTRAIL_DATABASE_URL", "postgresql://u:s3cret@h/d")
    with embedded("postgresql://u:s3cret@h/d", runtime):
        found = processes(runtime)
        assert len(found) == 2
        for process in found:
            assert "s3cret" not in str(process.environ()) + str(process.cmdline())


def test_default_folder(runtime: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a runtime_dir, it is the user's own folder below the run-time or the temporary folder."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    with embedded(DATABASE) as url:
        assert url.startswith(f"redis+socket://{runtime}/backtrail/")
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    with embedded(DATABASE) as url:
        assert url.startswith(f"redis+socket://{runtime}/backtrail-{os.geteuid()}/")


def test_folder_open_to_others(runtime: Path):
    """A folder that others may enter is refused with the mend."""
    runtime.chmod(0o755)
    with pytest.raises(UnsuitableBroker, match="chmod 700"), embedded(DATABASE, runtime):
        pass
    assert list(runtime.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_folder_of_another_user(runtime: Path):
    """A folder that another user laid out for us is refused."""
    os.chown(runtime, 12345, 12345)
    with pytest.raises(UnsuitableBroker, match="not a folder of this user"), embedded(DATABASE, runtime):
        pass


def test_folder_behind_a_link(runtime: Path):
    """A link in a shared folder is not followed."""
    (runtime / "link").symlink_to(runtime)
    with pytest.raises(UnsuitableBroker, match="not a folder of this user"), embedded(DATABASE, runtime / "link"):
        pass


def test_too_long_a_path(runtime: Path):
    """A path that no socket can have is refused before the start."""
    with pytest.raises(UnsuitableBroker, match="set runtime_dir to a shorter one"), embedded(DATABASE, runtime / ("x" * 90)):
        pass


def test_no_wheel_for_this_machine(runtime: Path, monkeypatch: pytest.MonkeyPatch):
    """Where there is no server to embed, the way out is named."""
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(UnsuitableBroker, match="not made for this kind of machine: set broker_url"), embedded(DATABASE, runtime):
        pass


def test_server_that_cannot_start(runtime: Path):
    """A server that dies at once is given up after some attempts, naming its log."""
    with embedded(DATABASE, runtime) as url:
        folder = Path(url.removeprefix("redis+socket://")).parent
    until(lambda: ended(runtime), what="the end of the broker")
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(UnsuitableBroker, match=r"does not start: see .*valkey\.log"), embedded(DATABASE, runtime):
        pass


def test_check_of_a_good_broker(runtime: Path, broker: str):
    """A broker that answers passes, over TCP and over a socket."""
    check(broker)
    with embedded(DATABASE, runtime) as url:
        check(url)
    check("memory://")


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cret@127.0.0.1:{port}/0",
        "rediss://:s3cret@127.0.0.1:{port}/0?ssl_cert_reqs=required",
        "redis+socket:///nowhere/broker.sock",
        "amqp://u:s3cret@127.0.0.1:{port}//",
    ],
)
def test_check_of_nothing(url: str):
    """Where nobody listens, one line within seconds says so, without the password."""
    started = time.monotonic()
    with pytest.raises(UnsuitableBroker, match="mend broker_url") as caught:
        check(url.format(port=servers.free_port()))
    assert time.monotonic() - started < 8
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_check_of_a_wrong_password():
    """A broker that refuses the password is told from one that does not answer."""
    with servers.valkey("--requirepass", "right") as url:
        check(url.replace("redis://", "redis://:right@"))
        for wrong in (url, url.replace("redis://", "redis://:wrong-s3cret@")):
            with pytest.raises(UnsuitableBroker, match=r"(?i)auth|password") as caught:
                check(wrong)
            assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://:s3cret@127.0.0.1:1/0?db=1", "'db'"),
        ("redis://127.0.0.1:1/0?socket_timeout=s3cret", "'socket_timeout'"),
        ("redis://127.0.0.1:1/0?password=s3cret", "'password'"),
        ("rediss://127.0.0.1:1/0?ssl_cert_reqs=s3cret", "ssl_cert_reqs"),
        ("redis+socket:///nowhere/broker.sock?foo=s3cret", "'foo'"),
        ("amqp://127.0.0.1:1//?connect_timeout=s3cret", "connect_timeout"),
    ],
)
def test_check_of_options_that_cannot_be(url: str, name: str):
    """An option that nobody knows, or with a value that it cannot have, is named without its value."""
    with pytest.raises(UnsuitableBroker, match="broker_url") as caught:
        check(url)
    assert name in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_worker_that_cannot_have_its_broker(runtime: Path):
    """The worker's own program says it in a line too."""
    runtime.mkdir(exist_ok=True)
    (runtime / "file").touch()
    environment = os.environ | {"BACKTRAIL_DATABASE_URL": DATABASE, "BACKTRAIL_RUNTIME_DIR": str(runtime / "file")}
    done = subprocess.run(
        [sys.executable, "-m", "worker", "worker"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"backtrail: {runtime / 'file'}")
