"""A bomb of 10 GiB, by a client of somebody's that ours sends with: it is given up as by a client of our own.

What our own do with it is in ``test_edges_responses.py``, and what becomes of it inside of their clients in
``tests/middleware/test_decompress.py``.
"""

import asyncio
import tracemalloc
from contextlib import suppress

import aiohttp
import httpx2
import pytest
import requests

from formation import for_aiohttp, for_httpx, for_requests
from formation.errors import BodyTooLarge, TransportError
from tests.bombs import BOMBS
from tests.servers import Scripted

LIMIT = 11_000_000
"""Bytes of a body: more than the bomb has itself, so that Content-Length does not give it away."""


def by_requests(url):
    with (
        requests.Session() as session,
        for_requests.build(base_uri=url, endpoint=for_requests.endpoint(session), max_body=LIMIT) as api,
    ):
        api.get("/bomb-of")


def by_httpx(url):
    with (
        httpx2.Client() as client,
        for_httpx.build(base_uri=url, endpoint=for_httpx.endpoint(client), max_body=LIMIT) as api,
    ):
        api.get("/bomb-of")


def by_async_httpx(url):
    async def main():
        async with (
            httpx2.AsyncClient() as client,
            for_httpx.async_build(base_uri=url, endpoint=for_httpx.async_endpoint(client), max_body=LIMIT) as api,
        ):
            await api.get("/bomb-of")

    asyncio.run(main())


def by_aiohttp(url):
    async def main():
        async with (
            aiohttp.ClientSession() as session,
            for_aiohttp.build(base_uri=url, endpoint=for_aiohttp.endpoint(session), max_body=LIMIT) as api,
        ):
            await api.get("/bomb-of")

    asyncio.run(main())


def test_a_length_of_more_digits_than_python_reads_is_no_error_of_python():
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nfour"
    with Scripted(answer) as server, for_requests.build(base_uri=server.url) as api, suppress(TransportError):
        api.get("/")  # urllib3 may say that it is cut off


@pytest.mark.parametrize("coding", BOMBS)
@pytest.mark.parametrize("ask", [by_requests, by_httpx, by_async_httpx, by_aiohttp])
def test_it_is_given_up_in_constant_memory(fresh_server, ask, coding):
    bomb = BOMBS[coding]()

    def answer(connection, seen):
        connection.answer(seen, 200, bomb, headers=[("Content-Encoding", coding)])

    with fresh_server.route("bomb-of", answer):
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLarge) as caught:
                ask(fresh_server.url)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert LIMIT < caught.value.got < 2 * LIMIT  # aiohttp hands over at once what has gathered
    assert peak < 3 * LIMIT + 20_000_000  # what is kept, what it is put together to, and what the server here copies
