"""What a client likes best: lists of preferences with their weights, and which of what there is fits them.

What reads a header takes its value as text, whatever it is, raises nothing, and takes time in proportion to its length.

>>> weights("text/html, application/json;q=0.9, */*;q=0.1")
{'text/html': 1.0, 'application/json': 0.9, '*/*': 0.1}
>>> coding("br;q=0.5, gzip", ["br", "gzip"]), coding("identity;q=0, *;q=0", ["gzip"])
('gzip', None)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from formation.http.lists import members, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from formation.http.headers import Headers

IDENTITY: Final = "identity"
"""The coding that is none (RFC 9110, 8.4)."""

_weight = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch


def weights(value: str) -> dict[str, float]:
    """Return the members of a list of preferences, in lower case and without parameters, and the weight of each.

    Of a member that is there twice the first counts. One whose weight is none is left out: nobody knows what it says.
    """
    found: dict[str, float] = {}
    for member in members(value):
        if ";" not in member:
            found.setdefault(member.lower(), 1.0)
            continue
        name, given = parameters(member)
        liked = weight(given)
        if name and liked is not None:
            found.setdefault(name.lower(), liked)
    return found


def weight(parameters: Mapping[str, str]) -> float | None:
    """Return the weight that ``q`` says (RFC 9110, 12.4.2): 1 without one; ``None``: what it says is no weight.

    >>> weight({"q": "0.5"}), weight({}), weight({"q": "1.5"})
    (0.5, 1.0, None)
    """
    said = parameters.get("q", "1")
    return float(said) if _weight(said) else None


def coding(accept: str | None, offered: Sequence[str]) -> str | None:
    """Return the content coding to answer with (RFC 9110, 12.5.3): of ``offered``, which is in our order, or identity.

    What the client likes best wins; of what it likes as well as another, ours. Identity stands for as much as the
    client says of it; where it says nothing, any coding that it does name is better.

    Args:
        accept: the value of Accept-Encoding; ``None``: there is none.
        offered: codings by their names in lower case, the one we like best first.

    Returns:
        A coding; ``"identity"`` for none, also where there is no Accept-Encoding; ``None``: all there is, identity
        too, is refused.
    """
    if accept is None:  # any will do, but who does not ask may not know any (a proxy, curl)
        return IDENTITY
    given = weights(accept)
    if "x-gzip" in given:  # RFC 9110, 8.4.1.3
        given.setdefault("gzip", given["x-gzip"])
    rest = given.get("*", 0.0)
    plain = given.get(IDENTITY, 0.0 if given.get("*") == 0 else None)
    best, most = IDENTITY, 0.0 if plain is None else plain
    for each in reversed(offered):
        quality = given.get(each, rest)
        if quality and quality >= most:
            best, most = each, quality
    return None if best == IDENTITY and plain == 0 else best


def media_type(accept: str | None, offered: Sequence[str]) -> str | None:
    """Return the media type of ``offered``, in our order, that Accept likes best (RFC 9110, 12.5.1); ``None``: none.

    The most specific range that fits a type says how much it is liked. No Accept at all: the first.

    >>> media_type("text/*;q=0.5, text/html", ["text/plain", "text/html"]), media_type("image/png", ["text/html"])
    ('text/html', None)
    """
    given = weights(accept or "*/*")
    best, most = None, 0.0
    for each in offered:
        ranges = (each, f"{each.partition('/')[0]}/*", "*/*")
        quality = next((given[name] for name in ranges if name in given), 0.0)
        if quality > most:
            best, most = each, quality
    return best


def vary_on(headers: Headers, name: str) -> None:
    """Say in Vary that the answer depends on the request's header ``name`` (RFC 9110, 12.5.5), if it does not say so.

    >>> from formation.http import Headers
    >>> headers = Headers({"Vary": "Cookie"})
    >>> vary_on(headers, "Accept-Encoding"), vary_on(headers, "cookie"), headers["Vary"]
    (None, None, 'Cookie, Accept-Encoding')
    """
    said = headers.get("Vary")
    if not said:
        headers["Vary"] = name
    elif not {"*", name.lower()} & {member.lower() for member in members(said)}:
        headers["Vary"] = f"{said}, {name}"
