"""The body of the request: read by a layer, and there for the view."""

import asyncio

import pytest
from django.http import HttpResponse

from formation.errors import BodyTooLarge
from formation.http import Request
from formation.middleware import request_id, retry
from tests.server.django.host import World, ok, ours, plain

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
