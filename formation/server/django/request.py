"""Django's request as ours, read when somebody asks, and written back where something has changed."""

from __future__ import annotations

import re
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from formation.http.body import Body
from formation.http.headers import LONG, Headers
from formation.keys import KIND, NATIVE, REQ_HTTP, SENSITIVE, SESSION, SIDE, STATE, TRACE
from formation.server.request import ServerRequest, authority

if TYPE_CHECKING:
    from collections.abc import Iterator

    from formation.http.request import Request
    from formation.kernel import Ctx

# ruff: noqa: SLF001  Django has no public way to put a body back

_parameter = re.compile(r"(?<!\(\?P)<(?:[^<>:]*:)?([^<>:]*)>").sub
_TRACE: Final = {"traceparent": "HTTP_TRACEPARENT", "tracestate": "HTTP_TRACESTATE"}
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


def begun(native: Any, limit: int | None) -> Ctx:
    """Make the context of one of Django's requests."""
    meta = native.META
    ctx: Ctx = {
        SIDE: "server",
        KIND: "http",
        REQ_HTTP: DjangoRequest(native, limit),
        STATE: {},
        SESSION: {},
        SENSITIVE: set(),
        NATIVE: {"request": native},
    }
    if "HTTP_TRACEPARENT" in meta:
        ctx[TRACE] = {name: meta[key] for name, key in _TRACE.items() if key in meta}
    return ctx


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
    lines = {(_key if len(name) < LONG else _key_of)(name): headers[name] for name in headers}
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
        if key in _UNPREFIXED or (key.startswith("HTTP_") and key[5:] not in _UNPREFIXED):
            name = key.removeprefix("HTTP_").replace("_", "-").title()
        if len(self) < self.MANY and len(key) < LONG:
            self[key] = name
        return name


_names: Final = _Names()


def _key_of(name: str) -> str:
    key = str(name).upper().replace("-", "_")
    return key if key in _UNPREFIXED else f"HTTP_{key}"


_key: Final = lru_cache(maxsize=1024)(_key_of)
