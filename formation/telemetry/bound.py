"""The fields of a call in structlog's context variables while it lasts: so the lines of the program have them as well.

Theory of operation
-------------------
Fields are taken out by putting back what was there before, and not by the tokens of the variables: in an ASGI server
the rest of a chain runs where the app sends its answer, which may be another task, and there a token is refused. What
somebody has changed meanwhile stays, and so does what is there where a forgotten chain happens to be collected.

Nothing is bound around a remote call of a client: its chain may live as long as a stream does, with the caller's own
code between two messages.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import Token
from typing import TYPE_CHECKING, Any

from formation.keys import CONTEXT, REQ_RPC, SIDE

if TYPE_CHECKING:
    from collections.abc import Callable


def bind(ctx: Any) -> Callable[[], None]:
    """Bind the fields of ``ctx["fmtn.context"]``, and return what takes them out.

    structlog is not loaded for it: a program that has its variables has loaded it.

    >>> from structlog.contextvars import get_contextvars
    >>> unbind = bind({"fmtn.context": {"rid": "7f3a"}})
    >>> get_contextvars()
    {'rid': '7f3a'}
    >>> unbind()
    >>> get_contextvars()
    {}
    """
    variables: Any = sys.modules.get("structlog.contextvars")
    given, is_remote = ctx.get(CONTEXT), REQ_RPC in ctx and ctx.get(SIDE) != "server"
    # Its last function is missing as long as another thread is loading it.
    if is_remote or not isinstance(given, Mapping) or not hasattr(variables, "bound_contextvars"):
        return _nothing
    fields = {name: value for name, value in given.items() if isinstance(name, str)}
    tokens = variables.bind_contextvars(**fields)

    def unbind() -> None:
        new = []
        for name, token in tokens.items():
            if token.var.get() is not fields[name]:  # somebody else's by now
                continue
            before = token.old_value
            if before is Token.MISSING or before is Ellipsis:  # which structlog has for none
                new.append(name)
            else:
                token.var.set(before)
        variables.unbind_contextvars(*new)

    return unbind


def _nothing() -> None:
    """Take out what was never bound."""
