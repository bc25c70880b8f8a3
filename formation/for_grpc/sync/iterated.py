"""A stream of responses of which another interceptor of a sync channel has left no call, only an iterator.

Most interceptors that look at messages are generators around the call of gRPC. What they give ends when it has been
iterated over; until then nobody can tell that the call is over.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable


class Iterated:
    """Stands for the call: its end is that of the iterator, and to cancel it is to close that."""

    def __init__(self, source: Any) -> None:
        self._source = iter(source)
        self._callbacks: list[Callable[[], Any]] = []
        self._error: BaseException | None = None
        self._is_over = self._is_cancelled = False

    def __next__(self) -> Any:
        if self._is_over:
            raise StopIteration
        try:
            message = next(self._source)
        except StopIteration:
            self._end(None)
            raise
        except Exception as error:
            self._end(error)
            raise
        if self._is_cancelled:  # meanwhile, by another thread, which could not close what was running
            self.cancel()
        return message

    def _end(self, error: BaseException | None) -> None:
        self._is_over, self._error = True, error
        for callback in self._callbacks:
            callback()

    def add_callback(self, callback: Callable[[], Any]) -> bool:
        """Call ``callback()`` when it is over, which it is not before it has been iterated over."""
        self._callbacks.append(callback)
        return True

    def cancel(self) -> bool:
        """Close the iterator."""
        if self._is_over:
            return False
        self._is_cancelled = True
        with suppress(ValueError):  # it runs in another thread, which will do it
            if hasattr(self._source, "close"):
                self._source.close()
            self._end(None)
        return True

    def cancelled(self) -> bool:
        """Tell whether it was cancelled here."""
        return self._is_cancelled

    def exception(self) -> BaseException | None:
        """Return the error that it has ended with."""
        return self._error

    def code(self) -> Any:
        """Return the code."""
        if self._is_cancelled:
            return grpc.StatusCode.CANCELLED
        return grpc.StatusCode.OK if self._error is None else self._of_error("code", grpc.StatusCode.UNKNOWN)

    def details(self) -> Any:
        """Return the details."""
        return "Locally cancelled by application!" if self._is_cancelled else self._of_error("details", "")

    def initial_metadata(self) -> Any:
        """Return what the error has: the iterator tells nothing."""
        return self._of_error("initial_metadata", ())

    def trailing_metadata(self) -> Any:
        """Return what the error has: the iterator tells nothing."""
        return self._of_error("trailing_metadata", ())

    def _of_error(self, name: str, default: Any) -> Any:
        ask = getattr(self._error, name, None)
        return default if ask is None else ask()

    def time_remaining(self) -> None:
        """Return nothing: nobody knows."""
