"""A Django app in one file, served by uvicorn: plain functions around async views, and one id on both sides."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import django
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import Http404, JsonResponse
from django.urls import path

from formation import for_django, reply
from formation.for_requests import build, json_response, raw_response
from formation.middleware import request_duration, request_id

SECONDS = 10
"""To start and to stop: many times what it takes."""

log = []


class OutOfStock(Exception):
    """Says so; it is no failure of the server."""


def access_log(ctx, call):
    ctx = call(ctx)
    log.append((ctx["req.id"], ctx["fmtn.req.http"].name, ctx["fmtn.res.http"].status_code))
    return ctx


def conflicts(ctx, call):
    try:
        return call(ctx)
    except OutOfStock as error:
        return reply(ctx, 409, {"Content-Type": "text/plain"}, str(error).encode())


formation = for_django.middleware([request_id(), request_duration(), access_log, conflicts], catch=[OutOfStock])


async def item(request, id):  # noqa: A002
    await asyncio.sleep(0)
    if id > 7:
        raise Http404
    if id == 7:
        raise OutOfStock("none of 7 is left")
    return JsonResponse({"id": id, "asked_by": request.headers["X-Request-ID"]})


urlpatterns = [path("items/<int:id>", item)]

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    LOGGING_CONFIG=None,
    MIDDLEWARE=[f"{__name__}.formation", "django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
)
django.setup()
logging.getLogger("django.request").setLevel("ERROR")  # the log below says it as well


def main() -> None:
    """Ask for three items."""
    with serve(get_asgi_application()) as url:
        api = build(base_uri=url, middleware=[request_id()], response_as=json_response)
        found = api.get("/items/1")
        print("the client made ", found.request.headers["X-Request-ID"])
        print("the view has    ", found.body["asked_by"])
        print("the answer says ", found.response.headers["X-Request-ID"])
        for number in (7, 8):
            response = api.get("/items/{id}", path={"id": number}, response_as=raw_response).response
            print(response.status_code, response.reason)
        api.close()
    for entry in log:
        print("the server logs ", *entry)


@contextmanager
def serve(app) -> Iterator[str]:
    """Run an ASGI app on this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning", ws="none"))
        thread = Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(SECONDS)


if __name__ == "__main__":
    main()
