"""A call of a sync client that goes on after it has been given back: a stream, or a future. See ``client.py``."""

from __future__ import annotations

from contextvars import copy_context
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING, Any

import grpc

from formation.for_grpc.common import result_of, tell
from formation.for_grpc.outcome import Outcome, failure_of
from formation.rpc.codes import Code
from formation.rpc.results import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.kernel import Ctx
    from formation.rpc.calls import Call


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
            self.native, self.through = native, through
            self.number += 1
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
        result, error = None, None
        try:
            result = result_of(chain(ctx))
        except BaseException as failure:  # noqa: BLE001  it is raised where somebody asks for the answer
            error = failure
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
            native, number, through = link.native, link.number, link.through
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
