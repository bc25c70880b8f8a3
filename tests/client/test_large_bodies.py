"""32 MiB down and up, through five middlewares of which one changes every chunk, are never held: on and in all edges.

That is what ``python -m bench gibibyte`` measures beside the bare libraries, with more of them.
"""

import asyncio
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import httpx2
import pytest
import requests

from formation.for_aiohttp import client_middleware
from formation.for_httpx import AsyncTransport, Transport
from formation.for_requests import Adapter
from formation.keys import REQ_HTTP, RES_HTTP
from formation.middleware import context, raise_for_status, request_duration, request_id

PIECE = b"a" * 65536
COUNT = 512
SIZE = COUNT * len(PIECE)
HELD = 12 * 1024 * 1024
"""Bytes that may be held at once; 4 MiB of them are the server's, which is in this process."""


def swapped(ctx, call):
    ctx[REQ_HTTP].body.map(bytes.swapcase)
    ctx = call(ctx)
    ctx[RES_HTTP].body.map(bytes.swapcase)
    return ctx


FIVE = [request_id(), context(), request_duration(), swapped, raise_for_status()]


@contextmanager
def bounded() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < HELD


def pieces():
    for _ in range(COUNT):
        yield PIECE


async def apieces():
    for piece in pieces():
        yield piece


def size_of(body):
    """What the server has counted, by its answer, whose letters have been swapped."""
    return json.loads(body.lower())["size"]


def test_a_client_holds_neither_what_comes_down_nor_what_goes_up(make, server):
    client = make(base_uri=server.url, middleware=FIVE)
    with bounded():
        with client.stream(f"/chunks/{COUNT}?size={len(PIECE)}") as result:
            assert sum(map(len, client.chunks(result))) == SIZE
        assert size_of(client.post("/digest", content=pieces()).body) == SIZE


def test_a_session_of_requests_with_our_adapter_holds_neither(server):
    with requests.Session() as session, bounded():
        session.mount("http://", Adapter(FIVE))
        with session.get(f"{server.url}/chunks/{COUNT}?size={len(PIECE)}", stream=True) as response:
            assert sum(map(len, response.iter_content(len(PIECE)))) == SIZE
        assert size_of(session.post(f"{server.url}/digest", data=pieces()).content) == SIZE


def test_a_client_of_httpx2_with_our_transport_holds_neither(server):
    with httpx2.Client(transport=Transport(FIVE)) as client, bounded():
        with client.stream("GET", f"{server.url}/chunks/{COUNT}?size={len(PIECE)}") as response:
            assert sum(map(len, response.iter_bytes())) == SIZE
        assert size_of(client.post(f"{server.url}/digest", content=pieces()).content) == SIZE


def test_an_async_client_of_httpx2_with_our_transport_holds_neither(server):
    async def main():
        async with httpx2.AsyncClient(transport=AsyncTransport(FIVE)) as client:
            async with client.stream("GET", f"{server.url}/chunks/{COUNT}?size={len(PIECE)}") as response:
                assert sum([len(chunk) async for chunk in response.aiter_bytes()]) == SIZE
            assert size_of((await client.post(f"{server.url}/digest", content=apieces())).content) == SIZE

    with bounded():
        asyncio.run(main())


@pytest.mark.parametrize("chunk_size", [1 << 16, 1 << 20])
def test_a_session_of_aiohttp_with_our_middleware_holds_neither(server, chunk_size):
    async def main():
        async with aiohttp.ClientSession(middlewares=[client_middleware(FIVE)]) as session:
            async with session.get(f"{server.url}/chunks/{COUNT}?size={len(PIECE)}") as response:
                assert sum([len(chunk) async for chunk in response.content.iter_chunked(chunk_size)]) == SIZE
            async with session.post(f"{server.url}/digest", data=apieces()) as response:
                assert size_of(await response.read()) == SIZE

    with bounded():
        asyncio.run(main())
