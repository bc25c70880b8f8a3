r"""Single values as text, and text as it may stand in a URL.

>>> scalar(True), percent("a/b c"), utf8("é")
('true', 'a%2Fb%20c', b'\xc3\xa9')
"""

from __future__ import annotations

import re
from datetime import date
from enum import Enum
from functools import cache
from urllib.parse import quote

_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def percent(text: str) -> str:
    """Percent-encode text as UTF-8 with nothing safe but the unreserved characters of RFC 3986.

    >>> percent("a/b c"), percent("a.b-c_d~e")
    ('a%2Fb%20c', 'a.b-c_d~e')
    """
    return text if _unreserved(text) else quote(utf8(text), safe="")


def utf8(text: str) -> bytes:
    r"""Encode text, or say what is wrong with it.

    >>> utf8("é")
    b'\xc3\xa9'
    """
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"expected text that UTF-8 can encode, got {text!r}: it has a lone surrogate") from None


def scalar(value: object) -> str | None:
    """Return the text of a single value; ``None`` if it is none, but a list, a mapping, bytes or any other object.

    >>> scalar(True), scalar(1.5), scalar(date(2026, 11, 1)), scalar([1])
    ('true', '1.5', '2026-11-01', None)
    """
    if isinstance(value, Enum):  # first: an Enum may be a str or an int as well, whose str() is 'Colour.RED'
        return scalar(value.value)
    # The base class's own methods: subclasses print themselves in other ways (numpy: 'np.float64(1.5)').
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return float.__repr__(value)
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, printed()) else None


@cache
def printed() -> tuple[type, type]:
    """Return UUID and Decimal, which are text as they print themselves. To load them takes longer than all this file.

    >>> [kind.__name__ for kind in printed()]
    ['UUID', 'Decimal']
    """
    from decimal import Decimal
    from uuid import UUID

    return UUID, Decimal
