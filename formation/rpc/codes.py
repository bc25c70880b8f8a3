"""The codes of gRPC, and what they are in HTTP (the mapping of ``google/rpc/code.proto``).

>>> Code.of(404), Code.NOT_FOUND.status_code, Code.of("UNAVAILABLE").number
(Code.NOT_FOUND, 404, 14)
>>> f"{Code.NOT_FOUND}", Code.NOT_FOUND == "NOT_FOUND"
('NOT_FOUND', True)
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from formation.errors import AttemptTimeout, DeadlineExceeded, Rejected, ThrottleRejected


class Code(StrEnum):
    """A code of gRPC, in the order of its numbers. It is a ``str``: its name."""

    OK = "OK"
    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    INTERNAL = "INTERNAL"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"
    UNAUTHENTICATED = "UNAUTHENTICATED"

    @classmethod
    def of(cls, value: Any) -> Code:
        """Return the code that ``value`` means: a name, a number of gRPC, a status of HTTP, ``grpc.StatusCode``.

        ``None`` is `OK`.

        Raises:
            ValueError: it means none.
        """
        name = getattr(value, "name", value)
        if (code := _KNOWN.get(name)) is not None:
            return code
        if isinstance(name, int) and not isinstance(name, bool) and 100 <= name <= 999:
            return _of_status(name)
        raise ValueError(f"expected a code of gRPC such as 'NOT_FOUND', its number or a status of HTTP, got {value!r}")

    @property
    def number(self) -> int:
        """The number that goes over the wire."""
        return _NUMBERS[self]

    @property
    def status_code(self) -> int:
        """The status of HTTP."""
        return _STATUSES[self]

    def __repr__(self) -> str:
        return f"Code.{self.name}"


OK: Final = Code.OK
"""For hot paths: CPython 3.11 takes its time to find a member of an enum."""

_CODES: Final = tuple(Code)
_NUMBERS: Final = {code: number for number, code in enumerate(_CODES)}
_KNOWN: Final[dict[Any, Code]] = {
    None: Code.OK,
    **{code.value: code for code in _CODES},
    **dict(enumerate(_CODES)),
}
_STATUSES: Final = dict(
    zip(_CODES, (200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401), strict=True)
)
_OF_STATUS: Final = {
    400: Code.INVALID_ARGUMENT,  # FAILED_PRECONDITION and OUT_OF_RANGE say more than a 400 does
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,  # ALREADY_EXISTS says more
    412: Code.FAILED_PRECONDITION,
    413: Code.RESOURCE_EXHAUSTED,  # what gRPC says to a message over its limit
    416: Code.OUT_OF_RANGE,
    429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def _of_status(status: int) -> Code:
    code = _OF_STATUS.get(status)
    if code is not None:
        return code
    if status < 300:
        return Code.OK
    if status < 400:
        return Code.UNKNOWN
    return Code.FAILED_PRECONDITION if status < 500 else Code.INTERNAL


def code_for(error: BaseException) -> Code | None:
    """Return the code that an error of ours says, or ``None``: it says nothing to the other side.

    >>> code_for(ThrottleRejected("slowly")), code_for(KeyError("name"))
    (Code.RESOURCE_EXHAUSTED, None)
    """
    if isinstance(error, (DeadlineExceeded, AttemptTimeout)):
        return Code.DEADLINE_EXCEEDED
    if isinstance(error, ThrottleRejected):
        return Code.RESOURCE_EXHAUSTED
    return Code.UNAVAILABLE if isinstance(error, Rejected) else None
