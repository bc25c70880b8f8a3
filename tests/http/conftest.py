"""Both worlds, in each event loop."""

import asyncio

import pytest
import trio

from formation import wrap
from tests.http.bodies import turn


def run_asyncio(fn):
    return asyncio.run(fn())


LOOPS = {"asyncio": run_asyncio, "trio": trio.run}


@pytest.fixture(params=LOOPS)
def run(request):
    """Run an ``async def``, in each event loop."""
    return LOOPS[request.param]


@pytest.fixture
def plainly(run):
    """Run a plain function in an async chain."""

    async def endpoint(ctx):
        await turn()
        return ctx

    def plainly(fn):
        def layer(ctx, call):
            ctx["result"] = fn()
            return call(ctx)

        async def main():
            return (await wrap(endpoint, [layer])({}))["result"]

        return run(main)

    return plainly
