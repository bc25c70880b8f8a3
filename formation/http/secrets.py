"""Names that secrets go by, of headers, of query parameters and of settings, and URLs without them, for logs.

It is a guess, and errs by hiding too much: a ``token`` may be that of the next page. What a program knows better it
says in ``fmtn.sensitive``.

>>> "X-Api-Key".casefold() in SECRETS, "access_token" in SECRETS, "page" in SECRETS
(True, True, False)
>>> redact("https://me:pw@example.com/?page=2&access_token=abc")
'https://[redacted]@example.com/?page=2&access_token=[redacted]'
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

REDACTED: Final = "[redacted]"
"""What stands in the place of a secret."""

_WORDS: Final = """
access-key access-token api-key api-secret api-token app-key app-secret auth auth-key auth-token authorization bearer
client-secret cookie credential credentials csrf-token id-token jwt passphrase passwd password private-key private-token
proxy-authorization pwd refresh-token secret secret-key security-token session-id session-token set-cookie sig signature
sso-token subscription-key token xsrf-token
"""
"""As they stand in the documentation of services, in RFC 6749 and RFC 7522, and in what error trackers hide."""

_SIGNED: Final = """
aws-access-key-id google-access-id key-pair-id x-amz-credential x-amz-security-token x-amz-signature x-functions-key
x-goog-credential x-goog-signature x-goog-api-key ocp-apim-subscription-key x-vault-token x-gitlab-token
x-shopify-access-token
"""
"""Of signed URLs, and of single services: AWS, Google, Azure, Vault, GitLab, Shopify."""

_user_info = re.compile(r"^([^/?#]*//)[^/?#]*@").sub
# A password with a bare "/", "?" or "#" ends the host before its "@": known by a port that is no number.
_cut_user_info = re.compile(r"^([^/?#]*//)[^/?#@\[]*:(?![0-9]*[/?#]).*@", re.DOTALL).sub
_query_start = re.compile(r"[?#]").search
_pairs = re.compile(r"([&#])").split
_assignments = re.compile(r"(?:^|[;?])([^=;?]*)=").finditer


def _spellings(name: str) -> set[str]:
    return {each.replace("-", joint) for each in (name, f"x-{name}") for joint in ("-", "_", "")}


SECRETS: Final = frozenset[str]().union(*map(_spellings, f"{_WORDS} {_SIGNED}".split()))
"""In lower case; each with ``-``, ``_`` or nothing between its words, with and without ``x-`` before it."""


@lru_cache(64)
def folded(names: frozenset[str]) -> frozenset[str]:
    """Return the names in lower case. A log asks with the same ones at each call.

    >>> folded(frozenset({"X-Key"}))
    frozenset({'x-key'})
    """
    return frozenset(name.casefold() for name in names)


def redact(url: str, names: Iterable[str] = SECRETS) -> str:
    """Return a URL fit for logs: user info and the values of the named parameters become ``[redacted]``.

    Any text will do. Where no names are given, they are those that secrets go by. They are compared decoded and without
    case, in the query and in a fragment that looks like one (OAuth's ``#access_token=``).

    >>> redact("https://me:pw@example.com/?q=1&api%5Fkey=abc", ["api_key"])
    'https://[redacted]@example.com/?q=1&api%5Fkey=[redacted]'
    """
    if "@" in url:
        url = _cut_user_info(rf"\1{REDACTED}@", _user_info(rf"\1{REDACTED}@", url))
    start = _query_start(url)
    if not start:
        return url
    hidden = folded(frozenset(names))
    return url[: start.end()] + "".join([_redacted(piece, hidden) for piece in _pairs(url[start.end() :])])


def _redacted(pair: str, hidden: Collection[str]) -> str:
    for found in _assignments(pair):  # some servers split at ";" too
        if unquote_plus(found[1]).casefold() in hidden:
            return pair[: found.end()] + REDACTED
    return pair
