"""A call of a sync client that goes on after it has been given back: a stream, or a future. See ``client.py``."""

from __future__ import annotations

from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any

import grpc

from formation.for_grpc.sync.outcome import Outcome, failure_of
from formation.rpc.codes import Code
from formation.rpc.results import Result

if TYPE_CHECKING:
    from formation.for_grpc.sync.link import Link
    from formation.kernel import Ctx


class Spanned(grpc.Call, grpc.Future):
    """The call as the program has it; dropped, it is cancelled."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._messages: Any = None  # of an answer in the server's place

    def start(self, chain: Any, ctx: Ctx) -> None:
        """Start the chain; return once there is a call, or it has ended without one.

        Raises:
            Exception: it has ended by it.
        """
        link = self._link
        Thread(target=copy_context().run, args=(link.run, chain, ctx), name="formation-grpc", daemon=True).start()
        link.wait(0)
        if link.is_over and not link.number and link.error is not None and failure_of(link.error) is None:
            raise link.error

    def __del__(self) -> None:
        link = self.__dict__.get("_link")
        if link is not None and not link.is_over:
            link.cancel()

    # Messages

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        link = self._link
        while True:
            number = link.number  # first: with that of an attempt that begins now, the old call would be read
            native, through = link.native, link.through
            if not number:
                return self._answered()
            link.is_busy = True
            try:
                message = next(native)
                link.count += 1
                link.call.begin()
            except (StopIteration, grpc.RpcError):
                pass
            except Exception as error:  # noqa: BLE001  as below; another interceptor's
                link.broken = error
                native.cancel()
            else:
                if through is None:
                    return message
                try:
                    return through(message)
                except Exception as error:  # noqa: BLE001  raised at call(ctx), and here what comes of that
                    link.broken = error
                    native.cancel()
            finally:
                link.is_busy = False
                if link.is_awaited:
                    with link.changed:
                        link.changed.notify_all()
            link.wait(number)
            if link.number == number:
                return self._answered()

    def next(self) -> Any:
        """Return the next message."""
        return self.__next__()

    def _answered(self) -> Any:
        """Return what comes when gRPC has no more messages: an answer in its place, the end, or the error."""
        self._link.wait_over()
        if self._messages is None:
            error = self.exception()
            if error is not None:
                raise error
            result = self._link.result
            self._messages = iter(result.messages or ()) if result is not None else iter(())
        return next(self._messages)

    # As a call

    def _ended(self) -> Any:
        """Wait for the end, and return what gRPC or we have for it."""
        link = self._link
        link.wait_over()
        if link.result is not None:
            return Outcome.of(link.result)
        return failure_of(link.error) or Outcome(Result(Code.INTERNAL, "Exception raised while intercepting the RPC"))  # type: ignore[arg-type]

    def code(self) -> Any:
        """Return the code, once it is over."""
        return self._ended().code()

    def details(self) -> Any:
        """Return the details, once it is over."""
        return self._ended().details()

    def initial_metadata(self) -> Any:
        """Return the initial metadata, once it has come."""
        native = self._link.native
        return self._ended().initial_metadata() if native is None or self._link.is_over else native.initial_metadata()

    def trailing_metadata(self) -> Any:
        """Return the trailers, once it is over."""
        return self._ended().trailing_metadata()

    def is_active(self) -> bool:
        """Tell whether it goes on."""
        return not self.done()

    def time_remaining(self) -> Any:
        """Return the seconds that are left."""
        native = self._link.native
        return None if native is None else native.time_remaining()

    def cancel(self) -> bool:
        """Cancel it."""
        return self._link.cancel()

    def add_callback(self, callback: Any) -> bool:
        """Call ``callback()`` when it is over; tell whether it was not."""
        with self._link.changed:
            if self._link.callbacks is None:
                return False
            self._link.callbacks.append(callback)
            return True

    # As a future

    def cancelled(self) -> bool:
        """Tell whether it was cancelled here."""
        return self._link.is_cancelled and (not self._link.is_over or self._is_cancelled())

    def _is_cancelled(self) -> bool:
        result = self._link.result
        return self._link.is_cancelled and result is not None and result.code is Code.CANCELLED

    def running(self) -> bool:
        """Tell whether it goes on."""
        return not self.done()

    def done(self) -> bool:
        """Tell whether it is over, or was cancelled."""
        return self._link.is_over or self._link.is_cancelled

    def result(self, timeout: float | None = None) -> Any:
        """Return the message, or raise the error.

        Raises:
            grpc.FutureTimeoutError: it takes longer than ``timeout`` seconds.
            grpc.FutureCancelledError: it was cancelled.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        result = self._link.result
        if result is not None and self._link.call.response_streaming:
            return self
        return None if result is None else result.message

    def exception(self, timeout: float | None = None) -> Any:
        """Return the error, or ``None``.

        Raises:
            grpc.FutureTimeoutError: it takes longer than ``timeout`` seconds.
            grpc.FutureCancelledError: it was cancelled.
        """
        link = self._link
        if not link.wait_over(timeout):
            raise grpc.FutureTimeoutError
        if link.error is not None:
            return failure_of(link.error) or link.error
        result: Any = link.result
        if self._is_cancelled() and not link.call.response_streaming:
            raise grpc.FutureCancelledError
        if result.ok:
            return None
        error = Outcome.of(result)
        return error if isinstance(error, BaseException) else Outcome(result)

    def traceback(self, timeout: float | None = None) -> Any:
        """Return the traceback of the error, or ``None``."""
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def add_done_callback(self, fn: Any) -> None:
        """Call ``fn(self)`` when it is over."""
        if not self.add_callback(lambda: fn(self)):
            fn(self)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._ended() if self._link.native is None else self._link.native, name)
