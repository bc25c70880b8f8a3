"""Names for keys: the same in each process, different for different things, not long, and nothing odd in them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Hashable

LONGEST: Final = 100
"""Characters of a key's part that can still be read; a longer one is hashed, so that nobody fills Redis with names."""


def name_of(part: Hashable) -> str:
    """Return the name of ``part``, of ASCII.

    Args:
        part: text, bytes, a number, ``None``, or a tuple of these.

    Raises:
        TypeError: it is something else, which may have another name in each process.

    >>> name_of("https://h:8443"), name_of("a key"), name_of(7), name_of(("tenant", None))
    ('https://h:8443', 'a%20key', '!7', "!('tenant', None)")
    >>> name_of("x" * 1000)
    '#c9b2bd4ff487864c29fb41fab3e8187e'
    """
    # "!" and "#" are none of the safe characters, so no text looks like what is not text, or like a hash.
    named = (
        quote(part, _SAFE, errors="surrogatepass")
        if isinstance(part, str)
        else "!" + quote(repr(_plain(part)), safe=_SAFE + "'(), ")
    )
    if len(named) > LONGEST:
        return "#" + hashlib.blake2b(named.encode(), digest_size=16).hexdigest()
    return named


_SAFE: Final = ":/@[]"  # of what stands in URLs and addresses; no "|", which parts the parts


def _plain(part: Hashable) -> Hashable:
    if isinstance(part, tuple):
        for each in part:
            _plain(each)
    elif part is not None and not isinstance(part, (str, bytes, int, float)):
        raise TypeError(
            f"expected a key of text, bytes, numbers, None, or a tuple of these, got {part!r}: "
            "it must have the same name in every process"
        )
    return part
