"""The worlds that a built-in middleware runs in: a test that takes `every_world` has the same outcome in each.

``world(middleware, ctx, endpoint)`` returns the context that comes out, or the error. The endpoint is a plain function;
in the async worlds it runs after a turn of the event loop. ``lifted(middleware, fn, *args)`` calls any function behind
middleware, as it is and as an ``async def``, and returns its result and its context.

`on_server` makes the context that the edge of a server would, `app` the endpoint that stands for its app.
"""

import asyncio
from functools import wraps

import pytest

from formation import lift, wrap
from formation.http import Body, Headers
from formation.server.request import ServerRequest
from formation.server.response import ServerResponse


def direct(middleware, ctx, endpoint):
    return middleware(ctx, endpoint)


def sync_chain(middleware, ctx, endpoint):
    return wrap(endpoint, [middleware])(ctx)


def async_chain(middleware, ctx, endpoint):
    return asyncio.run(wrap(_later(endpoint), [middleware])(ctx))


def async_neighbours(middleware, ctx, endpoint):
    async def neighbour(ctx, call):
        await asyncio.sleep(0)
        return await call(ctx)

    return asyncio.run(wrap(endpoint, [neighbour, middleware, neighbour])(ctx))


def _later(fn):
    @wraps(fn)
    async def later(*args):
        await asyncio.sleep(0)
        return fn(*args)

    return later


def _outcome(world):
    @wraps(world)
    def outcome(middleware, ctx, endpoint):
        try:
            return world(middleware, ctx, endpoint)
        except BaseException as error:  # noqa: BLE001  an outcome like any other
            return error

    return outcome


def _seen(middleware, fn, args, run):
    contexts = []

    def see(ctx, call):
        contexts.append(ctx)
        return call(ctx)

    return run(lift(fn, middleware=[see, *middleware])(*args)), contexts[0]


def lifted(middleware, fn, *args):
    return _seen(middleware, fn, args, lambda result: result)


def lifted_async(middleware, fn, *args):
    return _seen(middleware, _later(fn), args, asyncio.run)


def _by_name(name, functions):
    return pytest.mark.parametrize(name, [pytest.param(fn, id=fn.__name__) for fn in functions])


WORLDS = [_outcome(world) for world in (direct, sync_chain, async_chain, async_neighbours)]

every_world = _by_name("world", WORLDS)
every_lift = _by_name("lifted", [lifted, lifted_async])


class Asked(ServerRequest):
    """A request that has come to a server."""

    __slots__ = ()

    def read_url(self):
        return self.native["url"]

    def read_headers(self):
        return Headers(self.native["headers"])

    def read_body(self):
        return Body([self.native["body"]])


class Answered(ServerResponse):
    """A response of an app."""

    __slots__ = ()

    def read_headers(self):
        return Headers(self.native["headers"])

    def read_body(self):
        return Body(self.native["body"])


def on_server(method="GET", url="https://shop/users/7", headers=(), body=b"", **more):
    request = Asked({"url": url, "headers": headers, "body": body}, method, "192.0.2.7")
    bags = {"fmtn.state": {}, "fmtn.session": {}, "fmtn.sensitive": set()}
    return {"fmtn.side": "server", "fmtn.kind": "http", "fmtn.req.http": request, **bags, **more}


def app(status=200, headers=(), body=(b"four",), template=None):
    def app(ctx):
        ctx["fmtn.res.http"] = Answered({"headers": headers, "body": body}, status, "", ctx["fmtn.req.http"])
        if template is not None:
            ctx["fmtn.template"] = ctx["fmtn.req.http"].template = template
        return ctx

    return app
