"""The Django edge: layers that read a request header and set a response header, in a sync and in an async stack.

The view answers at once, and is async in the async stack. The peers are function middlewares as Django's documentation
shows them: sync ones, which Django runs in a thread where the stack is async, and async ones, which have to be written
for that stack.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

import django
from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import path
from django.utils.decorators import sync_and_async_middleware

from bench.measure import Row, rounds
from formation import for_django

COUNTS = (1, 5, 10)
SLOW = 50  # rounds of what hops between threads; they are long
NAMES = [f"X-Layer-{number}" for number in range(max(COUNTS))]

stack: list[str] = []
"""What MIDDLEWARE names: attributes of this module, set by `built`."""


def view(request: Any) -> Any:
    """Answer."""
    return HttpResponse(b"ok")


async def async_view(request: Any) -> Any:
    """Answer."""
    return HttpResponse(b"ok")


urlpatterns = [path("sync", view), path("async", async_view)]


def formation(count: int) -> list[Any]:
    """Make one middleware of Django, with ``count`` layers."""

    def layer(name: str) -> Any:
        def layer(ctx: Any, call: Any) -> Any:
            ctx["seen"] = ctx["fmtn.req.http"].headers.get("X-Request-ID")
            ctx = call(ctx)
            ctx["fmtn.res.http"].headers[name] = "1"
            return ctx

        return layer

    return [for_django.middleware(map(layer, NAMES[:count]))]


def functions(count: int) -> list[Any]:
    """Make ``count`` sync middlewares of Django."""

    def factory(name: str) -> Any:
        def factory(get_response: Any) -> Any:
            def middleware(request: Any) -> Any:
                request.seen = request.headers.get("X-Request-ID")
                response = get_response(request)
                response.headers[name] = "1"
                return response

            return middleware

        return factory

    return list(map(factory, NAMES[:count]))


def coloured(count: int) -> list[Any]:
    """Make ``count`` middlewares of Django that are written for both stacks."""

    def factory(name: str) -> Any:
        def factory(get_response: Any) -> Any:
            assert iscoroutinefunction(get_response)

            async def middleware(request: Any) -> Any:
                request.seen = request.headers.get("X-Request-ID")
                response = await get_response(request)
                response.headers[name] = "1"
                return response

            return middleware

        return sync_and_async_middleware(factory)

    return list(map(factory, NAMES[:count]))


def built(layers: list[Any], *, is_async: bool) -> Any:
    """Let Django build its stack of ``layers``; return what takes a request through it."""
    globals().update({f"layer_{at}": layer for at, layer in enumerate(layers)})
    settings.MIDDLEWARE = [f"{__name__}.layer_{at}" for at in range(len(layers))]
    handler = BaseHandler()
    handler.load_middleware(is_async=is_async)
    return handler.get_response_async if is_async else handler.get_response


def called(get_response: Callable[[Any], Any]) -> Callable[[int], float]:
    """Time requests in the sync stack."""

    def timer(count: int) -> float:
        requests = [made("/sync") for _ in range(count)]
        started = perf_counter()
        for request in requests:
            get_response(request)
        return perf_counter() - started

    return timer


def awaited(runner: asyncio.Runner, get_response: Callable[[Any], Any]) -> Callable[[int], float]:
    """Time requests in the async stack."""

    async def loop(count: int) -> float:
        requests = [made("/async") for _ in range(count)]
        started = perf_counter()
        for request in requests:
            await get_response(request)
        return perf_counter() - started

    return lambda count: runner.run(loop(count))


def made(where: str) -> Any:
    """Make a request as of a browser."""
    return RequestFactory(headers={"X-Request-ID": "7f3a", "Accept": "text/html", "User-Agent": "bench"}).get(where)


def rows() -> list[Row]:
    """Time no layer to 10 of them."""
    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], LOGGING_CONFIG=None, ROOT_URLCONF=__name__)
        django.setup()
    sync = rounds(
        {(make, n): called(built(make(n), is_async=False)) for make in (formation, functions) for n in COUNTS}
        | {0: called(built([], is_async=False))}
    )
    with asyncio.Runner() as runner:

        def in_loop(*ways: Any) -> dict[Any, Any]:
            return {(make, n): awaited(runner, built(make(n), is_async=True)) for make in ways for n in COUNTS}

        own = rounds(in_loop(formation, coloured) | {0: awaited(runner, built([], is_async=True))})
        hops = rounds(in_loop(formation, functions), SLOW)
    return [
        Row("sync stack, no layer", sync[0]),
        *(Row(f"sync stack, layers: {n}", sync[formation, n], "sync functions", sync[functions, n]) for n in COUNTS),
        Row("async stack, no layer", own[0]),
        *(Row(f"async stack, layers: {n}", own[formation, n], "async functions", own[coloured, n]) for n in COUNTS),
        *(
            Row(f"async stack, layers: {n}", hops[formation, n], "sync functions", hops[functions, n], at_most=0.5)
            for n in COUNTS
        ),
    ]
