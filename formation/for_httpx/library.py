"""Which httpx: httpx2, or httpx where only that is installed; and what both call by the same names."""

from __future__ import annotations

import asyncio
import ssl
import sys
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from formation import errors
from formation.client import wire
from formation.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx2 as httpx
else:
    try:
        import httpx2 as httpx
    except ImportError:
        try:
            import httpx
        except ImportError as error:
            message = "httpx2 is not installed: pip install 'formation[httpx]'"
            raise ImportError(message, name=error.name) from error

__all__ = ["checked", "failures", "httpx", "library_of", "running_loop", "ssl_context", "translated", "within"]

TICK: Final = 0.001
"""Seconds by which the clock of an event loop may be early."""

_KINDS: Final = {
    "ConnectTimeout": errors.ConnectTimeout,
    "PoolTimeout": errors.ConnectTimeout,
    "ConnectError": errors.ConnectError,
    "ProxyError": errors.ConnectError,
    "UnsupportedProtocol": errors.ConnectError,
    "ReadTimeout": errors.ReadTimeout,
    "WriteTimeout": errors.WriteTimeout,
}


def library_of(thing: Any) -> Any:
    """Return httpx2 or httpx, whichever ``thing`` is of, be it of a class that derives from theirs.

    Raises:
        TypeError: it is of neither.
    """
    kind: Any = type(thing)
    library = _library_of(kind)
    if library is None:
        raise TypeError(f"expected something of httpx2 or httpx, got {thing!r}")
    return library


@lru_cache(maxsize=64)  # classes of clients and requests, of which a program has a handful
def _library_of(kind: type) -> Any:
    for each in kind.__mro__:
        library = sys.modules.get(each.__module__.partition(".")[0])
        if hasattr(library, "AsyncBaseTransport"):
            return library
    return None


def checked(client: Any, kind: str) -> Any:
    """Return a client that is brought, if it is of that kind."""
    if client is not None and not isinstance(client, getattr(library_of(client), kind)):
        raise TypeError(f"expected {kind} of httpx2 or httpx, got {client!r}")
    return client


def ssl_context(verify: Any, cert: Any) -> ssl.SSLContext:
    """Make the SSL context once; httpx does not want paths any more."""
    if isinstance(verify, str):
        verify = ssl.create_default_context(**{"capath" if Path(verify).is_dir() else "cafile": verify})  # type: ignore[arg-type]
    elif isinstance(verify, bool):
        verify = httpx.create_ssl_context(verify=verify)
    if cert is not None:
        verify.load_cert_chain(*([cert] if isinstance(cert, str) else cert))
    return verify  # type: ignore[no-any-return]


# Errors and deadlines


@cache
def failures(library: Any) -> tuple[type[Exception], ...]:
    """Return what httpx raises when an exchange fails; it lets some errors of TLS through as they are."""
    unmapped = [sys.modules["anyio"].EndOfStream] if "anyio" in sys.modules else []
    return (library.HTTPError, library.StreamError, ssl.SSLError, *unmapped)


def translated(error: BaseException, deadline: float | None) -> errors.FormationError:
    """Return our error for one of httpx."""
    said, names = str(error) or type(error).__name__, [each.__name__ for each in type(error).__mro__]
    if deadline is not None and monotonic() >= deadline - TICK:
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    if not {"NetworkError", "SSLError"}.isdisjoint(names) and _is_tls(error, connecting="ConnectError" in names):
        return errors.TLSError(said)
    return next((_KINDS[name] for name in names if name in _KINDS), errors.ProtocolError)(said)


def _is_tls(error: BaseException | None, *, connecting: bool) -> bool:
    """Tell whether TLS was refused; a connection that ends without a word is broken, unless it was just being made."""
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return connecting or not isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        error = error.__cause__ or error.__context__
    return False


def running_loop() -> Any:
    """Return what stands for the event loop that runs, of asyncio or trio."""
    trio = _trio()
    return asyncio.get_running_loop() if trio is None else trio.lowlevel.current_trio_token()


def _trio() -> Any:
    trio = sys.modules.get("trio")
    return trio if trio is not None and trio.lowlevel.in_trio_run() else None


async def within(deadline: float | None, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Await ``fn`` until the deadline.

    Raises:
        DeadlineExceeded: it has passed.
    """
    if deadline is None:
        return await fn(*args, **kwargs)
    left, trio = wire.remaining(deadline), _trio()
    if trio is not None:
        with trio.move_on_after(left):
            return await fn(*args, **kwargs)
        raise errors.DeadlineExceeded("the deadline has passed")
    limit = asyncio.timeout(left)
    try:
        async with limit:
            return await fn(*args, **kwargs)
    except TimeoutError as error:
        if not limit.expired():
            raise  # somebody else's, the body of the request for example
        raise errors.DeadlineExceeded("the deadline has passed") from error
