"""Metrics as Prometheus reads them: of a real ledger, well formed, by ids alone, and there even while the database is not."""

from __future__ import annotations

import re
import socket
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from backtrail import Keys, Rows
from backtrail.errors import Retry, UsageError
from ledger.campaigns import Campaign
from ledger.rejected import Rejection
from producer import cli, metrics
from producer.metrics import FAMILIES, Exporter, serve, told_of
from tests.engine import Engine, migration
from tests.servers import free_port

NAME = re.compile(r"backtrail_[a-z_]+\Z")
DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
OF_NOBODY = {"campaign", "migration", "kind", "state", "outcome", "note", "error", "version"}
CAMPAIGN = Campaign(3, "m", "m", "migrate", "running", {}, {}, ("int",), "f", 9, 0, "me", None, None, {}, fed=True, opened_at=0)


def scraped(exporter: Exporter) -> dict[str, Metric]:
    """The metrics by name, as they are after having been text."""
    registry = CollectorRegistry()
    registry.register(exporter)
    found = list(text_string_to_metric_families(generate_latest(registry).decode()))
    assert len({one.name for one in found}) == len(found), "a metric is there twice"
    return {one.name: one for one in found}


def values(metric: Metric, *labels: str) -> dict[Any, float]:
    """The samples by those labels."""
    return {tuple(sample.labels[label] for label in labels): sample.value for sample in metric.samples}


def storied(engine: Engine) -> Engine:
    """Six users of whom one fails in a campaign that ended, and a campaign of two waves that is under way; one worker, three bad messages."""
    engine.table("users", id=int, mail=str)
    engine.add("users", *((number, f"zoe{number}@example.org") for number in range(1, 7)))

    def migrate(user: Any) -> None:
        if user.key == 5:
            raise ValueError("zoe5@example.org")
        if user.key in (2, 3):
            user.conflict("a", [1, 2], 1)

    cls = migration(migrate, keys=Keys("users", engine.id), reads=(Rows("users", engine.id),))
    engine.migrate(cls, reason="for zoe@example.org")
    with engine.store.transaction() as tx:
        campaign = replace(
            CAMPAIGN, migration="trial", options={"waves": [0.5, 1.0], "bounds": [4], "rate": 20.0}, total=9, by="zoe@host"
        )
        campaign = engine.ledger.campaigns.open(tx, replace(campaign, id=0, started_at=0))
        engine.ledger.campaigns.add_batches(tx, campaign, 1, [["1", "2"], ["3"]], [0, 0])
        batches = engine.ledger.campaigns.unfinished(tx, campaign.id, ("ready",), 1)
        engine.ledger.campaigns.sent(tx, campaign.id, batches, round(tx.now.timestamp() * 1000) - 90_000)
        info = {"release": "1.0", "host": "h", "pid": 1, "leads": True, "held": {"c2": "12 locks wait"}}
        engine.ledger.presence.show(tx, "w1@h/ab", info)
        engine.ledger.rejections.add(tx, [Rejection(1, "w1", "no JSON", 3)])
    return engine


def demand_story(engine: Engine) -> str:
    """The text of a scrape, which says what `storied` made."""
    exporter = Exporter(engine.ledger)
    found = scraped(exporter)
    assert values(found["backtrail_up"]) == {(): 1}
    assert values(found["backtrail_workers"]) == values(found["backtrail_feeder_leader"]) == {(): 1}
    assert values(found["backtrail_rejected_messages"]) == {(): 3}
    counts = values(found["backtrail_campaigns"], "state")
    assert counts == {("open",): 0, ("running",): 1, ("paused",): 0, ("halted",): 0, ("completed",): 1, ("cancelled",): 0}
    done = values(found["backtrail_campaign_done_entities"], "campaign", "outcome")
    assert (done["c1", "migrated"], done["c1", "failed"], done["c2", "migrated"]) == (5, 1, 0)
    assert values(found["backtrail_campaign_noted_entities"], "campaign", "note")["c1", "conflict"] == 2
    assert values(found["backtrail_campaign_failed_entities"], "campaign", "error") == {("c1", "MigrateFailed"): 1}
    assert values(found["backtrail_campaign_entities"], "campaign") == {("c1",): 6, ("c2",): 9}
    assert values(found["backtrail_campaign_pending_entities"], "campaign") == {("c1",): 0, ("c2",): 9}
    states = values(found["backtrail_campaign_state"], "campaign", "state")
    assert {one for one, value in states.items() if value == 1} == {("c1", "completed"), ("c2", "running")}
    assert len(states) == 12
    batches = values(found["backtrail_campaign_batches"], "campaign", "state")
    assert (batches["c2", "ready"], batches["c2", "sent"], batches["c1", "done"]) == (1, 1, 1)
    ages = values(found["backtrail_campaign_oldest_sent_batch_age_seconds"], "campaign")
    assert 90 <= ages["c2",] < 120
    assert ages["c1",] == 0
    assert values(found["backtrail_campaign_wave"], "campaign") == {("c2",): 1}
    assert values(found["backtrail_campaign_wave_bound_entities"], "campaign") == {("c2",): 4}
    assert values(found["backtrail_campaign_rate_limit_entities_per_second"], "campaign") == {("c2",): 20}
    assert values(found["backtrail_campaign_held"], "campaign") == {("c1",): 0, ("c2",): 1}
    assert set(found) == {f"backtrail_{family.name}" for family in FAMILIES}, "a metric was never seen with a value"
    registry = CollectorRegistry()
    registry.register(exporter)
    return generate_latest(registry).decode()


def test_a_scrape_of_a_ledger(on_sqlite: Engine) -> None:
    """Every metric there is, with the values that were put there; well formed, with help, in base units, and nobody's name or key in it."""
    text = demand_story(storied(on_sqlite))
    assert "zoe" not in text
    for metric in text_string_to_metric_families(text):
        assert NAME.match(metric.name), metric.name
        assert metric.documentation.endswith("."), metric.name
        assert metric.type in ("counter", "gauge"), metric.name
        assert all(sample.name.endswith("_total") == (metric.type == "counter") for sample in metric.samples), metric.name
        assert all(set(sample.labels) <= OF_NOBODY for sample in metric.samples), metric.name
        labels = [tuple(sorted(sample.labels.items())) for sample in metric.samples]
        assert len(set(labels)) == len(labels), metric.name
        assert not re.search(r"milli|minute|hour|_ms\b|percent|_kb", metric.name), metric.name


def test_postgres(on_postgres: Engine) -> None:
    """The same of a ledger there."""
    demand_story(storied(on_postgres))


@pytest.mark.long
def test_mongo(on_mongo: Engine) -> None:
    """The same of a ledger there."""
    demand_story(storied(on_mongo))


@contextmanager
def served(engine: Engine) -> Iterator[int]:
    """The port at which its metrics are."""
    port = free_port()
    server = serve(engine.ledger, "127.0.0.1", port)
    try:
        yield port
    finally:
        server.shutdown()
        server.server_close()


def got(port: int) -> dict[str, Metric]:
    """The metrics by name, as HTTP has them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        return {one.name: one for one in text_string_to_metric_families(answer.read().decode())}


def test_a_database_that_is_away(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The page answers and says so, without a traceback; and it recovers by itself."""
    monkeypatch.setattr(metrics, "CACHE_S", 0)
    storied(on_sqlite)
    transaction = on_sqlite.store.transaction

    def away(**_: Any) -> Any:
        raise Retry("the connection was lost")

    with served(on_sqlite) as port:
        assert values(got(port)["backtrail_up"]) == {(): 1}
        monkeypatch.setattr(on_sqlite.store, "transaction", away)
        found = got(port)
        assert set(found) == {"backtrail_up", "backtrail_build_info"}
        assert values(found["backtrail_up"]) == {(): 0}
        monkeypatch.setattr(on_sqlite.store, "transaction", transaction)
        assert values(got(port)["backtrail_up"]) == {(): 1}
    assert "Traceback" not in capfd.readouterr().err


def test_several_scrapes_at_once_cost_one_look(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read a moment ago is told again."""
    storied(on_sqlite)
    looks: list[int] = []
    transaction = on_sqlite.store.transaction
    monkeypatch.setattr(metrics, "CACHE_S", 60)
    monkeypatch.setattr(on_sqlite.store, "transaction", lambda **options: (looks.append(1), transaction(**options))[1])
    exporter = Exporter(on_sqlite.ledger)
    assert all("backtrail_up" in scraped(exporter) for _ in range(3))
    assert looks == [1]


def test_a_database_without_a_ledger(on_sqlite: Engine) -> None:
    """Answers, and has no campaigns; nothing is created by looking."""
    on_sqlite.table("users", id=int)
    found = scraped(Exporter(on_sqlite.ledger))
    assert values(found["backtrail_up"]) == {(): 1}
    assert sum(values(found["backtrail_campaigns"], "state").values()) == 0
    assert on_sqlite.query("SELECT name FROM sqlite_master") == [("users",)]


def test_what_is_told_of_is_bounded() -> None:
    """All that are not over, and of those that are the last ones of the last hour."""
    now = 10_000_000_000
    ended = [replace(CAMPAIGN, id=number, state="completed", ended_at=now - 1000 * number) for number in range(1, 5000)]
    held = replace(CAMPAIGN, id=9000, state="paused")
    assert [one.id for one in told_of([*ended, held], now)] == [*range(1, 21), 9000]
    old = [replace(one, ended_at=now - 3_600_001) for one in ended]
    assert told_of(old, now) == []


def test_classes_of_failures_are_bounded() -> None:
    """The most frequent have a series of their own."""
    errors = {f"E{number:03}": 1000 - number for number in range(100)}
    found = metrics._bounded(errors)
    assert len(found) == 21
    assert sum(found.values()) == sum(errors.values())
    assert found["E000"] == 1000


def test_a_port_that_is_taken(on_sqlite: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that names it."""
    on_sqlite.ledger.create()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit) as ended:
            cli.main(["metrics", "--database-url", on_sqlite.url, "--port", str(port)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in said
    assert len(said.splitlines()) == 1
    with pytest.raises(UsageError, match="another --port"):
        serve(on_sqlite.ledger, "203.0.113.7", 9464)


def test_without_the_package(on_sqlite: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and one line that says what to install."""
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.delitem(sys.modules, "producer.metrics")
    with pytest.raises(SystemExit) as ended:
        cli.main(["metrics", "--database-url", on_sqlite.url])
    assert ended.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "backtrail: the metrics need prometheus_client: pip install 'backtrail[metrics]'"
    ]


def test_the_page_has_every_metric() -> None:
    """With its type, labels and meaning as they are told."""
    rows = re.findall(r"^\| `(backtrail_[a-z_]+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    written = {name: (kind, tuple(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows}
    assert written == {family.full_name: (family.kind, family.labels, family.help) for family in FAMILIES}
