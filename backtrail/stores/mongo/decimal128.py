"""Decimal128 and Python's Decimal: IEEE 754-2008, binary integer decimal: the sign, 14 bits of exponent, 113 bits of coefficient."""

from __future__ import annotations

import decimal


class Unfit(ValueError):
    """A value that no document can hold: why, and the names of the fields that lead to it, from the inside out."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why, self.path = why, list[str]()


_BIAS, _MAX_EXPONENT, _DIGITS = 6176, 6111, 34
_SIGN, _INFINITY, _NAN = 1 << 127, 0x78 << 120, 0x7C << 120


def from_decimal128(data: bytes) -> decimal.Decimal:
    """The Decimal of 16 bytes, least significant first, of which `to_decimal128` makes the same.

    Raises:
        ValueError: there is none.
    """
    bits = int.from_bytes(data, "little")
    sign, size = "-" if bits & _SIGN else "", bits & ~_SIGN
    if size in {_INFINITY, _NAN}:
        return decimal.Decimal(sign + ("Infinity" if size == _INFINITY else "NaN"))
    coefficient = size & ((1 << 113) - 1)
    if size >> 125 == 3 or coefficient >= 10**_DIGITS:
        # Payloads of NaN, numbers that are not in canonical form, and signaling NaN, at which Python's every comparison raises.
        raise ValueError("no value of Decimal")
    return decimal.Decimal(f"{sign}{coefficient}E{(size >> 113) - _BIAS}")


def to_decimal128(value: decimal.Decimal) -> bytes:
    """16 bytes, least significant first.

    Raises:
        Unfit: Decimal128 does not have exactly this value.
    """
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, int):
        bits = _finite(int("".join(map(str, digits))), exponent)
    elif exponent == "N" or (exponent == "n" and digits):
        raise Unfit("a NaN that signals or has a payload")
    else:
        bits = _INFINITY if exponent == "F" else _NAN
    return (bits | (_SIGN if sign else 0)).to_bytes(16, "little")


def _finite(coefficient: int, exponent: int) -> int:
    if _MAX_EXPONENT < exponent <= _MAX_EXPONENT + _DIGITS:  # 1E+6144 is 10E+6143 and so on, which fits
        coefficient, exponent = coefficient * 10 ** (exponent - _MAX_EXPONENT), _MAX_EXPONENT
    if coefficient >= 10**_DIGITS:
        raise Unfit("a decimal of more than 34 digits")
    if not -_BIAS <= exponent <= _MAX_EXPONENT:
        raise Unfit("a decimal whose exponent is beyond Decimal128")
    return (exponent + _BIAS) << 113 | coefficient
