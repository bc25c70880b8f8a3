"""Calls on httpx that are cancelled, at any moment."""

import asyncio

import pytest

from formation import req, sleep
from formation.for_httpx import (
    AsyncTransport,
    async_build,
)
from tests.for_httpx.cases import LIBRARIES

MOMENTS = pytest.mark.parametrize("moment", ["before", "head", "after", "body"])


PATHS = {"head": "/hang", "body": "/hang-body"}


def stopping():
    """Make two middlewares, one of each colour, that wait for ever where the path says so."""

    def plain(ctx, call):
        if req(ctx).path == "/stop/before":
            sleep(60)
        return call(ctx)

    async def after(ctx, call):
        ctx = await call(ctx)
        if req(ctx).path == "/stop/after":
            await asyncio.sleep(60)
        return ctx

    return [plain, after]


@LIBRARIES
@MOMENTS
def test_a_cancelled_call_of_a_transport_leaves_its_connection_to_the_next(library, moment, fresh_server):
    path = fresh_server.url + PATHS.get(moment, f"/stop/{moment}")

    async def main():
        limits = library.Limits(max_connections=1, max_keepalive_connections=1)
        transport = AsyncTransport(stopping(), limits=limits)
        async with library.AsyncClient(transport=transport, timeout=10) as mine:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await mine.get(path)
                assert (await mine.get(fresh_server.url + "/echo")).status_code == 200
            assert fresh_server.settles(1)

    with fresh_server.route("stop", lambda connection, seen: connection.answer(seen)):
        asyncio.run(main())
    assert fresh_server.settles(0)


@MOMENTS
def test_a_cancelled_call_of_an_endpoint_leaves_its_connection_to_the_next(moment, fresh_server):
    path = PATHS.get(moment, f"/stop/{moment}")

    async def main():
        async with async_build(base_uri=fresh_server.url, middleware=stopping()) as sender:
            for _ in range(5):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await sender.get(path)
                assert (await sender.get("/echo")).status_code == 200
            assert fresh_server.settles(1)

    with fresh_server.route("stop", lambda connection, seen: connection.answer(seen)):
        asyncio.run(main())
    assert fresh_server.settles(0)
