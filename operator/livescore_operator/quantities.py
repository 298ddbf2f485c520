"""Kubernetes quantities: their values, and the form in which the API server stores them."""

import math
from decimal import Decimal
from functools import lru_cache

from kubernetes.utils.quantity import parse_quantity

# Suffixes, each standing for 1024 or 1000 times the one before.
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")

_NANO = 10**9


@lru_cache(maxsize=1024)
def parse(text: str) -> Decimal | None:
    """Return the value of a quantity, or None if the text is not a quantity."""
    try:
        value: Decimal = parse_quantity(text)
    except ValueError:
        return None
    return value if value.is_finite() else None


def is_equal(one: str, other: str) -> bool:
    """Return True if two quantities have the same value: `1Gi` and `1024Mi`."""
    return one == other or (parse(one) is not None and parse(one) == parse(other))


def is_less(one: str, other: str) -> bool:
    """Return True if both texts are quantities, and the first has the smaller value."""
    left, right = parse(one), parse(other)
    return left is not None and right is not None and left < right


def canonical(text: str) -> str:
    """Return a quantity as the API server stores it: `0.5` as `500m`, `1024Mi` as `1Gi`, `1.5Gi` as `1536Mi`.

    Raises:
        ValueError: Raised if the text is not a quantity, which the CRD rules out.
    """
    value: Decimal = parse_quantity(text)
    if text.endswith("i") and value == int(value) and value >= 1024:
        return _shortest(int(value), 1024, _BINARY)
    # The API server rounds up to a whole number of nano units.
    return _shortest(math.ceil(value * _NANO), 1000, _DECIMAL) if value else "0"


def _shortest(number: int, base: int, suffixes: tuple[str, ...]) -> str:
    """Return the number with the largest suffix that leaves it whole."""
    index = 0
    while number % base == 0 and index + 1 < len(suffixes):
        number, index = number // base, index + 1
    return f"{number}{suffixes[index]}"
