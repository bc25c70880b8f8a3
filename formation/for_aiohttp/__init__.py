"""The edge for aiohttp: the fastest client on asyncio, and middleware inside of anybody's ``ClientSession``.

Three ways in:

- ``@client`` (or ``class Github(Client)``): a declarative client whose methods are awaited.
- `endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets ``fmtn.res.http``.
- `client_middleware`: for ``aiohttp.ClientSession(middlewares=…)``, so for any SDK built on aiohttp.

A pool belongs to its event loop: an endpoint that is used in another loop opens a pool there.

``endpoint.py`` sends: small requests on the connection itself (``direct.py``), others by way of a session.
``messages.py`` and ``bodies.py`` are what comes and what goes. ``session.py`` is the middleware.
"""

from __future__ import annotations

from typing import Any

try:
    import aiohttp  # noqa: F401  first of all, so that whoever lacks it is told what to do
except ImportError as error:
    message = "aiohttp is not installed: pip install 'formation[aiohttp]'"
    raise ImportError(message, name=error.name) from error

from formation.client.async_sender import AsyncSender
from formation.client.declare import AsyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.settings import settled
from formation.for_aiohttp.endpoint import Endpoint, endpoint
from formation.for_aiohttp.session import client_middleware

__all__ = [
    "Client",
    "Endpoint",
    "build",
    "client",
    "client_middleware",
    "endpoint",
    "html_response",
    "json_response",
    "raw_response",
    "text_response",
    "xmltodict_response",
]


class Client(AsyncClient):
    """A declarative client on aiohttp, see `formation.client.declare.AsyncClient`; ``@client`` makes any class one.

    >>> Client(base_uri="https://api.github.com", timeout=10).request
    <Client: https://api.github.com>
    """

    _connect = staticmethod(endpoint)


client = decorator(Client)


def build(**settings: Any) -> AsyncSender:
    """Make a sender without a class: ``build(base_uri="https://h")``, then ``await sender.get("/users")``.

    Takes what `formation.client.settings.Settings` has, and raises what it raises.
    """
    return AsyncSender(settled(settings), endpoint)
