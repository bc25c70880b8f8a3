"""An identity service on gRPC, logged per call, per stream and per message: server and client, sync and asyncio.

ValidateToken has one request and one answer, ExpireToken streams both ways. The same plain functions are around all of
them, on both sides. The code for the messages is made by grpcio-tools when this starts.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
from grpc_tools import protoc

from formation import reply, req, res
from formation.for_grpc import aio_client_interceptors, aio_server_interceptor, client_interceptor, server_interceptor
from formation.middleware import exception_handler, request_duration, request_id

OWNERS = {"t-1": "ann", "t-2": "bob"}
SAID = []  # each side tells its lines here; they are printed in the end, for the two sides run side by side


def log_call(ctx, call):
    """Tell of each call when it is over: a stream, when that is."""
    ctx = call(ctx)
    how = "stream" if req(ctx).response_streaming else "call"
    say(ctx, f"{how} {req(ctx).name} {res(ctx).code} after {ctx['req.duration_us']} us, id {ctx['req.id']}")
    return ctx


def log_message(ctx, call):
    """Tell of each message of a stream."""
    say(ctx, f"  {ctx['fmtn.direction']:3} {' '.join(str(ctx['fmtn.message']).split())}")
    return call(ctx)


def authenticate(ctx, call):
    """Let nobody in who does not say who he is."""
    if "authorization" not in req(ctx).headers and ctx["fmtn.side"] == "server":
        return reply(ctx, 401)
    return call(ctx)


def say(ctx, line):
    SAID.append((ctx["fmtn.side"], line))


def numbered():
    """Ids that are the same in each run."""
    numbers = iter(range(1, 100))
    return lambda: f"call-{next(numbers)}"


def around():
    return [request_id(idgen=numbered()), log_call, request_duration(), exception_handler(), authenticate]


@contextmanager
def generated():
    """Make Python code of the .proto, and import it."""
    here = Path(__file__).parent
    with TemporaryDirectory() as folder:
        wellknown = files("grpc_tools") / "_proto"
        sources = [f"-I{here}", f"-I{wellknown}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        if protoc.main(["protoc", *sources, str(here / "grpc_identity.proto")]):
            raise SystemExit("protoc has failed")
        sys.path.insert(0, folder)
        try:
            import grpc_identity_pb2 as messages
            import grpc_identity_pb2_grpc as service

            yield messages, service
        finally:
            sys.path.remove(folder)


def sync(messages, service):
    class Identity(service.IdentityServicer):
        def ValidateToken(self, request, context):  # noqa: N802  the name in the .proto
            if request.value not in OWNERS:
                context.abort(grpc.StatusCode.NOT_FOUND, "no such token")
            return messages.Owner(name=OWNERS[request.value])

        def ExpireToken(self, request_iterator, context):  # noqa: N802
            for token in request_iterator:
                yield messages.Expired(value=token.value, was_known=token.value in OWNERS)

    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, interceptors=[server_interceptor(around(), [log_message])])
        service.add_IdentityServicer_to_server(Identity(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as plain:
            stub = service.IdentityStub(grpc.intercept_channel(plain, client_interceptor(around(), [log_message])))
            me = [("authorization", "Bearer t-1")]
            print("   ", stub.ValidateToken(messages.Token(value="t-2"), metadata=me).name)
            try:
                stub.ValidateToken(messages.Token(value="t-3"), metadata=me)
            except grpc.RpcError as error:
                print("   ", error.code().name, error.details())
            tokens = (messages.Token(value=value) for value in ("t-1", "t-9"))
            for expired in stub.ExpireToken(tokens, metadata=me):
                print("   ", expired.value, "was known" if expired.was_known else "was not known")
            try:
                stub.ValidateToken(messages.Token(value="t-2"))
            except grpc.RpcError as error:
                print("   ", error.code().name)
        server.stop(1).wait()


async def on_asyncio(messages, service):
    class Identity(service.IdentityServicer):
        async def ValidateToken(self, request, context):  # noqa: N802
            if request.value not in OWNERS:
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such token")
            return messages.Owner(name=OWNERS[request.value])

        async def ExpireToken(self, request_iterator, context):  # noqa: N802
            async for token in request_iterator:
                yield messages.Expired(value=token.value, was_known=token.value in OWNERS)

    server = grpc.aio.server(interceptors=[aio_server_interceptor(around(), [log_message])])
    service.add_IdentityServicer_to_server(Identity(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    interceptors = aio_client_interceptors(around(), [log_message])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
        stub = service.IdentityStub(channel)
        me = [("authorization", "Bearer t-1")]
        print("   ", (await stub.ValidateToken(messages.Token(value="t-2"), metadata=me)).name)
        try:
            await stub.ValidateToken(messages.Token(value="t-3"), metadata=me)
        except grpc.aio.AioRpcError as error:
            print("   ", error.code().name, error.details())
        stream = stub.ExpireToken(metadata=me)
        for value in ("t-1", "t-9"):
            await stream.write(messages.Token(value=value))
            expired = await stream.read()
            print("   ", expired.value, "was known" if expired.was_known else "was not known")
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        try:
            await stub.ValidateToken(messages.Token(value="t-2"))
        except grpc.aio.AioRpcError as error:
            print("   ", error.code().name)
    await server.stop(1)


def show():
    for side in ("client", "server"):
        print(f"  what the {side} has logged:")
        print("".join(f"    {line}\n" for who, line in SAID if who == side), end="")
    SAID.clear()


def main():
    with generated() as (messages, service):
        print("sync:")
        sync(messages, service)
        show()
        print("asyncio:")
        asyncio.run(on_asyncio(messages, service))
        show()


if __name__ == "__main__":
    main()
