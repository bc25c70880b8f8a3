"""An attempt of a call: what came of it, and what the ledger says of it."""

from __future__ import annotations

from typing import Any, Final

from attrs import define

from formation.errors import DeadlineExceeded, Rejected
from formation.keys import RES_HTTP, RES_RPC

LOCAL: Final = (Rejected, DeadlineExceeded)
"""What we say ourselves, not the endpoint."""

KEPT: Final = 4096
"""Bytes of an error's body that are kept: most say all they have to say in less. As much as HashiCorp's retryablehttp
reads before it tries again."""

FAILED: Final = 400
"""From this status on a response is an error, whose body comes with its head; another may be a stream without end."""


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

    def keep(self) -> None:
        """Read the body of an error, if it is short: it may be what counts in the end, and is to be closed before."""
        for response in self._responses():
            if getattr(response, "in_memory", b"") is not None or response.status_code < FAILED:
                continue
            body, content = response.body, b""
            most = KEPT if body.limit is None else min(KEPT, body.limit)
            for chunk in body:
                content += chunk
                if len(content) > most:
                    body.close()
                    break
            else:
                body.complete(content)

    def close(self) -> None:
        """Give up the response, and its connection."""
        for response in self._responses():
            if hasattr(response, "close"):
                response.close()

    def _responses(self) -> list[Any]:
        """Return the response, and where there is an error, what is in the context besides."""
        is_more = self.error is not None and isinstance(self.ctx, dict)
        return [self.response, self.ctx.get(RES_HTTP) or self.ctx.get(RES_RPC)] if is_more else [self.response]

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
