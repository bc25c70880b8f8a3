"""What flows from a server chain into the client chains below it: the request id, the trace, the deadline.

A server edge publishes what its chain has found out, right before it calls the app. Every client chain that starts
underneath begins with it, in the same task or thread, in tasks that were made there, and in threads that run in a copy
of the context (`asyncio.to_thread`, the thread pools of Django and Starlette).

It is one small object, shared by all of them, and not a copy of the values: the deadline is that of the caller who
waits. Once the answer has gone out nobody waits, and the edge takes the deadline back, so that what goes on in the
background is not cut short by it. The id and the trace stay.

>>> token = publish({"req.id": "7f3a"})
>>> inherited = {}
>>> inherit(inherited)
>>> inherited
{'req.id': '7f3a', 'req.parent.id': '7f3a'}
>>> restore(token)
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.keys import DEADLINE, REQ_ID, REQ_PARENT_ID, TRACE

if TYPE_CHECKING:
    from collections.abc import Mapping


class Ambient:
    """What a server chain has published."""

    __slots__ = ("deadline", "request_id", "trace")

    def __init__(self, request_id: str | None, trace: Mapping[str, str] | None, deadline: float | None) -> None:
        self.request_id = request_id
        self.trace = trace
        self.deadline = deadline

    def answered(self) -> None:
        """Take the deadline back: the answer has gone out, and nobody waits any more."""
        self.deadline = None

    def __repr__(self) -> str:
        return f"<Ambient: request_id {self.request_id!r}, trace {self.trace!r}, deadline {self.deadline!r}>"


current: Final[ContextVar[Ambient | None]] = ContextVar("formation.ambient", default=None)
"""What the server chain around has published, if there is one."""

Published: TypeAlias = Token["Ambient | None"]


def publish(ctx: dict[str, Any]) -> Published | None:
    """Publish what ``ctx`` says, for the client chains below; ``None`` if it says nothing.

    A chain inside another one, as of an app that is mounted in an app, keeps what that one has said and this one has
    not, and never has more time.
    """
    request_id, trace, deadline = ctx.get(REQ_ID), ctx.get(TRACE), ctx.get(DEADLINE)
    if request_id is None and trace is None and deadline is None:
        return None
    if (outer := current.get()) is not None:
        request_id = outer.request_id if request_id is None else request_id
        trace = outer.trace if trace is None else trace
        if outer.deadline is not None:
            deadline = outer.deadline if deadline is None else min(deadline, outer.deadline)
    return current.set(Ambient(request_id, trace, deadline))


def forget_deadline() -> None:
    """Have no deadline from here on in this context: what is done now is done for nobody who waits."""
    if (outer := current.get()) is not None:
        current.set(Ambient(outer.request_id, outer.trace, None))


def restore(published: Published) -> None:
    """Take back what `publish` has published. In another context than its own there is nothing to take back."""
    try:
        current.reset(published)
    except ValueError:
        current.set(None)


def inherit(ctx: dict[str, Any]) -> None:
    """Begin the client chain of ``ctx`` with what the server chain around has published.

    The request has the id of the request that it serves, which is also its parent; the time is what is left of it.
    """
    outer = current.get()
    if outer is None:
        return
    if outer.request_id is not None:
        ctx[REQ_ID] = ctx[REQ_PARENT_ID] = outer.request_id
    if outer.trace is not None:
        ctx[TRACE] = outer.trace
    if outer.deadline is not None:
        own = ctx.get(DEADLINE)
        ctx[DEADLINE] = outer.deadline if own is None else min(own, outer.deadline)
