"""Real servers on loopback, and real frameworks."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from wsgiref.validate import validator

import pytest

import formation
from formation import res
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from tests.server.wsgi.host import PLAIN, Served, adding, answering, look, noting, served, wrapped, wsgiref_serving


@contextmanager
def waitress_serving(app):
    waitress = pytest.importorskip("waitress")
    httpd = waitress.create_server(app, host="127.0.0.1", port=0, threads=2, clear_untrusted_proxy_headers=True)
    thread = threading.Thread(target=httpd.run)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.effective_port}"
    finally:
        httpd.maintenance_interval = 0
        httpd.task_dispatcher.shutdown()
        httpd.trigger.pull_trigger(httpd.close)
        thread.join(10)
        httpd.trigger.close()


@contextmanager
def gunicorn_serving(app):
    """Gunicorn takes the process, so it has one of its own; it is told where the app is."""
    pytest.importorskip("gunicorn")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        command = [
            sys.executable, "-m", "gunicorn", "--bind", f"fd://{listening.fileno()}",
            "--threads", "2", "--log-level", "error", "--no-control-socket", "tests.server.wsgi.test_servers:served",
        ]  # fmt: skip
        roots = os.pathsep.join([str(Path(__file__).parents[3]), str(Path(formation.__file__).parents[1])])
        process = subprocess.Popen(
            command,
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": roots},
            cwd=Path(__file__).parents[3],
        )
        try:
            yield "http://{}:{}".format(*listening.getsockname())
        finally:
            process.terminate()
            process.wait(20)


SERVERS = {"wsgiref": wsgiref_serving, "waitress": waitress_serving, "gunicorn": gunicorn_serving}


@pytest.mark.parametrize("serving", SERVERS.values(), ids=SERVERS)
def test_a_server_on_loopback_serves_it(serving):
    with serving(served) as url, build(base_uri=url, timeout=20) as http:
        for number in range(3):
            result = http.post("/", content=b"abc", headers={"X-Request-ID": f"id-{number}"}).response
            assert (result.status_code, result.content) == (200, b"POST ABC")
            assert [result.headers[name] for name in ("x-seen", "x-length", "x-request-id")] == [
                "added", "3", f"id-{number}"
            ]  # fmt: skip
        assert http.get("/file").response.content == b"FILE " * 10_000
        head = http.send("HEAD", "/").response
        assert (head.status_code, head.content, head.headers["x-seen"]) == (200, b"", "added")


@pytest.mark.parametrize("serving", [wsgiref_serving, waitress_serving])
def test_a_server_sends_a_file_by_itself_where_somebody_waits_for_its_end(serving, tmp_path):
    (tmp_path / "file").write_bytes(b"file " * 100_000)
    ended, over = [], threading.Event()

    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "500000")])
        return environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"))

    def waiting(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: (ended.append((count, error)), over.set()))
        return ctx

    inner = wrapped(app, waiting)

    def seeing(environ, start_response):
        result = inner(environ, start_response)
        ended.append(type(result) is environ["wsgi.file_wrapper"])
        return result

    with serving(seeing) as url, build(base_uri=url, timeout=20) as http:
        assert http.get("/").response.content == b"file " * 100_000
        assert over.wait(10)
    assert ended == [True, (500_000, None)]


def asking(app):
    """A client of an app in this process; what comes is checked on both sides."""
    return build(base_uri="http://testserver", endpoint=endpoint(validator(app)))


def test_a_flask_app_is_wrapped_at_its_wsgi_app_and_tells_its_route():
    flask = pytest.importorskip("flask")
    app, log = flask.Flask("shop"), []

    @app.get("/items/<int:number>/<path:rest>")
    def item(number, rest):
        return flask.stream_with_context(f"{number} {rest} {flask.request.headers['X-Added']}")

    app.wsgi_app = FormationMiddleware(app.wsgi_app, middleware=[noting(log), adding])
    http = asking(app)
    result = http.get("/items/7/a/b").response
    assert (result.text, result.headers["x-noted"]) == ("7 a/b added", "1")
    assert http.get("/nothing").response.status_code == 404
    assert app.test_client().get("/items/8/c").data == b"8 c added"
    template = "/items/{number}/{rest}"
    assert log == [
        (f"GET {template}", template, 200), ("GET /nothing", None, 404), (f"GET {template}", template, 200)
    ]  # fmt: skip


def test_a_pyramid_app_is_wrapped():
    config = pytest.importorskip("pyramid.config")
    response = pytest.importorskip("pyramid.response")
    log = []
    with config.Configurator() as configurator:
        configurator.add_route("item", "/items/{number}")
        configurator.add_view(
            lambda request: response.Response(f"{request.matchdict['number']} {request.headers['X-Added']}"),
            route_name="item",
        )
        app = configurator.make_wsgi_app()
    result = asking(FormationMiddleware(app, middleware=[noting(log), adding])).get("/items/7").response
    assert (result.text, result.headers["x-noted"], log) == ("7 added", "1", [("GET /items/7", None, 200)])


DJANGO = """
import sys
from wsgiref.validate import validator
from django.conf import settings
settings.configure(SECRET_KEY="x", ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"])
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.urls import path
from formation import reply, req, res
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint

def item(request, number):
    return HttpResponse(f"{number} {request.headers['X-Added']} {request.body.decode()}")

def stream(request):
    return StreamingHttpResponse(chunk for chunk in ("a", "b"))

urlpatterns = [path("items/<int:number>", item), path("stream", stream)]

def adding(ctx, call):
    req(ctx).headers["X-Added"] = "added"
    assert req(ctx).content is not None
    ctx = call(ctx)
    res(ctx).headers["X-Code"] = str(res(ctx).code)
    return ctx

def mapped(ctx, call):
    ctx = call(ctx)
    res(ctx).body.map(bytes.upper)
    return ctx

app = FormationMiddleware(validator(get_wsgi_application()), middleware=[mapped, adding])
http = build(base_uri="http://testserver", endpoint=endpoint(validator(app)))
made = http.get("/items/7").response
assert (made.text, made.headers["x-code"]) == ("7 ADDED ", "200"), (made.text, made.headers)
assert http.get("/stream").response.text == "AB"
assert http.get("/nothing").response.status_code == 404
print("done")
"""


def test_djangos_wsgi_handler_is_wrapped():
    """In a process of its own: Django can be configured once."""
    pytest.importorskip("django")
    run = subprocess.run(
        [sys.executable, "-c", DJANGO], check=False, capture_output=True, text=True, timeout=50,
        env={**os.environ, "PYTHONPATH": str(Path(formation.__file__).parents[1])},
    )  # fmt: skip
    assert run.stdout == "done\n", run.stderr


def test_it_is_a_function_of_environ_and_start_response_around_one():
    inner = FormationMiddleware(answering([b"a"]), [look])

    def handwritten(environ, start_response):
        return inner(environ, lambda status, headers, exc_info=None: start_response(status, [*headers, ("X-H", "1")]))

    answer = Served(FormationMiddleware(handwritten, [look])).run()
    assert answer.headers == [*PLAIN, ("X-Status", "200"), ("X-H", "1")]
