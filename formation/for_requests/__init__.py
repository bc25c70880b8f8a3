"""The edge for requests: clients on a ``requests.Session``, and middleware inside of anybody's session.

Three ways in:

- ``@client`` (or ``class Github(Client)``): a declarative client.
- `endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets ``fmtn.res.http``.
- `Adapter`: mount it in any session, so in any SDK built on requests, and each request goes through the middleware.

Our sessions are faster than a plain one since they read proxies and CA bundles from the environment once, not at
each call, and do not read ``.netrc``. They keep no cookies. A session that you bring is used as it is.

``endpoint.py`` sends, on connections as ``connections.py`` makes them. ``messages.py`` is what goes and what comes.
``adapter.py`` is the middleware.
"""

from __future__ import annotations

from typing import Any

try:
    import requests  # noqa: F401  first of all, so that whoever lacks it is told what to do
except ImportError as error:
    message = "requests is not installed: pip install 'formation[requests]'"
    raise ImportError(message, name=error.name) from error

from formation.client.declare import SyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.sender import Sender
from formation.client.settings import settled
from formation.for_requests.adapter import Adapter
from formation.for_requests.endpoint import Endpoint, endpoint

__all__ = [
    "Adapter",
    "Client",
    "Endpoint",
    "build",
    "client",
    "endpoint",
    "html_response",
    "json_response",
    "raw_response",
    "text_response",
    "xmltodict_response",
]


class Client(SyncClient):
    """A declarative client on requests, see `formation.client.declare.SyncClient`; ``@client`` makes any class one.

    >>> Client(base_uri="https://api.github.com", timeout=10).request
    <Client: https://api.github.com>
    """

    _connect = staticmethod(endpoint)


client = decorator(Client)


def build(**settings: Any) -> Sender:
    """Make a sender without a class: ``build(base_uri="https://h").get("/users")``.

    Takes what `formation.client.settings.Settings` has, and raises what it raises.
    """
    return Sender(settled(settings), endpoint)
