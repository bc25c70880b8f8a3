"""The edge for requests: clients on a ``requests.Session``, and middleware inside of anybody's session.

Three ways in:

- ``@client`` (or ``class Github(Client)``): a declarative client.
- `endpoint`: what sends, for `formation.wrap`; its context has ``fmtn.req.http`` and gets ``fmtn.res.http``.
- `Adapter`: mount it in any session, so in any SDK built on requests, and each request goes through the middleware.

Our sessions are faster than a plain one since they read proxies and CA bundles from the environment once, not at
each call, and do not read ``.netrc``. They keep no cookies. A session that you bring is used as it is.
"""

from __future__ import annotations

import io
from email.message import Message
from errno import ENOENT
from functools import lru_cache
from os import environ
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies

from formation import errors
from formation.client import wire
from formation.client.declare import SyncClient, decorator
from formation.client.responses import html_response, json_response, raw_response, text_response, xmltodict_response
from formation.client.sender import Sender
from formation.client.settings import Settings
from formation.http import UNSET, Body, Headers, Request, Response
from formation.http.headers import SENSITIVE as SECRETS
from formation.http.url import origin
from formation.kernel import wrap
from formation.keys import DEADLINE, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, TEMPLATE

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter
    from requests.structures import CaseInsensitiveDict

    from formation.client import connections
except ImportError as error:
    message = "requests is not installed: pip install 'formation[requests]'"
    raise ImportError(message, name=error.name) from error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from formation.kernel import Ctx, Middleware

__all__ = [
    "Adapter",
    "Client",
    "Endpoint",
    "build",
    "client",
    "endpoint",
    "html_response",
    "json_response",
    "raw_response",
    "text_response",
    "xmltodict_response",
]

_HEADERS: Final = Headers(
    {"User-Agent": wire.USER_AGENT, "Accept": "*/*", "Accept-Encoding": urllib3.util.request.ACCEPT_ENCODING}
)


class Endpoint:
    """What `endpoint` returns: takes a context with a request, sends it, and puts the response into the context."""

    __name__ = "requests"

    def __call__(self, ctx: Ctx, /) -> Ctx:
        """Send ``ctx["fmtn.req.http"]``; the response is whole, unless the request asks for a stream."""
        request: Request = ctx[REQ_HTTP]
        deadline: float | None = ctx.get(DEADLINE)
        timeout = wire.timeouts(request, deadline)
        token = connections.deadline.set(deadline)
        started = perf_counter()
        try:
            native = self._send(request, timeout)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error, deadline) from error
        finally:
            connections.deadline.reset(token)
        ctx[RES_HTTP] = _received(native, request, deadline, perf_counter() - started)
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    if TYPE_CHECKING:

        def _send(self, request: Request, timeout: tuple[float | None, float | None]) -> requests.Response: ...

    def close(self) -> None:
        """Close the connections, where they are ours."""


class _Pooled(Endpoint):
    """Connections of our own. What a session reads at each call, proxies and CA bundle, is read once."""

    def __init__(self, *, verify: bool | str, cert: Any, proxies: dict[str, str] | None) -> None:
        self._adapter = _Adapter(pool_maxsize=wire.POOL)
        bundle = environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE")
        self._tls = {"verify": bundle if verify is True and bundle else verify, "cert": cert}
        for path in (verify, *(cert if isinstance(cert, tuple) else (cert,))):
            if not isinstance(path, bool | None) and not Path(path).exists():
                raise FileNotFoundError(ENOENT, "No such certificate or bundle of them", path)
        found = getproxies() if proxies is None else proxies

        @lru_cache(maxsize=1024)
        def proxies_for(origin: str) -> dict[str, str]:
            return {} if proxies is None and requests.utils.should_bypass_proxies(origin, None) else found

        self._proxies_for = proxies_for if found else None

    def _send(self, request: Request, timeout: tuple[float | None, float | None]) -> requests.Response:
        prepared = requests.PreparedRequest()
        prepared.method, prepared.url = request.method, request.target
        prepared.body, length = _sendable(request.body)
        prepared.headers = _header_dict(request, _HEADERS)
        if length is not None and (length or request.method in {"POST", "PUT", "PATCH"}):
            prepared.headers.setdefault("Content-Length", str(length))
        proxies = self._proxies_for(origin(request.url)) if self._proxies_for else None
        how: Any = {"timeout": timeout, **self._tls}
        return self._adapter.send(prepared, stream=True, proxies=proxies, **how)

    def close(self) -> None:
        self._adapter.close()


class _Sessioned(Endpoint):
    """A session that somebody brought: it adds its headers, auth, cookies, hooks, and what the environment says."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def _send(self, request: Request, timeout: tuple[float | None, float | None]) -> requests.Response:
        body, length = _sendable(request.body)
        headers = dict(_header_dict(request, Headers()))
        away = request.extensions.get("away", False)
        # With an auth of its own, even one that does nothing, a request is left alone by the session's and by .netrc.
        auth = _as_it_is if away or "Authorization" in request.headers else None
        prepared = self._session.prepare_request(
            requests.Request(request.method, request.target, headers=headers, data=body, auth=auth)
        )
        if length and "Content-Length" not in prepared.headers:
            prepared.headers["Content-Length"] = str(length)
            prepared.headers.pop("Transfer-Encoding", None)
        for name in SECRETS if away else ():
            if name not in request.headers and name in self._session.headers:
                prepared.headers.pop(name, None)
        hold = _Hold()
        prepared.register_hook("response", hold)  # type: ignore[no-untyped-call]
        how = self._session.merge_environment_settings(prepared.url, {}, stream=True, verify=None, cert=None)
        return hold.back(self._session.send(prepared, allow_redirects=False, timeout=timeout, **how))


class _Hold:
    """Keeps a redirect from a session, which would look for the next request: read all of the body, and stumble."""

    location: str | None = None

    def __call__(self, response: requests.Response, **_: Any) -> None:
        self.location = response.headers.pop("Location", None)

    def back(self, response: requests.Response) -> requests.Response:
        if self.location is not None:
            response.headers["Location"] = self.location
        return response


def endpoint(
    session: requests.Session | None = None,
    *,
    verify: bool | str = True,
    cert: str | tuple[str, str] | None = None,
    proxies: dict[str, str] | None = None,
) -> Endpoint:
    """Make what sends, on requests: ``wrap(endpoint(), middleware=[…])``, or the setting ``endpoint=`` of a client.

    Args:
        session: a session of yours, used as it is: its adapters, headers, auth, cookies, proxies, hooks. Where a call
            leaves the client's origin, its auth and its ``Authorization`` stay home. ``None``: one of ours.
        verify: whether to check certificates, or a CA bundle's path; for our session. ``REQUESTS_CA_BUNDLE`` is read
            once.
        cert: the client's certificate, a path or a pair (certificate, key); for our session.
        proxies: scheme or scheme and host to proxy URL; ``None``: those of the environment, read once; for our session.

    Raises:
        FileNotFoundError: there is no such bundle or certificate.

    >>> from formation import wrap
    >>> from formation.http import Request
    >>> send = wrap(endpoint(), middleware=[])
    >>> send({"fmtn.req.http": Request("GET", "http://127.0.0.1:1/")})
    Traceback (most recent call last):
    formation.errors.ConnectError: ...
    """
    return _Pooled(verify=verify, cert=cert, proxies=proxies) if session is None else _Sessioned(session)


class Client(SyncClient):
    """A declarative client on requests; ``@client`` makes any class one.

    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     response_as = json_response
    ...
    ...     def stars(self, owner, repo):
    ...         return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})
    >>> Github(timeout=10).request
    <Github: https://api.github.com>
    """

    _connect = staticmethod(endpoint)


client = decorator(Client)


def build(**settings: Any) -> Sender:
    """Make a sender without a class: ``build(base_uri="https://h").get("/users")``.

    Args:
        **settings: see `formation.client.settings.Settings`.
    """
    return Sender(Settings(**settings), endpoint)


class _Adapter(HTTPAdapter):
    """An adapter that takes no informational response for the final one, and that closes its connections at once."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = connections.POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = connections.POOLS
        return manager

    def close(self) -> None:
        # urllib3 2 leaves that to the garbage collector, which waits for the last response that anybody keeps.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for pool in filter(None, map(manager.pools.get, manager.pools.keys())):
                pool.close()
        super().close()


class Adapter(_Adapter):
    """Middleware for any ``requests.Session``: ``session.mount("https://", Adapter(middleware=[retry()]))``.

    The session does what it always does, redirects and cookies among it, so that the middleware runs for each hop.
    Errors are those of requests: an error of ours that has none of requests as its cause becomes a
    ``requests.RequestException`` of its kind.

    Args:
        middleware: plain functions, outermost first.
        **kwargs: of ``requests.adapters.HTTPAdapter``, such as ``pool_maxsize``.

    Raises:
        TypeError: a middleware is none, or is ``async def``.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "chain"]  # noqa: RUF012  what is pickled

    def __init__(self, middleware: Iterable[Middleware[Ctx]] = (), **kwargs: Any) -> None:
        self.chain = wrap(self._exchange, middleware, is_async=False)
        super().__init__(**kwargs)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send the request through the middleware; called by the session."""
        names = ("stream", "timeout", "verify", "cert", "proxies")
        how = {**dict(zip(names, args, strict=False)), **kwargs}
        seen = Request(
            request.method or "GET",
            request.url or "",
            headers=Headers.received(_pairs(request.headers)),
            content=request.body,
        )
        given = how.get("timeout")
        seen.timeout = given if isinstance(given, (int, float, tuple)) else UNSET  # urllib3.Timeout goes along as it is
        seen.extensions["stream"] = how.get("stream", False)
        ctx: Ctx = {SIDE: "client", KIND: "http", REQ_HTTP: seen, TEMPLATE: seen.path, SENSITIVE: set(), STATE: {}}
        ctx[NATIVE] = {"request": request, "how": how, "body": seen.body.native}
        try:
            ctx = self.chain(ctx)
        except errors.FormationError as error:
            native = _native_error(error, request, self._left(ctx, error))
            raise native from native.__cause__
        except Exception as error:
            self._left(ctx, error)
            raise
        return self._returned(ctx, request)

    def _left(self, ctx: Ctx, error: Exception) -> requests.Response | None:
        """Return the response that nobody will read, closed; but read if the error is about its status."""
        response: requests.Response | None = ctx[NATIVE].get("response")
        if response is not None:
            if isinstance(error, errors.StatusError) and not ctx[NATIVE]["how"].get("stream"):
                response.content  # noqa: B018  as the session would have done
            else:
                response.close()
        return response

    def _exchange(self, ctx: Ctx, /) -> Ctx:
        seen: Request = ctx[REQ_HTTP]
        native = ctx[NATIVE]
        request, how = native["request"].copy(), dict(native["how"])
        request.method, request.url = seen.method, seen.target
        request.headers = _header_dict(seen, Headers())
        if seen.body.native is not native["body"]:  # somebody has put another there, or changed it
            request.body, length = _sendable(seen.body)
            request.headers.pop("Transfer-Encoding", None)
            request.headers.pop("Content-Length", None)
            request.headers["Content-Length" if length is not None else "Transfer-Encoding"] = (
                str(length) if length is not None else "chunked"
            )
        deadline = ctx.get(DEADLINE)
        if seen.timeout is not UNSET or deadline is not None:
            how["timeout"] = wire.timeouts(seen, deadline)
        token = connections.deadline.set(deadline)
        started = perf_counter()
        try:
            response = super().send(request, **how)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise _translated(error, deadline) from error
        finally:
            connections.deadline.reset(token)
        seen.extensions["stream"] = True  # the session reads the body, or its caller does
        ctx[RES_HTTP] = _received(response, seen, deadline, perf_counter() - started)
        native["response"] = response
        return ctx

    def _returned(self, ctx: Ctx, request: requests.PreparedRequest) -> requests.Response:
        """Return the response of requests; as it came, if nobody has changed anything."""
        answer: Response | None = ctx.get(RES_HTTP)
        if answer is None:
            message = f"{self.chain!r} returned no response: to answer in its place, 'return reply(ctx, status)'"
            raise LookupError(message)
        native: requests.Response | None = ctx[NATIVE].get("response")
        body = answer.body
        if (
            native is not None
            and body.native is not None
            and isinstance(body.native, _Stream)
            and body.native.native is native
            and not body._hooks  # noqa: SLF001  whoever waits for the end has to see it
        ):
            native.status_code, native.reason = answer.status_code, answer.reason
            before = native.headers.get("Content-Type")
            native.headers = CaseInsensitiveDict((name, answer.headers[name]) for name in answer.headers)
            if native.headers.get("Content-Type") != before:
                native.encoding = requests.utils.get_encoding_from_headers(native.headers)
            return native
        fields = [
            (str(name), value)
            for name, value in answer.headers.items()
            if name.lower() not in {"content-encoding", "transfer-encoding"}
        ]
        raw = urllib3.HTTPResponse(
            body=_File(body), headers=urllib3.HTTPHeaderDict(fields), status=answer.status_code, reason=answer.reason,
            preload_content=False, request_method=request.method, enforce_content_length=False,
            original_response=_Head(answer.headers),  # type: ignore[arg-type]  # as much of one as is asked for
        )  # fmt: skip
        return self.build_response(request, raw)


# Requests and responses, from ours to theirs and back


def _sendable(body: Body) -> tuple[Any, int | None]:
    """Return what urllib3 sends, and its length if that is known."""
    if body.is_async:
        message = f"{body!r} can only be sent by an async client"
        raise TypeError(message)
    return (body.read() or None if body.is_bytes else iter(body)), body.length


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _header_dict(request: Request, defaults: Headers) -> Any:
    headers = CaseInsensitiveDict(defaults)
    for name in request.headers:
        headers[str(name)] = request.headers[name]
    return headers


def _pairs(headers: Any) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        yield _text(name), _text(value)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _received(native: requests.Response, request: Request, deadline: float | None, elapsed: float) -> Response:
    fields: Any = getattr(native.raw, "headers", None)
    headers = Headers.received((fields if hasattr(fields, "iteritems") else native.headers).items())
    response = Response(
        native.status_code, headers, reason=native.reason or "", request=request, url=request.target, elapsed=elapsed
    )
    stream = _Stream(native, request, deadline)
    try:
        body = Body(stream, limit=wire.check_length(request, headers))
    except errors.BodyTooLarge:
        stream.close()
        raise
    if request.extensions.get("stream"):
        response.receive(body)
        return response
    response.receive(body.read())  # closes it, whatever happens
    return response


class _Stream:
    """The body of a response as it comes from the connection, decoded from its content encoding."""

    def __init__(self, native: requests.Response, request: Request, deadline: float | None) -> None:
        self.native, self.request, self.deadline = native, request, deadline

    def __iter__(self) -> Iterator[bytes]:
        raw = self.native.raw
        try:
            if not isinstance(raw, urllib3.BaseHTTPResponse) or raw.closed:  # of another make, or read by a hook
                yield from self.native.iter_content(wire.CHUNK)
                return
            # A stream wants bytes as soon as they come; for a whole body fewer and larger pieces are faster.
            read = raw.read1 if self.request.extensions.get("stream") or self.deadline is not None else raw.read
            while chunk := read(wire.CHUNK, decode_content=True):
                yield chunk
                if self.deadline is not None and monotonic() >= self.deadline:  # our own connections see to it, too
                    raise errors.DeadlineExceeded("the deadline has passed while the body was read")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _translated(error, self.deadline) from error

    def close(self) -> None:
        """Give the connection back if the body is through, else close it."""
        self.native.close()


class _Head:
    """The head of a response as `http.client` has it: requests looks there for cookies."""

    def __init__(self, headers: Headers) -> None:
        self.msg = Message()
        for line in headers.getlist("Set-Cookie"):
            self.msg["Set-Cookie"] = line

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to close."""


class _File(io.RawIOBase):
    """A body as a file, for urllib3 to read."""

    def __init__(self, body: Body) -> None:
        self.body, self.chunks, self.rest = body, iter(body), b""

    def readinto(self, buffer: Any) -> int:
        try:
            chunk = self.rest or next(self.chunks, b"")
        except errors.FormationError as error:  # as urllib3 expects it, of which requests makes its own
            if isinstance(error.__cause__, urllib3.exceptions.HTTPError):
                raise error.__cause__ from None
            raise (TimeoutError if isinstance(error, TimeoutError) else OSError)(str(error)) from error
        count = min(len(buffer), len(chunk))
        buffer[:count], self.rest = chunk[:count], chunk[count:]
        return count

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size) or b""

    def close(self) -> None:
        self.body.close()
        super().close()


def _translated(error: Exception, deadline: float | None) -> errors.FormationError:
    """Return our error for one of requests or urllib3."""
    inner: Any = error.args[0] if error.args and isinstance(error, requests.ConnectionError) else error
    inner = getattr(inner, "reason", None) or inner
    parts = inner.args if isinstance(inner, urllib3.exceptions.ProtocolError) else (inner,)
    # Before each part urllib3 puts the repr of its pool.
    said = ": ".join(str(part).rpartition("): ")[2].rstrip(".") for part in parts)
    if deadline is not None and monotonic() >= deadline:
        return errors.DeadlineExceeded(f"the deadline has passed: {said}")
    for ours, theirs in _TREE:
        if isinstance(error, theirs) or isinstance(inner, theirs):
            return ours(said)
    if isinstance(inner, urllib3.exceptions.ProtocolError) and any(
        isinstance(each, TimeoutError) for each in inner.args
    ):
        return errors.WriteTimeout(said)
    return errors.ProtocolError(said)


_TREE: Final[tuple[tuple[type[errors.TransportError], Any], ...]] = (
    (errors.TLSError, (requests.exceptions.SSLError, urllib3.exceptions.SSLError)),
    (errors.ConnectError, (requests.exceptions.ProxyError, urllib3.exceptions.NewConnectionError)),
    (errors.ConnectTimeout, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)),
    (errors.ReadTimeout, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError)),
)


def _native_error(
    error: errors.FormationError, request: requests.PreparedRequest, response: requests.Response | None
) -> requests.RequestException:
    """Return the error of requests that says what ``error`` says."""
    if isinstance(error.__cause__, requests.RequestException):
        return error.__cause__
    theirs: type[requests.RequestException] = requests.RequestException
    if isinstance(error, TimeoutError):
        theirs = requests.Timeout
    elif isinstance(error, (errors.TransportError, errors.Rejected)):
        theirs = requests.ConnectionError
    elif isinstance(error, errors.StatusError):
        theirs = requests.HTTPError
    made = theirs(str(error), request=request, response=response)
    made.__cause__ = error
    return made
