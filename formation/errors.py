"""The errors that Formation raises.

Everything of ours that can go wrong while a call runs derives from one class::

    FormationError
    ├── TransportError               the exchange with the server failed; the library's own error is __cause__
    │   ├── ConnectError             no connection was made, so the request was never sent
    │   │   └── ConnectTimeout       ... in time                               (also a TimeoutError)
    │   ├── TLSError                 the certificate or the handshake was refused
    │   ├── ReadTimeout              the server did not answer in time         (also a TimeoutError)
    │   ├── WriteTimeout             the server did not take the request in time   (also a TimeoutError)
    │   └── ProtocolError            the connection broke, or what came was not HTTP
    ├── AttemptTimeout               one attempt took too long                 (also a TimeoutError)
    ├── DeadlineExceeded             the whole call took too long              (also a TimeoutError)
    ├── StatusError                  a status that the caller does not expect
    │   └── ProblemError             ... and the answer says what is wrong (RFC 9457)
    ├── DecodeError                  a body that is not what it should be      (also a ValueError)
    ├── OAuth2Error                  the token endpoint gave no token
    ├── BodyTooLarge                 a body over ``max_body``
    ├── BodyConsumed                 a one-shot body was asked for a second time
    ├── ClientGone                   on a server: the client did not wait for the answer    (also an OSError)
    ├── BodyAbandoned                a body was closed before its end; not raised, ``on_close`` hooks get it
    ├── TooManyRedirects
    ├── PagesError                   pages that do not end
    ├── ForeignURLError              a URL of another origin than the client's (also a ValueError)
    ├── BreakerTriggerException      ``trigger_breaker_if`` said so
    ├── StorageUnavailable           what processes share, such as Redis, does not answer
    └── Rejected                     turned away by ourselves, before the endpoint was asked
        ├── ThrottleRejected
        └── BulkheadRejected

``CircuitOpenError`` is a ``Rejected`` and a ``pybreaker.CircuitBreakerError``; it loads pybreaker, so it comes on
demand.

Bad arguments are plain ``TypeError``, ``ValueError`` and ``LookupError``, raised where the argument was given.

The values are attributes and the message is made of them; every error can be pickled. An error that leaves a client
carries ``request`` and ``response`` (or ``None``), and a note that says where it comes from.

>>> error = BodyTooLarge(limit=64, got=100)
>>> str(error), error.limit
('the body is larger than max_body: 64 bytes allowed, at least 100 came', 64)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from formation.http import Request, Response
    from formation.resilience.gate import CircuitOpenError as CircuitOpenError  # noqa: PLC0414  for type checkers


class FormationError(Exception):
    """The base of all errors of Formation.

    ``request`` is the request that failed, with ``method``, ``url`` and ``template``; ``response`` is what came back
    for it, or ``None``. Both are ``None`` for an error that has nothing to do with HTTP.
    """

    request: Request | None = None
    response: Response | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def _restore(cls: type[FormationError], args: tuple[Any, ...], state: dict[str, Any]) -> FormationError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class TransportError(FormationError):
    """The exchange with the server failed. What the HTTP library said is the ``__cause__``.

    ``never_sent`` tells that the server cannot have seen the request: it may be sent again whatever its method.
    """

    never_sent = False


class ConnectError(TransportError):
    """No connection: refused, unreachable, or the host has no address."""

    never_sent = True


class ConnectTimeout(ConnectError, TimeoutError):
    """No connection within the connect timeout."""


class TLSError(TransportError):
    """The TLS handshake failed, or the certificate is not trusted. Trying again will not help."""


class ReadTimeout(TransportError, TimeoutError):
    """The server took longer than the read timeout between two pieces of its answer."""


class WriteTimeout(TransportError, TimeoutError):
    """The server took no more of the request within the read timeout."""


class ProtocolError(TransportError):
    """The connection broke in mid exchange, or what came was not HTTP. The server may have seen the request."""


class AttemptTimeout(FormationError, TimeoutError):
    """One attempt took longer than it may. Another attempt may be made."""


class DeadlineExceeded(FormationError, TimeoutError):
    """The call as a whole took longer than it may. No other attempt is made."""


class StatusError(FormationError):
    """The answer has a status that the caller did not expect.

    ``status_code``: the status; ``expected``: the statuses that were, or ``None`` where any below 400 would do.
    """

    def __init__(self, *, status_code: int, expected: tuple[int, ...] | None = None, name: str = "") -> None:
        self.status_code = status_code
        self.expected = expected
        self.name = name
        wanted = "a status below 400" if expected is None else " or ".join(map(str, expected))
        super().__init__(f"expected {wanted}, got {status_code}" + (f" from {name}" if name else ""))


class ProblemError(StatusError):
    """An answer that says what is wrong, as problem details (RFC 9457).

    A client gets one from `problem_details`. An app on a server may raise one, for `exception_handler` to answer with.

    ``type``: a URI that names the kind of problem; ``title``: the same in words; ``status``: as the problem says it,
    which a proxy may have changed on the way, or ``None``; ``detail``: what is wrong this time; ``instance``: a URI
    that names this time; ``extensions``: whatever else it says. What it does not say is empty.
    """

    def __init__(
        self,
        *,
        status_code: int,
        type: str = "about:blank",  # noqa: A002  as RFC 9457 has it
        title: str = "",
        status: int | None = None,
        detail: str = "",
        instance: str = "",
        extensions: dict[str, Any] | None = None,
        name: str = "",
    ) -> None:
        super().__init__(status_code=status_code, name=name)
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.instance = instance
        self.extensions = dict(extensions or {})
        said = ": ".join(filter(None, (title, detail)))
        self.args = (f"{status_code}{f' from {name}' if name else ''}{f': {said}' if said else ''}",)


class DecodeError(FormationError, ValueError):
    """A body that is not what it should be: it does not parse, or does not have the expected structure.

    ``status_code``, ``None`` for a request; ``content_type``; ``head``: the first 200 bytes; ``problems``: what is
    wrong, with the path of each field.
    """

    def __init__(
        self, *, status_code: int | None, content_type: str, head: bytes, problems: tuple[str, ...] = ()
    ) -> None:
        self.status_code = status_code
        self.content_type = content_type
        self.head = head[:200]
        self.problems = problems
        said = "; ".join(problems) or "it does not parse"
        what = "request" if status_code is None else str(status_code)
        super().__init__(
            f"cannot decode the body of a {what} {content_type or 'without content type'}: {said}; "
            f"it starts with {self.head!r}"
        )


class OAuth2Error(FormationError):
    """No token. ``status_code``, ``error`` and ``description`` are what the token endpoint said (RFC 6749, 5.2)."""

    def __init__(self, *, status_code: int, error: str, description: str = "") -> None:
        self.status_code = status_code
        self.error = error
        self.description = description
        said = " ".join(filter(None, (error or "without an error code", description)))
        super().__init__(f"no token: the token endpoint answered {status_code}, {said}")


class BodyTooLarge(FormationError):
    """A body over the limit.

    ``limit``: bytes allowed; ``got``: bytes seen, or announced, when it was given up; ``ratio``: where it is not
    ``max_body`` that it exceeds but this many times what has come over the wire, else ``None``.
    """

    def __init__(self, *, limit: int, got: int, ratio: float | None = None) -> None:
        self.limit = limit
        self.got = got
        self.ratio = ratio
        rule = "max_body" if ratio is None else f"max_ratio, {ratio:g} times what came"
        super().__init__(f"the body is larger than {rule}: {limit} bytes allowed, at least {got} came")


class BodyConsumed(FormationError):
    """A one-shot body was asked for again after it had been sent or iterated."""

    def __init__(
        self, what: str = "the body is a stream that has been read already; read .content before iterating it"
    ) -> None:
        super().__init__(what)


class BodyAbandoned(FormationError):
    """What an ``on_close`` hook gets as the error when the body was closed before its end, by whoever read it."""

    def __init__(self, what: str = "the body was closed before its end") -> None:
        super().__init__(what)


class ClientGone(FormationError, OSError):
    """On a server: the client did not wait for the answer, or for the app it is as if it had not."""


class TooManyRedirects(FormationError):
    """More redirects than allowed. ``limit``: hops allowed; ``url``: where the last one pointed."""

    def __init__(self, *, limit: int, url: str) -> None:
        self.limit = limit
        self.url = url
        super().__init__(f"more than {limit} redirects; the last one points to {url!r}")


class PagesError(FormationError):
    """Pages that do not end. ``url``: the page too many; ``pages``: how many were read; ``repeated``: it was one."""

    def __init__(self, *, url: str, pages: int, repeated: bool) -> None:
        self.url = url
        self.pages = pages
        self.repeated = repeated
        why = "it has been read already" if repeated else f"max_pages={pages} have been read"
        super().__init__(f"the pages do not end: the next one would be {url!r}, and {why}")


class ForeignURLError(FormationError, ValueError):
    """A URL of another origin than the client's. ``url``: the URL; ``base``: the client's ``base_uri``."""

    def __init__(
        self, *, url: str, base: str, hint: str = "pass absolute=True, or list its origin in allow_origins"
    ) -> None:
        self.url = url
        self.base = base
        super().__init__(f"{url!r} is of another origin than {base!r}: {hint}")


class BreakerTriggerException(FormationError):
    """Raised by ``trigger_breaker_if`` so that a circuit breaker outside of it counts a failure."""


class StorageUnavailable(FormationError):
    """What processes share does not answer, not in time, or with an error.

    ``name``: which one; ``why``; ``retry_after``: seconds until it is asked again, or ``None``: at once.
    """

    def __init__(self, name: str, why: str, *, retry_after: float | None = None) -> None:
        self.name = name
        self.why = why
        self.retry_after = retry_after
        super().__init__(f"{name} is not available: {why}")


class Rejected(FormationError):
    """Turned away by Formation itself; the endpoint was not asked.

    ``name``: who rejected it; ``retry_after``: seconds until another try may succeed, or ``None`` where nobody can
    tell.
    """

    def __init__(self, message: str, *, name: str = "", retry_after: float | None = None) -> None:
        self.name = name
        self.retry_after = retry_after
        super().__init__(message)


class ThrottleRejected(Rejected):
    """The rate is used up and waiting for it would take too long; or the endpoint accepts no more."""


class BulkheadRejected(Rejected):
    """As many calls as allowed are in flight."""


def __getattr__(name: str) -> Any:
    if name == "CircuitOpenError":
        from formation.resilience.gate import CircuitOpenError

        return CircuitOpenError
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
