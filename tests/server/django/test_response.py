"""The response: what is changed goes out."""

import gc
import io
import threading
import weakref
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from asgiref.sync import async_to_sync
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client
from structlog.testing import capture_logs

from formation import reply
from formation.errors import BodyAbandoned
from formation.for_requests import build, raw_response
from formation.http import Response
from formation.middleware import bulkhead, request_id, request_logger
from tests.django_site import stack
from tests.server.django.host import (
    COMMON,
    World,
    achunks,
    by_wsgi,
    chunks,
    fails,
    later,
    neighbour,
    ok,
    ours,
    plain,
    shout,
    streamed,
    streams,
)


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
