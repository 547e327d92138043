"""Titles from an endpoint, against a server on this machine that answers well, badly, late or not at all."""

from __future__ import annotations

import builtins
import datetime as dt
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from backtrail.catalog.coaching_redesign.endpoint import ATTEMPTS, Endpoint, NoTitle
from backtrail.catalog.coaching_redesign.titles import make_titles
from backtrail.errors import UsageError
from backtrail.settings import Settings, load

pytest.importorskip("httpx")

SESSION = {"celebrations": ["Ran five kilometres"], "date": "2025-05-03"}
SECRET = "s3cret"

Handler = BaseHTTPRequestHandler


def answer(content: Any, status: int = 200, **headers: str) -> Callable[[Handler], None]:
    """An answer of the server, as a chat completion around the content."""
    return raw(json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]}).encode(), status, **headers)


def raw(body: bytes, status: int = 200, **headers: str) -> Callable[[Handler], None]:
    def respond(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return respond


class Server:
    """An endpoint whose answers are given beforehand; the last one goes on for ever."""

    def __init__(self) -> None:
        self.answers: list[Callable[[Handler], None]] = [answer("A good title")]
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.over = threading.Event()
        server = self

        class Chat(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server.paths.append(self.path)
                server.headers.append(dict(self.headers))
                server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                respond = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
                try:
                    respond(self)
                except OSError:
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                """Nothing: the tests' output is their own."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def hang(self, handler: Handler) -> None:
        """No answer until the test is over."""
        self.over.wait(30)

    def drip(self, handler: Handler) -> None:
        """An answer that goes on and on, a byte at a time."""
        handler.send_response(200)
        handler.end_headers()
        while not self.over.wait(0.05):
            handler.wfile.write(b" ")

    def stop(self) -> None:
        self.over.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.stop()


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries that take no time; the waits themselves have a test of their own."""
    monkeypatch.setattr(Endpoint.__init__, "__kwdefaults__", {"longest_wait_s": 0.01})


@pytest.fixture
def ask(server: Server, fast: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Titles for so many sessions, with the server in the settings."""
    monkeypatch.setenv("BACKTRAIL_TITLES_URL", server.url)
    monkeypatch.setenv("BACKTRAIL_TITLES_KEY", SECRET)
    monkeypatch.setenv("BACKTRAIL_TITLES_TIMEOUT_S", "0.3")
    return lambda sessions=1: make_titles([SESSION] * sessions)


def built_in(why: str) -> dict[str, Any]:
    return {"title": "Ran five kilometres", "by": "built-in", "why": why}


def settings(url: str, **more: Any) -> Settings:
    return load(titles_url=url, titles_key=SECRET, **more)


def test_without_an_endpoint_nobody_is_asked(monkeypatch):
    """The built-in generator's titles come without a reason, and without httpx."""
    without_httpx(monkeypatch)
    assert make_titles([SESSION, {}]) == [
        {"title": "Ran five kilometres", "by": "built-in"},
        {"title": "Session", "by": "built-in"},
    ]


def test_a_title_from_the_endpoint(server, ask, monkeypatch):
    """The question has the shape that such endpoints take, with the secret, the model and the excerpt as JSON."""
    monkeypatch.setenv("BACKTRAIL_TITLES_MODEL", "some-model")
    assert ask(2) == [{"title": "A good title", "by": "endpoint"}] * 2
    assert server.paths == ["/v1/chat/completions"] * 2
    assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert set(server.asked[0]) == {"model", "messages"}
    assert server.asked[0]["model"] == "some-model"
    assert [message["role"] for message in server.asked[0]["messages"]] == ["system", "user"]
    assert json.loads(server.asked[0]["messages"][1]["content"]) == SESSION


def test_without_a_secret_none_is_sent(server, ask, monkeypatch):
    """A model on one's own machine needs none."""
    monkeypatch.delenv("BACKTRAIL_TITLES_KEY")
    assert ask()[0]["by"] == "endpoint"
    assert "Authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ('  "Running again."\n', "Running again"),
        ("Title: running again", "Running again"),
        ("**Running again**", "Running again"),
        ("Running, and " + "very " * 30 + "far", None),
        ("跑步 🏃", "跑步 🏃"),
        ("a\x07b c", "Ab c"),
    ],
)
def test_titles_are_tidied(server, ask, content, title):
    """One line without quotation marks, cut to 60 characters between words."""
    server.answers = [answer(content)]
    (result,) = ask()
    assert result["by"] == "endpoint"
    assert len(result["title"]) <= 60
    assert title is None or result["title"] == title


@pytest.mark.parametrize(
    ("respond", "why"),
    [
        (answer(""), "no title of one line"),
        (answer("  \n "), "no title of one line"),
        (answer("two\nlines"), "no title of one line"),
        (answer("x" * 61), "no title of one line"),
        (answer("word " * 500), "no title of one line"),
        (answer("..."), "no title of one line"),
        (answer(None), "another shape"),
        (answer(["a"]), "another shape"),
        (raw(b"{}"), "another shape"),
        (raw(b"[]"), "another shape"),
        (raw(b"null"), "another shape"),
        (raw(b'{"choices": []}'), "another shape"),
        (raw(b'{"choices": {"0": 1}}'), "another shape"),
        (raw(b"<html>"), "no JSON"),
        (raw(b"\xff\xfe\x00"), "no JSON"),
        (raw(b"[" * 100_000), "no JSON"),
        (raw(b""), "no JSON"),
        (raw(b"x" * 1_000_001), "too large"),
        (raw(b"", Content_Encoding="gzip"), "no JSON"),
        (raw(b"no gzip", Content_Encoding="gzip"), "cannot be read"),
    ],
)
def test_answers_that_are_no_title(server, ask, respond, why):
    """The built-in title stands in, with the reason; the next session is asked for all the same."""
    server.answers = [respond, answer("Fine")]
    first, second = ask(2)
    assert first["title"] == "Ran five kilometres"
    assert why in first["why"]
    assert second == {"title": "Fine", "by": "endpoint"}
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_failures_are_tried_again(server, ask, status):
    """A server that is busy for a moment gives its title."""
    server.answers = [answer("no", status), answer("no", status), answer("Fine")]
    assert ask() == [{"title": "Fine", "by": "endpoint"}]
    assert len(server.asked) == 3


def test_a_server_that_stays_broken_is_not_asked_for_ever(server, ask):
    """After all tries the built-in titles stand in, for the user's other sessions at once."""
    server.answers = [answer("no", 500)]
    assert ask(3) == [built_in("the endpoint answered with status 500")] * 3
    assert len(server.asked) == ATTEMPTS


@pytest.mark.parametrize(("status", "questions"), [(401, 1), (403, 1), (404, 1), (400, 2), (302, 2)])
def test_refusals_are_not_repeated(server, ask, status, questions):
    """A wrong secret or model is the same for every session; a redirect is followed nowhere."""
    server.answers = [answer("no", status, Location="http://127.0.0.1:9/elsewhere")]
    assert ask(2) == [built_in(f"the endpoint answered with status {status}")] * 2
    assert len(server.asked) == questions


@pytest.mark.parametrize("way", ["hang", "drip"])
def test_nobody_waits_for_ever(server, ask, way):
    """Neither for an answer that does not begin, nor for one that does not end."""
    server.answers = [getattr(server, way)]
    began = time.monotonic()
    assert ask(3) == [built_in("the endpoint did not answer in time")] * 3
    assert time.monotonic() - began < 10
    assert len(server.asked) == ATTEMPTS


def test_nobody_is_there(fast, monkeypatch):
    """A refused connection is named without the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BACKTRAIL_TITLES_URL", f"http://127.0.0.1:{free.getsockname()[1]}/v1")
        assert make_titles([SESSION]) == [built_in("the endpoint cannot be reached")]


def test_a_connection_that_breaks_is_tried_again(server, ask):
    """The server hangs up in the middle of its answer, once."""

    def hang_up(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"{")
        handler.wfile.flush()
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_RDWR)

    server.answers = [hang_up, answer("Fine")]
    assert ask() == [{"title": "Fine", "by": "endpoint"}]


def pauses(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between the tries of one title, none of which is slept."""
    slept: list[float] = []
    own, sleep = threading.get_ident(), time.sleep

    def nap(seconds: float) -> None:
        # The function is everybody's: threads of others, a driver's say, go on sleeping.
        slept.append(seconds) if threading.get_ident() == own else sleep(seconds)

    monkeypatch.setattr("tenacity.nap.time.sleep", nap)
    with endpoint:
        assert endpoint.title(SESSION) == "Fine"
    return slept


@pytest.mark.parametrize(
    ("after", "least", "most"),
    [
        ("2", 2, 2),
        ("0", 0, 0),
        ("86400", 30, 30),
        ("soon", 0, 8),
        (None, 0, 8),
        ("-5", 0, 8),
        ("\u0662", 0, 8),
    ],
)
def test_retry_after_is_respected(server, monkeypatch, after, least, most):
    """The pause is what the server asks for, up to half a minute; else a short one by chance."""
    headers = {} if after is None or not after.isascii() else {"Retry_After": after}
    server.answers = [answer("no", 429, **headers), answer("Fine")]
    (pause,) = pauses(Endpoint(settings(server.url)), monkeypatch)
    assert least <= pause <= most


def test_retry_after_may_be_a_date(server, monkeypatch):
    """RFC 9110 allows either."""
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
    server.answers = [answer("no", 503, Retry_After=format_datetime(moment, usegmt=True)), answer("Fine")]
    (pause,) = pauses(Endpoint(settings(server.url)), monkeypatch)
    assert 10 < pause <= 20


def test_reasons_say_nothing_of_anybody(server, ask):
    """Neither the secret, nor the address, nor what the server or the session said is in what the ledger keeps."""
    server.answers = [answer(f"{SECRET} of ann@example.org", 400), raw(f"{SECRET} ann".encode()), answer("ann\nann")]
    text = json.dumps([{**result, "title": ""} for result in ask(3)])
    assert text.count("why") == 3
    for private in (SECRET, "127.0.0.1", str(server.http.server_port), "ann", "kilometres"):
        assert private not in text
    with pytest.raises(NoTitle) as caught, Endpoint(settings(server.url)) as endpoint:
        endpoint.title(SESSION)
    assert caught.value.__cause__ is None


def without_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def refusing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "httpx":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)


def test_httpx_is_missing(monkeypatch):
    """An endpoint that cannot be asked is no reason for other titles: the error names the extra."""
    without_httpx(monkeypatch)
    monkeypatch.setenv("BACKTRAIL_TITLES_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(UsageError, match=r"httpx is not installed: pip install 'backtrail\[titles\]'"):
        make_titles([SESSION])
