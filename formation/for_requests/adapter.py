"""Middleware inside of a session of requests: an adapter, which the session sends by, with our chain in it."""

from __future__ import annotations

import io
from email.message import Message
from time import perf_counter
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict

from formation import errors
from formation.client import wire
from formation.for_requests import connections
from formation.for_requests.connections import FinalAdapter
from formation.for_requests.messages import Stream, header_dict, pairs, received, sendable, translated
from formation.http import UNSET, Body, Headers, Request
from formation.kernel import wrap
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import Ctx, Middleware


class Adapter(FinalAdapter):
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
            headers=Headers.received(pairs(request.headers)),
            content=request.body,
        )
        given = how.get("timeout")
        seen.timeout = given if isinstance(given, (int, float, tuple)) else UNSET  # urllib3.Timeout goes along as it is
        seen.extensions["stream"] = how.get("stream", False)
        opened: list[requests.Response] = []
        native = {"request": request, "how": how, "body": seen.body.native, "responses": opened}
        left = opened
        try:
            made, left = self._returned(self.chain(wire.context(seen, native)), request, opened)
        except errors.FormationError as error:
            last = opened[-1] if opened else None
            if last is not None and isinstance(error, errors.StatusError) and not how.get("stream"):
                last.content  # noqa: B018  as the session would have done
            theirs = _native_error(error, request, last)
            raise theirs from theirs.__cause__
        finally:
            for each in left:
                each.close()  # of an attempt that failed, or of a middleware that raised
        return made

    def _exchange(self, ctx: Ctx, /) -> Ctx:
        seen: Request = ctx[REQ_HTTP]
        native = ctx[NATIVE]
        request, how = native["request"].copy(), dict(native["how"])
        request.method, request.url = seen.method, seen.target
        request.headers = header_dict(seen, Headers())
        if seen.body.native is not native["body"]:  # somebody has put another there, or changed it
            request.body, length = sendable(seen.body)
            request.headers.pop("Transfer-Encoding", None)
            request.headers.pop("Content-Length", None)
            request.headers["Content-Length" if length is not None else "Transfer-Encoding"] = (
                str(length) if length is not None else "chunked"
            )
        deadline = ctx.get(DEADLINE)
        if seen.timeout is not UNSET:
            how["timeout"] = wire.timeouts(seen, deadline)
        elif deadline is not None:
            how["timeout"] = _until(deadline, how.get("timeout"))
        token = connections.deadline.set(deadline)
        started = perf_counter()
        try:
            response = super().send(request, **how)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise translated(error, deadline) from error
        finally:
            connections.deadline.reset(token)
        native["responses"].append(response)
        seen.extensions["stream"] = True  # the session reads the body, or its caller does
        ctx[RES_HTTP] = received(response, seen, deadline, perf_counter() - started)
        native["response"] = response
        return ctx

    def _returned(
        self, ctx: Ctx, request: requests.PreparedRequest, opened: list[requests.Response]
    ) -> tuple[requests.Response, list[requests.Response]]:
        """Return the response of requests, as it came if nobody has changed its body, and those to close."""
        answer = wire.answer(ctx)
        body = answer.body
        native = body.native.native if isinstance(body.native, Stream) else None
        if native in opened and not body.is_watched:  # else whoever waits for the end has to see it
            native.status_code, native.reason = answer.status_code, answer.reason
            before = native.headers.get("Content-Type")
            native.headers = CaseInsensitiveDict((name, answer.headers[name]) for name in answer.headers)
            if native.headers.get("Content-Type") != before:
                native.encoding = requests.utils.get_encoding_from_headers(native.headers)
            return native, [each for each in opened if each is not native]
        fields = urllib3.HTTPHeaderDict(wire.unpacked(answer, request.method or "GET"))
        raw = urllib3.HTTPResponse(
            body=_File(body, opened), headers=fields,
            status=answer.status_code, reason=answer.reason,
            preload_content=False, request_method=request.method, enforce_content_length=False,
            original_response=_Head(answer.headers),  # type: ignore[arg-type]  # as much of one as is asked for
        )  # fmt: skip
        return self.build_response(request, raw), []  # which closes them itself


def _until(deadline: float, given: urllib3.Timeout | None) -> urllib3.Timeout:
    """Return what the session says about timeouts, but never past the deadline."""
    limits = urllib3.Timeout(total=None) if given is None else given.clone()
    left = wire.remaining(deadline, "the deadline has passed before the request was sent")
    limits.total = min(limits.total, left) if isinstance(limits.total, (int, float)) else left
    return limits


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
    """A body as a file, for urllib3 to read; with it ends what it may be made from."""

    def __init__(self, body: Body, opened: list[requests.Response]) -> None:
        self.body, self.chunks, self.rest, self.opened = body, iter(body), b"", opened

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
        for each in self.opened:
            each.close()
        super().close()


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
