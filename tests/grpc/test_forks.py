"""Interceptors and forks: made before one, used after it. Each case runs in a process of its own.

gRPC's own rules stay: nothing of its may be under way in a process that forks, unless it is told to mind.
"""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

COMMON = """
import asyncio, json, os, signal, sys
from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc import aio

from formation import for_grpc, res

codes = []

def note(ctx, call):
    ctx = call(ctx)
    codes.append(res(ctx).code)
    res(ctx).trailers["pid"] = str(os.getpid())
    return ctx

server_side = for_grpc.server_interceptor([note], [lambda ctx, call: call(ctx)])
aio_server_side = for_grpc.aio_server_interceptor([note], [lambda ctx, call: call(ctx)])
client_side = for_grpc.client_interceptor([note], [lambda ctx, call: call(ctx)])
aio_client_side = for_grpc.aio_client_interceptors([note])

def one(request, context):
    return request

def many(request, context):
    yield from (request, request)

handlers = grpc.method_handlers_generic_handler("test.Service", {
    "One": grpc.unary_unary_rpc_method_handler(one),
    "Many": grpc.unary_stream_rpc_method_handler(many),
})

def serve(told):
    "A sync server, until it is killed."
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[server_side])
    server.add_generic_rpc_handlers((handlers,))
    os.write(told, b"%d\\n" % server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()

def aio_serve(told):
    "The same on asyncio."
    async def run():
        server = aio.server(interceptors=[aio_server_side])
        server.add_generic_rpc_handlers((handlers,))
        os.write(told, b"%d\\n" % server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        await server.wait_for_termination()
    asyncio.run(run())

def forked(fn):
    "A child that runs fn(told); its id, and the first line it tells."
    reads, tells = os.pipe()
    child = os.fork()
    if not child:
        os.close(reads)
        try:
            fn(tells)
        finally:
            os._exit(0)
    os.close(tells)
    with open(reads) as lines:
        return child, lines.readline().strip()

def use(channel):
    "All three ways to call."
    one, many = channel.unary_unary("/test.Service/One"), channel.unary_stream("/test.Service/Many")
    message, call = one.with_call(b"a", timeout=20)
    said = [message, one.future(b"b", timeout=20).result(), *many(b"c", timeout=20)]
    return b"".join(said).decode(), dict(call.trailing_metadata())["pid"] == str(os.getpid())

def tell(**values):
    print(json.dumps(values), flush=True)
"""


def run(script, **env):
    """Run a script in a process of its own; return what it tells."""
    ran = subprocess.run(
        [sys.executable, "-c", COMMON + dedent(script)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", "GRPC_VERBOSITY": "NONE", **env},
    )
    assert not ran.returncode, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.parametrize("kind", ["serve", "aio_serve"])
def test_workers_that_are_forked_serve_with_interceptors_that_were_made_before(kind):
    told = run(
        f"""
        workers = [forked({kind}) for _ in range(2)]
        for child, port in workers:
            with grpc.insecure_channel("127.0.0.1:" + port) as channel:
                said, _ = use(channel)
                message, call = channel.unary_unary("/test.Service/One").with_call(b"a")
                tell(said=said, is_its_own=dict(call.trailing_metadata())["pid"] == str(child))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        """
    )
    assert told == [{"said": "abcc", "is_its_own": True}] * 2


def test_a_client_interceptor_that_was_in_use_before_a_fork_is_used_after_it():
    told = run(
        """
        server, port = forked(serve)
        target = "127.0.0.1:" + port

        def again(told):
            codes.clear()
            with grpc.insecure_channel(target) as fresh:
                said, is_its_own = use(grpc.intercept_channel(fresh, client_side))
            async def ask():
                async with aio.insecure_channel(target, interceptors=aio_client_side) as channel:
                    return await channel.unary_unary("/test.Service/One")(b"d")
            said += asyncio.run(ask()).decode()
            os.write(told, json.dumps([said, is_its_own, codes]).encode() + b"\\n")

        with grpc.insecure_channel(target) as plain:
            channel = grpc.intercept_channel(plain, client_side)
            before = use(channel)
            child, said = forked(again)
            os.waitpid(child, 0)
            tell(before=before, child=json.loads(said), after=use(channel), codes=codes)
        os.kill(server, signal.SIGKILL)
        os.waitpid(server, 0)
        """,
        GRPC_ENABLE_FORK_SUPPORT="1",
    )
    assert told == [
        {
            "before": ["abcc", True],
            "child": ["abccd", True, ["OK"] * 4],
            "after": ["abcc", True],
            "codes": ["OK"] * 6,
        }
    ]
