"""An endpoint that keeps what it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.bridge import in_async_chain
from formation.bridge import run as on_the_bridge
from formation.http.request import Request
from formation.keys import REQ_HTTP

if TYPE_CHECKING:
    from formation.kernel import Ctx


class Recorded:
    """What was sent, as a `Script`, a `Stub` and a `Route` keep it.

    ``calls``: a copy of the context of each call, in which the request has the body that was sent.
    """

    def __init__(self) -> None:
        self.calls: list[Ctx] = []

    @property
    def requests(self) -> list[Request]:
        """The request of each call, as it arrived; ``content`` and ``json`` can be read."""
        return [ctx[REQ_HTTP] for ctx in self.calls]


class Recorder(Recorded):
    """An endpoint that keeps what it is sent."""

    def __call__(self, ctx: Ctx, /) -> Any:
        """Answer."""
        if ctx[REQ_HTTP].body.is_async and not in_async_chain():  # an async client sends it: it awaits what it gets
            return on_the_bridge(self._serve, ctx)
        return self._serve(ctx)

    def _serve(self, ctx: Ctx) -> Ctx:
        raise NotImplementedError


def as_sent(ctx: Ctx) -> Ctx:
    """Take the request as a server does, body and all; return a copy of the context, with a copy of the request."""
    request: Request = ctx[REQ_HTTP]
    content = b"".join(request.body)
    seen = Request(
        request.method,
        request.url,
        headers=request.headers,
        params=request.params,
        cookies=request.cookies,
        content=content,
        timeout=request.timeout,
        extensions=request.extensions,
        template=request.template,
    )
    return {**ctx, REQ_HTTP: seen}
