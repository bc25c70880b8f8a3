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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from formation.http.headers import Headers

IDENTITY: Final = "identity"
"""The coding that is none (RFC 9110, 8.4)."""

# A quoted string may hold what separates; one that does not end is taken for plain text.
_member = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^,"])++', re.DOTALL).finditer
_quoted = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL).match
_part = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^;"])++', re.DOTALL).finditer
_weight = re.compile(r"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)").fullmatch  # RFC 9110, 12.4.2


def members(value: str) -> list[str]:
    """Return the members of a list (RFC 9110, 5.6.1), none of them empty; a comma in a quoted string separates nothing.

    >>> members('a, , "b, c";x=1 ,d')
    ['a', '"b, c";x=1', 'd']
    """
    found = [each[0] for each in _member(_balanced(value))] if '"' in value else value.split(",")
    return [member for each in found if (member := each.strip(" \t"))]


def parameters(member: str) -> tuple[str, dict[str, str]]:
    """Return what stands before the first semicolon, and the parameters (RFC 9110, 5.6.6), names in lower case.

    Of a parameter that is there twice, the first counts.

    >>> parameters('form-data; Name="a; b"; filename=c')
    ('form-data', {'name': 'a; b', 'filename': 'c'})
    """
    found = [each[0].strip(" \t") for each in _part(_balanced(member))] if '"' in member else _plain(member)
    given: dict[str, str] = {}
    for part in found[1:]:
        name, _, value = part.partition("=")
        given.setdefault(name.strip(" \t").lower(), unquoted(value.strip(" \t")))
    return found[0] if found else "", given


def unquoted(value: str) -> str:
    r"""Return a token, or what stands in a quoted string (RFC 9110, 5.6.4).

    >>> unquoted(r'"a \"b\""'), unquoted("a")
    ('a "b"', 'a')
    """
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return re.sub(r"\\(.)", r"\1", value[1:-1], flags=re.DOTALL)


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
        quality = given.get("q", "1")
        if name and _weight(quality):
            found.setdefault(name.lower(), float(quality))
    return found


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


def _plain(member: str) -> list[str]:
    return [part.strip(" \t") for part in member.split(";")]


def _balanced(value: str) -> str:
    """Return it without the quotes from the one on that nothing ends: whoever looked for its end would begin anew."""
    at = 0
    while (at := value.find('"', at)) >= 0:
        found = _quoted(value, at)
        if found is None:
            return value[:at] + value[at:].replace('"', "")
        at = found.end()
    return value
