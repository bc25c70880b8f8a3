"""What a handler of an asyncio server is given in the place of gRPC's servicer context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc
from grpc import aio

from formation.for_grpc import servicer_context

if TYPE_CHECKING:
    from formation.rpc.calls import Call
    from formation.rpc.passing import APassing, Passing

STRAIGHT: Final = (None, None)
"""The way of a message past which nothing stands."""


class Context(servicer_context.Context):
    """Stands in for the servicer context of gRPC. What says how the call ends is kept until the chain has returned."""

    __slots__ = ("count", "way_in", "way_out")
    count: int
    way_in: tuple[Passing | None, APassing | None]
    way_out: tuple[Passing | None, APassing | None]

    def __init__(self, native: Any, call: Call, deadline: float | None) -> None:
        super().__init__(native, call, deadline)
        self.count = 0  # messages that have gone out

    async def read(self) -> Any:
        """Return the next message of the caller, ``grpc.aio.EOF`` at the end."""
        message = await self._native.read()
        if message is aio.EOF:
            return message
        passes, waits = self.way_in
        if passes is not None:
            return passes(message)
        return message if waits is None else await waits(message)

    async def write(self, message: Any) -> None:
        """Send a message."""
        passes, waits = self.way_out
        if passes is not None:
            message = passes(message)
        elif waits is not None:
            message = await waits(message)
        await self._native.write(message)
        self.count += 1

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send the initial metadata."""
        self.sent = fields = tuple(initial_metadata or ())
        await self._native.send_initial_metadata(fields)

    def details(self) -> Any:
        """Return the details."""
        return self._native.details() if self.text is None else self.text

    async def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:  # type: ignore[override]
        """End the call with this code."""
        if self.aborted:
            raise aio.UsageError("Abort already called!")
        if code == grpc.StatusCode.OK:
            code, details = grpc.StatusCode.UNKNOWN, ""
        self.aborted, self.status = True, code
        self.text = details or self.text
        if trailing_metadata:
            self.fields = tuple(trailing_metadata)
        raise aio.AbortError("Locally aborted.")

    async def abort_with_status(self, status: Any) -> None:  # type: ignore[override]
        """End the call with this status."""
        await self.abort(status.code, status.details, tuple(status.trailing_metadata or ()))


aio.ServicerContext.register(Context)
