"""What flows from a server chain into the clients below it, in the threads, tasks and pools of real frameworks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import aiohttp
import httpx2
import pytest
import requests
from asgiref.sync import async_to_sync, sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from formation import for_aiohttp, for_asgi, for_django, for_httpx, for_requests, for_wsgi, reply
from formation.errors import DeadlineExceeded
from formation.middleware import request_id
from tests.django_site import stack
from tests.server.edges import Asgi, Django, DjangoAsync, Sent, Wsgi

FAR = 1e9
"""A deadline that no test lives to see."""

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Below:
    """Clients, and what their calls have begun with and sent."""

    def __init__(self):
        self.began, self.sent = [], []
        around = [self.note, request_id()]
        self.client = for_requests.build(base_uri="http://below", middleware=around, endpoint=self.answer)
        self.async_client = for_aiohttp.build(base_uri="http://below", middleware=around, endpoint=self.async_answer)

    def note(self, ctx, call):
        self.began.append((ctx.get("req.id"), ctx.get("req.parent.id"), ctx.get("fmtn.deadline")))
        return call(ctx)

    def answer(self, ctx):
        headers = ctx["fmtn.req.http"].headers
        self.sent.append((headers["X-Request-ID"], headers.get("traceparent")))
        return reply(ctx, 200)

    async def async_answer(self, ctx):
        return self.answer(ctx)

    def call(self):
        self.client.get("/")

    async def acall(self):
        await self.async_client.get("/")


@pytest.fixture
def below():
    return Below()


def until_far(ctx, call):
    ctx["fmtn.deadline"] = FAR
    return call(ctx)


AROUND = [request_id(), until_far]
SENT = Sent(headers={"X-Request-ID": "7f3a", "traceparent": TRACE})
ALL = ("7f3a", "7f3a", FAR)
NO_DEADLINE = ("7f3a", "7f3a", None)
NOTHING = (None, None, None)


def by_asgi(app):
    answer = Asgi().serve(for_asgi.FormationMiddleware(app, middleware=AROUND), SENT)
    assert (answer.status, answer.error) == (200, None)


def fastapi(view):
    app = FastAPI()
    app.get("/")(view)
    return app


# Views


def test_a_sync_view_of_fastapi_has_it_in_the_thread_pool(below):
    def view():
        below.call()
        threads.append(threading.current_thread())

    threads = []
    by_asgi(fastapi(view))
    assert below.began == [ALL]
    assert below.sent == [("7f3a", TRACE)]
    assert threads != [threading.current_thread()]


def test_a_sync_view_of_starlette_has_it_in_the_thread_pool(below):
    def view(request):
        below.call()
        return PlainTextResponse("ok")

    by_asgi(Starlette(routes=[Route("/", view)]))
    assert below.began == [ALL]


def test_an_async_view_has_it_with_clients_of_both_colours_and_in_thread_pools(below):
    async def view():
        await below.acall()
        below.call()
        await asyncio.to_thread(below.call)
        await run_in_threadpool(below.call)
        await sync_to_async(below.call)()

    by_asgi(fastapi(view))
    assert below.began == [ALL] * 5
    assert below.sent == [("7f3a", TRACE)] * 5


@pytest.mark.parametrize("served", ["wsgi", "asgi"])
@pytest.mark.parametrize("is_async", [False, True], ids=["view", "async view"])
def test_views_of_django_have_it_whichever_thread_they_run_in(below, served, is_async):
    def view(request):
        below.call()
        async_to_sync(below.acall)()
        return HttpResponse("ok")

    async def async_view(request):
        await below.acall()
        await sync_to_async(below.call)()
        return HttpResponse("ok")

    edge, handler = (DjangoAsync(), ASGIHandler) if served == "asgi" else (Django(), WSGIHandler)
    with stack(for_django.middleware(AROUND)):
        built = handler(), async_view if is_async else view
    answer = edge.serve(built, SENT)
    assert (answer.status, answer.body) == (200, b"ok")
    assert below.began == [ALL] * 2
    assert below.sent == [("7f3a", TRACE)] * 2


# Tasks and threads


def test_tasks_have_it(below):
    async def view():
        await asyncio.create_task(below.acall())
        await asyncio.gather(below.acall(), below.acall())
        async with asyncio.TaskGroup() as group:
            group.create_task(below.acall())

    by_asgi(fastapi(view))
    assert below.began == [ALL] * 4


def test_a_task_that_outlives_the_answer_keeps_the_id_and_is_rid_of_the_deadline(below):
    async def main():
        answered, tasks = asyncio.Event(), []

        async def later():
            await below.acall()
            await answered.wait()
            await below.acall()

        async def view():
            tasks.append(asyncio.create_task(later()))
            await asyncio.sleep(0)

        app = for_asgi.FormationMiddleware(fastapi(view), middleware=AROUND)
        async with for_aiohttp.build(base_uri="http://shop", endpoint=for_asgi.endpoint(app)) as client:
            assert (await client.get("/", headers=SENT.headers)).status_code == 200
            answered.set()
            await tasks[0]

    asyncio.run(main())
    assert below.began == [ALL, NO_DEADLINE]


def test_background_tasks_after_the_answer_have_the_id_and_no_deadline(below):
    def view(tasks: BackgroundTasks):
        tasks.add_task(below.call)
        tasks.add_task(below.acall)

    by_asgi(fastapi(view))
    assert below.began == [NO_DEADLINE] * 2
    assert below.sent == [("7f3a", TRACE)] * 2


def test_a_stream_has_it_to_its_end(below):
    async def view():
        async def chunks():
            for _ in range(2):
                await below.acall()
                yield b"x"

        return StreamingResponse(chunks())

    by_asgi(fastapi(view))
    assert below.began == [ALL] * 2


def test_a_thread_in_a_copy_of_the_context_has_it_and_one_of_its_own_has_not(below):
    def app(environ, start_response):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(copy_context().run, below.call).result()
            pool.submit(below.call).result()
        start_response("200 OK", [])
        return [b"ok"]

    answer = Wsgi().serve(for_wsgi.FormationMiddleware(app, middleware=AROUND), SENT)
    assert (answer.status, answer.error) == (200, None)
    assert below.began == [ALL, NOTHING]
    assert below.sent[1] != ("7f3a", TRACE)


def test_an_executor_of_the_event_loop_has_it_not(below):
    async def view():
        await asyncio.get_running_loop().run_in_executor(None, below.call)

    by_asgi(fastapi(view))
    assert below.began == [NOTHING]


def test_a_worker_that_runs_since_before_the_request_has_it_not(below):
    async def main():
        jobs, done = asyncio.Queue(), asyncio.Event()

        async def work():
            await jobs.get()
            await below.acall()
            done.set()

        async def view():
            await jobs.put("job")
            await done.wait()

        worker = asyncio.create_task(work())
        app = for_asgi.FormationMiddleware(fastapi(view), middleware=AROUND)
        async with for_aiohttp.build(base_uri="http://shop", endpoint=for_asgi.endpoint(app)) as client:
            await client.get("/", headers=SENT.headers)
        await worker

    asyncio.run(main())
    assert below.began == [NOTHING]


# The deadline


def past(ctx, call):
    ctx["fmtn.deadline"] = 0.0
    return call(ctx)


def test_a_client_below_does_not_call_when_the_time_of_the_request_is_over(server):
    errors = []

    def view():
        with for_requests.build(base_uri=server.url) as client:
            try:
                client.get("/echo")
            except DeadlineExceeded as error:
                errors.append(error)

    app = for_asgi.FormationMiddleware(fastapi(view), middleware=[past])
    assert Asgi().serve(app, Sent()).status == 200
    assert len(errors) == 1


# In somebody else's client


def test_middleware_in_a_session_of_requests_begins_with_it(below, server):
    def app(environ, start_response):
        with requests.Session() as session:
            session.mount("http://", for_requests.Adapter(middleware=[below.note, request_id()]))
            seen.append(session.get(f"{server.url}/echo").json()["headers"])
        start_response("200 OK", [])
        return [b"ok"]

    seen = []
    assert Wsgi().serve(for_wsgi.FormationMiddleware(app, middleware=AROUND), SENT).error is None
    assert below.began == [ALL]
    assert [(each["x-request-id"], each["traceparent"]) for each in seen] == [("7f3a", TRACE)]


def test_middleware_in_a_client_of_httpx_begins_with_it(below, server):
    async def view():
        with httpx2.Client(transport=for_httpx.Transport(middleware=[below.note])) as client:
            client.get(f"{server.url}/echo")
        async with httpx2.AsyncClient(transport=for_httpx.AsyncTransport(middleware=[below.note])) as client:
            await client.get(f"{server.url}/echo")

    by_asgi(fastapi(view))
    assert below.began == [ALL] * 2


def test_middleware_in_a_session_of_aiohttp_begins_with_it(below, server):
    async def view():
        around = (for_aiohttp.client_middleware([below.note]),)
        async with aiohttp.ClientSession(middlewares=around) as session, session.get(f"{server.url}/echo") as response:
            assert (await response.json())["headers"]["traceparent"] == TRACE

    by_asgi(fastapi(view))
    assert below.began == [ALL]


def test_a_session_below_has_no_more_time_than_the_request(below, server):
    def view():
        with requests.Session() as session, httpx2.Client(transport=for_httpx.Transport()) as client:
            session.mount("http://", for_requests.Adapter())
            with pytest.raises(requests.Timeout):
                session.get(f"{server.url}/echo")
            with pytest.raises(httpx2.TimeoutException):
                client.get(f"{server.url}/echo")
        done.append(True)

    done = []
    app = for_asgi.FormationMiddleware(fastapi(view), middleware=[past])
    assert Asgi().serve(app, Sent()).status == 200
    assert done == [True]
