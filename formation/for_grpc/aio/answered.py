"""What an asyncio client gets where the chain has changed the answer, or has given it itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from grpc import StatusCode, aio
from grpc.aio import _base_call as base

from formation.for_grpc.chains import STATUS
from formation.rpc.codes import code_for
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Generator


def error_of(result: Result) -> BaseException:
    """Return a result that is not OK as an error of gRPC."""
    error: BaseException = aio.AioRpcError(
        STATUS[result.code],
        aio.Metadata(*result.headers.fields()),
        aio.Metadata(*result.trailers.fields()),
        details=result.details or "",
        debug_error_string="answered by middleware",
    )
    return error


def failure_of(error: BaseException) -> BaseException | None:
    """Return an error of ours as one of gRPC; ``None`` if it has no code."""
    code = code_for(error)
    if code is None:
        return None
    failed = error_of(Result(code, str(error)))
    failed.__cause__ = error
    return failed


class Answered(base.UnaryUnaryCall):
    """A call that is over, with an answer of the chain."""

    def __init__(self, result: Result) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._result.ok:
            raise error_of(self._result)
        return self._result.message
        yield

    def cancel(self) -> bool:
        """Do nothing: it is over."""
        return False

    def cancelled(self) -> bool:
        """Tell that it was not cancelled."""
        return False

    def done(self) -> bool:
        """Tell that it is over."""
        return True

    def add_done_callback(self, callback: Any) -> None:
        """Call ``callback(self)`` at once."""
        callback(self)

    def time_remaining(self) -> None:
        """Return nothing: it is over."""

    async def initial_metadata(self) -> Any:
        """Return the initial metadata."""
        return aio.Metadata(*self._result.headers.fields())

    async def trailing_metadata(self) -> Any:
        """Return the trailers."""
        return aio.Metadata(*self._result.trailers.fields())

    async def code(self) -> StatusCode:
        """Return the code."""
        code: StatusCode = STATUS[self._result.code]
        return code

    async def details(self) -> str:
        """Return the details."""
        return self._result.details or ""

    async def debug_error_string(self) -> str:
        """Say where it comes from."""
        return "answered by middleware"

    async def wait_for_connection(self) -> None:
        """Wait for nothing: it is over."""
