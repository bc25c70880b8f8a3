"""Connections of every client edge, and many threads; and what the documentation says of edges that differ."""

import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from formation import errors
from formation.client.responses import json_response, text_response
from formation.keys import REQ_HTTP, RES_HTTP
from tests.client.cases import counted
from tests.client.edges import EDGES

# Connections


def test_a_connection_is_used_again_after_every_kind_of_answer(edge, make, server):
    with counted(server, make) as (client, seen):
        for path in ("/echo", "/status/204", "/status/304", "/status/404", "/gzip", "/chunks/3", "/hops/3", "/bytes/0"):
            client.get(path)
        client.send("HEAD", "/echo")
        client.post("/echo", json={})
        client.post("/echo", content=iter([b"x"]))
        client.get("/early-hints")
        for status in (301, 307):
            client.post(f"/redirect/{status}?to=/echo", content=b"x")
    assert seen.connections == edge.connections(1)
    assert len(seen.requests) == 8 + 3 + 4 + 4


def test_a_connection_that_the_server_has_closed_is_not_used_again(edge, make, fresh_server):
    for path in ("/close-after", "/drop-idle"):
        client = make(base_uri=fresh_server.url)
        with fresh_server.watch() as seen:
            client.get(path)
            assert fresh_server.settles(0)
            assert client.post("/echo", json={}).status_code == 200
        assert seen.connections == edge.connections(2)
        client.close()
        assert fresh_server.settles(0)


def test_close_gives_every_connection_back_and_may_be_called_twice(edge, make, fresh_server):
    client = make(base_uri=fresh_server.url)
    client.get("/echo")
    assert fresh_server.settles(edge.connections(1))
    client.close()
    client.close()
    assert fresh_server.settles(0)
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/echo")
    with pytest.raises(RuntimeError, match="closed"):
        client.extend(timeout=1).get("/echo")


def test_a_client_that_was_never_used_can_be_closed(make):
    make(base_uri="http://127.0.0.1:1").close()


def test_a_client_closed_while_a_stream_is_read_leaks_nothing(make, fresh_server):
    client = make(base_uri=fresh_server.url)
    with client.stream("/chunks/100?size=1000") as result:
        client.close()
        try:
            for _ in client.chunks(result):
                pass
        except errors.FormationError:
            pass
    assert fresh_server.settles(0)


def test_siblings_share_the_pool_which_is_its_makers_to_close(edge, make, server):
    with counted(server, make) as (client, seen):
        sibling = client.extend(response_as=text_response, headers={"X-A": "1"})
        other = sibling.extend(timeout=3)
        assert client.get("/data?body=x").body == b"x"
        assert sibling.get("/data?body=x").body == "x"
        assert other.get("/data?body=x").body == "x"
        sibling.close()
        assert client.get("/data?body=x").body == b"x"
        assert other.get("/echo", response_as=json_response).body["headers"]["x-a"] == "1"
    assert seen.connections == edge.connections(1)


def test_a_dropped_client_closes_its_connections(edge, fresh_server):
    client = edge.build(base_uri=fresh_server.url)
    client.get("/echo")
    client.close()
    del client
    gc.collect()
    assert fresh_server.settles(0)


# Threads


@pytest.mark.timeout(300)  # httpx takes minutes for them where each line is traced
def test_a_hundred_threads_share_a_client_for_ten_thousand_calls(edge, make, fresh_server):
    if not edge.threads:
        pytest.skip("a client of this edge belongs to its event loop")

    def tag(ctx, call):
        ctx = call(ctx)
        assert ctx[RES_HTTP].headers["X-Id"] == ctx[REQ_HTTP].headers["X-Id"]
        return ctx

    def mirror(connection, seen):
        connection.answer(seen, 200, seen.path.rpartition("/")[2].encode(), headers=[("X-Id", seen.header("X-Id"))])

    client = make(base_uri=fresh_server.url, middleware=[tag], timeout=30, response_as=text_response)
    start = threading.Barrier(100)

    def work(worker):
        start.wait(20)  # all at once, so that the pool is made by all of them
        for n in range(100):
            name = f"{worker}-{n}"
            result = client.get("/mirror/{id}", path={"id": name}, headers={"X-Id": name})
            assert result.body == name
            assert result.request.headers["X-Id"] == name
        return worker

    with fresh_server.watch() as seen, fresh_server.route("mirror", mirror), ThreadPoolExecutor(100) as pool:
        assert sorted(pool.map(work, range(100))) == list(range(100))
    assert len(seen.requests) == 10_000
    assert max(Counter(each.path for each in seen.requests).values()) == 1
    assert seen.connections <= 100 + edge.replaces
    client.close()
    assert fresh_server.settles(0)


# The page


def test_the_page_of_clients_lists_what_an_edge_does_unlike_the_others():
    _, _, after = (Path(__file__).parents[2] / "docs" / "client.md").read_text().partition("## What the libraries do")
    rows = [line.strip("| ").split(" | ") for line in after.split("\n\n")[2].splitlines()[2:]]
    listed = {(name, what) for names, what in rows for name in names.split(", ")}
    names = {"httpx-async": "async httpx", "requests-wsgi": "WSGI", "aiohttp-asgi": "ASGI"}
    assert listed == {(names.get(edge.name, edge.name), what) for edge in EDGES for what in edge.unlike.values()}


def test_what_an_edge_is_spared_is_a_case_that_there_is():
    files = [path.read_text() for path in Path(__file__).parent.glob("test_edges_*.py")]
    assert all(
        any(f"\ndef {case.partition('[')[0]}(" in file for file in files) for edge in EDGES for case in edge.unlike
    )
