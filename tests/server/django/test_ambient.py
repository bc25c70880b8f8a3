"""What is published for the clients below."""

import asyncio
import threading

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import got_request_exception
from django.http import HttpResponse, StreamingHttpResponse

from formation import ambient, reply
from formation.middleware import request_id
from tests.django_site import stack
from tests.server.django.host import World, by_asgi, neighbour, ok, ours


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
