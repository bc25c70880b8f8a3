"""Streams and files: passed on, mapped, read, and their end."""

import io

import pytest
from asgiref.sync import iscoroutinefunction
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpResponse, StreamingHttpResponse
from django.utils.decorators import sync_and_async_middleware

from formation.errors import BodyAbandoned, BodyTooLarge
from formation.middleware import request_duration
from tests.django_site import stack
from tests.server.django.host import (
    World,
    achunks,
    by_wsgi,
    chunks,
    environ,
    later,
    ours,
    plain,
    shout,
    streamed,
    streams,
)


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
