"""The benchmark measures what it says: every measure gives figures on every store, and whoever migrates leaves the same rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.__main__ import main
from bench.forms import FORMS, STORES
from bench.measures import GIVES, MEASURES
from bench.page import BEGIN, END, figures, placed
from bench.picture import draw
from bench.report import DETAILS, NAMES, RATIOS, text
from bench.run import Run, Wrong
from bench.unified.workload import UnifiedProfile

ROOT = Path(__file__).parents[2]
REFERENCES = ("set_based", "bulk", "naive", "backtrail", "bad")
MEASURED = {"sqlite": tuple(MEASURES), "postgresql": REFERENCES, "mongodb": (*REFERENCES, "giant")}
"""All measures on one store; on the others those in which a store has code of its own: starting a worker takes longer than they do."""


@pytest.mark.long
def test_every_measure_gives_figures_on_every_store(tmp_path):
    """The tiny form, all stores side by side; a measure whose rows differ from the others' fails the run."""
    running = {store: _start(store, tmp_path / f"{store}.json") for store in STORES}
    try:
        said = {store: process.communicate(timeout=300)[0] for store, process in running.items()}
    finally:
        for process in running.values():
            process.terminate()
            process.wait(60)
    for store, process in running.items():
        assert process.returncode == 0, said[store]
        document = json.loads((tmp_path / f"{store}.json").read_text())
        assert document["failures"] == []
        _demand_figures(store, document["stores"][store]["samples"])
    everything = json.loads((tmp_path / "sqlite.json").read_text())
    assert all(ratio.title in text(everything) for ratio in RATIOS if ratio.above != "naive_more" != ratio.below)


def _demand_figures(store, samples):
    titles = {measure for name in MEASURED[store] for measure in GIVES.get(name, (name,))}
    assert set(samples) == titles
    assert all(one["users"] > 0 and one["seconds"] > 0 for found in samples.values() for one in found)
    # SQLite is no server, and may come without `dbstat`.
    without = {"server_us_per_user"} if store == "sqlite" else set()
    for measure, name, _ in DETAILS:
        assert measure not in samples or name in without or name in samples[measure][0]
    assert store == "sqlite" or samples["backtrail"][0]["ledger_bytes_per_user"] > 500
    assert "giant" not in samples or samples["giant"][0]["rows"] == 1000


def _start(store: str, out: Path) -> subprocess.Popen[str]:
    arguments = ["--form", "tiny", "--warm", "20", "--stores", store, "--measures", *MEASURED[store], "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def test_measures_that_leave_different_rows_are_noticed():
    """Those of all users, and those of the first ones by themselves."""
    found = iter(["one", "first", "one", "other"])
    database = SimpleNamespace(name="sqlite", digest=lambda url, shapes, until: next(found))
    run = Run(database, UnifiedProfile(), 3, (1,), (1, 2), (1, 1), 2, 10, 0, keys=["a", "b", "c"])
    run.agree("")
    run.agree("", users=1)
    run.agree("")
    with pytest.raises(Wrong, match="1 users"):
        run.agree("", users=1)


# -- what is made of the figures --------------------------------------------------------------------------------------


def _document(**seconds):
    """A document with a hundred users for each measure, in the seconds of each repeat."""
    samples = {measure: [{"users": 100, "seconds": one} for one in repeats] for measure, repeats in seconds.items()}
    machine = {"cores": 2, "memory_gb": 8, "cpu": "any", "python": "3"}
    store = {"workload": "unified-profile", "users": 100, "settings": {"version": "1"}, "samples": samples}
    rest = {"at": "2026-01-02", "seconds": 60, "repeats": {"bulk": 3}, "processes": 2, "failures": []}
    return {"machine": machine, "stores": {"sqlite": store}, **rest}


def test_ratios_are_taken_within_a_repeat():
    """A disturbed repeat, slow on both sides, does not move the ratio; the rates show it."""
    told = text(_document(bulk=[1, 10, 1], backtrail=[2, 20, 2]))
    assert "0.5   0.5 … 0.5" in told
    assert "100   10 … 100" in told


def test_a_figure_that_is_not_reached_is_marked():
    """On the terminal by a word, on the page by not being bold."""
    reached, missed = _document(bulk=[1], backtrail=[2]), _document(bulk=[1], backtrail=[5])
    assert "MISSED" in text(missed) and "MISSED" not in text(reached)
    assert "**0.5** (≥ 0.4)" in figures(reached)
    assert "| 0.2 (≥ 0.4)" in figures(missed)


def test_the_page_gets_the_figures_between_its_markers():
    """And keeps everything around them."""
    page = placed(f"above\n{BEGIN}\noutdated\n{END}\nbelow", figures(_document(bulk=[1, 2, 4])))
    assert page.startswith("above\n") and page.endswith("\nbelow") and "outdated" not in page
    assert "| (b) bulk script, no ledger | 50; 25 … 100 |" in page


def test_the_plan_names_every_measure_and_measures_nothing(capsys):
    """Of all stores; the default form fits into forty minutes."""
    assert main(["--plan"]) == 0
    *rows, total = capsys.readouterr().out.splitlines()
    assert all(any(row.startswith(store) and f" {name} " in row for row in rows) for store in STORES for name in MEASURES)
    assert 5 < int(total.split()[0]) <= 40


def test_every_form_has_sizes_for_every_store():
    """A form that lacked one would fail after the hours of those before it."""
    for form in FORMS.values():
        assert all(set(sizes) == set(STORES) for sizes in (form.users, form.small, form.large))
        assert set(form.repeats) == set(MEASURES)


def test_the_picture_has_a_bar_for_each_measure_that_was_made(tmp_path):
    """Its texts are texts; the same figures make the same file."""
    pytest.importorskip("matplotlib")
    for name in ("one.svg", "two.svg"):
        draw(_document(bulk=[1, 2], backtrail=[3, 4]), tmp_path / name)
    drawn = (tmp_path / "one.svg").read_text()
    assert NAMES["bulk"] in drawn and NAMES["backtrail"] in drawn and NAMES["verify"] not in drawn
    assert drawn == (tmp_path / "two.svg").read_text()
