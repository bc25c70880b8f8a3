"""What goes through: clients that leave, context variables, work before and after."""

import asyncio
import threading
from contextvars import ContextVar

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from formation import await_, for_asgi, sleep
from tests.django_site import stack
from tests.server.django.host import World, by_asgi, neighbour, ok, ours

OWN = ContextVar("own", default=None)


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
