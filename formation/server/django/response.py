"""Django's response as ours, read when somebody asks, and written back where something has changed."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from django.http import HttpResponse, StreamingHttpResponse  # type: ignore[import-untyped]

from formation.http.body import Body
from formation.http.headers import Headers, digits
from formation.http.response import BODILESS
from formation.server.django.cookies import cookie_lines, put_cookies
from formation.server.django.streams import AsyncChunks, AsyncWithin, Chunks, Threaded, Within
from formation.server.response import ServerResponse, announces

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.ambient import Ambient
    from formation.http.request import Request
    from formation.http.response import Response

# ruff: noqa: SLF001  Django has no public way to hear of the end of a response


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
        cookies = [("Set-Cookie", line) for line in cookie_lines(native)] if native.cookies else []
        return Headers.received([*native.headers._store.values(), *cookies])

    def read_body(self) -> Body:
        """Return the content, or the stream of it."""
        native = self.native
        if not native.streaming:
            return Body(native.content)
        chunks = native.streaming_content
        return Body(Threaded(chunks) if self.is_async and not native.is_async else chunks, limit=self.limit)

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


def go_on(native: Any, around: Ambient) -> None:
    """Let what has been published hold until the response is closed, also for those who make a stream."""
    at_the_end(native, around.answered)
    if native.streaming and getattr(native, "file_to_stream", None) is None:
        within = AsyncWithin if native.is_async else Within
        native.streaming_content = within(native.streaming_content, around)


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
    if response.status_changed and response.status_code < 200:
        raise announces(response.status_code)
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
    if response.status_code < 200:
        raise announces(response.status_code)
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
    native.streaming_content = AsyncChunks(body) if is_async or body.is_async else Chunks(body)
    if file is not None and not is_mapped:
        native.file_to_stream = file


def _put_headers(native: Any, headers: Headers) -> None:
    """Let the response have these headers. They are checked already, so they need not go through Django's checks."""
    lines: dict[str, tuple[str, str]] = {}
    for name, value in headers.items():
        key = name.lower()
        lines[key] = (str(name), f"{lines[key][1]}, {value}" if key in lines else value)
    if lines.pop("set-cookie", None) or native.cookies:
        put_cookies(native, headers.getlist("Set-Cookie"))
    native.headers._store.clear()
    native.headers._store.update(lines)
