"""What sends is a client of httpx2 or httpx that somebody brought."""

import asyncio
import json

import pytest

from formation import errors
from formation.for_httpx import (
    async_build,
    async_endpoint,
    build,
    endpoint,
    json_response,
)
from tests.for_httpx.cases import LIBRARIES, within


@LIBRARIES
def test_a_client_that_is_brought_is_used_as_it_is_and_stays_its_owners(library, server):
    seen = []
    hooks = {"request": [lambda request: seen.append(str(request.url))]}
    with library.Client(
        headers={"X-Mine": "1"}, auth=("me", "pw"), cookies={"a": "1"}, event_hooks=hooks, params={"p": "1"}
    ) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine), response_as=json_response)
        got = sender.get("/echo", headers={"X-Ours": "2"}).body
        assert (got["headers"]["x-mine"], got["headers"]["x-ours"], got["headers"]["cookie"]) == ("1", "2", "a=1")
        assert got["headers"]["authorization"].startswith("Basic ")
        assert got["headers"]["user-agent"].startswith("python-httpx")
        assert seen == [f"{server.url}/echo?p=1"]
        own = sender.get("/echo", headers={"Authorization": "Bearer t"}).body
        assert own["headers"]["authorization"] == "Bearer t"
        sender.close()
        assert mine.get(server.url + "/echo").status_code == 200


@LIBRARIES
def test_an_async_client_that_is_brought_is_used_as_it_is_and_stays_its_owners(library, server):
    async def main():
        async with library.AsyncClient(headers={"X-Mine": "1"}, auth=("me", "pw"), cookies={"a": "1"}) as mine:
            sender = async_build(base_uri=server.url, endpoint=async_endpoint(mine), response_as=json_response)
            got = (await sender.post("/echo", json={"b": 2})).body
            assert (got["headers"]["x-mine"], got["headers"]["cookie"], got["body"]) == ("1", "a=1", '{"b":2}')
            assert got["headers"]["authorization"].startswith("Basic ")
            await sender.close()
            assert (await mine.get(server.url + "/echo")).status_code == 200

    asyncio.run(main())


@LIBRARIES
def test_no_secret_of_a_client_that_is_brought_goes_along_to_another_origin(library, server, other_server):
    secrets = {"Authorization": "Bearer s3cret", "Proxy-Authorization": "s3cret", "Cookie": "sid=s3cret"}
    plain = {"X-Plain": "1"}

    def calls(sender):
        return (
            sender.get("/redirect/302", params={"to": other_server.url + "/echo"}),
            sender.get(other_server.url + "/echo", absolute=True),
        )

    async def main(**how):
        async with library.AsyncClient(**how) as mine:
            for call in calls(async_build(base_uri=server.url, endpoint=async_endpoint(mine))):
                await call

    with server.watch() as home, other_server.watch() as away:
        for how in ({"headers": {**secrets, **plain}}, {"headers": plain, "auth": ("me", "s3cret")}):
            with library.Client(**how) as mine:
                calls(build(base_uri=server.url, endpoint=endpoint(mine)))
            asyncio.run(main(**how))
        with library.Client(headers=secrets) as mine:
            sender = build(base_uri=server.url, endpoint=endpoint(mine))
            own = sender.get(other_server.url + "/echo", absolute=True, headers={"Authorization": "mine"})
    assert all(each.header("Authorization") for each in home.requests)
    assert "s3cret" not in str([each.headers for each in away.requests])
    assert [each.header("X-Plain") for each in away.requests[:-1]] == ["1"] * 8
    assert not [each for each in away.requests[:-1] if each.header("Authorization")]
    assert json.loads(own.body)["headers"]["authorization"] == "mine"


@LIBRARIES
def test_redirects_of_a_client_that_is_brought_are_ours(library, server):
    with library.Client(follow_redirects=True) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine))
        assert len(sender.get("/hops/2").response.history) == 2
        assert sender.extend(max_redirects=0).get("/hops/2").status_code == 302


@LIBRARIES
def test_the_timeouts_of_a_client_that_is_brought_count_where_a_request_has_none(library, server):
    with library.Client(timeout=0.1) as mine:
        sender = build(base_uri=server.url, endpoint=endpoint(mine))
        with pytest.raises(errors.ReadTimeout) as caught:
            sender.get("/slow?seconds=0.4")
        assert type(caught.value.__cause__) is library.ReadTimeout
        assert sender.get("/slow?seconds=0.2", timeout=5).status_code == 200
        with pytest.raises(errors.DeadlineExceeded):
            sender.get("/hang", timeout=5, middleware=[within(0.1)])
        with pytest.raises(errors.DeadlineExceeded):
            sender.get("/hang", middleware=[within(0.05)])


@LIBRARIES
def test_a_class_that_derives_from_a_client_is_one_and_anything_else_is_refused(library):
    class Wrapper(library.Client):
        pass

    with Wrapper() as mine:
        sender = build(base_uri="http://127.0.0.1:1", endpoint=endpoint(mine))
        with pytest.raises(errors.ConnectError) as caught:
            sender.get("/")
        assert type(caught.value.__cause__) is library.ConnectError
        with pytest.raises(TypeError, match="expected AsyncClient of httpx2 or httpx"):
            async_endpoint(mine)
    with pytest.raises(TypeError, match="expected something of httpx2 or httpx, got 3"):
        endpoint(3)
