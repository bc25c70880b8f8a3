"""What `otel` and `prometheus` have in common: the names of a call that are few enough to count by, and its end.

Theory of operation
-------------------
A call may end in a garbage collection: a stream that somebody has forgotten is closed by it. A collection runs in the
middle of anything, in this very thread, so also where the libraries hold a lock, which is none that a thread may take
twice: it would wait for itself, for ever. So an end that comes in a collection is kept, and told with the next one.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, TypeAlias

from formation.errors import BodyAbandoned
from formation.keys import KIND, RES_HTTP, SIDE, TEMPLATE

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
"""Of RFC 9110 and RFC 5789. Anybody may send any other word as a method, so the others go by one name."""

OTHER: Final = "_OTHER"
"""That name, as OpenTelemetry has it."""

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds: those that OpenTelemetry's conventions ask for, and of Prometheus's client."""

End: TypeAlias = Callable[[Any, int | None, BaseException | None], object]

_collecting: Final[set[int]] = set()  # threads that run a collection
_late: Final[deque[tuple[End, Any, int | None, BaseException | None]]] = deque()


def _note(phase: str, info: Any) -> None:
    (_collecting.add if phase == "start" else _collecting.discard)(get_ident())


gc.callbacks.append(_note)


def tell(end: End, out: Any, count: int | None, error: BaseException | None) -> None:
    """Call ``end(out, count, error)``, now, or with the next one if this is a garbage collection."""
    if _collecting and get_ident() in _collecting:
        _late.append((end, out, count, error))
        return
    end(out, count, error)
    while _late:
        try:
            end, out, count, error = _late.popleft()
        except IndexError:  # another thread was faster
            return
        end(out, count, error)


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


def when_over(out: Any, end: End) -> None:
    """Call ``end(out, bytes, error)`` when the answer is over: now, or once its body has been sent, read or dropped.

    What a client leaves unread is no error. A remote call, and a WebSocket, is over when its chain is.
    """
    response = out.get(RES_HTTP)
    if response is None or out.get(KIND) == "websocket":
        tell(end, out, None, None)
        return
    content = response.in_memory
    if content is not None:
        tell(end, out, len(content), None)
    else:
        response.on_close(_close(end, out))


def _close(end: End, out: Any) -> Callable[[int, BaseException | None], None]:
    is_server = out.get(SIDE) == "server"

    def close(count: int, error: BaseException | None) -> None:
        tell(end, out, count, error if is_server or not isinstance(error, BodyAbandoned) else None)

    return close
