"""How campaigns look while they are watched."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from producer.live import line, screen
from producer.overview import Overview
from producer.show import print_status, print_workers

GATE = {"failed": 3, "conflicts": 1200, "verify": "all well"}
WAVES = [
    {"share": 0.01, "bound": 10_000, "state": "passed", "gate": GATE},
    {"share": 0.1, "bound": 100_000, "state": "running", "gate": None},
    {"share": 1.0, "bound": 1_000_000, "state": "ahead", "gate": None},
]
COUNTS = {"total": 1_000_000, "pending": 460_000, "migrated": 539_000, "rolled_back": 0, "skipped": 900, "failed": 100}
MANY = {f"Class{number}": 100 - number for number in range(8)}


def document(**values: Any) -> dict[str, Any]:
    """A status document of a campaign with everything that can be said of one."""
    about = {
        "campaign": "c12",
        "migration": "unified-profile",
        "kind": "migrate",
        "state": "running",
        "held": None,
        "halted": None,
    }
    more = {"conflicts": 12, "unmapped": 3, "rate_per_s": 1200.5, "waves": [], "errors": {}, "refused": []}
    return about | COUNTS | more | values


REFUSES = {"c12": "its code of unified-profile is another", "*": "release 0.9 is too old"}


def worker(number: int, **info: Any) -> dict[str, Any]:
    """A worker as an overview has it."""
    return {"id": f"w{number}@host-{number}/ab", "host": f"host-{number}", "release": "1.0", "leads": False} | info


FULL = Overview(
    0,
    [
        document(waves=WAVES, errors=MANY, held="replication lag 12 s > 5 s", refused=["w2 has other code: restart it"]),
        document(campaign="c13", state="halted", held="the disk is full: " + "make room, then resume " * 6, migration="m" * 90),
        document(campaign="c14", state="completed", pending=0, failed=0),
    ],
    [worker(1, refuses=REFUSES), worker(2, leads=True)],
    1234,
)


def shown(overview: Overview, width: int = 80, **options: Any) -> str:
    """What a console of that width has of it."""
    console = Console(file=io.StringIO(), width=width, highlight=False, **options)
    console.print(screen(overview, {"c12": 1000.0}))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("width", [60, 80, 200])
def test_everything_is_on_the_screen(width: int) -> None:
    """State, counts, rate, time left, failures by class, waves, what holds it, who refused, workers, leader and rejected messages."""
    text = shown(FULL, width)
    assert max(len(row) for row in text.splitlines()) <= width
    words = " ".join(text.split())
    for part in (
        *("c12 unified-profile · migrate · running", "54% 540,000 of 1,000,000", "1,000/s, 7 min 40 s left"),
        *("539,000 migrated", "900 skipped", "100 failed", "12 conflicts", "3 unmapped"),
        "1% passed (3 failed, 1,200 conflicts, verify: all well) · 10% under way, up to 100,000 · 100% ahead",
        "failed: 100 x Class0, 99 x Class1, 98 x Class2, 97 x Class3, 96 x Class4, … 3 more classes",
        *("held: replication lag 12 s > 5 s", "not taken: w2 has other code: restart it", "halted", "make room, then resume"),
        *("w1@host-1 cannot do c12: its code of unified-profile is another", "w1@host-1 cannot do any: release 0.9 is too old"),
        *("2 workers alive", "w2@host-2, release 1.0, feeds the queue", "messages that made no sense: 1,234"),
    ):
        assert part in words, part
    assert "rolled back" not in words


def test_colours_are_not_needed() -> None:
    """Without them nothing but characters is left, and the state is still a word."""
    coloured = shown(FULL, force_terminal=True, color_system="truecolor")
    plain = shown(FULL, force_terminal=True, no_color=True)
    assert "\x1b[32m" in coloured
    assert "\x1b[3" not in plain
    assert "\x1b[9" not in plain
    assert "running" in plain


def test_nobody_at_work() -> None:
    """Then the view says how to start a worker; and a campaign of nobody is whole."""
    text = shown(Overview(0, [document(total=0, pending=0, migrated=0, failed=0, state="open")], [], 0))
    assert "no worker is alive; start one in another terminal: backtrail worker" in text
    assert "100%  0 of 0" in text
    assert "rejected" not in text


def test_of_many_workers_the_leader_is_among_those_that_are_shown() -> None:
    """The others are a number."""
    text = shown(Overview(0, [], [*(worker(number) for number in range(30)), worker(30, leads=True)], 0))
    assert "31 workers alive" in text
    assert "w30@host-30, release 1.0, feeds the queue" in text
    assert "… and 23 more" in text


def test_a_plain_line() -> None:
    """All that matters of a campaign in one line, without a control character."""
    said = line(document(waves=WAVES, held="lag"), 1000.0)
    assert said == (
        "c12 unified-profile migrate running, 54% 540,000/1,000,000, 1,000/s, 7 min 40 s left, 100 failed, 12 conflicts, 3 unmapped,"
        " wave 2 of 3, up to 100,000, held: lag"
    )
    closed = [WAVES[0] | {"state": "failed"}, *WAVES[1:]]
    assert "wave 1 of 3, up to 10,000: gate closed, held: mend it" in line(
        document(state="halted", waves=closed, held="mend it"), None
    )
    assert line(document(state="completed", pending=0, waves=WAVES), 0.0).endswith(
        "completed, 100% 1,000,000/1,000,000, 100 failed, 12 conflicts, 3 unmapped"
    )


def printed(width: int, documents: list[dict[str, Any]]) -> list[str]:
    """The lines of `status` on a console of that width."""
    console = Console(file=io.StringIO(), width=width, highlight=False, soft_wrap=True)
    print_status(console, documents)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


def test_a_narrow_terminal_gets_two_lines_for_a_campaign() -> None:
    """Nothing is cut off, and no number is lost; where there is room, it is a table."""
    narrow = printed(80, [document()])
    assert max(map(len, narrow)) <= 80
    assert narrow[0] == "c12  unified-profile  migrate  running"
    assert " ".join(" ".join(narrow[1:]).split()) == (
        "1,000,000: 539,000 migrated, 900 skipped, 100 failed, 12 conflicts, 3 unmapped, 460,000 pending, 1,200.5/s"
    )
    header, row = printed(200, [document()])
    assert header.split() == [
        "campaign",
        "migration",
        "kind",
        "state",
        "total",
        "pending",
        "migrated",
        "skipped",
        "failed",
        "conflicts",
        "rate/s",
    ]
    assert row.split()[-7:] == ["1,000,000", "460,000", "539,000", "900", "100", "12", "1,200.5"]


def test_columns_that_are_zero_for_all_are_left_out() -> None:
    """What one campaign has is a column of all."""
    small = {"total": 3, "pending": 0, "migrated": 3, "skipped": 0, "failed": 0, "conflicts": 0, "rate_per_s": 1.0}
    header, *rows = printed(100, [document(**small), document(**small | {"migrated": 0, "rolled_back": 3, "kind": "rollback"})])
    assert header.split() == [
        "campaign",
        "migration",
        "kind",
        "state",
        "total",
        "pending",
        "migrated",
        "rolled",
        "back",
        "rate/s",
    ]
    assert len(rows) == 2


def test_releases_are_named_where_they_differ() -> None:
    """Of workers that are alike the names are enough."""
    console = Console(file=io.StringIO(), width=200, highlight=False)
    print_workers(console, [worker(1, host="h"), worker(2, host="h")])
    print_workers(console, [worker(1), worker(2, release="1.1", leads=True)], 7)
    print_workers(console, [])
    assert console.file.getvalue().splitlines() == [  # type: ignore[attr-defined]
        "workers: w1@host-1, w2@host-2",
        "workers: w1@host-1, release 1.0, w2@host-2, release 1.1, feeds the queue",
        "messages that made no sense: 7",
        "workers: none alive; start one: backtrail worker",
    ]
