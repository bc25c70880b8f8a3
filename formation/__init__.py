"""Formation: a plain function ``(ctx, call) -> ctx`` is middleware for anything that can be called.

>>> from formation import wrap
>>> def log(ctx, call):
...     print("started")
...     ctx = call(ctx)
...     print("ended")
...     return ctx
>>> wrap(lambda ctx: ctx | {"done": True}, middleware=[log])({})
started
ended
{'done': True}

The kernel is here; the edges are ``formation.for_requests`` and its like; the middlewares are in
``formation.middleware``.
"""

from typing import TYPE_CHECKING, Any

from formation import keys
from formation.bridge import await_, in_async_chain, sleep
from formation.kernel import AsyncCall, AsyncMiddleware, Call, Ctx, Middleware, compose, lift, wrap

if TYPE_CHECKING:
    from formation.exchange import reply, req, res

__all__ = [
    "AsyncCall",
    "AsyncMiddleware",
    "Call",
    "Ctx",
    "Middleware",
    "await_",
    "compose",
    "in_async_chain",
    "keys",
    "lift",
    "reply",
    "req",
    "res",
    "sleep",
    "wrap",
]


def __getattr__(name: str) -> Any:
    if name in {"req", "res", "reply"}:
        from formation import exchange  # it loads the HTTP messages, which the kernel does not need

        return getattr(exchange, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
