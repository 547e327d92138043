"""When a worker looks for circles of objects that nothing else holds."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def later() -> Iterator[None]:
    """In the block, nobody looks for circles; whoever makes the next object after it does.

    A batch makes some hundred objects for each entity and keeps nearly all of them to its end: looking through those again and again while they
    come took a tenth of all time, and found nothing.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
