"""The layers of a server together, around FastAPI and Flask, on real servers, with several clients at once."""

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx2
import pytest
import requests
from fastapi import FastAPI
from fastapi.responses import Response as FastResponse
from fastapi.responses import StreamingResponse
from flask import Flask
from flask import Response as FlaskResponse

from formation import for_asgi, for_wsgi
from formation.middleware import (
    cache,
    compress,
    etag,
    exception_handler,
    header,
    idempotency,
    rate_limit,
    request_id,
    request_logger,
)
from tests.server.asgi_servers import hypercorn, running, uvicorn
from tests.server.wsgi_servers import waitress

QUIET = logging.getLogger("tests.quiet")
QUIET.addHandler(logging.NullHandler())
QUIET.propagate = False
SECRET = "postgres://me:pw@db"  # what no answer may show
CLIENTS = 6
TURNS = 8


def stack():
    """As the pages of each have it, the outermost first; who does not say who he is is not limited in these tests."""
    return [
        request_id(),
        request_logger(logger=QUIET),
        exception_handler(logger=QUIET),
        rate_limit("3 per hour", key=header("X-Limited"), exempt=lambda ctx: not _is_limited(ctx), logger=QUIET),
        compress(),
        etag(),
        cache(),
        idempotency(logger=QUIET),
    ]


def _is_limited(ctx):
    return "X-Limited" in ctx["fmtn.req.http"].headers


def text(name):
    return f"<p>page {name}</p>" * 200


class Shop:
    """What both apps do, and what has been done."""

    def __init__(self):
        self.orders = []
        self.made = []
        self.go_on = threading.Event()

    def page(self, name):
        self.made.append(name)
        return text(name)

    def order(self):
        self.orders.append(1)
        return f"order {len(self.orders)}"


def fastapi(shop):
    app = FastAPI()

    @app.get("/pages/{name}")
    async def page(name: str):
        return FastResponse(shop.page(name), media_type="text/html", headers={"Cache-Control": "max-age=60"})

    @app.get("/events")
    async def events():
        async def made():
            yield "data: 1\n\n"
            await asyncio.to_thread(shop.go_on.wait, 20)
            yield "data: 2\n\n"

        return StreamingResponse(made(), media_type="text/event-stream")

    @app.post("/orders")
    async def order():
        return FastResponse(shop.order())

    @app.get("/fails")
    async def fails():
        raise LookupError(SECRET)

    @app.get("/limited")
    async def limited():
        return FastResponse("")

    app.add_middleware(for_asgi.FormationMiddleware, middleware=stack())
    return app


def flask(shop):
    app = Flask("shop")
    app.config["PROPAGATE_EXCEPTIONS"] = True

    @app.get("/pages/<name>")
    def page(name):
        return FlaskResponse(shop.page(name), mimetype="text/html", headers={"Cache-Control": "max-age=60"})

    @app.get("/events")
    def events():
        def made():
            yield "data: 1\n\n"
            shop.go_on.wait(20)
            yield "data: 2\n\n"

        return FlaskResponse(made(), mimetype="text/event-stream")

    @app.post("/orders")
    def order():
        return shop.order()

    @app.get("/fails")
    def fails():
        raise LookupError(SECRET)

    @app.get("/limited")
    def limited():
        return ""

    return for_wsgi.FormationMiddleware(app, middleware=stack())


@pytest.fixture(params=["fastapi on uvicorn", "fastapi on hypercorn", "flask on waitress"])
def served(request):
    shop = Shop()
    running_one = {
        "fastapi on uvicorn": lambda: running(uvicorn, fastapi(shop)),
        "fastapi on hypercorn": lambda: running(hypercorn, fastapi(shop)),
        "flask on waitress": lambda: waitress(flask(shop)),
    }[request.param]
    with running_one() as port:
        yield f"http://127.0.0.1:{port}", shop


def by_requests(base, asks):
    with requests.Session() as session:
        return [_seen(session.request(method, base + path, headers=headers)) for method, path, headers in asks]


def by_httpx2(base, asks):
    with httpx2.Client() as client:
        return [_seen(client.request(method, base + path, headers=headers)) for method, path, headers in asks]


def by_aiohttp(base, asks):
    async def ask():
        async with aiohttp.ClientSession() as session:
            got = []
            for method, path, headers in asks:
                async with session.request(method, base + path, headers=headers) as response:
                    got.append((response.status, response.headers, await response.text()))
            return got

    return asyncio.run(ask())


def _seen(response):
    return response.status_code, response.headers, response.text


def at_once(base, asks_of):
    """Let each of the clients, twice, ask what ``asks_of`` its number says, all of them at the same time."""
    start = threading.Barrier(CLIENTS)

    def ask(number):
        start.wait(20)
        return (by_requests, by_httpx2, by_aiohttp)[number % 3](base, asks_of(number))

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [one for got in pool.map(ask, range(CLIENTS)) for one in got]


def test_each_of_many_clients_gets_his_own_page_made_once_and_packed(served):
    base, shop = served
    names = ["a", "b", "c", "d"]
    asked = [names[turn % 4] for turn in range(TURNS)]
    got = at_once(base, lambda number: [("GET", f"/pages/{name}", {"Accept-Encoding": "gzip"}) for name in asked])
    assert [content for _, _, content in got] == [text(name) for name in asked] * CLIENTS
    assert {(status, headers["Content-Encoding"], headers["Vary"]) for status, headers, _ in got} == {
        (200, "gzip", "Accept-Encoding")
    }
    assert sorted(shop.made) == names
    assert len({headers["X-Request-ID"] for _, headers, _ in got}) == len(got)


def test_who_has_a_page_gets_no_body_and_who_takes_no_gzip_gets_it_plain(served):
    base, _ = served
    (_, first, _), (_, plain, content) = by_requests(
        base, [("GET", "/pages/a", {"Accept-Encoding": "gzip"}), ("GET", "/pages/a", {"Accept-Encoding": "identity"})]
    )
    assert (first["ETag"], first["Vary"]) == (plain["ETag"], plain["Vary"])
    assert "Content-Encoding" not in plain
    assert content == text("a")
    known = {"Accept-Encoding": "gzip", "If-None-Match": first["ETag"]}
    for status, headers, body in at_once(base, lambda number: [("GET", "/pages/a", known)] * TURNS):
        assert (status, headers["ETag"], headers["Vary"], body) == (304, first["ETag"], "Accept-Encoding", "")


def test_a_part_is_of_the_plain_page_and_head_says_what_get_does(served):
    base, _ = served
    asks = [("GET", "/pages/a", {}), ("GET", "/pages/a", {"Range": "bytes=3-6"}), ("HEAD", "/pages/a", {})]
    (_, whole, _), (status, part, content), (_, head, nothing) = by_requests(base, asks)
    assert (status, content, part["Content-Range"]) == (206, "page", f"bytes 3-6/{len(text('a'))}")
    assert "Content-Encoding" not in part
    assert nothing == ""
    for name in ("Content-Type", "Content-Encoding", "Vary", "Cache-Control"):
        assert head[name] == whole[name]


def test_an_order_that_many_send_at_once_under_one_key_is_taken_once(served):
    base, shop = served
    got = at_once(base, lambda number: [("POST", "/orders", {"Idempotency-Key": '"one"'})] * TURNS)
    assert {content for status, _, content in got if status == 200} == {"order 1"}
    assert {status for status, _, _ in got} <= {200, 409}
    assert shop.orders == [1]


def test_an_error_is_told_to_each_with_his_own_id_and_nothing_from_inside(served):
    base, _ = served
    got = at_once(base, lambda number: [("GET", "/fails", {"Accept": "application/json, text/html;q=0.5"})] * 2)
    for status, headers, content in got:
        assert (status, headers["Content-Type"]) == (500, "application/problem+json")
        assert headers["X-Request-ID"] in content
        assert SECRET not in content
    assert len({headers["X-Request-ID"] for _, headers, _ in got}) == len(got)


def test_each_client_has_a_limit_of_his_own_whatever_the_others_do(served):
    base, _ = served
    got = at_once(base, lambda number: [("GET", "/limited", {"X-Limited": f"client-{number}"})] * 5)
    assert [status for status, _, _ in got] == [200, 200, 200, 429, 429] * CLIENTS
    assert all("Retry-After" in headers for status, headers, _ in got if status == 429)


def test_an_event_is_there_before_the_next_one_is_made(served):
    base, shop = served
    with requests.get(f"{base}/events", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=20) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        pieces = response.iter_content(None)
        assert next(pieces) == b"data: 1\n\n"
        shop.go_on.set()
        assert b"".join(pieces) == b"data: 2\n\n"


def test_a_client_that_leaves_in_the_middle_takes_nothing_from_the_others(served):
    base, shop = served
    with requests.get(f"{base}/events", headers={"Accept-Encoding": "gzip"}, stream=True, timeout=20) as response:
        next(response.iter_content(None))
    shop.go_on.set()
    got = at_once(base, lambda number: [("GET", "/pages/a", {})] * 2)
    assert {content for _, _, content in got} == {text("a")}
