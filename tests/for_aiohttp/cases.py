"""What the cases of aiohttp have in common."""

import asyncio
import functools
import json
from time import monotonic

import aiohttp
import aiohttp.web

from formation.for_aiohttp import client_middleware
from formation.keys import DEADLINE


def in_loop(test):
    """Run an ``async def`` test in an event loop of its own, and see to it that no task is left."""

    async def main(*args, **kwargs):
        await test(*args, **kwargs)
        await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            await asyncio.wait(left, timeout=2)
        assert not [task for task in left if not task.done()]

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(main(*args, **kwargs))

    return run


def echo(result):
    """What the server saw, by its own account."""
    return json.loads(result.body)


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


async def settles(server, connections):
    """Wait, without blocking the event loop, until so many connections are open."""
    return await asyncio.to_thread(server.settles, connections)


def session_with(*middleware, **how):
    return aiohttp.ClientSession(middlewares=[client_middleware(middleware)], **how)


def plainly(ctx, call):
    return call(ctx)
