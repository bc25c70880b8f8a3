"""The ASGI edge around a FastAPI app, on real servers and real sockets."""

import asyncio
import http.client
import json
import queue
import threading
from contextlib import asynccontextmanager, closing

import pytest
from fastapi import BackgroundTasks, FastAPI, Request, WebSocket
from starlette.responses import FileResponse, StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from formation import reply, req, res
from formation.for_asgi import FormationMiddleware
from formation.middleware import request_id
from tests.server import asgi_servers

EVENTS: list[object] = []
OVER: queue.Queue[object] = queue.Queue()
"""What is known when something is over whose client does not wait for it."""


def tag(ctx, call):
    ctx = call(ctx)
    if ctx["fmtn.kind"] == "http":
        res(ctx).headers["X-Template"] = ctx.get("fmtn.template", "none")
        if "shout" in req(ctx).params:
            res(ctx).body.map(bytes.upper)
        if "read" in req(ctx).params:
            res(ctx).headers["X-Size"] = str(len(res(ctx).content))
        if req(ctx).path == "/endless":
            res(ctx).on_close(lambda count, error: OVER.put((count > 0, error is not None)))
    elif ctx["fmtn.ws"].is_accepted:
        OVER.put((req(ctx).path, res(ctx).code, ctx["fmtn.ws"].code))
    return ctx


async def ticks():
    while True:
        yield b"x" * 1000
        await asyncio.sleep(0.001)


def guard(ctx, call):
    if req(ctx).path == "/ticks":
        ctx = reply(ctx, 200, {}, ticks())
        res(ctx).on_close(lambda count, error: OVER.put((count > 0, error is not None)))
        return ctx
    return reply(ctx, 403, {}, b"no") if req(ctx).path.startswith("/secret") else call(ctx)


def dismiss(ctx, call):
    if ctx["fmtn.kind"] == "websocket":
        ws = ctx["fmtn.ws"]
        ws.on_receive(lambda data: ws.close(4001, "not here") if data == "CURSE" else None)
    return call(ctx)


def shout(ctx, call):
    ctx["fmtn.message"] = ctx["fmtn.message"].upper()
    return call(ctx)


def make_app(tmp_path):  # noqa: C901  one app for all of it
    (tmp_path / "file").write_bytes(b"x" * 100_000)

    @asynccontextmanager
    async def lifespan(app):
        EVENTS.append("startup")
        yield {"ready": True}
        EVENTS.append("shutdown")

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(
        FormationMiddleware,
        middleware=[request_id(idgen=lambda: "7f3a"), tag, guard, dismiss],
        message_middleware=[shout],
    )

    @app.get("/hello/{name}")
    async def hello(name: str, request: Request) -> dict:
        return {"hello": name, "ready": request.state.ready, "id": request.headers["x-request-id"]}

    @app.post("/echo")
    async def echo(request: Request) -> dict:
        return {"size": len(await request.body())}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def chunks():
            for number in range(3):
                yield b"chunk %d\n" % number

        return StreamingResponse(chunks())

    @app.get("/file")
    async def file() -> FileResponse:
        return FileResponse(tmp_path / "file")

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def chunks():
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0.001)

        return StreamingResponse(chunks())

    done = threading.Event()

    @app.get("/background")
    async def background(tasks: BackgroundTasks) -> dict:
        tasks.add_task(done.set)
        return {}

    @app.websocket("/ws/{name}")
    async def ws(websocket: WebSocket, name: str) -> None:
        await websocket.accept("chat")
        await websocket.send_text(f"hello {name}")
        await websocket.send_text(await websocket.receive_text())
        await websocket.close(4000, "enough")

    app.state.done = done
    return app


@pytest.fixture(
    scope="module",
    params=[asgi_servers.uvicorn, asgi_servers.hypercorn, asgi_servers.granian],
    ids=lambda kind: kind.__name__,
)
def server(request, tmp_path_factory):
    EVENTS.clear()
    app = make_app(tmp_path_factory.mktemp("files"))
    with asgi_servers.running(request.param, app) as port:
        yield port, app
    assert EVENTS[-1] == "shutdown"


@pytest.fixture
def port(server):
    return server[0]


def get(port, path, method="GET", body=None):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()


def test_an_app_answers_through_the_chain(port):
    status, headers, body = get(port, "/hello/ann")
    assert (status, json.loads(body)) == (200, {"hello": "ann", "ready": True, "id": "7f3a"})
    assert (headers["x-request-id"], headers["x-template"]) == ("7f3a", "/hello/{name}")
    assert EVENTS[0] == "startup"


def test_an_upload_passes(port):
    assert json.loads(get(port, "/echo", "POST", b"x" * 300_000)[2]) == {"size": 300_000}


@pytest.mark.parametrize("query", ["", "?shout=1", "?read=1"])
def test_a_stream_passes_and_may_be_changed_or_read(port, query):
    status, headers, body = get(port, f"/stream{query}")
    assert (status, body.lower()) == (200, b"chunk 0\nchunk 1\nchunk 2\n")
    assert (body[:1] == b"C") == (query == "?shout=1")
    assert headers.get("x-size") == ("24" if query == "?read=1" else None)


@pytest.mark.parametrize("query", ["", "?shout=1", "?read=1"])
def test_a_file_passes_and_may_be_changed_or_read(port, query):
    _, _, body = get(port, f"/file{query}")
    assert body.lower() == b"x" * 100_000


def test_a_head_has_no_body(port):
    status, _, body = get(port, "/secret", "HEAD")
    assert (status, body) == (403, b"")


def test_an_answer_without_the_app_goes_out(port):
    status, headers, body = get(port, "/secret")
    assert (status, headers["content-length"], body) == (403, "2", b"no")


def test_background_work_is_done(server):
    port, app = server
    assert get(port, "/background")[0] == 200
    assert app.state.done.wait(10)


@pytest.mark.parametrize("path", ["/endless", "/endless?shout=1", "/ticks"])
def test_a_client_that_leaves_ends_the_stream_and_on_close_hears_of_it(port, path):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("GET", path)
        assert connection.getresponse().read(10).upper() == b"X" * 10
    assert OVER.get(timeout=10) == (True, True)


def test_a_websocket_talks_through_the_message_chain(port):
    with connect(f"ws://127.0.0.1:{port}/ws/ann", subprotocols=["chat"], open_timeout=10) as ws:
        assert (ws.subprotocol, ws.recv(timeout=10)) == ("chat", "HELLO ANN")
        ws.send("hi")
        assert ws.recv(timeout=10) == "HI"
        with pytest.raises(Exception, match="enough"):
            ws.recv(timeout=10)
    assert OVER.get(timeout=10) == ("/ws/ann", 101, 4000)


def test_a_websocket_may_be_closed_by_a_hook_at_a_message(port):
    with connect(f"ws://127.0.0.1:{port}/ws/ann", subprotocols=["chat"], open_timeout=10) as ws:
        assert ws.recv(timeout=10) == "HELLO ANN"
        ws.send("curse")
        with pytest.raises(Exception, match="not here"):
            ws.recv(timeout=10)
    assert OVER.get(timeout=10) == ("/ws/ann", 101, 4001)


def test_a_websocket_may_be_denied(port):
    with pytest.raises(InvalidStatus) as raised, connect(f"ws://127.0.0.1:{port}/secret", open_timeout=10):
        pass
    assert raised.value.response.status_code == 403
