"""The dashboard and the rules speak of metrics and labels that are really there: ours from a scrape, Flower's from its own page's registry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flower.events import get_prometheus_metrics
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.engine import Engine
from tests.producer.test_metrics import demand_story, storied

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
DASHBOARD = json.loads((OPS / "grafana" / "backtrail.json").read_text())
RULES = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PROMETHEUS = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())

NAMED = re.compile(r"\b(?:backtrail|flower)_\w+")
WITH_LABELS = re.compile(r"\b((?:backtrail|flower)_\w+)\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
TARGET = {"job", "instance"}
"""The labels that Prometheus gives all that it scrapes."""


def labels_of(text: str) -> dict[str, set[str]]:
    """The labels of each name that has samples in the text of a page of metrics."""
    found: dict[str, set[str]] = {}
    for metric in text_string_to_metric_families(text):
        for sample in metric.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.fixture
def known(on_sqlite: Engine) -> dict[str, set[str]]:
    """The labels of every metric that is really there."""
    flower = get_prometheus_metrics()
    event = {"type": "task-succeeded", "name": "backtrail.batch", "runtime": 0.5}
    try:
        flower.observe_worker("w1@monitoring", {"type": "worker-heartbeat", "active": 1})
        task = SimpleNamespace(name="backtrail.batch", eta=None, received=1.0, started=2.0)
        for kind in ("task-received", "task-started", "task-succeeded"):
            flower.observe_task("w1@monitoring", event | {"type": kind}, task)
        theirs = labels_of(generate_latest().decode())
    finally:
        flower.remove_workers({"w1@monitoring"})
    found = theirs | labels_of(demand_story(storied(on_sqlite)))
    assert sum(name.startswith("flower_") for name in found) >= 6
    assert sum(name.startswith("backtrail_") for name in found) >= 20
    return found


def panels() -> Iterator[dict[str, Any]]:
    """All panels of the dashboard."""
    for panel in DASHBOARD["panels"]:
        yield panel
        yield from panel.get("panels", ())


def expressions() -> list[tuple[str, str, str]]:
    """Where it stands, an expression, and what is shown of its labels."""
    shown = [
        (panel["title"], target["expr"], target["legendFormat"]) for panel in panels() for target in panel.get("targets", ())
    ]
    variables = [(one["name"], one["definition"], "") for one in DASHBOARD["templating"]["list"] if one["type"] == "query"]
    alerts = [(rule["alert"], rule["expr"], " ".join(rule["annotations"].values())) for rule in ALERTS]
    return [*shown, *variables, *alerts]


def test_every_metric_and_label_is_there(known: dict[str, set[str]]) -> None:
    """In each panel and each rule: names, labels that are compared, grouped by or shown."""
    assert len(expressions()) >= 40
    for place, expression, shown in expressions():
        grouped = [re.split(r"\s*,\s*", one.strip()) for one in GROUPED.findall(expression)]
        names = set(NAMED.findall(GROUPED.sub("", expression)))
        assert names or re.search(r"\bup\b", expression), place
        assert names <= set(known), f"{place}: {names - set(known)}"
        for name, inside in WITH_LABELS.findall(expression):
            compared = {part.split("=")[0].rstrip("!~ ").strip() for part in re.findall(r'\w+\s*[=!]~?"[^"]*"', inside)}
            assert compared <= known[name] | TARGET, f"{place}: {name} has no {compared - known[name]}"
        there = set().union(*(known[name] for name in names)) if names else set()
        for label in {one for labels in grouped for one in labels} | set(SHOWN.findall(shown)):
            assert label in there | TARGET | {"le"}, f"{place}: {label}"


def test_what_is_shown_is_in_the_result() -> None:
    """A label that a sum took away cannot be shown."""
    for place, expression, shown in expressions():
        outer = re.match(r"\s*(?:sum|max|min|histogram_quantile)\b(?:\s*by\s*\(([^)]*)\))?", expression)
        if outer and "histogram_quantile" not in expression:
            left = set(re.split(r"\s*,\s*", (outer[1] or "").strip()))
            assert set(SHOWN.findall(shown)) <= left, place


def test_the_dashboard_can_be_imported() -> None:
    """Ids are unique, nothing lies on anything else, every panel has a title and a description, and the data source is asked for."""
    every = list(panels())
    assert len(every) >= 25
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["description"].endswith("."), panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert {"datasource", "campaign"} == {one["name"] for one in DASHBOARD["templating"]["list"]}


def test_rules_are_well_formed() -> None:
    """Each says how bad it is, what is the matter, and what to do; no name is there twice; the page lists them all."""
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names) >= 12
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s"))
        for opening, closing in ("()", "{}", "[]"):
            assert rule["expr"].count(opening) == rule["expr"].count(closing), rule["alert"]
    page = (ROOT / "docs" / "metrics.md").read_text()
    assert set(names) == set(re.findall(r"`((?:Backtrail|Flower)[A-Za-z]+)`", page))


def test_the_jobs_of_the_rules_are_scraped() -> None:
    """At the default ports of `backtrail metrics` and `backtrail flower`."""
    from producer.cli import backtrail

    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in PROMETHEUS["scrape_configs"]}
    asked = {name for rule in ALERTS for name in re.findall(r'job="(\w+)"', rule["expr"])}
    assert asked == set(jobs) == {"backtrail", "flower"}
    for job, command in (("backtrail", "metrics"), ("flower", "flower")):
        port = next(one.default for one in backtrail.commands[command].params if one.name == "port")
        assert jobs[job] == [f"127.0.0.1:{port}"]
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
