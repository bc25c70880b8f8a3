"""The client on requests: a GET of some JSON over a kept-alive connection on loopback.

Formation's client has five middlewares, fills in a path parameter and decodes the JSON; so do the peers, in their way.
"""

from time import perf_counter
from typing import Any

import requests
import uplink

from bench.measure import Row, rounds
from bench.server import running
from formation.for_requests import build, json_response
from formation.middleware import accept, context, raise_for_status, request_duration, request_id

MIDDLEWARE = [request_id(), context(), request_duration(), accept("application/json"), raise_for_status()]


class Users(uplink.Consumer):  # type: ignore[misc]  # untyped
    """The client by uplink."""

    @uplink.returns.json
    @uplink.get("users/{id}")
    def user(self, id: int):  # type: ignore[no-untyped-def]  # noqa: A002, ANN201  uplink reads the names and types
        """Get a user."""


def rows() -> list[Row]:
    """Time one call at a time."""
    with running() as url, build(base_uri=url, middleware=MIDDLEWARE, response_as=json_response) as ours:
        bare = build(base_uri=url, response_as=json_response)
        session = requests.Session()
        users = Users(base_url=f"{url}/", client=requests.Session())
        seconds = rounds(
            {
                "Formation": repeated(lambda: ours.get("/users/{id}", path={"id": 1}).body),
                "without middleware": repeated(lambda: bare.get("/users/{id}", path={"id": 1}).body),
                "Session.get": repeated(lambda: session.get(f"{url}/users/1").json()),
                "requests.get": repeated(lambda: requests.get(f"{url}/users/1", timeout=30).json()),
                "uplink": repeated(lambda: users.user(1)),
            }
        )
        session.close()
        bare.close()
    five, peers = "five middlewares", ("Session.get", "requests.get", "uplink")
    made = [Row(five, seconds["Formation"], peer, seconds[peer], at_most=1.0) for peer in peers]
    return [*made, Row("no middleware", seconds["without middleware"], "Session.get", seconds["Session.get"])]


def repeated(call: Any) -> Any:
    """Time a call without arguments."""

    def timer(count: int) -> float:
        started = perf_counter()
        for _ in range(count):
            call()
        return perf_counter() - started

    return timer
