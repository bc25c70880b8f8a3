"""What the thread of a chain and whoever uses its call know of each other. See ``client.py``."""

from __future__ import annotations

from threading import Condition, Event
from typing import TYPE_CHECKING, Any

from formation.for_grpc.chains import exchange_of, result_of, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.kernel import Ctx
    from formation.rpc.calls import Call
    from formation.rpc.results import Result


class Link:
    """What the thread of the chain and whoever uses the call know of each other."""

    __slots__ = ("broken", "call", "callbacks", "changed", "count", "error", "is_awaited", "is_busy", "is_cancelled",
                 "is_over", "native", "number", "result", "through")  # fmt: skip

    def __init__(self, call: Call) -> None:
        self.call = call
        self.changed = Condition()
        self.callbacks: list[Callable[[], Any]] | None = []
        self.native: Any = None  # the call of gRPC, for this attempt
        self.through: Any = None  # what its messages pass
        self.number = 0  # of the attempt
        self.count = 0  # messages that were handed out
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.broken: Exception | None = None  # what a message middleware has raised
        self.is_over = self.is_cancelled = False
        self.is_busy = self.is_awaited = False

    def attempt(self, native: Any, through: Any) -> None:
        """Let messages come from ``native``; return when it is over and its messages are through."""
        ended = Event()
        if not native.add_callback(ended.set):
            ended.set()
        with self.changed:
            self.native, self.through, self.broken = native, through, None
            self.number += 1  # last: who sees it, sees the rest, too
            self.changed.notify_all()
        if self.is_cancelled:
            native.cancel()
        ended.wait()
        self.is_awaited = True
        with self.changed:  # somebody may have a message in hand that makes this attempt the last
            self.changed.wait_for(lambda: not self.is_busy)
        self.is_awaited = False

    def run(self, chain: Any, ctx: Ctx) -> None:
        """Run the chain. The whole life of its thread."""
        exchange, result, error = exchange_of(ctx), None, None
        try:
            result = result_of(chain(ctx))
        except BaseException as failure:  # noqa: BLE001  it is raised where somebody asks for the answer
            error = failure
        exchange.link = None  # it leads back here; what messages pass holds the exchange
        with self.changed:
            self.result, self.error, self.is_over = result, error, True
            callbacks, self.callbacks = self.callbacks or [], None
            self.changed.notify_all()
        if result is not None:
            result.end(self.count if self.call.response_streaming else int(result.message is not None))
        error = None
        for callback in callbacks:
            tell(callback)

    def wait(self, number: int, timeout: float | None = None) -> bool:
        """Wait until there is another attempt than ``number``, or it is over; tell whether that has come in time."""
        with self.changed:
            return self.changed.wait_for(lambda: self.is_over or self.number != number, timeout)

    def wait_over(self, timeout: float | None = None) -> bool:
        """Wait until it is over."""
        with self.changed:
            return self.changed.wait_for(lambda: self.is_over, timeout)

    def cancel(self) -> bool:
        """Cancel what is under way."""
        with self.changed:
            if self.is_over or self.is_cancelled:
                return False
            self.is_cancelled, native = True, self.native
            self.changed.notify_all()
        if native is not None:
            native.cancel()
        return True
