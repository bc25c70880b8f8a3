"""A WSGI app (PEP 3333) called in the same process, without a socket, in the place of an HTTP library.

A client class is tested against the app that it is made for, or an app is a part of another one. Users have it from
``formation.for_wsgi``.
"""

from __future__ import annotations

import io
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from formation.client import wire
from formation.client.in_process import Tally, check_prefix, failed, has_body, logger, respond, target
from formation.client.unpacking import unpacking
from formation.errors import ProtocolError
from formation.http import Body, Headers, Request, Response
from formation.introspection import is_coroutine_callable
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import TypeAlias

    from formation.kernel import Ctx

    ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    App: TypeAlias = Callable[[dict[str, Any], Any], Iterable[bytes]]

__all__ = ["Endpoint", "endpoint"]

_END: Final = object()


class Endpoint:
    """What `endpoint` returns: takes a context with a request, calls the app, puts the response into the context."""

    __name__ = "wsgi"

    def __init__(self, app: App, *, raise_app_exceptions: bool, remote_addr: str, script_name: str) -> None:
        if not callable(app):
            raise TypeError(f"expected a WSGI app, a function of environ and start_response, got {app!r}")
        if is_coroutine_callable(app):
            raise TypeError(f"expected a WSGI app, got {app!r}, which is async: formation.for_asgi.endpoint calls it")
        self._app = app
        self._raises = raise_app_exceptions
        self._remote_addr = remote_addr
        self._script_name = check_prefix(script_name, "script_name")

    def __call__(self, ctx: Ctx, /) -> Ctx:
        """Call the app with ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        if (deadline := ctx.get(DEADLINE)) is not None:
            wire.remaining(deadline)
        sent = _Input(request.body)
        environ = self._environ(request, sent)
        ctx.setdefault(NATIVE, {})["environ"] = environ
        started = perf_counter()
        answer = _Answer(sent, raises=self._raises)
        try:
            answer.begin(self._app, environ)
        except Exception as error:
            answer.close()
            if sent.error is not None:
                raise sent.error from None
            if self._raises:
                raise
            ctx[RES_HTTP] = failed(request, error, "the app raised", perf_counter() - started)
            return ctx
        except BaseException:
            answer.close()
            raise
        ctx[RES_HTTP] = answer.respond(request, perf_counter() - started)
        return ctx

    def close(self) -> None:
        """Do nothing: there is no connection."""

    def _environ(self, request: Request, sent: _Input) -> dict[str, Any]:
        where = target(request, self._script_name, "script_name")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": self._script_name.encode().decode("latin-1"),
            "PATH_INFO": where.path.decode("latin-1")[len(self._script_name.encode()) :],
            "QUERY_STRING": where.query,
            "REQUEST_URI": where.raw_path + (f"?{where.query}" if where.query else ""),
            "SERVER_NAME": where.host,
            "SERVER_PORT": str(where.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self._remote_addr,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": where.scheme,
            "wsgi.input": sent.file,
            "wsgi.input_terminated": True,  # it ends where the body ends, whether its length is known or not
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in where.lines:
            key = name.upper().replace("-", "_")
            if key not in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                key = f"HTTP_{key}"
            joint = "; " if key == "HTTP_COOKIE" else ", "
            environ[key] = f"{environ[key]}{joint}{value}" if key in environ else value
        return environ


def endpoint(
    app: App, *, raise_app_exceptions: bool = True, remote_addr: str = "127.0.0.1", script_name: str = ""
) -> Endpoint:
    """Make what calls a WSGI app in process: the setting ``endpoint=`` of a client, or ``wrap(endpoint(app), […])``.

    The body of the request is read when the app reads ``wsgi.input``. The head of the response is there, as on a
    server, when the app has yielded or written its first bytes, and until then the app may replace it; the rest is
    pulled as it is read, and ``close()`` is called once. What an app hands to ``write()`` is kept until it is read. A
    Content-Length that is not met is a `ProtocolError`. Timeouts have no effect: nothing can interrupt a function.

    Args:
        app: called as PEP 3333 says.
        raise_app_exceptions: whether an exception of the app is raised in the caller, as tests want it. ``False``: it
            is logged, and the response is a 500, or, where the head has been sent, breaks off.
        remote_addr: ``REMOTE_ADDR``: where the request seems to come from.
        script_name: ``SCRIPT_NAME``: the path where the app is mounted; it has to be in the client's ``base_uri``.

    Raises:
        TypeError: ``app`` is no callable, or is async.
        ValueError: ``script_name`` is no path. At a call: the request's path is not below it.

    >>> from formation.for_requests import build
    >>> def app(environ, start_response):
    ...     start_response("200 OK", [("Content-Type", "text/plain")])
    ...     return [b"hello ", environ["PATH_INFO"].encode()]
    >>> build(base_uri="http://app", endpoint=endpoint(app)).get("/ring").body
    b'hello /ring'
    """
    return Endpoint(app, raise_app_exceptions=raise_app_exceptions, remote_addr=remote_addr, script_name=script_name)


class _Input(io.RawIOBase):
    """The body of the request, for the app to read; ``file`` is ``wsgi.input``."""

    def __init__(self, body: Body) -> None:
        if body.is_async:
            raise TypeError(f"{body!r} can only be sent by an async client")
        self.body = body
        self.error: Exception | None = None  # of whoever makes the body: not the app's
        self.file: Any
        if body.is_bytes:
            self.file = io.BytesIO(b"".join(body))
        else:
            self._chunks, self._rest = iter(body), b""
            self.file = io.BufferedReader(self, wire.CHUNK)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self._rest or next(self._chunks, b"")
        except Exception as error:
            self.error = error
            raise
        count = min(len(buffer), len(chunk))
        buffer[:count], self._rest = chunk[:count], chunk[count:]
        return count

    def drop(self) -> None:
        """Let go of what the app has not read."""
        if not self.body.is_bytes:
            self.body.close()


class _Answer:
    """One call of the app: the head it has given, and what it writes and yields; the source of the response's body."""

    def __init__(self, sent: _Input, *, raises: bool) -> None:
        self._sent = sent
        self._raises = raises
        self._status, self._reason = 0, ""
        self._headers: Headers | None = None
        self._is_out = False  # bytes have gone out, and the head before them
        self._ready: list[bytes] = []  # what is to be read before the iterable is asked again
        self._iterable: Any = None
        self._chunks: Iterator[Any] = iter(())
        self._tally: Tally
        self._unpack: Callable[[bytes], Iterator[bytes]]

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None, /
    ) -> Callable[[bytes], None]:
        """Take the head; called by the app, a second time only with ``exc_info``."""
        try:
            if exc_info is not None and exc_info[1] is not None and self._is_out:
                raise exc_info[1].with_traceback(exc_info[2])
            if exc_info is None and self._headers is not None:
                raise RuntimeError("start_response() was called already: a second time it takes exc_info (PEP 3333)")
        finally:
            exc_info = None
        code, _, reason = status.partition(" ")
        if len(code) != 3 or not code.isdecimal():
            raise ValueError(f"expected a status such as '200 OK' from the app, got {status!r}")
        self._headers, self._status, self._reason = Headers(headers), int(code), reason
        self._tally = Tally(self._headers)
        return self.write

    def write(self, data: bytes, /) -> None:
        """Take bytes that go before those of the iterable; what `start_response` returns."""
        if data:
            self._is_out = True
            self._ready.append(self._tally.add(data))

    def begin(self, app: App, environ: dict[str, Any]) -> None:
        """Call the app, and go on until the head is final: to the first bytes, or the end."""
        self._iterable = app(environ, self.start_response)
        self._chunks = iter(self._iterable)
        while not self._ready and self._pull():
            pass
        if self._headers is None:
            raise RuntimeError(f"{app!r} has not called start_response()")
        self._is_out = True

    def respond(self, request: Request, elapsed: float) -> Response:
        """Make the response."""
        headers = self._headers or Headers()
        response = respond(request, self._status, self._reason, headers, elapsed)
        if not has_body(request, response):
            self.close()
            return response
        try:
            limit = wire.check_length(request, headers)
        except BaseException:
            self.close()
            raise
        self._unpack = unpacking(headers, request)
        body = Body(self, limit=limit)
        response.receive(body if request.extensions.get("stream") else body.read())
        return response

    def __iter__(self) -> Iterator[bytes]:
        try:
            more = True
            while more or self._ready:
                ready, self._ready = self._ready, []
                for chunk in ready:
                    yield from self._unpack(chunk)
                more = more and self._pull()
            self._tally.end()
            yield from self._unpack(b"")
        except ProtocolError:
            raise
        except Exception as error:
            if self._sent.error is not None:
                raise self._sent.error from None
            if self._raises:
                raise
            logger.error("the app raised in the middle of its response", exc_info=error)
            raise ProtocolError("the app failed in the middle of its response") from error

    def _pull(self) -> bool:
        """Ask the iterable for more; ``False`` at its end."""
        chunk = next(self._chunks, _END)
        if chunk is _END:
            return False
        if chunk and self._headers is None:
            raise RuntimeError("the app yielded a part of its body before it called start_response()")
        if chunk and self._tally.add(chunk):
            self._ready.append(chunk)  # type: ignore[arg-type]
        return True

    def close(self) -> None:
        """Close the app's iterable, once, and what was not read of the request."""
        iterable, self._iterable = self._iterable, None
        try:
            if hasattr(iterable, "close"):
                iterable.close()
        finally:
            self._sent.drop()
