"""The edge for httpx2 and httpx, sync and async, and middleware inside of anybody's client.

Three ways in, each for both worlds:

- ``@client``, ``@async_client`` (or ``class Github(Client)``, ``AsyncClient``): a declarative client.
- `endpoint`, `async_endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets
  ``fmtn.res.http``.
- `Transport`, `AsyncTransport`: for ``httpx2.Client(transport=…)``, so for any SDK that takes a client.

httpx2 is what our own connections are made with, httpx where only that is installed. A client, or a request, that
comes from outside says by its class which of the two it is of; whatever is made for it is of the same.

A deadline, ``fmtn.deadline``, cuts async calls wherever they are. A sync one is cut between operations: no connect,
read or write may wait beyond it, but a head that trickles in byte by byte is a new read each time.
"""

from __future__ import annotations

from typing import Any

from formation.client.async_sender import AsyncSender
from formation.client.declare import AsyncClient as _AsyncClient
from formation.client.declare import SyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.sender import Sender
from formation.client.settings import settled
from formation.for_httpx.endpoint import AsyncEndpoint, Endpoint, async_endpoint, endpoint
from formation.for_httpx.transport import AsyncTransport, Transport

__all__ = [
    "AsyncClient",
    "AsyncEndpoint",
    "AsyncTransport",
    "Client",
    "Endpoint",
    "Transport",
    "async_build",
    "async_client",
    "async_endpoint",
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
    """A declarative client on httpx, see `formation.client.declare.SyncClient`; ``@client`` makes any class one.

    >>> Client(base_uri="https://api.github.com", timeout=10).request
    <Client: https://api.github.com>
    """

    _connect = staticmethod(endpoint)


class AsyncClient(_AsyncClient):
    """The same, with methods that are awaited; ``@async_client`` makes any class one."""

    _connect = staticmethod(async_endpoint)


client = decorator(Client)
async_client = decorator(AsyncClient)


def build(**settings: Any) -> Sender:
    """Make a sender without a class: ``build(base_uri="https://h").get("/users")``.

    Takes what `formation.client.settings.Settings` has, and raises what it raises.
    """
    return Sender(settled(settings), endpoint)


def async_build(**settings: Any) -> AsyncSender:
    """Make an async sender without a class, to be used as ``await sender.get("/users")``.

    Takes what `formation.client.settings.Settings` has, and raises what it raises.
    """
    return AsyncSender(settled(settings), async_endpoint)
