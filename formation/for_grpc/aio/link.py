"""What the task of a chain and whoever uses its call know of each other. See ``client.py``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from formation.for_grpc.aio.answered import error_of, failure_of
from formation.for_grpc.chains import exchange_of, result_of, tell

if TYPE_CHECKING:
    from formation.kernel import Ctx
    from formation.rpc.calls import Call
    from formation.rpc.results import Result

_running: Final[set[asyncio.Task[None]]] = set()
"""The chains of streams: an event loop alone would not keep them."""


class Link:
    """What the task of the chain and whoever uses the call know of each other."""

    __slots__ = ("broken", "call", "callbacks", "changed", "count", "error", "is_cancelled", "is_over", "native",
                 "number", "passing", "result", "task")  # fmt: skip

    def __init__(self, call: Call) -> None:
        self.call = call
        self.changed = asyncio.Event()
        self.callbacks: list[Any] = []
        self.native: Any = None  # the call of gRPC, for this attempt
        self.passing: Any = (None, None)  # what its messages pass
        self.number = 0  # of the attempt
        self.count = 0  # messages that were handed out
        self.result: Result | None = None
        self.error: BaseException | None = None
        self.broken: Exception | None = None  # what a message middleware has raised
        self.is_over = self.is_cancelled = False
        self.task: Any = None

    async def start(self, chain: Any, ctx: Ctx) -> None:
        """Start the chain; return once there is a call, or it has ended without one."""
        self.task = task = asyncio.get_running_loop().create_task(self._run(chain, ctx))
        _running.add(task)
        task.add_done_callback(_running.discard)
        try:
            await self.wait(0)
        except asyncio.CancelledError:
            self.cancel()
            raise
        if self.error is not None and not self.number:
            raise self.failure() or self.error

    async def _run(self, chain: Any, ctx: Ctx) -> None:
        exchange = exchange_of(ctx)
        try:
            self.result = result = result_of(await chain(ctx))
            result.end(self.count if self.call.response_streaming else int(result.message is not None))
        except BaseException as error:  # noqa: BLE001  it is raised where somebody asks for the answer
            self.error = error
        exchange.link = exchange.continuation = None  # they lead back here; what messages pass holds the exchange
        self.is_over = True
        self._tell()
        callbacks, self.callbacks = self.callbacks, []
        for callback in callbacks:
            tell(callback)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def attempt(self, native: Any, passing: Any) -> None:
        """Let messages come from ``native``."""
        self.native, self.passing, self.broken = native, passing, None
        self.number += 1
        self._tell()

    async def wait(self, number: int) -> None:
        """Wait until there is another attempt than ``number``, or it is over."""
        while not self.is_over and self.number == number:
            await self.changed.wait()

    async def over(self) -> None:
        """Wait until it is over."""
        while not self.is_over:
            await self.changed.wait()

    def cancel(self) -> bool:
        """Cancel what is under way."""
        if self.is_over or self.is_cancelled:
            return False
        self.is_cancelled = True
        if self.native is None or not self.native.cancel():  # between two attempts
            self.task.cancel()
        return True

    def is_cancelled_by_grpc(self) -> bool:
        """Tell whether it was gRPC that cancelled, for an error at a request: the chain knows which."""
        task = asyncio.current_task()
        return not self.is_cancelled and self.native.cancelled() and task is not None and not task.cancelling()

    def answers(self) -> Any:
        """Return the messages of an answer in the server's place."""
        return self.result.messages or () if self.native is None and self.result is not None else ()

    def failure(self) -> BaseException | None:
        """Return the error to raise where the answer is asked for; ``None``: it went well."""
        if self.error is not None:
            return failure_of(self.error) or self.error
        result = self.result
        return None if result is None or result.ok else error_of(result)
