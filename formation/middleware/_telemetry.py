"""What `otel` and `prometheus` have in common: the names of a call that are few enough to count by, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from formation.errors import BodyAbandoned
from formation.keys import KIND, RES_HTTP, SIDE, TEMPLATE

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""Of RFC 9110 and RFC 5789. Anybody may send any other word as a method, so the others go by one name."""

OTHER: Final = "_OTHER"
"""That name, as OpenTelemetry has it."""


def route_of(ctx: Any, message: Any) -> str | None:
    """Return the route that an app has found, or the template that a client was given; never the path itself.

    Somebody else's client tells its path and nothing more, which is as good as no name.

    >>> from formation.http import Request
    >>> route_of({"fmtn.template": "/items/7"}, Request("GET", "https://h/items/7"))
    >>> route_of({"fmtn.template": "/items/7"}, Request("GET", "https://h/items/7", template="/items/{id}"))
    '/items/{id}'
    """
    given: str | None = ctx.get(TEMPLATE)
    if ctx.get(SIDE) == "server":
        return given
    if message.template is not None:
        template: str = message.template
        return template
    return None if given == message.path else given


def when_over(out: Any, end: Callable[[Any, int | None, BaseException | None], object]) -> None:
    """Call ``end(out, bytes, error)`` when the answer is over: now, or once its body has been sent, read or dropped.

    What a client leaves unread is no error. A remote call, and a WebSocket, is over when its chain is.
    """
    response = out.get(RES_HTTP)
    if response is None or out.get(KIND) == "websocket":
        end(out, None, None)
    elif (body := response.body).is_bytes:
        end(out, body.length, None)
    else:
        is_server = out.get(SIDE) == "server"

        def close(count: int, error: BaseException | None) -> None:
            end(out, count, error if is_server or not isinstance(error, BodyAbandoned) else None)

        body.on_close(close)
