"""What Django has: its request and its response, read when somebody asks, and written back where something has changed.

Who looks at the body of a stream gets it in the colour of the stack: of a sync iterator in an async stack Django itself
would make a list, and send that.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import lru_cache
from http.cookies import Morsel, SimpleCookie
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from asgiref.sync import sync_to_async
from django.http import HttpResponse, StreamingHttpResponse  # type: ignore[import-untyped]

from formation import ambient
from formation.http.body import CHUNK, Body
from formation.http.headers import Headers, digits
from formation.http.response import BODILESS
from formation.server.request import ServerRequest, authority
from formation.server.response import ServerResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from formation.ambient import Ambient
    from formation.http.request import Request
    from formation.http.response import Response

# ruff: noqa: SLF001  Django has no public way to put a body back, or to hear of the end of a response

_parameter = re.compile(r"(?<!\(\?P)<(?:[^<>:]*:)?([^<>:]*)>").sub
_UNPREFIXED: Final = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})
_CACHED: Final = ("headers", "COOKIES", "accepted_types", "accepted_types_by_precedence", "_current_scheme_host")
"""What Django's request has made of its headers, and makes again where it is gone."""


class DjangoRequest(ServerRequest):
    """Django's request. Forks of it have the same ``first``: what there was, once something has been written back."""

    __slots__ = ("first", "limit")

    def __init__(self, native: Any, limit: int | None) -> None:
        super().__init__(native, native.method, native.META.get("REMOTE_ADDR"))
        self.first: dict[str, Any] = {}
        self.limit = limit

    @property
    def is_untouched(self) -> bool:
        """Whether nobody has looked at more of it than its method and its peer, nor changed those."""
        return (
            not self._came
            and not self.first
            and self._method == self.native.method
            and self.peer == self.native.META.get("REMOTE_ADDR")
        )

    def read_url(self) -> str:
        """Return the URL, also where its host is none of ``ALLOWED_HOSTS``."""
        return self.first.get("url") or _url(self.native)

    def read_headers(self) -> Headers:
        """Return the headers, as ``META`` has them."""
        meta, names = self.first.get("META") or self.native.META, _names
        return Headers.received(
            [
                (name, str(value))
                for key, value in meta.items()
                if (name := names[key]) is not None and (value or key not in _UNPREFIXED)
            ]
        )

    def read_body(self) -> Body:
        """Return ``request.body``, unread."""
        return Body(_Posted(self.native), limit=self.limit)


class _Posted:
    """The body of Django's request, which Django keeps, for whoever reads it next, and limits."""

    length = None
    replayable = True

    def __init__(self, native: Any) -> None:
        self.native = native

    def rewind(self) -> bool:
        """Nothing to do: Django keeps it."""
        return True

    def __iter__(self) -> Iterator[bytes]:
        yield self.native.body


def give(request: Request, native: Any) -> Body | None:
    """Write into Django's request what has been changed, but for the body: return that if it is another one."""
    ours = request if isinstance(request, DjangoRequest) else None
    if ours is not None and ours.is_untouched:
        return None
    if ours is None or ours.first:  # a call before may have written something else
        new_url = new_headers = True
    else:
        new_url, new_headers = ours.url_changed, ours.headers_changed
        if new_url or new_headers:
            ours.first.update(META=native.META.copy(), url=_url(native))
    if request.method != native.method:
        native.method = native.META["REQUEST_METHOD"] = request.method
    if request.peer != native.META.get("REMOTE_ADDR"):
        native.META["REMOTE_ADDR"] = request.peer
    if new_headers:
        _put_request_headers(native, request.headers)
    if new_url and request.target != _url(native):
        _put_url(native, request.target)  # after the headers, for it says the host
    if ours is not None and not ours.body_read:
        return None
    body = request.body
    is_as_it_came = isinstance(body.native, _Posted) and not body.is_watched
    return None if is_as_it_came or (body.ended and not body.is_bytes) else body


def _url(native: Any) -> str:
    path = native.get_full_path().replace("#", "%23")  # of a query: nobody sends a fragment
    return f"{native.scheme}://{authority(native._get_raw_host())}{path}"


def _put_url(native: Any, url: str) -> None:
    parts, meta = urlsplit(url), native.META
    if parts.netloc != authority(native._get_raw_host()):
        meta["HTTP_HOST"] = parts.netloc.rpartition("@")[2]
    if parts.scheme != native.scheme:
        if hasattr(native, "scope"):
            native.scope = {**native.scope, "scheme": parts.scheme}  # the server's own stays as it is
        else:
            meta["wsgi.url_scheme"] = parts.scheme
    native.path, script = unquote(parts.path) or "/", meta.get("SCRIPT_NAME", "").rstrip("/")
    if not f"{native.path}/".startswith(f"{script}/"):  # not below where this site is mounted
        script = meta["SCRIPT_NAME"] = ""
    native.path_info = meta["PATH_INFO"] = native.path[len(script) :] or "/"
    meta["QUERY_STRING"] = parts.query
    for name in ("GET", *_CACHED):
        vars(native).pop(name, None)


def _put_request_headers(native: Any, headers: Headers) -> None:
    meta = native.META
    was_typed = meta.get("CONTENT_TYPE", "")
    lines = {_key(name): headers[name] for name in headers}
    for key in [key for key in meta if _names[key] is not None and key not in lines]:
        del meta[key]
    meta.update(lines)
    for name in _CACHED:
        vars(native).pop(name, None)
    if meta.get("CONTENT_TYPE", "") != was_typed:
        native._set_content_type_params(meta)


def put_body(native: Any, content: bytes) -> None:
    """Let the view find ``content``, in ``body``, ``POST``, ``FILES`` and ``read()``."""
    if vars(native).get("_body") != content:
        vars(native).update(_body=content, _stream=BytesIO(content), _read_started=False)
        native.META["CONTENT_LENGTH"] = str(len(content))
        for parsed in ("_post", "_files"):
            vars(native).pop(parsed, None)


def template_of(native: Any) -> str | None:
    """Return the route that Django has found, as ``/users/{id}``; a regular expression as it is."""
    match = native.resolver_match
    return None if match is None or match.route is None else _braced(match.route)


@lru_cache(maxsize=1024)  # a site has some hundreds
def _braced(route: str) -> str:
    return _parameter(r"{\1}", f"/{route}")


class _Names(dict[str, str | None]):
    """``HTTP_X_REQUEST_ID`` is X-Request-Id; what is no header is ``None``. They are asked for with each request."""

    MANY = 2048  # clients make names up

    def __missing__(self, key: str) -> str | None:
        name = None
        if key.startswith("HTTP_") or key in _UNPREFIXED:
            name = key.removeprefix("HTTP_").replace("_", "-").title()
        if len(self) < self.MANY:
            self[key] = name
        return name


_names: Final = _Names()


@lru_cache(maxsize=1024)
def _key(name: str) -> str:
    key = str(name).upper().replace("-", "_")
    return key if key in _UNPREFIXED else f"HTTP_{key}"


# The response


class DjangoResponse(ServerResponse):
    """Django's response."""

    __slots__ = ("is_async", "limit")

    def __init__(self, native: Any, request: Request, *, is_async: bool, limit: int | None) -> None:
        super().__init__(native, native.status_code, native._reason_phrase or "", request)
        self.is_async = is_async
        self.limit = limit

    def read_headers(self) -> Headers:
        """Return the headers, with a line for each of the cookies."""
        native = self.native
        cookies = [("Set-Cookie", line) for line in _cookie_lines(native)] if native.cookies else []
        return Headers.received([*native.headers._store.values(), *cookies])

    def read_body(self) -> Body:
        """Return the content, or the stream of it."""
        native = self.native
        if not native.streaming:
            return Body(native.content)
        chunks = native.streaming_content
        return Body(_Threaded(chunks) if self.is_async and not native.is_async else chunks, limit=self.limit)

    @property
    def came_body(self) -> Body:
        """The body as it came, whatever stands in its place by now."""
        body: Body = self._came["_body"]
        return body

    def close(self) -> None:
        """Drop it, with whatever it holds open."""
        super().close()
        drop(self.native)

    async def aclose(self) -> None:
        """Do what `close` does, for an ``async def``."""
        await super().aclose()
        drop(self.native)


def at_the_end(native: Any, do: Callable[[], object]) -> None:
    """Have Django call ``do`` when it closes the response."""
    native._resource_closers.append(do)


def close_with(native: Any, came: Any) -> None:
    """Close ``came``, in whose place ``native`` goes out, together with that one."""
    native._resource_closers += came._resource_closers


def drop(native: Any) -> None:
    """Close a response that does not go out, but for the signal that the request is over."""
    for closer in native._resource_closers:
        with suppress(Exception):  # as Django does
            closer()
    native._resource_closers.clear()


def given_back(response: DjangoResponse) -> Any:
    """Write into Django's response what has been changed; return it, or the one that takes its place."""
    native = response.native
    if native.status_code not in BODILESS:
        _without_body(response)
    if response.body_read:
        body = response.body
        if native.streaming:
            if body is not response.came_body or body.native is None or body.is_watched:
                _put_stream(native, body, is_async=response.is_async)
        elif not body.is_bytes:
            return made(response, is_async=response.is_async)
        else:
            _put_content(native, body)
    if response.status_changed or response._reason != (native._reason_phrase or ""):
        native.status_code, native.reason_phrase = response.status_code, response.reason
    if response.headers_changed:
        _put_headers(native, response.headers)
        is_head = response.request is not None and response.request.method == "HEAD"
        if is_head and "Content-Length" not in response.headers and hasattr(native, "file_to_stream"):
            native.file_to_stream = None  # a server that is handed a file would say how long that is
    return native


def made(response: Response, *, is_async: bool) -> Any:
    """Make a response of Django's for one of ours."""
    _without_body(response)
    body = response.body
    if body.is_bytes:
        native = HttpResponse()
        _put_content(native, body)
    else:
        native = StreamingHttpResponse()
        _put_stream(native, body, is_async=is_async)
    native.status_code, native.reason_phrase = response.status_code, response.reason
    _put_headers(native, response.headers)
    return native


def _without_body(response: Response) -> None:
    """Take the body away if a middleware has chosen a status that has none: Django would send it."""
    if response.status_code in BODILESS:
        response.body.close()
        response._take(Body(b""))
        response.headers.popall("Content-Length", None)


def _put_content(native: Any, body: Body) -> None:
    content = body.read()
    if content != native.content:
        native.content = content
    if body.is_watched:

        def sent() -> None:
            body.push(native.content)
            body.end()

        at_the_end(native, sent)


def _put_stream(native: Any, body: Body, *, is_async: bool) -> None:
    file = getattr(native, "file_to_stream", None)
    is_mapped = body.native is None
    if file is not None and not is_mapped and not is_async:

        def sent() -> None:
            if native.file_to_stream is file and body.native is not None:  # the server has sent it past Python
                body._count = digits(native.headers.get("Content-Length")) or 0
                body.end()

        at_the_end(native, sent)
    native.streaming_content = _AsyncChunks(body) if is_async or body.is_async else _Chunks(body)
    if file is not None and not is_mapped:
        native.file_to_stream = file


def _put_headers(native: Any, headers: Headers) -> None:
    """Let the response have these headers. They are checked already, so they need not go through Django's checks."""
    lines: dict[str, tuple[str, str]] = {}
    for name, value in headers.items():
        key = name.lower()
        lines[key] = (str(name), f"{lines[key][1]}, {value}" if key in lines else value)
    if lines.pop("set-cookie", None) or native.cookies:
        _put_cookies(native, headers.getlist("Set-Cookie"))
    native.headers._store.clear()
    native.headers._store.update(lines)


def _put_cookies(native: Any, lines: list[str]) -> None:
    """Keep the cookies whose line has stayed; a second one of the same name, for another path, is kept as well."""
    there = dict(zip(_cookie_lines(native), list(native.cookies.values()), strict=True))
    if lines != list(there):
        native.cookies.clear()
        for line in lines:
            cookie = there.get(line) or _cookie(line)
            native.cookies[line if cookie.key in native.cookies else cookie.key] = cookie


def _cookie_lines(native: Any) -> list[str]:
    return [cookie.output(header="").strip() for cookie in native.cookies.values()]


def _cookie(line: str) -> Morsel[str]:
    parsed = list(SimpleCookie(line).values())
    return parsed[0] if len(parsed) == 1 else _Verbatim(line)


class _Verbatim(Morsel[str]):
    """A cookie with attributes that Python's parser does not know."""

    def __init__(self, line: str) -> None:
        super().__init__()
        name, _, value = line.partition(";")[0].partition("=")
        self.set(name.strip(), value.strip(), value.strip())
        self.line = line

    def OutputString(self, attrs: Any = None) -> str:  # noqa: N802  its name
        return self.line


# Streams


class _Chunks:
    """A body as ``streaming_content``; Django closes it with the response."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body  # begun when somebody asks for the first chunk, and not before

    def close(self) -> None:
        self._body.close()


class _AsyncChunks:
    """The same in an async stack: of an iterator that is sync Django would make a list, and then send that."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._body)

    def close(self) -> None:
        self._body.close()


class _Threaded:
    """A sync stream in an async stack, pulled in the thread that Django has for what is sync, a block at a time."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> _Threaded:
        return self

    async def __anext__(self) -> bytes:
        if block := await sync_to_async(self._block)():
            return block
        raise StopAsyncIteration

    def _block(self) -> bytes:
        chunks, size = [], 0
        for chunk in self._chunks:
            chunks.append(chunk)
            size += len(chunk)
            if size >= CHUNK:
                break
        return b"".join(chunks)


def go_on(native: Any, around: Ambient) -> None:
    """Let what has been published hold until the response is closed, also for those who make a stream."""
    at_the_end(native, around.answered)
    if native.streaming and getattr(native, "file_to_stream", None) is None:
        within = _AsyncWithin if native.is_async else _Within
        native.streaming_content = within(native.streaming_content, around)


class _Within:
    """An iterator each of whose steps finds what has been published."""

    def __init__(self, chunks: Any, around: Ambient) -> None:
        self._chunks = chunks
        self._around = around

    def __iter__(self) -> _Within:
        return self

    def __next__(self) -> bytes:
        published = ambient.current.set(self._around)
        try:
            return next(self._chunks)  # type: ignore[no-any-return]
        finally:
            ambient.restore(published)


class _AsyncWithin:
    """The same for an async iterator."""

    def __init__(self, chunks: Any, around: Ambient) -> None:
        self._chunks = chunks
        self._around = around

    def __aiter__(self) -> _AsyncWithin:
        return self

    async def __anext__(self) -> bytes:
        published = ambient.current.set(self._around)
        try:
            return await anext(self._chunks)
        finally:
            ambient.restore(published)
