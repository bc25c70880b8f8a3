"""An attempt of a call: what came of it, and what the ledger says of it."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from formation.errors import DeadlineExceeded, Rejected
from formation.keys import RES_HTTP, RES_RPC

LOCAL: Final = (Rejected, DeadlineExceeded)
"""What we say ourselves, not the endpoint."""


@define
class Attempt:
    """An entry of the ledger ``ctx["fmtn.attempts"]``.

    ``number``: from 1 on. ``status``: of the response, or ``None``. ``error``: the name of the error's type, or
    ``None``. ``delay``: seconds slept before. ``elapsed``: seconds that the attempt itself took.
    """

    number: int
    status: int | None
    error: str | None
    delay: float
    elapsed: float


class Outcome:
    """What came of an attempt.

    ``ctx``: what came back; where an error was raised, what went in. ``response``: the one in the context, or the one
    that the error is about, or ``None``; ``status``: its status. ``ended``: when, by the clock of `retry`.
    """

    __slots__ = ("ctx", "ended", "error", "number", "response", "status")

    def __init__(self, number: int, ctx: Any, error: BaseException | None, ended: float) -> None:
        self.number = number
        self.ctx = ctx
        self.error = error
        self.ended = ended
        if error is not None:
            self.response: Any = getattr(error, "response", None)
        else:
            self.response = (ctx.get(RES_HTTP) or ctx.get(RES_RPC)) if isinstance(ctx, dict) else None
        self.status: int | None = None if self.response is None else getattr(self.response, "status_code", None)

    @property
    def failure(self) -> str | None:
        """The name of the error's type, if there is an error."""
        return None if self.error is None else type(self.error).__name__

    @property
    def is_local(self) -> bool:
        """Whether the endpoint has no part in it: we have turned the attempt away ourselves."""
        return isinstance(self.error, LOCAL)

    def close(self) -> None:
        """Give up the response, and its connection."""
        responses = [self.response]
        if self.error is not None and isinstance(self.ctx, dict):
            responses.append(self.ctx.get(RES_HTTP) or self.ctx.get(RES_RPC))
        for response in responses:
            if hasattr(response, "close"):
                response.close()

    def unwrap(self) -> Any:
        """Return the context, or raise the error, which is then no longer held here: a frame may hold the outcome."""
        error, self.error = self.error, None
        if error is None:
            return self.ctx
        before = error.__context__
        try:
            raise error
        finally:
            error.__context__ = before or error.__context__  # Python has put there what the caller is handling
            del error, before
