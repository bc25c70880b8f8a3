"""Names that secrets go by, of headers, of query parameters and of settings: what is hidden without being told.

It is a guess, and errs by hiding too much: a ``token`` may be that of the next page. What a program knows better it
says in ``fmtn.sensitive``.

>>> "X-Api-Key".casefold() in SECRETS, "access_token" in SECRETS, "page" in SECRETS
(True, True, False)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

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
