import asyncio
import gc
import http.client
import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from signal import SIGINT, SIGTERM
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest
import trio

import formation
from formation.clock import Virtual
from formation.dashboard import Dashboard
from formation.dashboard.feed import LIFE
from formation.dashboard.hosts import of_scope
from formation.telemetry.meter import watch
from tests.server.asgi_servers import hypercorn, running, uvicorn

ROOT = Path(__file__).parents[2]

TOKEN = "a-long-secret-of-mine"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@contextmanager
def on_uvicorn(board):
    with running(uvicorn, board.asgi) as port:
        yield port


@contextmanager
def on_hypercorn(board):
    with running(hypercorn, board.asgi) as port:
        yield port


@contextmanager
def on_wsgiref(board):
    class Quiet(WSGIRequestHandler):
        def log_message(self, *args): ...

    with make_server("127.0.0.1", 0, board.wsgi, handler_class=Quiet) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield httpd.server_port
        finally:
            board.feed.closed.set()  # it has one thread, and a stream may have it
            httpd.shutdown()
            thread.join(10)


@contextmanager
def on_waitress(board):
    import waitress

    httpd = waitress.create_server(board.wsgi, host="127.0.0.1", port=0, threads=2, clear_untrusted_proxy_headers=False)
    thread = threading.Thread(target=httpd.run)
    thread.start()
    try:
        yield httpd.effective_port
    finally:
        board.feed.closed.set()
        httpd.maintenance_interval = 0
        httpd.task_dispatcher.shutdown()
        with suppress(OSError):  # a worker that pulls at the same time has had it closed already
            httpd.trigger.pull_trigger(httpd.close)
        thread.join(10)
        httpd.trigger.close()


every_server = pytest.mark.parametrize(
    "serving", [on_uvicorn, on_hypercorn, on_wsgiref, on_waitress], ids=lambda each: each.__name__[3:]
)


def asked(port, path, method="GET", **headers):
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()


def events_of(response, count):
    found = []
    while len(found) < count:
        line = response.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            found.append(json.loads(line[6:]))
    return found


@contextmanager
def process(*command):
    """Start a server whose dashboard's clock stands still, so that no stream ends by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        words = [word.format(fd=listening.fileno()) for word in command]
        roots = os.pathsep.join([str(ROOT), str(Path(formation.__file__).parents[1])])
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": roots},
            cwd=ROOT,
        )
        try:
            yield process, listening.getsockname()[1]
        finally:
            process.kill()
            process.wait()


UVICORN = ["uvicorn", "--fd", "{fd}", "--log-level", "error", "tests.dashboard.timeless:asgi"]
GUNICORN = [
    "gunicorn", "--bind", "fd://{fd}", "--threads", "2", "--graceful-timeout", "600", "--log-level", "critical",
    "--no-control-socket", "tests.dashboard.timeless:wsgi",
]  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="there the signals are others")
@pytest.mark.parametrize(
    ("command", "signal"),
    [(UVICORN, SIGINT), (UVICORN, SIGTERM), (GUNICORN, SIGTERM)],
    ids=["uvicorn-int", "uvicorn-term", "gunicorn-term"],
)
def test_a_server_that_is_told_to_stop_does_not_wait_for_who_looks(command, signal):
    pytest.importorskip(command[0])
    with (
        process(*command) as (server, port),
        closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as page,
    ):
        page.request("GET", "/events")
        response = page.getresponse()
        events_of(response, 1)
        server.send_signal(signal)
        response.read()  # to its end
        server.wait(60)


@every_server
def test_a_real_server_shows_it_to_this_machine(serving):
    with Dashboard() as board, serving(board) as port:
        status, headers, html = asked(port, "/")
        assert (status, html[:15]) == (200, b"<!doctype html>")
        assert {name.lower(): value for name, value in headers.items()}["content-type"] == "text/html; charset=utf-8"
        assert json.loads(asked(port, "/snapshot")[2])["pid"] > 0
        assert asked(port, "/snapshot", "HEAD")[::2] == (200, b"")
        assert asked(port, "/events", "HEAD")[::2] == (200, b"")
        assert asked(port, "/snapshot", "POST")[0] == 405
        assert asked(port, "/nothing")[0] == 404
        assert asked(port, "/snapshot", Host="evil.example")[0] == 403
        assert asked(port, "/snapshot", X_Forwarded_For="127.0.0.1")[0] == 403
        assert asked(port, "/login")[0] == 404


@every_server
def test_a_real_server_shows_it_to_who_has_the_token(serving):
    with Dashboard(TOKEN) as board, serving(board) as port:
        assert asked(port, "/snapshot")[0] == 401
        assert asked(port, "/snapshot", **BEARER)[0] == 200
        status, headers, body = asked(port, "/login", **BEARER)
        cookie = {name.lower(): value for name, value in headers.items()}["set-cookie"].partition(";")[0]
        assert (status, body) == (204, b"")
        assert asked(port, "/snapshot", Cookie=cookie)[0] == 200
        assert asked(port, "/snapshot", Cookie=f"{cookie}0")[0] == 401


@every_server
def test_a_real_server_sends_a_snapshot_a_second(serving):
    with Dashboard() as board, serving(board) as port:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
            connection.request("GET", "/events")
            response = connection.getresponse()
            assert response.getheader("Content-Type") == "text/event-stream; charset=utf-8"
            first, second = events_of(response, 2)
            assert second["at"] > first["at"]
            assert board.feed.open == 1
            board.close()
        assert not watch.is_on


@pytest.mark.parametrize("serving", [on_uvicorn, on_hypercorn], ids=["uvicorn", "hypercorn"])
def test_a_client_that_leaves_gives_its_place_to_another(serving):
    with Dashboard(streams=1) as board, serving(board) as port:
        for _ in range(3):
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/events")
                response = connection.getresponse()
                events_of(response, 1)
                response.close()
            until(lambda: board.feed.open == 0)


def until(holds):
    """Wait for what another thread does."""
    for _ in range(1000):
        if holds():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not come to that")


# In this process: what is hard to bring a server to.


def environ(path="/events", **more):
    return {
        "REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "REMOTE_ADDR": "127.0.0.1", "SERVER_NAME": "h",
        "HTTP_HOST": "localhost", "SERVER_PORT": "80", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1", **more,
    }  # fmt: skip


def scope(path="/events", **more):
    return {
        "type": "http", "method": "GET", "path": path, "client": ("127.0.0.1", 4711),
        "headers": [(b"host", b"localhost")], "scheme": "http", **more,
    }  # fmt: skip


def start(status, headers, error=None):
    return None


def test_beyond_the_limit_a_stream_is_one_event():
    with Dashboard(streams=1) as board:
        first, second = board.wsgi(environ(), start), board.wsgi(environ(), start)
        assert next(iter(first)).startswith(b"retry: 1000\nid: 1\ndata: {")
        assert len(list(second)) == 1
        second.close()
        first.close()
        first.close()
        assert board.feed.open == 0


def test_a_stream_ends_after_its_time_and_with_the_dashboard():
    clock = Virtual(1)
    with Dashboard(clock=clock.monotonic) as board:
        stream = board.wsgi(environ(), start)
        next(stream)
        clock.advance(LIFE)
        assert list(stream) == []
        stream.close()
        stream = board.wsgi(environ(), start)
        next(stream)
        board.close()
        assert list(stream) == []
        stream.close()


def test_a_stream_that_is_forgotten_gives_its_place_back():
    with Dashboard() as board:
        stream = board.wsgi(environ(), start)
        next(stream)
        del stream
        gc.collect()
        assert board.feed.open == 0


def test_wsgi_is_spoken_as_the_validator_wants_it():
    with Dashboard() as board:
        import io
        import sys

        for path in ("", "/", "/snapshot"):
            body = validator(board.wsgi)(
                environ(path, **{"wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(),
                                 "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False,
                                 "wsgi.run_once": False}),
                start,
            )  # fmt: skip
            list(body)
            body.close()


async def asgi(board, scope, receive=None, send=None):
    sent = []

    async def kept(message):
        sent.append(message)

    await board.asgi(scope, receive, send or kept)
    return sent


@pytest.mark.parametrize("run", [asyncio.run, lambda coroutine: trio.run(lambda: coroutine)], ids=["asyncio", "trio"])
def test_an_asgi_stream_ends_after_its_time(run):
    clock = Virtual(1)
    sent = []

    async def send(message):
        clock.advance(LIFE / 2)
        sent.append(message)

    async def receive():
        if run is asyncio.run:
            await asyncio.Event().wait()
        await trio.sleep_forever()

    with Dashboard(clock=clock.monotonic) as board:
        run(asgi(board, scope(), receive, send))
        assert board.feed.open == 0
    assert [each["type"] for each in sent][-1] == "http.response.body"
    assert not sent[-1].get("more_body")
    assert sum(bool(each.get("body")) for each in sent) >= 1


@pytest.mark.parametrize("leaves", ["says so", "is cut off"])
def test_an_asgi_client_that_leaves_ends_its_stream(leaves):
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        if leaves == "is cut off" and message["type"] == "http.response.body":
            raise OSError

    with Dashboard() as board:
        asyncio.run(asgi(board, scope(), receive, send))
        assert board.feed.open == 0


def test_an_asgi_client_that_does_not_read_is_given_up(monkeypatch):
    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    monkeypatch.setattr("formation.dashboard.hosts.LIFE", 0.01)
    with Dashboard() as board:
        asyncio.run(asgi(board, scope(), None, send))
        assert board.feed.open == 0


def test_a_task_that_is_cancelled_gives_its_place_back():
    async def main():
        begun = asyncio.Event()

        async def send(message):
            begun.set()

        task = asyncio.create_task(asgi(board, scope(), asyncio.Event().wait, send))
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with Dashboard() as board:
        asyncio.run(main())
        assert board.feed.open == 0


def test_a_timeout_of_the_server_is_the_end_of_the_client():
    async def receive():
        raise TimeoutError("of the server")

    with Dashboard() as board:
        asyncio.run(asgi(board, scope(), receive))
        assert board.feed.open == 0


def test_the_lifespan_of_an_app_of_its_own_ends_the_streams():
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive():
        return messages.pop(0)

    board = Dashboard()
    sent = asyncio.run(asgi(board, {"type": "lifespan"}, receive))
    assert [each["type"] for each in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert board.feed.closed.is_set()
    assert not watch.is_on


def test_a_websocket_is_closed():
    async def receive():
        return {"type": "websocket.connect"}

    with Dashboard() as board:
        assert asyncio.run(asgi(board, {"type": "websocket"}, receive)) == [{"type": "websocket.close", "code": 1000}]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"path": "/ops/dash/events", "root_path": "/ops/dash"}, "/events"),
        ({"path": "/events", "root_path": "/ops"}, "/events"),
        ({"path": "/ops", "root_path": "/ops"}, ""),
        ({"path": "/opsx/a", "root_path": "/ops"}, "/opsx/a"),
    ],
)
def test_a_mount_is_understood_in_either_way(given, path):
    assert of_scope(scope(**given)).path == path


def test_a_unix_socket_has_no_peer():
    assert of_scope(scope(client=None)).peer == ""


def bodies(sent):
    return [each["body"] for each in sent if each["type"] == "http.response.body"]


def test_an_asgi_stream_ends_with_the_dashboard():
    sent = []

    async def send(message):
        sent.append(message)
        if message.get("body"):
            board.close()

    with Dashboard() as board:
        asyncio.run(asgi(board, scope(), asyncio.Event().wait, send))
    assert [bool(each) for each in bodies(sent)] == [True, False]


def test_beyond_the_limit_an_asgi_stream_is_one_event():
    with Dashboard(streams=1) as board:
        assert board.feed.enter(1)
        sent = asyncio.run(asgi(board, scope(), asyncio.Event().wait))
        assert [bool(each) for each in bodies(sent)] == [True, False]
        assert board.feed.open == 1
