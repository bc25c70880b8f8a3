"""What a handler is given in the place of gRPC's servicer context, and how a call ends on a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import grpc

from formation.clock import monotonic
from formation.errors import ClientGone, DeadlineExceeded
from formation.rpc.codes import OK, Code
from formation.rpc.results import Result

if TYPE_CHECKING:
    from formation.rpc.calls import Call

TICK: Final = 0.001
"""Seconds by which a clock may be early."""


class Context:
    """Stands in for the servicer context of gRPC. What says how the call ends is kept until the chain has returned.

    It does not hold the context of the chain, which holds it: what is over is freed at once.
    """

    # With a dict, which is made when it is needed: handlers and interceptors keep things of their own in a context.
    __slots__ = ("__dict__", "_call", "_deadline", "_native", "aborted", "fields", "sent", "status", "text")

    def __init__(self, native: Any, call: Call, deadline: float | None) -> None:
        self._native = native
        self._call = call
        self._deadline = deadline
        self.aborted = False
        self.status: Any = None
        self.text: str | None = None
        self.fields: Any = None  # the trailers
        self.sent: Any = None  # the initial metadata

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def result(self, message: Any) -> Result:
        """Return what the handler has answered."""
        if self.aborted:
            message = None
        code = OK if self.status is None else code_of(self.status)
        return Result(
            code, self.text, headers=self.sent, trailers=self.fields, message=message, request=self._call, native=self
        )

    @property
    def is_silent(self) -> bool:
        """Whether the handler has set nothing, as most do."""
        return self.status is None and self.text is None and self.fields is None

    def hand_over(self) -> None:
        """Let gRPC have what the handler has set, where an error ends the call."""
        if self.fields is not None:
            self._native.set_trailing_metadata(self.fields)
        if self.text is not None:
            self._native.set_details(self.text)
        if self.status is not None:
            self._native.set_code(self.status)

    def invocation_metadata(self) -> Any:
        """Return the metadata of the call, with what the chain has changed."""
        changed = self._call.changed
        return self._native.invocation_metadata() if changed is None else changed

    def time_remaining(self) -> Any:
        """Return the seconds that are left, for the caller and for the chain."""
        left = self._native.time_remaining()
        if self._deadline is None:
            return left
        own = max(self._deadline - monotonic(), 0)
        return own if left is None else min(left, own)

    def send_initial_metadata(self, initial_metadata: Any) -> Any:
        """Send the initial metadata."""
        sent = self._native.send_initial_metadata(initial_metadata)
        self.sent = tuple(initial_metadata or ())
        return sent

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Set the trailers."""
        self.fields = tuple(trailing_metadata or ())

    def trailing_metadata(self) -> Any:
        """Return the trailers."""
        return self._native.trailing_metadata() if self.fields is None else self.fields

    def set_code(self, code: Any) -> None:
        """Set the code."""
        self.status = code

    def code(self) -> Any:
        """Return the code."""
        return self._native.code() if self.status is None else self.status

    def set_details(self, details: str) -> None:
        """Set the details."""
        self.text = details

    def details(self) -> Any:
        """Return the details, as bytes, as gRPC does."""
        return self._native.details() if self.text is None else self.text.encode()

    def abort(self, code: Any, details: str) -> None:
        """End the call with this code."""
        if code == grpc.StatusCode.OK:  # as gRPC: no way to end a call that went well
            code, details = grpc.StatusCode.UNKNOWN, ""
        self.aborted, self.status, self.text = True, code, details
        raise Aborted

    def abort_with_status(self, status: Any) -> None:
        """End the call with this status."""
        self.fields = tuple(status.trailing_metadata or ()) or None
        self.abort(status.code, status.details)


grpc.ServicerContext.register(Context)


def code_of(status: Any) -> Code:
    """Return the code that a handler has set; as with gRPC, what is none is UNKNOWN."""
    try:
        return Code.of(status)
    except (ValueError, TypeError):
        return Code.UNKNOWN


class Aborted(Exception):
    """What `abort` raises, to end the handler. gRPC raises a bare `Exception`."""


def gone(call: Call) -> Exception:
    """Make the error that says why nobody waits any more."""
    if call.deadline is not None and monotonic() >= call.deadline - TICK:
        return DeadlineExceeded("the caller's deadline has passed")
    return ClientGone("the caller has cancelled the call, or has gone")


def trailing(result: Result, given: Any, late: Any) -> tuple[Any, ...] | None:
    """Return the trailers to send, ``None`` where there are none.

    Args:
        result: the answer.
        given: what the handler has set.
        late: initial metadata that comes too late for that.
    """
    changed = result.changed_trailers
    fields = tuple(given or ()) if changed is None else changed.fields()
    return fields + tuple(late or ()) or None
