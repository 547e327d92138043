"""Our own modules as programs of their own: found from whatever folder the user is in, and hidden by nothing that is in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""Where our packages are."""


def command(module: str, *arguments: str) -> list[str]:
    """What runs the module. The user's folder, which may hold a `worker.py` of its own, is not looked at first (-P)."""
    return [sys.executable, "-P", "-m", module, *arguments]


def environment(values: dict[str, str]) -> dict[str, str]:
    """This process's environment with those values, and with the way to our packages where they are not installed."""
    found = os.environ | values
    if "site-packages" not in ROOT.parts:
        found["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(ROOT)]))
    return found
