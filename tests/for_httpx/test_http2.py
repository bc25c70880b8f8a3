"""HTTP/2, by httpx."""

import asyncio

from formation.for_httpx import (
    async_build,
    async_endpoint,
    build,
    endpoint,
    text_response,
)
from tests.for_httpx.cases import tag


def test_http_2_is_spoken_where_it_is_asked_for(http2_server, ca_file):
    with build(base_uri=http2_server, endpoint=endpoint(http2=True, verify=ca_file)) as sender:
        result = sender.post("/x", content=bytes(200_000), response_as=text_response)
        assert (result.body, result.headers["X-A"]) == ("200000", "1")
        assert result.response.extensions["http_version"] == "HTTP/2"
        assert sender.get("/x", response_as=text_response).body == "0"


def test_http_2_is_spoken_by_many_async_calls_on_one_connection(http2_server, ca_file):
    async def main():
        sending = async_endpoint(http2=True, verify=ca_file)
        async with async_build(base_uri=http2_server, endpoint=sending, middleware=[tag]) as sender:
            await sender.get("/x")
            results = await asyncio.gather(*(sender.post("/x", content=b"x" * n) for n in range(20)))
            assert [result.body for result in results] == [b"%d" % n for n in range(20)]
            assert {result.response.extensions["http_version"] for result in results} == {"HTTP/2"}

    asyncio.run(main())
