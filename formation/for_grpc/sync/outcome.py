"""What a sync client gets where the chain has changed the answer, or has given it itself."""

from __future__ import annotations

from typing import Any

import grpc

from formation.for_grpc.chains import STATUS
from formation.rpc.codes import code_for
from formation.rpc.results import Result


class Outcome(grpc.RpcError, grpc.Call, grpc.Future):
    """A call that is over: a message, or an error of gRPC, which then is this very object."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.details)
        self._result = result

    @staticmethod
    def of(result: Result) -> Any:
        """Return what gRPC has for ``result``, or one of ours if it has been changed."""
        return result.native if result.native is not None and not result.is_changed else Outcome(result)

    def code(self) -> Any:
        """Return the code."""
        return STATUS[self._result.code]

    def details(self) -> str:
        """Return the details."""
        return self._result.details or ""

    def initial_metadata(self) -> Any:
        """Return the metadata that came first."""
        return self._result.headers.fields()

    def trailing_metadata(self) -> Any:
        """Return the metadata that came last."""
        return self._result.trailers.fields()

    def is_active(self) -> bool:
        """Tell that it is over."""
        return False

    def time_remaining(self) -> None:
        """Return nothing: it is over."""

    def cancel(self) -> bool:
        """Do nothing: it is over."""
        return False

    def add_callback(self, callback: Any) -> bool:
        """Take no callback: it is over."""
        return False

    def cancelled(self) -> bool:
        """Tell that it was not cancelled."""
        return False

    def running(self) -> bool:
        """Tell that it is over."""
        return False

    def done(self) -> bool:
        """Tell that it is over."""
        return True

    def result(self, timeout: float | None = None) -> Any:
        """Return the message, or raise the error."""
        if self._result.ok:
            return self._result.message
        raise self

    def exception(self, timeout: float | None = None) -> Any:
        """Return the error, or ``None``."""
        return None if self._result.ok else self

    def traceback(self, timeout: float | None = None) -> Any:
        """Return the traceback of the error, or ``None``."""
        return None if self._result.ok else self.__traceback__

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn`` at once."""
        fn(self)

    def debug_error_string(self) -> str:
        """Say where it comes from."""
        return "answered by middleware"

    def __str__(self) -> str:
        return f"<{self.code()}: {self.details()}>"

    __repr__ = __str__


def failure_of(error: BaseException) -> Outcome | None:
    """Return an error of ours as one of gRPC, whose cause it is; ``None`` if it has no code."""
    code = code_for(error)
    if code is None:
        return None
    failed = Outcome(Result(code, str(error)))
    failed.__cause__ = error
    return failed
