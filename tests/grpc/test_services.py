"""The services that gRPC brings along, health and reflection, behind our interceptors and in front of our clients."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from formation import for_grpc, res
from formation.middleware import rate_limit
from tests.grpc.hosts import SECONDS

HEALTH = "grpc.health.v1.Health"
NAMES = (HEALTH, reflection.SERVICE_NAME)
CHECK, WATCH, REFLECT = f"/{HEALTH}/Check", f"/{HEALTH}/Watch", f"/{reflection.SERVICE_NAME}/ServerReflectionInfo"

State = health_pb2.HealthCheckResponse
Request = health_pb2.HealthCheckRequest
Reflect = reflection_pb2.ServerReflectionRequest


class Notes:
    """What a chain and its message middleware have seen."""

    def __init__(self):
        self.calls, self.messages = [], []

    def call(self, ctx, call):
        ctx = call(ctx)
        self.calls.append((res(ctx).name, res(ctx).code))
        return ctx

    def message(self, ctx, call):
        self.messages.append((ctx["fmtn.direction"], type(ctx["fmtn.message"]).__name__))
        return call(ctx)


@contextmanager
def served(notes, *middleware, **how):
    """A sync server with both services; the target and the one that tells of health."""
    servicer = health.HealthServicer(**how)
    pool = ThreadPoolExecutor(4)
    server = grpc.server(pool, interceptors=[for_grpc.server_interceptor([notes.call, *middleware], [notes.message])])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection(NAMES, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}", servicer
    finally:
        server.stop(0).wait()
        pool.shutdown()


@pytest.mark.parametrize("is_pushing", [True, False])
def test_health_behind_a_sync_server(is_pushing):
    notes, own = Notes(), Notes()
    with served(notes, experimental_non_blocking=is_pushing) as (target, servicer):
        servicer.set("shop", State.SERVING)
        with grpc.insecure_channel(target) as plain:
            channel = grpc.intercept_channel(plain, for_grpc.client_interceptor([own.call], [own.message]))
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(Request(service="shop"), timeout=SECONDS).status == State.SERVING
            with pytest.raises(grpc.RpcError) as raised:
                stub.Check(Request(service="nothing"), timeout=SECONDS)
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            watched = stub.Watch(Request(service="shop"), timeout=SECONDS)
            assert next(watched).status == State.SERVING
            servicer.set("shop", State.NOT_SERVING)
            assert next(watched).status == State.NOT_SERVING
            watched.cancel()
            assert watched.code() is grpc.StatusCode.CANCELLED
    assert notes.calls[:2] == [(CHECK, "OK"), (CHECK, "NOT_FOUND")]
    assert own.calls == [(CHECK, "OK"), (CHECK, "NOT_FOUND"), (WATCH, "CANCELLED")]
    assert notes.messages[:2] == [("out", "HealthCheckResponse")] * 2
    assert own.messages == [("in", "HealthCheckResponse")] * 2


def test_who_asks_for_health_is_never_turned_away():
    with served(Notes(), rate_limit("1/hour")) as (target, _), grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for _ in range(3):
            assert stub.Check(Request()).status == State.SERVING
            watched = stub.Watch(Request())
            assert next(watched).status == State.SERVING
            watched.cancel()


def test_reflection_behind_a_sync_server():
    notes, own = Notes(), Notes()
    with served(notes) as (target, _), grpc.insecure_channel(target) as plain:
        channel = grpc.intercept_channel(plain, for_grpc.client_interceptor([own.call], [own.message]))
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == set(NAMES)
        found = DescriptorPool(database).FindServiceByName(HEALTH)
        assert "Check" in found.methods_by_name
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answers = list(stub.ServerReflectionInfo(iter([Reflect(list_services=""), Reflect(file_by_filename="none")])))
        assert [answer.WhichOneof("message_response") for answer in answers] == [
            "list_services_response",
            "error_response",
        ]
    assert {name for name, _ in own.calls} == {REFLECT}  # the database takes one answer and drops the call
    assert own.calls[-1] == (REFLECT, "OK")
    assert (REFLECT, "OK") in notes.calls
    assert {direction for direction, _ in notes.messages} == {"in", "out"}


def test_the_services_behind_an_asyncio_server():
    notes, own = Notes(), Notes()

    async def run():
        servicer = health.aio.HealthServicer()
        server = aio.server(interceptors=[for_grpc.aio_server_interceptor([notes.call], [notes.message])])
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        reflection.enable_server_reflection(NAMES, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        await servicer.set("shop", State.SERVING)
        around = for_grpc.aio_client_interceptors([own.call], [own.message])
        async with aio.insecure_channel(f"127.0.0.1:{port}", interceptors=around) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert (await stub.Check(Request(service="shop"))).status == State.SERVING
            with pytest.raises(aio.AioRpcError) as raised:
                await stub.Check(Request(service="nothing"))
            assert raised.value.code() is grpc.StatusCode.NOT_FOUND
            watched = stub.Watch(Request(service="shop"))
            assert (await watched.read()).status == State.SERVING
            await servicer.set("shop", State.NOT_SERVING)
            assert (await watched.read()).status == State.NOT_SERVING
            watched.cancel()
            assert await watched.code() is grpc.StatusCode.CANCELLED
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            call = stub.ServerReflectionInfo(iter([Reflect(list_services="")]))
            listed = [each.name async for answer in call for each in answer.list_services_response.service]
            assert set(listed) == set(NAMES)
        await server.stop(0)

    asyncio.run(asyncio.wait_for(run(), SECONDS))
    assert notes.calls[:2] == [(CHECK, "OK"), (CHECK, "NOT_FOUND")]
    assert notes.calls[-1] == (REFLECT, "OK")
    assert own.calls == [(CHECK, "OK"), (CHECK, "NOT_FOUND"), (REFLECT, "OK")]  # what was cancelled came as an error
    assert notes.messages[:2] == [("out", "HealthCheckResponse")] * 2
    assert own.messages[-1] == ("in", "ServerReflectionResponse")
