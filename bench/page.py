"""The figures of a run as tables in the docs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bench.report import DETAILS, NAMES, RATIOS, Ratio, Spread, detail, rate

BEGIN, END = "<!-- figures of a run -->", "<!-- end of the figures -->"
TITLES = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mongodb": "MongoDB"}

Stores = Mapping[str, Any]


def figures(document: Mapping[str, Any]) -> str:
    """The tables."""
    stores: Stores = document["stores"]
    parts = [
        _table("ratio: reached (wanted)", stores, ((one.title, _ratio(one)) for one in RATIOS)),
        _table("users a second", stores, ((title, _rate(measure)) for measure, title in NAMES.items())),
        _table("other figures", stores, ((title, _detail(measure, name)) for measure, name, title in DETAILS)),
        f"Medians of up to {_repeats(stores)} repeats, with the lowest and the highest; {round(document['seconds'] / 60)} minutes in all, "
        f"{document['processes']} processes, on {document['at'][:10]}.",
        _machine(document["machine"]),
        *(
            f"{TITLES[name]}, `{store['workload']}`, {store['users']:,} users unless told otherwise: {_listed(store['settings'])}."
            for name, store in stores.items()
        ),
        *(f"Not measured, because it failed: {failure}." for failure in document["failures"]),
    ]
    return "\n\n".join(parts)


def _repeats(stores: Stores) -> int:
    return max((len(found) for store in stores.values() for found in store["samples"].values()), default=0)


def _table(title: str, stores: Stores, rows: Iterator[tuple[str, Callable[[str, Any], str]]]) -> str:
    lines = [f"| {title} | {' | '.join(TITLES[name] for name in stores)} |", f"|---|{'---:|' * len(stores)}"]
    for name, cell in rows:
        cells = [cell(store, found["samples"]) for store, found in stores.items()]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(one or '—' for one in cells)} |")
    return "\n".join(lines)


def _ratio(ratio: Ratio) -> Callable[[str, Any], str]:
    def cell(store: str, samples: Any) -> str:
        found = ratio.of(samples)
        if found is None:
            return ""
        wish = ratio.wish(store)
        reached = f"**{found.median:.3g}**" if ratio.reached(store, found.median) else f"{found.median:.3g}"
        return reached + (f" ({wish})" if wish else "") + _between(found, ".3g")

    return cell


def _rate(measure: str) -> Callable[[str, Any], str]:
    def cell(_: str, samples: Any) -> str:
        found = rate(samples, measure)
        return "" if found is None else f"{found.median:,.0f}{_between(found, ',.0f')}"

    return cell


def _detail(measure: str, name: str) -> Callable[[str, Any], str]:
    def cell(_: str, samples: Any) -> str:
        found = detail(samples, measure, name)
        return "" if found is None or not found.median else f"{found.median:,.0f}"

    return cell


def _between(found: Spread, form: str) -> str:
    return "" if found.lowest == found.highest else f"; {found.lowest:{form}} … {found.highest:{form}}"


def _machine(machine: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in machine.items() if name not in {"cores", "memory_gb", "cpu"}}
    return f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gb']} GB; {_listed(rest)}."


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def placed(page: str, figures: str) -> str:
    """The page with the figures between its markers."""
    found = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    assert found.search(page), "the page has no place for the figures"
    return found.sub(lambda _: f"{BEGIN}\n\n{figures}\n\n{END}", page)
