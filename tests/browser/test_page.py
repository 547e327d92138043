"""Flower as a new user meets it: `backtrail up`, then the real page in headless Chromium, from the first campaign's start to its end.

Run by `make test-browser`. BACKTRAIL_TEST_SCREENSHOT names where the picture goes that the documents show (`make screenshot`).
"""

from __future__ import annotations

import math
import os
import re
import shutil
import socket
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs

import pytest

from tests.processes import Place, alive, command
from tests.servers import free_port, until

if TYPE_CHECKING:  # `make test` has no Playwright
    from playwright.sync_api import Browser, BrowserContext, Page, Response, Route

pytestmark = pytest.mark.browser

MIGRATION = "unified-profile"
USERS = 600
FIRST = 60
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Up(NamedTuple):
    """What `backtrail up` runs, as it says on the terminal."""

    place: Place
    url: str
    password: str
    program: Any


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """Everything for one machine, over a new SQLite database with sample data."""
    folder = Path(tempfile.mkdtemp(prefix="bt-"))
    place = Place(folder, f"sqlite:///{folder / 'app.db'}")
    place.run("sample", MIGRATION, "--size", str(USERS))
    with place.program("up", "producer.cli", "up", "-c", "2", "--port", str(free_port())) as program:
        program.says("Ctrl-C here ends everything", timeout=90)
        said = re.search(r"Flower: (\S+)  user: flower  password: (\S+)", program.text)
        assert said, program.text
        place.run("expand", MIGRATION)
        yield Up(place, said[1], said[2], program)
        assert program.end() == 0
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's browser, driven by Playwright."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium")
    assert program, "there is no chromium: apt-get install chromium"
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def visitor(chromium: Browser, up: Up) -> Iterator[BrowserContext]:
    """Somebody with the password."""
    with chromium.new_context(
        http_credentials={"username": "flower", "password": up.password},
        viewport={"width": 1280, "height": 800},
        color_scheme="light",
        timezone_id="UTC",
    ) as context:
        context.set_default_timeout(20_000)
        yield context


def found(page: Page, up: Up, words: str) -> int:
    """How many tasks the page is told that the words find, typed into its search."""

    def asked(answer: Response) -> bool:
        return "/tasks/datatable" in answer.url and parse_qs(answer.request.post_data or "").get("search[value]") == [words]

    with page.expect_response(asked) as answer:  # at once where the page remembers that they were typed before
        page.goto(f"{up.url}tasks")
        page.get_by_role("searchbox").fill(words)
    return int(answer.value.json()["recordsFiltered"])


def rows(page: Page) -> list[list[str]]:
    """The rows that the page shows, as the texts of their cells."""
    return [row.locator("td").all_inner_texts() for row in page.locator("#tasks-table tbody tr").all()]


def worker_name(page: Page) -> str:
    """The name of the one worker that the page of workers shows; it may be broken over lines there."""
    return "".join(page.locator("#workers-table tbody tr td").first.inner_text().split())


def one(up: Up, query: str) -> Any:
    """What the database says."""
    with closing(sqlite3.connect(up.place.folder / "app.db")) as connection:
        return connection.execute(query).fetchone()[0]


def test_nobody_gets_in_without_the_password(chromium, up):
    """A browser that has none, or a wrong one, is refused every page."""
    from playwright.sync_api import Error

    for credentials in (None, {"username": "flower", "password": "flower"}, {"username": "admin", "password": up.password}):
        with chromium.new_context(http_credentials=credentials) as context:
            page = context.new_page()
            for path in ("", "workers", "tasks", "broker", "api/workers", "api/tasks"):
                statuses: list[int] = []
                page.once("response", lambda answer, statuses=statuses: statuses.append(answer.status))
                with suppress(Error):  # some refusals are pages, others are errors to the browser
                    page.goto(f"{up.url}{path}")
                assert statuses == [401], path


def test_a_campaign_is_followed_from_its_start_to_its_end(visitor, up, tmp_path):
    """Its messages are found by its name alone, all end well, and what became of the users can be read there."""
    page = visitor.new_page()
    asked: set[str] = set()
    page.on("request", lambda request: asked.add(request.url.split("/")[2]))
    assert found(page, up, "kwargs:campaign=c1") == 0

    up.place.run("enqueue", MIGRATION, "--limit", str(FIRST), "--batch-size", "20")
    until(lambda: found(page, up, "kwargs:campaign=c1 state:SUCCESS") == 3, what="the three messages of c1 on the page")
    up.place.run("enqueue", MIGRATION, "--batch-size", "25", "--reason", "everybody")
    until(lambda: found(page, up, "kwargs:campaign=c2") > 0, what="the start of c2 on the page")
    messages = math.ceil((USERS - FIRST) / 25)
    assert messages > 15
    until(lambda: found(page, up, "kwargs:campaign=c2 state:SUCCESS") == messages, what="the end of c2 on the page")

    assert found(page, up, "kwargs:campaign=c1") == 3
    assert found(page, up, "kwargs:campaign=c2") == messages
    page.locator("select[aria-label='Tasks per page']").select_option("100")
    until(lambda: len(rows(page)) == messages, what="all messages of c2 on one page")
    shown = rows(page)
    heads = [head.lower() for head in page.locator("th[data-column]").all_inner_texts()]
    results = [dict(zip(heads, row, strict=False)) for row in shown]
    counted = [dict(re.findall(r"(\w+)=(\d+)", row["result"])) for row in results]
    assert all(set(counts) <= {"ok", "skipped", "failed"} and "ok" in counts for counts in counted), results
    assert sum(int(counts["ok"]) for counts in counted) == USERS - FIRST
    assert one(up, "SELECT count(*) FROM unified_profiles") == USERS
    assert asked == {up.url.split("/")[2]}, "the page loads something from elsewhere"

    keep_picture(visitor, up, tmp_path / "flower.png")


def keep_picture(visitor: BrowserContext, up: Up, default: Path) -> None:
    """A picture of a finished campaign; the name of this machine is not in it."""
    own = socket.gethostname()

    def elsewhere(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace(f"@{own}", "@app1"))

    page = visitor.new_page()
    page.set_viewport_size({"width": 1280, "height": 1020})  # as high as the table
    page.route("**/tasks/datatable", elsewhere)
    found(page, up, "kwargs:campaign=c2")
    page.locator("select[aria-label='Tasks per page']").select_option("15")
    until(lambda: len(rows(page)) == 15, what="a page full of tasks")
    assert f"@{own}" not in page.locator("#tasks-table").inner_text()
    target = Path(os.environ.get("BACKTRAIL_TEST_SCREENSHOT") or default)
    target.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=target)
    assert target.stat().st_size > 20_000


def test_the_worker_is_shown(visitor, up):
    """By its name, as online, with what it has done; and its own page has the queue and no password."""
    page = visitor.new_page()
    page.goto(f"{up.url}workers")
    until(lambda: page.locator("#workers-online").inner_text() == "1", what="one worker on the page")
    name = worker_name(page)
    assert re.fullmatch(r"worker-\d+@.+", name)
    answer = page.goto(f"{up.url}worker/{name}")
    assert answer is not None and answer.status == 200
    assert page.locator("#workername").inner_text() == name
    assert up.password not in page.content()


def test_nothing_can_be_changed(visitor, up):
    """There are no buttons that act, and whoever calls what is behind them is refused; the worker lives on."""
    page = visitor.new_page()
    page.goto(f"{up.url}workers")
    until(lambda: page.locator("#workers-online").inner_text() == "1", what="one worker on the page")
    name = worker_name(page)
    page.goto(f"{up.url}worker/{name}")
    acts = ("#worker-group", "#worker-shutdown", "#worker-pool-restart", "#worker-pool-grow", "#pool-size", ".btn-danger")
    assert [button for button in acts if page.locator(button).count()] == []
    workers = [one for one in up.program.family() if "-m worker --quiet worker" in command(one)]
    assert workers
    for path in (
        f"worker/shutdown/{name}",
        f"worker/pool/shrink/{name}?n=1",
        f"worker/queue/cancel-consumer/{name}?queue=bt",
        "task/async-apply/backtrail.batch",
        "task/send-task/backtrail.batch",
        "task/revoke/0?terminate=true",
    ):
        status = page.evaluate("path => fetch('/api/' + path, {method: 'POST', body: '{}'}).then(answer => answer.status)", path)
        assert status == 403, path
    up.place.run("enqueue", MIGRATION, "--only", str(one(up, "SELECT id FROM users LIMIT 1")), "--watch")
    assert all(map(alive, workers))
