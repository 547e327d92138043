"""What will be run and about how long that takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.forms import Form

RATES = {
    "postgresql": {"fill": 6_000, "set_based": 20_000, "bulk": 20_000, "naive": 250, "backtrail": 4_000, "check": 15_000},
    "sqlite": {"fill": 6_000, "set_based": 15_000, "bulk": 20_000, "naive": 250, "backtrail": 4_000, "check": 15_000},
    "mongodb": {"fill": 900, "set_based": 8_000, "bulk": 5_000, "naive": 80, "backtrail": 1_200, "check": 5_000},
}
"""Users a second that are counted on; a plan is no promise."""
START_S = 5.0
"""What starting and ending a worker takes."""
WRITES = {"backtrail": 4.0, "bad": 2.0, "encrypted": 1.5}
"""Times that every user is gone through in a measure, in migrations of all."""


def lines(stores: Sequence[str], form: Form) -> list[str]:
    """The plan for a terminal."""
    text = [f"{'store':<12}{'measure':<12}{'users':>18}{'times':>7}{'seconds, about':>16}"]
    total = 0.0
    for store in stores:
        fill = (form.users[store] + form.small[store] + form.large[store]) / RATES[store]["fill"]
        text.append(f"{store:<12}{'(filling)':<12}{'':>18}{'':>7}{fill:>16,.0f}")
        total += fill
        for name, users, times, seconds in _measures(store, form):
            text.append(f"{store:<12}{name:<12}{users:>18}{times:>7}{seconds:>16,.0f}")
            total += seconds
    return [*text, f"{total / 60:.0f} minutes in all, on two cores"]


def _measures(store: str, form: Form) -> Iterator[tuple[str, str, int, float]]:
    for name, times in form.repeats.items():
        yield name, _users(name, store, form), times, times * _seconds(name, store, form)


def _users(name: str, store: str, form: Form) -> str:
    if name == "sizes":
        return f"{form.small[store]:,}, {form.large[store]:,}"
    if name == "giant":
        return f"1 of {form.many[0]:,}, {form.many[1]:,}"
    return ", ".join(f"{users:,}" for users in (form.naive_users if name == "naive" else (form.users[store],)))


def _seconds(name: str, store: str, form: Form) -> float:
    rates, users = RATES[store], form.users[store]
    if name in {"set_based", "bulk"}:
        return users / rates[name] + 2 * users / rates["check"]
    if name == "naive":
        return sum(START_S + number / rates["naive"] for number in form.naive_users)
    if name == "sizes":
        return 2 * START_S + (form.small[store] + form.large[store]) / rates["backtrail"]
    if name == "giant":
        return START_S + 3 * (form.many[0] / 3 + form.many[1]) / rates["backtrail"]
    return START_S + WRITES[name] * users / rates["backtrail"] + 3 * users / rates["check"]
