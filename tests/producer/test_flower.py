"""`backtrail flower`: nobody gets in without the password, nothing can be changed, and no secret is to be read anywhere."""

from __future__ import annotations

import base64
import importlib.metadata
import json
import re
import shutil
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backtrail.errors import UsageError
from backtrail.settings import Settings, load
from producer import flower as page
from tests import servers
from tests.processes import Place, Program, command
from tests.servers import free_port, until

OPEN = {"/metrics", "/healthcheck", "/static/(.*)", "/logout", "/login/?", ".*"}
"""What has no password: counts and names of workers, the word OK, what is the same for everybody, and pages that say there is nothing."""


def settings(**values: str) -> Settings:
    """Settings with an embedded broker."""
    return load(**({"database_url": "sqlite:///x.db"} | values))


@pytest.fixture
def place() -> Iterator[Place]:
    """A place whose path is short enough for sockets, with a database that holds something."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    one = Place(folder, f"sqlite:///{folder / 'app.db'}")
    one.run("sample", "unified-profile", "--size", "20")
    yield one
    shutil.rmtree(folder, ignore_errors=True)


def asked(url: str, credentials: str | None = None, body: bytes | None = None) -> tuple[int, str]:
    """The status and the text of what is at an address; with a body it is posted."""
    headers = {} if credentials is None else {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def opened(program: Program, port: int) -> None:
    """Returns once the page is there."""

    def there() -> bool:
        assert program.process.poll() is None, program.text
        try:
            return asked(f"http://127.0.0.1:{port}/healthcheck") == (200, "OK")
        except OSError:
            return False

    until(there, what="Flower", timeout=60)


# -- how it is started --------------------------------------------------------------------------------------------------


def test_a_password_is_made_anew_each_time():
    """Without one in the settings it is long, different at each start, and shown once; `repr`, which logs show, is without it."""
    first, second = (page.access(settings(), port=free_port()) for _ in range(2))
    assert first.password != second.password
    assert len(first.password) > 20
    assert first.password in str(first)
    assert first.password not in repr(first)


def test_a_password_of_the_settings_is_not_shown():
    """Who set it knows it."""
    place = page.access(settings(flower_password="let me in"), port=free_port())
    assert place.password == "let me in"
    assert "let me in" not in str(place) + repr(place)
    assert "let me in" not in repr(settings(flower_password="let me in"))


@pytest.mark.parametrize("password", ["a,b", "schlüssel", "a\nb"])
def test_a_password_that_flower_would_mistake_is_refused(password):
    """A comma would end it and begin another one; what is not ASCII makes Flower fail. The message is without it."""
    with pytest.raises(UsageError) as refused:
        settings(flower_password=password)
    assert "comma" in str(refused.value)
    assert password not in str(refused.value)


def test_no_secret_is_in_the_list_of_processes():
    """It is in the environment, which other users cannot see."""
    own = settings(flower_password="s3cret-page", broker_url="redis://:s3cret-broker@localhost/0")
    place = page.access(own, port=free_port())
    assert "s3cret" not in " ".join(page.command(place))
    assert page.environment(own, place)["FLOWER_BASIC_AUTH"] == "flower:s3cret-page"


def test_nothing_of_the_users_environment_opens_it(monkeypatch):
    """Flower's own variables hold where they open nothing."""
    harmless = {"FLOWER_URL_PREFIX": "queue"}
    opening = {
        "FLOWER_READ_ONLY": "0",
        "FLOWER_BASIC_AUTH": "a:b",
        "FLOWER_UNAUTHENTICATED_API": "1",
        "FLOWER_UNIX_SOCKET": "/tmp/open",
        "FLOWER_CONF": "mine.py",
        "FLOWER_PERSISTENT": "1",
        "FLOWER_AUTH": ".*",
    }
    for name, value in (opening | harmless).items():
        monkeypatch.setenv(name, value)
    place = page.access(settings(), port=5600, variables=harmless | opening)
    assert place.url == "http://127.0.0.1:5600/queue"
    found = {name: value for name, value in page.environment(settings(), place).items() if name.startswith("FLOWER_")}
    assert found == harmless | {"FLOWER_BASIC_AUTH": f"flower:{place.password}"}


def test_the_address_of_rabbitmqs_management_has_no_password():
    """Left to itself, Flower makes one with the password in it, and shows it in errors."""
    own = settings(broker_url="amqps://user:s3cret@mq.example/shop")
    place = page.access(own, port=free_port())
    assert page.environment(own, place)["FLOWER_BROKER_API"] == "https://mq.example:15671/api/"


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_others_can_only_come_with_a_password_that_somebody_chose(address):
    """One that is made and shown where nobody looks is no use there."""
    with pytest.raises(UsageError, match="BACKTRAIL_FLOWER_PASSWORD"):
        page.access(settings(), address=address, port=free_port())


def test_another_address_can_be_chosen():
    """With a password it can be reached from elsewhere."""
    assert page.access(settings(flower_password="x"), address="0.0.0.0", port=5601).url == "http://0.0.0.0:5601/"


@pytest.mark.parametrize("address", ["192.0.2.7", "no.such.host.invalid", ""])
def test_an_address_of_somewhere_else_is_refused(address):
    """It is named, and so is the option."""
    with pytest.raises(UsageError, match=f"listen on {re.escape(address)}.*--address"):
        page.access(settings(flower_password="x"), address=address, port=free_port())


def test_a_port_that_is_taken_is_refused():
    """It is named, and so is the option."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port}.*--port"):
            page.access(settings(), port=port)


def test_how_to_install_it_is_said(monkeypatch):
    """Without the extra, and with a version that cannot be read-only."""

    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UsageError, match=re.escape("pip install 'backtrail[flower]'")):
        page.access(settings(), port=free_port())
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2.0.1")
    with pytest.raises(UsageError, match=re.escape("pip install --upgrade 'backtrail[flower]'")):
        page.access(settings(), port=free_port())


# -- the real one -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_what_cannot_be_meant_so_is_one_line(place):
    """A port that is taken, and a password that is missing."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place.refused("flower", "--port", str(taken.getsockname()[1]), words="--port")
    place.refused("flower", "--address", "0.0.0.0", "--port", str(free_port()), words="BACKTRAIL_FLOWER_PASSWORD")


def routes() -> list[tuple[str, type]]:
    """Flower's own addresses, each with what answers there."""
    import flower.options  # noqa: F401 -- defines what the next one looks at
    from flower.urls import handlers

    found = [(one.regex.pattern.removesuffix("$"), one.handler_class) if hasattr(one, "regex") else one[:2] for one in handlers]
    return [(pattern, handler) for pattern, handler in found if pattern not in OPEN]


@pytest.mark.long
def test_every_page_asks_for_the_password_and_none_changes_anything(place):
    """Each of Flower's addresses refuses whoever has none or a wrong one, and each that acts refuses everybody."""
    assert len(routes()) > 25
    assert len({pattern for pattern, _ in routes()} & {"/api/task/apply/(.+)", "/tasks", "/broker", "/api/workers"}) == 4
    port = free_port()
    with place.program("flower", "producer.cli", "flower", "--port", str(port)) as program:
        opened(program, port)
        said = re.search(r"Flower: (\S+)  user: flower  password: (\S+)", program.text)
        assert said
        assert program.text.count(said[2]) == 1
        base, right = said[1].rstrip("/"), f"flower:{said[2]}"
        acting = 0
        for pattern, handler in routes():
            url = base + re.sub(r"\(.*\)", "x", pattern)
            for verb in ("get", "post"):
                if getattr(handler, verb) is handler._unimplemented_method:
                    continue
                body = b"{}" if verb == "post" else None
                for credentials in (None, "flower:", "flower:flower", f"admin:{said[2]}", f"flower:{said[2]}x"):
                    assert asked(url, credentials, body)[0] == 401, (verb, pattern, credentials)
                if verb == "post" and pattern != "/tasks/datatable":
                    acting += 1
                    assert asked(url, right, body) == (403, "Read only mode is enabled"), pattern
        assert acting >= 14
        assert asked(f"{base}/tasks", right)[0] == 200
        assert "Traceback" not in program.text


@pytest.mark.long
def test_no_password_can_be_read_anywhere(place):
    """Neither the broker's nor the page's: in no page, no answer, no process list and no log, with a worker at work."""
    secret, encoded, own = "s3cr@t/pw,", "s3cr%40t%2Fpw%2C", "let-me-in"
    with servers.valkey("--requirepass", secret) as bare:
        url = f"redis://:{encoded}@{bare.partition('//')[2]}"
        there = replace(place, broker=url, more={"BACKTRAIL_FLOWER_PASSWORD": own})
        port = free_port()
        with there.program("up", "producer.cli", "up", "-c", "1", "--port", str(port), "--log-level", "DEBUG") as up:
            up.says("Ctrl-C here", timeout=90)
            there.run("expand", "unified-profile")
            there.run("enqueue", "unified-profile", "--watch")

            def get(path: str) -> str:
                status, text = asked(f"http://127.0.0.1:{port}/{path}", f"flower:{own}")
                assert status == 200, path
                return text

            until(lambda: '"SUCCESS"' in get("api/tasks"), what="the task on the page")
            (worker,) = json.loads(get("api/workers?refresh=1"))
            (task,) = json.loads(get("api/tasks"))
            paths = ["workers", "workers?json=1", "tasks", "broker", f"worker/{worker}", f"task/{task}", "metrics", "api/tasks"]
            paths += [f"api/task/info/{task}", "api/queues/length", "api/task/types", "api/workers?refresh=1"]
            pages = {path: get(path) for path in paths}
            address = bare.rpartition("@")[2].partition("/")[0].rpartition(":")[2]
            for path in ("broker", f"worker/{worker}", "api/workers?refresh=1"):
                assert address in pages[path], "the broker's address is not even there"
            lists = {str(one.pid): command(one) for one in up.family()}
            assert len(lists) > 5
        pages |= lists | {"log": up.text}
        assert "Connected to redis" in up.text
        for name, text in pages.items():
            for word in (secret, encoded, own, "s3cr"):
                assert word not in text, (name, word)
