"""Users a second as a picture: a part for each store, a bar for each measure, on a scale of powers of ten."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.page import TITLES
from bench.report import NAMES, rate

SHOWN = ("set_based", "bulk", "naive", "backtrail", "bad", "encrypted", "facts", "verify", "rollback")
OTHERS, OURS = "#9aa5b1", "#2f6fb5"
REFERENCES = {"set_based", "bulk", "naive"}


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Nothing; the picture is in that file, as SVG."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures give the same file.
    mpl.rcParams.update({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 9})
    stores = document["stores"]
    figure, axes = pyplot.subplots(
        len(stores), 1, figsize=(7.5, 2.6 * len(stores)), sharex=True, squeeze=False, layout="constrained"
    )
    for axis, (name, store) in zip(axes[:, 0], stores.items(), strict=True):
        _bars(axis, store["samples"])
        axis.set_title(f"{TITLES[name]}, {store['workload']}", loc="left", fontweight="bold")
    # Room for the numbers behind the longest bar.
    axes[-1, 0].set_xlim(left=50, right=4 * axes[-1, 0].get_xlim()[1])
    axes[-1, 0].set_xlabel("users a second (median, lowest to highest)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def _bars(axis: Any, samples: Any) -> None:
    found = {measure: spread for measure in SHOWN if (spread := rate(samples, measure))}
    medians = [one.median for one in found.values()]
    errors = [[one.median - one.lowest for one in found.values()], [one.highest - one.median for one in found.values()]]
    colours = [OTHERS if measure in REFERENCES else OURS for measure in found]
    bars = axis.barh([NAMES[measure] for measure in found], medians, xerr=errors, color=colours, ecolor="#444", capsize=2)
    axis.bar_label(bars, [f"{value:,.0f}" for value in medians], padding=6)
    axis.set_xscale("log")
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)
