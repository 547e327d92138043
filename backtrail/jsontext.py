"""JSON as text: what the standard library gives, without what it sets up anew for every value."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as parts
from typing import Any


def json_writer(*, item: str = ", ", key: str = ": ", allow_nan: bool = True) -> Callable[[Any], str]:
    """What gives the JSON text of a value, in any alphabet.

    Args:
        item: what stands between items.
        key: what stands between a key and its value.
        allow_nan: whether NaN and infinity have a text.
    """
    whole = json.JSONEncoder(ensure_ascii=False, allow_nan=allow_nan, separators=(item, key))
    make = getattr(parts, "c_make_encoder", None)
    if make is None:
        return whole.encode
    chunks = make(None, whole.default, parts.encode_basestring, None, key, item, False, False, allow_nan)  # noqa: FBT003 -- its own form

    def write(value: Any) -> str:
        try:
            return "".join(chunks(value, 0))
        except Exception:  # noqa: BLE001 -- whatever is wrong with the value, the encoder says it its own way
            return whole.encode(value)

    return write
