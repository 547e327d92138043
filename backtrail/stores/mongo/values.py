"""Values of documents as Python has them, and back: what is read and written again has the same bytes.

Where Python has no such value, it is an `Opaque` whose exact form is the type byte and the bytes.
"""

from __future__ import annotations

import decimal
import math
from typing import Any

from backtrail.keys import KeyType
from backtrail.stores.mongo.decoding import NAMES, decode, decoded
from backtrail.stores.mongo.document import NULL, Element
from backtrail.stores.mongo.encoding import KeyOf, encode
from backtrail.stores.mongo.shown import show
from backtrail.values import Opaque

__all__ = ["KeyOf", "decode", "encode", "key_kind", "key_value", "show"]


def key_kind(element: Element | None) -> KeyType:
    """The type of key that the value is; `other` for what can be no key, and for null, undefined or absent, which is none."""
    if element is None:
        return "other"
    if element.kind == 0x05:
        return {0: "bytes", 4: "uuid"}.get(element.data[4], "other")
    return _KEY_KINDS.get(element.kind, "other")


_KEY_KINDS: dict[int, KeyType] = {
    0x01: "number",
    0x02: "text",
    0x07: "objectid",
    0x08: "bool",
    0x09: "datetime",
    0x0E: "text",  # a symbol is equal to the text
    0x10: "int",
    0x12: "int",
    0x13: "decimal",
}


def key_value(element: Element | None) -> Any:
    """The value as the key of an entity: one for all values that MongoDB holds equal, and None for null, undefined and absent.

    Raises:
        ValueError: a value of its type can be no key, or Python has no such value.
    """
    if element is None or element.kind in {NULL, 0x06}:
        return None
    if key_kind(element) == "other":
        raise ValueError(f"{NAMES.get(element.kind, 'a value of its type')} can be no key")
    kind, data = (0x02, element.data) if element.kind == 0x0E else element[1:]
    value = decoded(kind, data, 0)
    if isinstance(value, Opaque):
        raise ValueError(f"{NAMES.get(kind, 'a value')} that Python does not have can be no key")  # noqa: TRY004 -- as documented
    return _number(value) if kind in {0x01, 0x12, 0x13} else value


def _number(value: float | decimal.Decimal) -> int | float | decimal.Decimal:
    """The number in one form: an int where it is one of 64 bits, else a float where its text is that of one, else a decimal without needless zeros."""
    if value != value:  # noqa: PLR0124 -- NaN alone is unequal to itself
        return math.nan
    if math.isfinite(value) and -(2**63) <= value < 2**63 and value == int(value):
        return int(value)
    if isinstance(value, float):
        return value
    near = float(value)
    # The text of a float is as short as tells it from others, which may be another number to a decimal.
    if near == value and decimal.Decimal(repr(near)) == value:
        return near
    return value.normalize(_WIDE)


_WIDE = decimal.Context(prec=34, Emin=-6176, Emax=6144)
"""As many digits and as much of an exponent as Decimal128 has, whatever context the author has set."""
