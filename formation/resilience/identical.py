"""What makes a call identical to another one, so that the answer to one is the answer to the other.

Equal is not enough: 1 and True are equal, and so are noon in London and one o'clock in Paris. Who asks for one shall
not get the other. What cannot be told is a call by itself.

>>> identity({"fmtn.fn": len, "fmtn.args": (1,), "fmtn.kwargs": {}}, frozenset()) == identity(
...     {"fmtn.fn": len, "fmtn.args": (True,), "fmtn.kwargs": {}}, frozenset()
... )
False
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from formation.keys import ARGS, FN, KWARGS, REQ_HTTP, SESSION, SIDE, UID

if TYPE_CHECKING:
    from collections.abc import Hashable

METHODS: Final = frozenset({"GET", "HEAD"})
"""Asked once or twice, it is the same to the server; and the answer may be kept (RFC 9110, 9.2.3)."""

_PLAIN: Final = frozenset({str, bytes, int, bool, type(None)})
"""Types of which two values that are equal are the same."""


def identity(ctx: Any, unlike: frozenset[str]) -> Hashable:
    """Return what makes a call identical to another one; ``None``: nothing does."""
    if not isinstance(ctx, dict) or ctx.get(SIDE) == "server":
        return None
    try:
        found = _asked(ctx, unlike)
        hash(found)
    except Exception:  # noqa: BLE001  whatever a value does that is hashed, sorted or written
        return None
    return found


def _asked(ctx: dict[str, Any], unlike: frozenset[str]) -> tuple[Any, ...] | None:
    request = ctx.get(REQ_HTTP)
    if request is not None:
        if request.method not in METHODS or request.extensions.get("stream"):
            return None
        if not request.body.is_bytes or request.content:
            return None
        lines = sorted((name.lower(), value) for name, value in request.headers.items() if name.lower() not in unlike)
        # What is inside may sign for the user.
        bags = (tuple(sorted(bag.items())) for bag in (request.cookies, request.extensions, ctx.get(SESSION) or {}))
        # All that may say who the user is: more than `places.user_of`, for whoever looks inside may go by any of it.
        values: tuple[Any, ...] = (request.auth, ctx.get(UID), *bags)
        return (request.method, request.target, tuple(lines), values, tuple(map(_exactly, values)))
    if FN in ctx:
        names = sorted(ctx[KWARGS])
        values = (*ctx[ARGS], *(ctx[KWARGS][name] for name in names))
        hash(values)  # first: what cannot be hashed may take long to write
        return (ctx[FN], tuple(names), values, tuple(map(_exactly, values)))
    return None


def _exactly(value: Any) -> Any:
    """Tell apart what is equal and not the same: 1 and True, -0.0 and 0.0, two zones of one time; also inside."""
    return type(value), None if type(value) in _PLAIN else repr(value)
