"""All measures by name, in the order in which they take turns, and what each of them gives."""

from __future__ import annotations

from bench.campaigns import run_backtrail, run_bad, run_encrypted, run_sizes
from bench.giant.measure import run_giant
from bench.references import run_bulk, run_naive, run_set_based

MEASURES = {
    "set_based": run_set_based,
    "bulk": run_bulk,
    "backtrail": run_backtrail,
    "naive": run_naive,
    "bad": run_bad,
    "encrypted": run_encrypted,
    "giant": run_giant,
    "sizes": run_sizes,
}
"""What the option names; each starts from a fresh database."""

GIVES = {
    "backtrail": ("backtrail", "again", "verify", "facts", "rollback"),
    "giant": ("giant", "giant_back"),
    "sizes": ("small", "large"),
}
"""The figures that a measure gives, where they are not one of its own name."""
