"""The edge for Django: real stacks of Django, sync and async, called by its handlers for WSGI and ASGI."""

import asyncio
import gc
import io
import itertools
import logging
import subprocess
import sys
import threading
import weakref
from contextvars import ContextVar
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed, PermissionDenied
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import got_request_exception, request_finished
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, Http404, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from formation import ambient, await_, for_asgi, for_django, for_wsgi, reply, sleep
from formation.errors import BodyAbandoned, BodyTooLarge
from formation.for_django import FormationMiddleware
from formation.for_requests import build, raw_response
from formation.http import Request, Response
from formation.middleware import bulkhead, request_duration, request_id, request_logger, retry
from tests.django_site import stack

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"
COMMON = "django.middleware.common.CommonMiddleware"
OWN = ContextVar("own", default=None)


def plain(ctx, call):
    return call(ctx)


async def coloured(ctx, call):
    return await call(ctx)


def ours(*layers, **settings):
    return for_django.middleware(layers or [plain], **settings)


def ok(request):
    return HttpResponse("ok")


def later(view):
    """Make an async view of a sync one."""

    async def later(request, *args, **kwargs):
        await asyncio.sleep(0)
        return view(request, *args, **kwargs)

    return later


class World:
    """Django by WSGI, with sync views, or by ASGI, with async ones."""

    def __init__(self, is_async):
        self.is_async = is_async

    def ask(self, layers, view=ok, path="/", method="GET", headers=(), body=b"", **settings):  # noqa: PLR0917
        """Serve one request, to its end; return the answer."""
        if self.is_async and callable(view) and not iscoroutinefunction(view):
            view = later(view)
        with stack(*layers, urls=view, **settings):
            if self.is_async:
                return asyncio.run(by_asgi(ASGIHandler(), path, method, headers, body))
            return by_wsgi(WSGIHandler(), path, method, headers, body)


class Answer:
    """What a server has sent."""

    def __init__(self, status, headers, chunks):
        self.status, self.headers, self.chunks = status, headers, chunks

    @property
    def body(self):
        return b"".join(self.chunks)

    def lines(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]


def environ(path="/", method="GET", headers=(), body=b"", **more):
    path, _, query = path.partition("?")
    made = RequestFactory().generic(method, path, body, QUERY_STRING=query).environ
    for name, value in dict(headers).items():
        key = name.upper().replace("-", "_")
        made[key if key.startswith("CONTENT_") else f"HTTP_{key}"] = value
    return {**made, **more}


def by_wsgi(app, *sent, **more):
    said = []
    chunks = app(environ(*sent, **more), lambda status, headers: said.extend([int(status[:3]), headers]))
    try:
        return Answer(*said, list(chunks))
    finally:
        chunks.close()


async def by_asgi(app, path="/", method="GET", headers=(), body=b"", *, gone=None):
    """Serve a request; ``gone`` is an event that says when the client leaves."""
    path, _, query = path.partition("?")
    lines = {"content-length": str(len(body)), "host": "testserver", **dict(headers)}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in lines.items()],
        "client": ("127.0.0.1", 5000),
        "server": ("testserver", 80),
    }
    messages = [{"type": "http.request", "body": body}]
    answer, over = Answer(0, [], []), asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await (gone or over).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
        elif message.get("body"):
            answer.chunks.append(message["body"])

    await app(scope, receive, send)
    return answer


@pytest.fixture(params=[False, True], ids=["wsgi", "asgi"])
def world(request):
    return World(request.param)


@pytest.fixture
def reported():
    """Errors that Django has reported."""
    errors = []

    def note(**more):
        errors.append(sys.exc_info()[1])

    got_request_exception.connect(note)
    yield errors
    got_request_exception.disconnect(note)


@pytest.fixture
def finished():
    """Counts of `request_finished`."""
    seen = []

    def note(**more):
        seen.append(1)

    request_finished.connect(note)
    yield seen
    request_finished.disconnect(note)


@sync_and_async_middleware
def neighbour(get_response):
    """Pass, in both worlds."""
    if iscoroutinefunction(get_response):

        async def middleware(request):
            return await get_response(request)

    else:

        def middleware(request):
            return get_response(request)

    return middleware


class AsyncOnly:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        return await self.get_response(request)


def sync_only(get_response):
    def middleware(request):
        return get_response(request)

    return middleware


# What it is


def test_a_plain_function_sees_the_request_and_the_response(world):
    found = []

    def look(ctx, call):
        request = ctx["fmtn.req.http"]
        found.extend([request.method, request.url, request.headers["x-a"], request.params["b"], request.peer])
        found.extend([ctx["fmtn.side"], ctx["fmtn.kind"], request.cookies])
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        found.extend([response.status_code, response.headers["x-b"], response.content, response.request is request])
        response.headers["X-C"] = "3"
        return ctx

    answer = world.ask(
        [ours(look)],
        lambda request: HttpResponse("made", status=201, headers={"X-B": "2"}),
        "/a?b=1",
        headers={"X-A": "1", "Cookie": "k=v"},
    )
    assert found == [
        "GET", "http://testserver/a?b=1", "1", "1", "127.0.0.1", "server", "http", {"k": "v"}, 201, "2", b"made", True
    ]  # fmt: skip
    assert (answer.status, answer.lines("x-c"), answer.body) == (201, ["3"], b"made")


def test_the_built_in_middlewares_run(world):
    answer = world.ask(
        [ours(request_id(), request_duration())], lambda request: HttpResponse(request.headers["X-Request-ID"])
    )
    assert answer.lines("x-request-id") == [answer.body.decode()]


def test_the_context_has_the_objects_of_django_for_whoever_must_escape(world):
    seen = []

    def look(ctx, call):
        native = ctx["fmtn.native"]
        native["request"].user = "ann"
        ctx = call(ctx)
        seen.append((native["response"] is ctx["fmtn.res.http"].native, native["response"].content))
        return ctx

    world.ask([ours(look)], lambda request: HttpResponse(request.user))
    assert seen == [(True, b"ann")]


@pytest.mark.parametrize(
    ("route", "path", "template"),
    [
        ("users/<int:id>/<name>", "/users/1/ann", "/users/{id}/{name}"),
        ("", "/", "/"),
    ],
)
def test_the_route_is_the_template_after_the_call(world, route, path, template):
    seen = []

    def look(ctx, call):
        assert "fmtn.template" not in ctx
        ctx = call(ctx)
        seen.extend([ctx["fmtn.template"], ctx["fmtn.req.http"].name])
        return ctx

    view = later(lambda request, **path: ok(request)) if world.is_async else lambda request, **path: ok(request)
    world.ask([ours(look)], {route: view}, path)
    assert seen == [template, f"GET {template}"]


def test_a_path_without_a_route_has_no_template(world):
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.extend([ctx.get("fmtn.template"), ctx["fmtn.res.http"].status_code])
        return ctx

    assert world.ask([ours(look)], {"a": ok}, "/b").status == 404
    assert seen == [None, 404]


def test_the_trace_of_the_client_is_in_the_context(world):
    seen = []
    world.ask(
        [ours(lambda ctx, call: seen.append(ctx.get("fmtn.trace")) or call(ctx))],
        headers={"traceparent": "00-1", "tracestate": "a=b"},
    )
    world.ask([ours(lambda ctx, call: seen.append(ctx.get("fmtn.trace")) or call(ctx))])
    assert seen == [{"traceparent": "00-1", "tracestate": "a=b"}, None]


def test_a_host_that_is_not_allowed_can_be_looked_at(world):
    seen = []
    answer = world.ask(
        [ours(lambda ctx, call: seen.append(ctx["fmtn.req.http"].url) or call(ctx))],
        lambda request: HttpResponse(request.get_host()),
        headers={"host": "evil"},
        ALLOWED_HOSTS=["good"],
    )
    assert (seen, answer.status) == (["http://evil/"], 400)


def test_a_number_sign_begins_no_fragment_for_nobody_sends_one(world):
    seen = []
    world.ask([ours(lambda ctx, call: seen.append(ctx["fmtn.req.http"].url) or call(ctx))], path="/?b#c")
    assert [url.partition("?")[2] for url in seen] == ["b%23c"]


def test_empty_headers_that_servers_make_up_are_none(world):
    seen = []
    world.ask(
        [ours(lambda ctx, call: seen.append("Content-Type" in ctx["fmtn.req.http"].headers) or call(ctx))],
        headers={"Content-Type": ""},
    )
    assert seen == [False]


# D01: what Django is told


@pytest.mark.parametrize("make", [ours, lambda: FormationMiddleware], ids=["function", "class"])
def test_the_factory_is_sync_capable_and_async_capable(make):
    factory = make()
    assert (factory.sync_capable, factory.async_capable) == (True, True)


def test_what_the_factory_makes_is_a_coroutine_function_exactly_when_get_response_is_one():
    sync, later_ = ours()(ok), ours()(later(ok))
    assert (iscoroutinefunction(sync), iscoroutinefunction(later_)) == (False, True)


def test_a_middleware_mixin_around_it_and_inside_of_it_sees_the_truth(world):
    """Ticket 34328: a class with an async call that is not marked breaks it."""
    modes = []

    class Mixin(MiddlewareMixin):
        def __init__(self, get_response):
            super().__init__(get_response)
            modes.append(self.async_mode)

        def process_response(self, request, response):
            assert isinstance(response, HttpResponse)
            return response

    assert world.ask([Mixin, ours(), Mixin]).status == 200
    assert modes == [world.is_async] * 2


def test_it_says_what_it_is_made_of():
    assert repr(ours(plain, request_id())(ok)) == "FormationMiddleware(ok, [plain, request_id])"


# D02


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("view", [ok, later(ok)], ids=["sync", "async"])
def test_all_120_orders_with_neighbours_of_every_colour_answer_200(view, client):
    async def get():
        return await AsyncClient().get("/")

    for order in itertools.permutations([ours(request_id()), SESSION, COMMON, AsyncOnly, sync_only]):
        with stack(*order, urls={"": view}):
            response = Client().get("/") if client is Client else asyncio.run(get())
        assert (response.status_code, "x-request-id" in response.headers) == (200, True), order


# D03, D04: threads


def where_it_runs():
    """Return layers and a view that note their threads, the loop's among them."""
    threads = []

    def here(ctx, call):
        threads.append(threading.get_ident())
        ctx = call(ctx)
        threads.append(threading.get_ident())
        return ctx

    def view(request):
        threads.append(threading.get_ident())
        return ok(request)

    return threads, here, view


def test_in_an_async_stack_nothing_is_adapted_and_all_runs_in_the_thread_of_the_loop(caplog):
    threads, here, view = where_it_runs()
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=True).ask([neighbour, ours(here), neighbour, ours(here)], view, DEBUG=True)
    assert set(threads) == {threading.get_ident()}
    assert not [record for record in caplog.records if "adapted" in record.message]


def test_in_a_sync_stack_nothing_is_adapted_and_all_runs_in_the_thread_of_the_caller(caplog):
    threads, here, view = where_it_runs()
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=False).ask([neighbour, ours(here), neighbour], view, DEBUG=True)
    assert set(threads) == {threading.get_ident()}
    assert not [record for record in caplog.records if "adapted" in record.message]


def test_a_plain_sync_middleware_of_django_is_adapted_there(caplog):
    """So the two tests above would see it."""
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=True).ask([ours(), sync_only], DEBUG=True)
    assert [record for record in caplog.records if "adapted" in record.message]


# D05, D06, D11: errors


class Hooked(MiddlewareMixin):
    """Notes each of its hooks; ``name`` is which one it is."""

    name = ""
    seen = ()

    def process_view(self, request, view, args, kwargs):
        self.seen.append(f"{self.name} view")

    def process_exception(self, request, exception):
        self.seen.append(f"{self.name} {exception!r}")

    def process_template_response(self, request, response):
        self.seen.append(f"{self.name} template")
        return response


def hooked(name, seen):
    return type("Hooked", (Hooked,), {"name": name, "seen": seen})


def fails(request):
    raise ValueError("no")


class Rendered(HttpResponse):
    def render(self):
        return self


def test_hooks_of_neighbours_run_once_each_inside_and_outside(world):
    seen = []
    world.ask([hooked("outer", seen), ours(), hooked("inner", seen)], lambda request: Rendered())
    assert seen == ["outer view", "inner view", "inner template", "outer template"]


def test_hooks_of_neighbours_hear_of_an_error_once_each_inside_and_outside(world):
    seen = []
    answer = world.ask([hooked("outer", seen), ours(), hooked("inner", seen)], fails)
    assert seen[2:] == ["inner ValueError('no')", "outer ValueError('no')"]
    assert answer.status == 500


def test_a_neighbour_that_answers_an_error_has_answered_it(world, reported):
    class Answers(MiddlewareMixin):
        def process_exception(self, request, exception):
            return HttpResponse("answered", status=503)

    seen = []
    answer = world.ask([Answers, ours(lambda ctx, call: seen.append(call(ctx)) or seen[0])], fails)
    assert (answer.status, answer.body, reported) == (503, b"answered", [])
    assert seen[0]["fmtn.res.http"].status_code == 503


def test_an_error_of_the_view_is_raised_where_the_chain_calls_and_may_be_answered(world):
    def safe(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            return reply(ctx, 503, {"X-A": "1"}, str(error).encode())

    answer = world.ask([ours(plain, safe, plain)], fails)
    assert (answer.status, answer.lines("x-a"), answer.body) == (503, ["1"], b"no")


def test_an_async_def_catches_an_error_of_the_view():
    async def safe(ctx, call):
        try:
            return await call(ctx)
        except ValueError as error:
            return reply(ctx, 503, body=str(error).encode())

    assert World(is_async=True).ask([ours(plain, safe)], fails).body == b"no"


def test_an_error_that_nobody_answers_is_reported_once_and_answered_by_django(world, reported):
    passed = []

    def look(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            passed.append(error)
            raise

    answer = world.ask([neighbour, ours(look), neighbour, ours(look, look), neighbour], fails, handler500=None)
    assert (answer.status, b"Server Error (500)" in answer.body) == (500, True)
    assert len(reported) == 1
    assert passed == reported * 3


def test_an_error_of_a_neighbour_inside_is_raised_there_too(world, reported):
    @sync_and_async_middleware
    def broken(get_response):
        def sync(request):
            raise KeyError("inside")

        return later(sync) if iscoroutinefunction(get_response) else sync

    caught = []

    def safe(ctx, call):
        try:
            return call(ctx)
        except KeyError as error:
            caught.append(error)
            return reply(ctx, 200)

    assert world.ask([ours(safe), neighbour, broken]).status == 200
    assert caught == reported


def test_an_error_that_a_neighbour_inside_has_turned_into_an_answer_is_over(world):
    @sync_and_async_middleware
    def comforts(get_response):
        async def later(request):
            await get_response(request)
            return HttpResponse("never mind")

        def sync(request):
            get_response(request)
            return HttpResponse("never mind")

        return later if iscoroutinefunction(get_response) else sync

    assert world.ask([ours(), comforts], fails).body == b"never mind"


@pytest.mark.parametrize(("error", "status"), [(Http404, 404), (PermissionDenied, 403)])
def test_what_django_answers_by_4xx_is_an_answer(world, error, status):
    def view(request):
        raise error

    answer = world.ask([ours(request_id())], view)
    assert (answer.status, len(answer.lines("x-request-id"))) == (status, 1)


def test_an_error_of_the_chain_is_reported_once_and_answered_by_django(world, reported):
    def broken(ctx, call):
        call(ctx)
        raise KeyError("after")

    answer = world.ask([ours(broken)])
    assert (answer.status, len(reported)) == (500, 1)
    assert isinstance(reported[0], KeyError)


def test_an_error_that_the_chain_turns_into_another_is_reported_as_both(world, reported):
    def turns(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            raise KeyError("turned") from error

    assert world.ask([ours(turns)], fails).status == 500
    assert list(map(type, reported)) == [ValueError, KeyError]


def test_errors_are_raised_as_they_are_where_django_is_told_to_let_them_through(world):
    passed = []

    def look(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            passed.append(error)
            raise

    get = async_to_sync(AsyncClient().get) if world.is_async else Client().get  # the ASGI handler leaves a file open
    with stack(ours(look), urls=fails, DEBUG_PROPAGATE_EXCEPTIONS=True), pytest.raises(ValueError, match="no"):
        get("/")
    assert len(passed) == 1


def test_a_second_call_is_a_second_run_of_the_view(world):
    runs = []

    def view(request):
        runs.append(1)
        if len(runs) < 3:
            raise ConnectionError
        return ok(request)

    answer = world.ask([ours(request_id(), retry(attempts=3, on=ConnectionError, sleep=lambda seconds: None))], view)
    assert (answer.status, len(runs)) == (200, 3)


class OutOfStock(Exception):
    """An error that is no failure."""


def sold_out(request):
    raise OutOfStock("none left")


def conflict(ctx, call):
    try:
        return call(ctx)
    except OutOfStock as error:
        return reply(ctx, 409, body=str(error).encode())


def test_an_error_that_is_caught_as_told_is_not_reported(world, reported):
    seen = []
    answer = world.ask([hooked("outer", seen), ours(conflict, catch=[OutOfStock]), hooked("inner", seen)], sold_out)
    assert (answer.status, answer.body, reported) == (409, b"none left", [])
    assert [each for each in seen if "Out" in each] == ["inner OutOfStock('none left')"]


def test_an_error_of_catch_that_nobody_answers_is_reported_once(world, reported):
    answer = world.ask([ours(plain, catch=[OutOfStock])], sold_out)
    assert (answer.status, list(map(type, reported))) == (500, [OutOfStock])


def test_other_errors_are_none_of_catch(world, reported):
    assert world.ask([ours(plain, catch=[OutOfStock])], fails).status == 500
    assert len(reported) == 1


def test_what_is_not_asked_for_is_not_registered():
    assert [name for name in dir(ours()(ok)) if name.startswith("process_")] == []
    assert callable(ours(catch=[OutOfStock])(ok).process_exception)


# D07, D13: streams


def chunks(count=3):
    for number in range(count):
        yield b"%d," % number


async def achunks(count=3):
    for number in range(count):
        await asyncio.sleep(0)
        yield b"%d," % number


def streams(request):
    return StreamingHttpResponse(chunks())


async def astreams(request):
    return StreamingHttpResponse(achunks())


def streamed(world):
    return astreams if world.is_async else streams


def shout(ctx, call):
    ctx = call(ctx)
    ctx["fmtn.res.http"].body.map(lambda chunk: chunk.replace(b",", b"!"), lambda: b".")
    return ctx


def test_a_stream_that_nobody_touches_is_the_object_of_the_view(world):
    made, got = [], []

    @sync_and_async_middleware
    def outside(get_response):
        def note(response):
            got.append((response, response._iterator))
            return response

        async def later(request):
            return note(await get_response(request))

        return later if iscoroutinefunction(get_response) else lambda request: note(get_response(request))

    def view(request):
        response = StreamingHttpResponse(achunks() if world.is_async else chunks())
        made.append((response, response._iterator))
        return response

    answer = world.ask([outside, ours(request_duration())], view)
    assert answer.body == b"0,1,2,"
    assert [tuple(map(id, each)) for each in got] == [tuple(map(id, each)) for each in made]


def test_a_response_is_closed_once_and_its_request_finished_once(world, finished):
    closed = []

    class Source:
        def __init__(self):
            self.left = iter([b"a", b"b"])

        def __iter__(self):
            return self.left

        def close(self):
            closed.append(1)

    class AsyncSource(Source):
        __iter__ = None

        async def __aiter__(self):
            for each in self.left:
                yield each

    answer = world.ask(
        [ours(shout)], lambda request: StreamingHttpResponse(AsyncSource() if world.is_async else Source())
    )
    assert (answer.body, closed, finished) == (b"ab.", [1], [1])


def test_a_map_changes_a_stream_chunk_by_chunk(world):
    answer = world.ask([ours(shout)], streamed(world))
    assert answer.chunks == [b"0!", b"1!", b"2!", b"."]


def test_a_stream_is_not_read_ahead_of_the_server(world):
    made = []

    def source():
        for number in range(3):
            made.append(number)
            yield b"."

    async def asource():
        for each in source():
            yield each

    seen = []

    def count(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].body.map(lambda chunk: seen.append(len(made)) or chunk)
        return ctx

    world.ask([ours(count)], lambda request: StreamingHttpResponse(asource() if world.is_async else source()))
    assert seen == [1, 2, 3]


def test_a_sync_stream_under_asgi_is_mapped_without_being_gathered_in_memory():
    """Django would make a list of it, and say so by a warning, which is an error in these tests."""
    most, out = [0], [0]

    def source():
        for number in range(40):
            most[0] = max(most[0], number - out[0])
            yield b"x" * 16384

    def count(chunk):
        out[0] += len(chunk) // 16384
        return chunk

    def counted(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].body.map(count)
        return ctx

    answer = World(is_async=True).ask([ours(counted)], lambda request: StreamingHttpResponse(source()))
    assert len(answer.body) == 40 * 16384
    assert most[0] <= 4


def test_a_whole_stream_can_be_read_and_goes_out_as_it_was(world):
    seen = []

    def read(ctx, call):
        ctx = call(ctx)
        seen.append(ctx["fmtn.res.http"].content)
        return ctx

    answer = world.ask([ours(read)], streamed(world))
    assert (seen, answer.body) == ([b"0,1,2,"], b"0,1,2,")


def test_a_generator_may_stand_in_the_place_of_a_body(world):
    def framed(ctx, call):
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        response.body = frame(response.body)
        return ctx

    def frame(body):
        yield b"<"
        yield from body
        yield b">"

    async def aframe(body):
        yield b"<"
        async for chunk in body:
            yield chunk
        yield b">"

    def aframed(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].body = aframe(ctx["fmtn.res.http"].body)
        return ctx

    layer = aframed if world.is_async else framed
    assert world.ask([ours(layer)], streamed(world)).body == b"<0,1,2,>"
    assert world.ask([ours(layer)], lambda request: HttpResponse(b"ok")).body == b"<ok>"


def test_a_file_is_handed_to_the_server_as_it_is():
    class Wrapper:
        def __init__(self, file, size):
            self.file, self.close = file, file.close

        def __iter__(self):
            return iter([b"sent by the server"])

    counts = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, error)))
        return ctx

    for layers in ([plain], [hook]):
        file = io.BytesIO(b"0123456789")
        with stack(ours(*layers), urls=lambda request, file=file: FileResponse(file)):
            answer = by_wsgi(WSGIHandler(), **{"wsgi.file_wrapper": Wrapper})
        assert answer.body == b"sent by the server"
        assert file.closed
    assert counts == [(10, None)]


def test_a_file_that_is_mapped_is_not_sent_past_the_map():
    with stack(ours(shout), urls=lambda request: FileResponse(io.BytesIO(b"a,b"))):
        answer = by_wsgi(WSGIHandler(), **{"wsgi.file_wrapper": None})
    assert (answer.body, answer.lines("content-length")) == (b"a!b.", [])


def test_a_file_under_asgi_passes_with_a_hook():
    counts = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, error)))
        return ctx

    view = later(lambda request: FileResponse(io.BytesIO(b"0123456789")))
    answer = World(is_async=True).ask([ours(hook)], view)
    assert (answer.body, counts) == (b"0123456789", [(10, None)])


@pytest.mark.parametrize("is_stream", [False, True], ids=["content", "stream"])
def test_hooks_run_once_at_the_end_with_the_bytes_that_went_out(world, is_stream):
    counts = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, error)))
        assert counts == []
        return ctx

    answer = world.ask([ours(hook)], streamed(world) if is_stream else lambda request: HttpResponse("012345"))
    assert counts == [(6, None)]
    assert len(answer.body) == 6


def test_hooks_of_a_stream_that_is_dropped_early_are_told():
    counts = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, type(error))))
        return ctx

    with stack(ours(hook), urls=streams):
        response = WSGIHandler()(environ(), lambda *head: None)
        next(iter(response))
        response.close()
    assert counts == [(2, BodyAbandoned)]


def test_an_error_in_a_stream_reaches_the_server_and_the_hooks():
    errors = []

    def broken():
        yield b"a"
        raise OSError("gone")

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: errors.append(error))
        return ctx

    with pytest.raises(OSError, match="gone") as caught:
        World(is_async=False).ask([ours(hook)], lambda request: StreamingHttpResponse(broken()))
    assert errors == [caught.value]


def test_a_stream_that_is_too_large_to_be_read_is_refused(world, reported):
    def read(ctx, call):
        ctx = call(ctx)
        _ = ctx["fmtn.res.http"].content
        return ctx

    assert world.ask([ours(read, max_body=5)], streamed(world)).status == 500
    assert isinstance(reported[0], BodyTooLarge)


# D08, D09: what goes through


def test_a_client_that_leaves_cancels_the_view():
    seen = []

    async def main():
        gone = asyncio.Event()

        async def waits(request):
            gone.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                seen.append("view")
                raise

        def look(ctx, call):
            try:
                return call(ctx)
            except asyncio.CancelledError:
                seen.append("layer")
                raise

        with stack(ours(look), neighbour, ours(look), urls=waits):
            return await by_asgi(ASGIHandler(), gone=gone)

    answer = asyncio.run(main())
    assert (answer.status, seen) == (0, ["view", "layer", "layer"])


def test_context_variables_of_the_view_are_seen_outside_and_the_other_way_round(world):
    seen = []

    def layer(ctx, call):
        OWN.set("layer")
        ctx = call(ctx)
        seen.append(OWN.get())
        return ctx

    def view(request):
        seen.append(OWN.get())
        OWN.set("view")
        return ok(request)

    world.ask([neighbour, ours(layer), neighbour], view)
    assert seen == ["layer", "view"]


def test_a_plain_function_does_its_work_before_and_after_an_async_view():
    """What needs two copies of a middleware in Django itself: one plain function, which even waits."""
    order = []

    def timed(ctx, call):
        order.append("before")
        sleep(0)
        await_(asyncio.sleep(0))
        ctx = call(ctx)
        order.append("after")
        ctx["fmtn.res.http"].headers["X-Timed"] = "yes"
        return ctx

    async def view(request):
        await asyncio.sleep(0)
        order.append("view")
        return ok(request)

    answer = World(is_async=True).ask([ours(timed)], view)
    assert (order, answer.lines("x-timed")) == (["before", "view", "after"], ["yes"])


def by_django(layer, served):
    async def view(request):
        return HttpResponse(await served())

    with stack(ours(layer), urls=view):
        return asyncio.run(by_asgi(ASGIHandler()))


def by_starlette(layer, served):
    async def endpoint(request):
        return PlainTextResponse(await served())

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(for_asgi.FormationMiddleware, middleware=[layer])
    return asyncio.run(by_asgi(app))


def by_plain_asgi(layer, served):
    async def app(scope, receive, send):
        body = await served()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return asyncio.run(by_asgi(for_asgi.FormationMiddleware(app, [layer])))


@pytest.mark.parametrize("host", [by_django, by_starlette, by_plain_asgi])
def test_one_plain_function_does_its_work_before_and_after_in_every_async_host(host):
    """There is no async copy of it, it takes no thread, and it waits twice: by itself, and for the app."""
    order = []

    def timed(ctx, call):
        order.append(("before", threading.get_ident(), asyncio.current_task()))
        sleep(0)
        ctx = call(ctx)
        order.append(("after", threading.get_ident(), asyncio.current_task()))
        ctx["fmtn.res.http"].headers["x-timed"] = "yes"
        return ctx

    async def served():
        await asyncio.sleep(0)
        order.append(("app", threading.get_ident(), asyncio.current_task()))
        return b"ok"

    answer = host(timed, served)
    assert (answer.status, answer.body, answer.lines("x-timed")) == (200, b"ok", ["yes"])
    assert [name for name, *_ in order] == ["before", "app", "after"]
    assert len({(thread, task) for _, thread, task in order}) == 1


# What is published


@pytest.mark.parametrize("is_stream", [False, True], ids=["view", "stream"])
def test_clients_inside_begin_with_the_id_of_the_request(world, is_stream):
    seen = []

    def note():
        seen.append(getattr(ambient.current.get(), "request_id", None))
        return b"x"

    async def anote():
        yield note()
        seen.append(await sync_to_async(lambda: ambient.current.get().request_id)())
        yield await asyncio.create_task(noted())

    async def noted():
        return note()

    def view(request):
        if is_stream:
            return StreamingHttpResponse(anote() if world.is_async else (note() for _ in range(3)))
        return HttpResponse(note() + note() + note())

    world.ask([neighbour, ours(request_id()), neighbour], view, headers={"X-Request-ID": "7f3a"})
    assert seen == ["7f3a"] * 3
    assert ambient.current.get() is None


def test_a_sync_view_under_asgi_finds_it_in_its_thread():
    seen = []

    def view(request):
        seen.append((ambient.current.get().request_id, threading.get_ident() == threading.main_thread().ident))
        return ok(request)

    with stack(ours(request_id()), urls=view):
        asyncio.run(by_asgi(ASGIHandler(), headers={"X-Request-ID": "7f3a"}))
    assert seen == [("7f3a", False)]


def test_an_async_view_under_wsgi_finds_it():
    seen = []

    async def view(request):
        seen.append(ambient.current.get().request_id)
        return ok(request)

    World(is_async=False).ask([ours(request_id())], view, headers={"X-Request-ID": "7f3a"})
    assert seen == ["7f3a"]


def test_the_deadline_is_taken_back_once_the_answer_is_sent(world):
    seen = []

    def deadline(ctx, call):
        ctx["fmtn.deadline"] = 12.0
        return call(ctx)

    def view(request):
        seen.append(ambient.current.get())
        assert seen[0].deadline == 12.0
        return ok(request)

    world.ask([ours(deadline)], view)
    assert seen[0].deadline is None


def test_the_deadline_is_taken_back_after_an_error_as_well(world):
    seen = []

    def deadline(ctx, call):
        ctx["fmtn.deadline"] = 12.0
        return call(ctx)

    def view(request):
        seen.append(ambient.current.get())
        raise ValueError("no")

    for layers in ([deadline], [lambda ctx, call: reply(ctx, 503) if call_fails(ctx, call) else ctx, deadline]):
        world.ask([ours(*layers)], view)
        assert seen.pop().deadline is None


def call_fails(ctx, call):
    try:
        call(ctx)
    except ValueError:
        return True
    return False


def test_a_signal_that_others_send_without_an_error_is_none_of_ours(world):
    def view(request):
        got_request_exception.send(sender=None, request=request)
        return HttpResponse("served", status=500)

    assert world.ask([ours()], view).body == b"served"


# D10 and D12: how it is named


def test_it_is_named_in_the_settings_by_the_class_and_its_list_stands_in_formation(world):
    answer = world.ask(
        ["formation.for_django.FormationMiddleware"],
        fails,
        FORMATION={
            "middleware": [request_id(), f"{__name__}.safe_by_name"],
            "catch": ["builtins.ValueError"],
            "max_body": 9,
        },
    )
    assert (answer.status, len(answer.lines("x-request-id"))) == (418, 1)


def safe_by_name(ctx, call):
    try:
        return call(ctx)
    except ValueError:
        return reply(ctx, 418)


@pytest.mark.parametrize("said", [None, [], {}, {"middlewares": []}, {"middleware": [], "catches": []}])
def test_settings_that_do_not_say_it_are_refused(said):
    with (
        stack("formation.for_django.FormationMiddleware", **({} if said is None else {"FORMATION": said})),
        pytest.raises(ImproperlyConfigured, match=r'expected FORMATION = \{"middleware": \[...\]\} in the settings'),
    ):
        WSGIHandler()


def test_an_empty_list_leaves_the_layer_out():
    with pytest.raises(MiddlewareNotUsed):
        for_django.middleware([])(ok)
    assert World(is_async=False).ask([for_django.middleware([])]).status == 200


def test_neighbours_that_are_not_used_or_none_keep_their_meaning(world):
    def unused(get_response):
        raise MiddlewareNotUsed

    assert world.ask([unused, ours(), unused]).status == 200
    with pytest.raises(ImproperlyConfigured, match="returned None"):
        world.ask([ours(), lambda get_response: None])


def test_two_right_beside_each_other_are_one_chain(world):
    with stack(ours(plain), ours(request_id()), neighbour, ours(plain)):
        built = ASGIHandler() if world.is_async else WSGIHandler()
    outer = built._middleware_chain.__wrapped__
    assert [each.__name__ for each in outer.middleware] == ["plain", "request_id"]
    assert not isinstance(outer.get_response.__wrapped__, FormationMiddleware)


def test_two_beside_each_other_do_what_two_do(world):
    order = []

    def noting(name):
        def note(ctx, call):
            order.append(f"{name} in")
            ctx = call(ctx)
            order.append(f"{name} out")
            return ctx

        return note

    world.ask([ours(noting("a"), noting("b")), ours(noting("c"))])
    assert order == ["a in", "b in", "c in", "c out", "b out", "a out"]


def test_its_applications_can_be_wrapped_by_the_edges_of_their_protocols(world):
    """Outside and inside of Django there is one id, and clients in the view have it."""
    seen = []

    def view(request):
        seen.append((request.headers["X-Request-ID"], ambient.current.get().request_id))
        return ok(request)

    with stack(ours(request_id()), neighbour, urls=later(view) if world.is_async else view):
        if world.is_async:
            app = for_asgi.FormationMiddleware(get_asgi_application(), [request_id()])
            answer = asyncio.run(by_asgi(app))
        else:
            answer = by_wsgi(for_wsgi.FormationMiddleware(get_wsgi_application(), [request_id()]))
    assert [(*answer.lines("x-request-id"), *answer.lines("x-request-id"))] == seen


# What is refused


def test_an_async_def_is_refused_in_a_sync_stack_when_django_builds_it():
    with (
        stack(ours(plain, coloured)),
        pytest.raises(
            TypeError, match=r"^middleware 'coloured' \(test_for_django.py:\d+\) is async, and this stack of"
        ),
    ):
        WSGIHandler()


def test_an_async_def_runs_in_an_async_stack():
    assert World(is_async=True).ask([ours(plain, coloured, plain)]).status == 200


@pytest.mark.parametrize("wrong", [plain, "shop.layers", [1], 1])
def test_a_list_that_is_none_is_refused_where_it_is_given(wrong):
    with pytest.raises(TypeError):
        for_django.middleware(wrong)


@pytest.mark.parametrize("wrong", [["ValueError"], [KeyboardInterrupt], [1]])
def test_a_catch_that_is_no_list_of_errors_is_refused_where_it_is_given(wrong):
    with pytest.raises(TypeError, match="expected classes of errors in catch"):
        for_django.middleware([plain], catch=wrong)


@pytest.mark.parametrize("wrong", [-1, True, "1"])
def test_a_max_body_that_is_no_number_of_bytes_is_refused_where_it_is_given(wrong):
    with pytest.raises(ValueError, match="expected max_body as a number of bytes, or None, got"):
        for_django.middleware([plain], max_body=wrong)


@pytest.mark.parametrize("wrong", [{}, {"fmtn.res.http": "no"}])
def test_a_chain_without_a_response_is_told_so(world, reported, wrong):
    assert world.ask([ours(lambda ctx, call: {**ctx, **wrong})]).status == 500
    assert "return call(ctx), or answer by reply(ctx, status)" in str(reported[0])


@pytest.mark.parametrize("wrong", [{}, 7])
def test_a_layer_that_calls_on_with_something_else_is_told_so(world, reported, wrong):
    assert world.ask([ours(lambda ctx, call: call(wrong))]).status == 500
    assert f"expected call(ctx) with the context that came, got {wrong}" in str(reported[0])


def test_a_layer_that_returns_something_else_is_told_so(world, reported):
    assert world.ask([ours(lambda ctx, call: 7)]).status == 500
    assert "expected a context with a response in 'fmtn.res.http', got 7" in str(reported[0])


def test_a_layer_that_forgets_its_return_is_named(world, reported):
    def forgets(ctx, call):
        call(ctx)

    assert world.ask([ours(plain, forgets)]).status == 500
    assert "middleware 'forgets' (2 of 2" in str(reported[0])


def test_without_django_it_says_what_to_install():
    code = (
        "import sys; sys.modules['django'] = None\n"
        "try:\n import formation.for_django\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(for_django.__file__).parents[1],
    )
    assert done.stdout == "Django is not installed: pip install 'formation[django]'\n"


# What is written back: the request


def test_a_changed_header_is_the_views(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        headers = ctx["fmtn.native"]["request"].headers
        assert (headers["X-Old"], ctx["fmtn.native"]["request"].COOKIES) == ("1", {"k": "v"})
        del request.headers["X-Old"]
        request.headers.add("X-New", "1")
        request.headers.add("x-new", "2")
        request.headers["Cookie"] = "k=w"
        request.headers["Accept"] = "text/plain"
        request.headers["Content-Type"] = "text/plain; charset=latin-1"
        return call(ctx)

    def view(request):
        assert ("X-Old" in request.headers, "HTTP_X_OLD" in request.META) == (False, False)
        assert (request.headers["X-New"], request.COOKIES) == ("1, 2", {"k": "w"})
        assert (request.accepts("text/plain"), request.accepts("text/html")) == (True, False)
        assert (request.content_type, request.encoding) == ("text/plain", "latin-1")
        return HttpResponse("seen")

    assert world.ask([ours(change)], view, headers={"X-Old": "1", "Cookie": "k=v"}).body == b"seen"


def test_headers_that_nobody_changes_stay_as_they_are(world):
    same = []

    def look(ctx, call):
        headers = ctx["fmtn.native"]["request"].headers
        assert "x-a" in ctx["fmtn.req.http"].headers
        ctx = call(ctx)
        same.append(ctx["fmtn.native"]["request"].headers is headers)
        return ctx

    world.ask([ours(look)], headers={"X-A": "1"})
    assert same == [True]


def test_a_changed_url_is_the_one_that_is_routed(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        assert ctx["fmtn.native"]["request"].GET["a"] == "1"
        request.url = "https://me@other/b%C3%A4?c=2"
        return call(ctx)

    def view(request, **path):
        return HttpResponse(f"{request.path} {dict(request.GET)} {request.build_absolute_uri()}")

    answer = world.ask([ours(change)], {"bä": later(view) if world.is_async else view}, "/a?a=1")
    assert answer.body.decode() == "/bä {'c': ['2']} https://other/b%C3%A4?c=2"


@pytest.mark.parametrize(
    ("path", "found"), [("/shop/b", ("/shop", "/b")), ("/shop", ("/shop", "/")), ("/shopping", ("", "/shopping"))]
)
def test_a_changed_path_is_below_the_script_or_there_is_none(path, found):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        assert request.path == "/shop/a"
        request.url = f"http://testserver{path}"
        return call(ctx)

    seen = []

    def view(request):
        seen.append((request.META["SCRIPT_NAME"], request.path_info, request.path))
        return ok(request)

    with stack(ours(change), urls=view):
        by_wsgi(WSGIHandler(), "/a", SCRIPT_NAME="/shop")
    assert seen == [(*found, path)]


def test_a_changed_param_method_and_peer_are_the_views(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        request.params["a"] = "2"
        request.method = "DELETE"
        request.peer = "10.0.0.1"
        return call(ctx)

    def view(request):
        return HttpResponse(f"{request.method} {request.GET['a']} {request.META['REMOTE_ADDR']}")

    assert world.ask([ours(change)], view, "/?a=1").body == b"DELETE 2 10.0.0.1"


# The body of the request

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=b"}
UPLOAD = (
    b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="f.txt"\r\n\r\nfile\r\n--b--\r\n'
)


def read_first(ctx, call):
    ctx["fmtn.state"]["read"] = ctx["fmtn.req.http"].content
    return call(ctx)


@pytest.mark.parametrize(
    "take",
    [
        lambda request: request.body,
        lambda request: request.read(),
        b"".join,
        lambda request: request.POST.urlencode().encode(),
    ],
    ids=["body", "read", "lines", "POST"],
)
def test_a_body_that_a_layer_has_read_is_still_there_for_the_view(world, take):
    answer = world.ask([ours(read_first)], lambda request: HttpResponse(take(request)), "/", "POST", FORM, b"a=1&b=2")
    assert answer.body == b"a=1&b=2"


@pytest.mark.parametrize("layer", [plain, read_first])
def test_upload_handlers_of_the_view_work_whoever_has_read_the_body(world, layer):
    from django.core.files.uploadhandler import MemoryFileUploadHandler

    def view(request):
        handler = MemoryFileUploadHandler(request)
        request.upload_handlers = [handler]
        assert handler.chunk_size
        return HttpResponse(f"{request.POST['a']} {request.FILES['f'].read().decode()} {handler.activated}")

    assert world.ask([ours(layer)], view, "/", "POST", MULTIPART, UPLOAD).body == b"1 file True"


def test_a_body_that_nobody_looks_at_is_not_read_by_the_edge(world):
    def view(request):
        return HttpResponse(f"{request._read_started}")

    assert world.ask([ours(request_id())], view, "/", "POST", FORM, b"a=1").body == b"False"


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.body.map(bytes.upper),
        lambda request: setattr(request, "content", b"A=1"),
        lambda request: setattr(request, "body", iter([b"A", b"=1"])),
        lambda request: setattr(request, "content", request.content.upper()),
    ],
    ids=["mapped", "assigned", "streamed", "read and assigned"],
)
def test_a_body_that_a_layer_changes_is_the_views(world, change):
    def layer(ctx, call):
        assert ctx["fmtn.native"]["request"].POST["a"] == "1"
        change(ctx["fmtn.req.http"])
        return call(ctx)

    def view(request):
        return HttpResponse(f"{request.body} {request.POST['A']} {request.META['CONTENT_LENGTH']}")

    answer = world.ask([ours(layer)], view, "/", "POST", FORM, b"a=1")
    assert answer.body == b"b'A=1' 1 3"


def test_an_async_generator_may_be_the_body():
    async def made():
        yield b"A"
        await asyncio.sleep(0)
        yield b"=1"

    def layer(ctx, call):
        ctx["fmtn.req.http"].body = made()
        return call(ctx)

    answer = World(is_async=True).ask(
        [ours(layer)], lambda request: HttpResponse(request.body), "/", "POST", FORM, b"a"
    )
    assert answer.body == b"A=1"


def test_a_body_that_was_iterated_is_still_the_views(world):
    def layer(ctx, call):
        assert b"".join(ctx["fmtn.req.http"].body) == b"a=1"
        return call(ctx)

    answer = world.ask([ours(layer)], lambda request: HttpResponse(request.body), "/", "POST", FORM, b"a=1")
    assert answer.body == b"a=1"


def test_each_attempt_finds_the_body(world):
    bodies = []

    def view(request):
        bodies.append(request.body)
        if len(bodies) < 2:
            raise ConnectionError
        return ok(request)

    again = retry(attempts=2, on=ConnectionError, idempotent=True, sleep=lambda seconds: None)
    assert world.ask([ours(again, read_first)], view, "/", "POST", FORM, b"a=1").status == 200
    assert bodies == [b"a=1"] * 2


def test_a_body_that_is_larger_than_max_body_is_answered_by_413(world, reported):
    answer = world.ask([ours(read_first, max_body=3)], ok, "/", "POST", FORM, b"a=12")
    assert (answer.status, answer.body, reported) == (413, b"Content Too Large", [])


def test_what_is_too_large_for_a_client_of_the_view_is_no_413(world):
    def view(request):
        raise BodyTooLarge(limit=1, got=2)

    assert world.ask([ours(plain)], view).status == 500


def test_what_an_attempt_has_changed_does_not_reach_the_next(world):
    seen = []

    def first(ctx, call):
        request = ctx["fmtn.req.http"]
        if not seen:
            request.headers["X-A"] = "first"
            request.url = "http://other/first?a=1"
        else:
            assert (request.headers["X-A"], request.url) == ("came", "http://testserver/?a=0")
        return call(ctx)

    def view(request):
        seen.append((request.headers["X-A"], request.path, request.GET["a"], request.get_host()))
        if len(seen) < 2:
            raise ConnectionError
        return ok(request)

    again = retry(attempts=2, on=ConnectionError, sleep=lambda seconds: None)
    assert world.ask([ours(again, first)], view, "/?a=0", headers={"X-A": "came"}).status == 200
    assert seen == [("first", "/first", "1", "other"), ("came", "/", "0", "testserver")]


def test_a_request_of_somebody_elses_making_is_the_views(world):
    def other(ctx, call):
        ctx["fmtn.req.http"] = Request("PUT", "http://h/b?c=1", headers={"X-A": "1"}, content=b"made")
        return call(ctx)

    def view(request):
        said = [request.method, request.build_absolute_uri(), request.headers["X-A"], request.body.decode()]
        return HttpResponse(" ".join(said))

    assert world.ask([ours(other)], view, "/?a=0").body == b"PUT http://h/b?c=1 1 made"


def test_a_body_that_is_too_large_for_django_is_refused_by_django(world):
    answer = world.ask([ours(read_first)], ok, "/", "POST", FORM, b"a" * 100, DATA_UPLOAD_MAX_MEMORY_SIZE=10)
    assert answer.status == 400


# What is written back: the response


def test_status_and_headers_that_a_layer_sets_go_out(world):
    def change(ctx, call):
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        response.status_code = 299
        response.reason = "Fine"
        del response.headers["X-Old"]
        response.headers.add("Vary", "Cookie")
        return ctx

    answer = world.ask([ours(change)], lambda request: HttpResponse(headers={"X-Old": "1", "Vary": "Accept"}))
    assert (answer.status, answer.lines("x-old"), answer.lines("vary")) == (299, [], ["Accept, Cookie"])


def test_cookies_go_out_each_in_its_line(world):
    def change(ctx, call):
        ctx = call(ctx)
        headers = ctx["fmtn.res.http"].headers
        assert headers.getlist("Set-Cookie") == ["a=1; Path=/", "b=2; HttpOnly; Path=/"]
        headers.add("Set-Cookie", "c=3; Path=/; Secure; Max-Age=5")
        headers.add("Set-Cookie", "c=4; Path=/x")
        headers.add("Set-Cookie", "d=5; Path=/; Odd; Thing")
        return ctx

    def view(request):
        response = HttpResponse()
        response.set_cookie("a", "1")
        response.set_cookie("b", "2", httponly=True)
        return response

    answer = world.ask([ours(change)], view)
    assert [line.strip() for line in answer.lines("set-cookie")] == [
        "a=1; Path=/",
        "b=2; HttpOnly; Path=/",
        "c=3; Max-Age=5; Path=/; Secure",
        "c=4; Path=/x",
        "d=5; Path=/; Odd; Thing",
    ]


def test_a_cookie_that_a_layer_drops_is_gone_and_the_others_are_the_very_ones(world):
    kept = []

    def drop(ctx, call):
        ctx = call(ctx)
        headers = ctx["fmtn.res.http"].headers
        kept.append(ctx["fmtn.native"]["response"].cookies["b"])
        lines = headers.popall("Set-Cookie")
        headers.extend([("Set-Cookie", lines[1])])
        return ctx

    def look(get_response):
        def look(request):
            response = get_response(request)
            assert response.cookies["b"] is kept[0]
            return response

        return look

    def view(request):
        response = HttpResponse()
        response.set_cookie("a", "1")
        response.set_cookie("b", "2")
        return response

    answer = World(is_async=False).ask([look, ours(drop)], view)
    assert (answer.status, [line.strip() for line in answer.lines("set-cookie")]) == (200, ["b=2; Path=/"])


def test_content_that_a_layer_changes_goes_out(world):
    def change(ctx, call):
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        response.body.map(bytes.upper)
        return ctx

    answer = world.ask([COMMON, ours(change, plain)], lambda request: HttpResponse("ok", headers={"ETag": '"1"'}))
    assert (answer.body, answer.lines("etag"), answer.lines("content-length")) == (b"OK", ['W/"1"'], ["2"])


def test_a_layer_answers_without_the_view(world):
    called = []
    answer = world.ask(
        [neighbour, ours(lambda ctx, call: reply(ctx, 401, {"X-A": "1", "Set-Cookie": "a=1"}, b"who?"))], called.append
    )
    assert (answer.status, answer.lines("x-a"), answer.body, called) == (401, ["1"], b"who?", [])
    assert (answer.lines("content-type"), [line.strip() for line in answer.lines("set-cookie")]) == ([], ["a=1"])


def test_a_layer_answers_by_a_stream(world):
    def layer(ctx, call):
        return reply(ctx, 200, body=achunks() if world.is_async else chunks())

    assert world.ask([ours(layer)]).body == b"0,1,2,"


def test_hooks_of_an_answer_run_at_its_end(world):
    counts = []

    def layer(ctx, call):
        ctx = reply(ctx, 200, body=b"made")
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, error)))
        assert counts == []
        return ctx

    assert world.ask([ours(layer)]).body == b"made"
    assert counts == [(4, None)]


@pytest.mark.parametrize(
    "instead",
    [lambda ctx: reply(ctx, 200), lambda ctx: {**ctx, "fmtn.res.http": Response(200)}],
    ids=["replied", "assigned"],
)
def test_a_response_in_whose_place_another_goes_out_is_closed(world, instead, finished):
    files = []

    def view(request):
        files.append(io.BytesIO(b"file"))
        return FileResponse(files[0])

    assert world.ask([ours(lambda ctx, call: instead(call(ctx)))], view).status == 200
    assert files[0].closed
    assert finished == [1]


def test_a_response_after_which_a_layer_fails_is_closed(world, finished):
    files = []

    def view(request):
        files.append(io.BytesIO(b"file"))
        return FileResponse(files[0])

    def fails_after(ctx, call):
        call(ctx)
        raise ValueError("no")

    assert world.ask([ours(fails_after)], view).status == 500
    assert files[0].closed
    assert finished == [1]


def test_hooks_of_a_stream_after_which_a_layer_fails_are_told_at_once(world):
    told = []

    def fails_after(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: told.append(type(error)))
        raise ValueError("no")

    assert world.ask([ours(fails_after)], streamed(world)).status == 500
    assert told == [BodyAbandoned]


def test_a_layer_that_fails_after_a_stream_takes_no_place_of_a_bulkhead_for_good(world):
    def fails_after(ctx, call):
        call(ctx)
        raise ValueError("no")

    places = bulkhead(1)
    for _ in range(3):
        assert world.ask([ours(fails_after, places)], streamed(world)).status == 500
        assert places.places[None].in_use == 0


def test_what_a_hook_of_the_answer_before_was_told(world):
    told = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: told.append(type(error)))
        return ctx

    world.ask([ours(lambda ctx, call: reply(call(ctx), 200), hook)], streamed(world))
    assert told == [BodyAbandoned]


def test_an_async_def_may_drop_a_response():
    files = []

    def view(request):
        files.append(io.BytesIO(b"file"))
        return FileResponse(files[-1])

    async def drops(ctx, call):
        ctx = await call(ctx)
        await ctx["fmtn.res.http"].aclose()
        assert files[-1].closed
        return reply(ctx, 204)

    assert World(is_async=True).ask([ours(drops)], view).status == 204


def test_the_log_tells_the_bytes_and_the_template(world):
    def view(request, id):  # noqa: A002
        return StreamingHttpResponse(achunks() if world.is_async else chunks())

    with capture_logs() as lines:
        world.ask([ours(request_logger())], {"users/<int:id>": later(view) if world.is_async else view}, "/users/7")
    answered, closed = [line for line in lines if "status" in line]
    assert (answered["status"], answered["template"], closed["bytes"]) == (200, "/users/{id}", 6)


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_request_is_freed_without_the_garbage_collector_wherever_django_itself_frees_it(world, is_stream):
    def is_freed(*layers):
        seen = []

        def view(request):
            seen.append(weakref.ref(request))
            if is_stream:
                return StreamingHttpResponse(achunks() if world.is_async else chunks())
            return ok(request)

        gc.collect()
        gc.disable()
        try:
            world.ask(layers, view)
            return seen[0]() is None
        finally:
            gc.enable()

    assert is_freed(ours(request_id(), shout), neighbour) == is_freed(neighbour)


def test_tests_with_the_client_of_django_see_it():
    with stack(ours(request_id()), urls=ok):
        response = Client().get("/", headers={"X-Request-ID": "7f3a"})
        assert response.headers["X-Request-ID"] == "7f3a"
        later_ = async_to_sync(AsyncClient().get)("/", headers={"X-Request-ID": "7f3a"})
        assert later_.headers["X-Request-ID"] == "7f3a"


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


def test_a_server_on_loopback_sends_a_file_by_itself_and_streams_and_errors_as_ever(tmp_path):
    counts = []

    def hook(ctx, call):
        ctx = call(ctx)
        ctx["fmtn.res.http"].on_close(lambda count, error: counts.append((count, error)))
        return ctx

    file = tmp_path / "file.txt"
    file.write_bytes(b"0123456789" * 10_000)
    urls = {"file": lambda request: FileResponse(file.open("rb")), "stream": streams, "fails": fails}
    with (
        stack(ours(request_id(), hook), COMMON, urls=urls),
        make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet) as httpd,
    ):
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
        thread.start()
        try:
            with build(base_uri=f"http://127.0.0.1:{httpd.server_port}", response_as=raw_response) as client:
                answers = [client.get(f"/{path}").response for path in urls]
        finally:
            httpd.shutdown()
            thread.join()
    assert [answer.status_code for answer in answers] == [200, 200, 500]
    assert [len(answer.content) for answer in answers[:2]] == [100_000, 6]
    assert counts == [(100_000, None), (6, None)]


def test_many_threads_do_not_mix():
    with stack(ours(request_id()), neighbour, urls=lambda request: HttpResponse(request.headers["X-Request-ID"])):
        app, wrong = WSGIHandler(), []

        def ask(name):
            for number in range(50):
                answer = by_wsgi(app, headers={"X-Request-ID": f"{name}-{number}"})
                if [answer.body.decode()] != answer.lines("x-request-id"):
                    wrong.append(answer)

        threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
