"""``Content-Type``: say what the body of the request is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from formation.http.headers import check_value
from formation.http.media_types import JSON_TYPE
from formation.kernel import Call, Ctx, Middleware
from formation.keys import REQ_HTTP

if TYPE_CHECKING:
    from formation.http import Request


def content_type(mime: str) -> Middleware[Ctx]:
    """Set the request header ``Content-Type`` unless the call has one (RFC 9110, 8.3).

    A form keeps the type that comes with it, and a multipart form its boundary. JSON takes the new type, which may be
    one of JSON's many, such as ``application/merge-patch+json``. A context without an HTTP request passes through.

    Args:
        mime: a media type: ``"application/json"``, ``"text/csv; charset=utf-8"``.

    Raises:
        TypeError: ``mime`` is no ``str``.
        ValueError: it names no ``type/subtype``, or it would break the message.

    >>> from formation.http import Request
    >>> request = Request("POST", "https://h/", content=b"a,b")
    >>> ctx = content_type("text/csv")({"fmtn.req.http": request}, lambda ctx: ctx)
    >>> request.headers["Content-Type"]
    'text/csv'
    """
    if "/" not in check_value("Content-Type", mime):
        message = f"expected a media type such as 'application/json', got {mime!r}"
        raise ValueError(message)

    def content_type(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP)
        if request is not None and not _typed(request):
            request.headers["Content-Type"] = mime
        return call(ctx)

    return content_type


def _typed(request: Request) -> bool:
    """Whether the call has said what its body is, by a header or by giving a form."""
    if "Content-Type" in request.headers:
        return True
    request.body  # noqa: B018  made here, for the type that comes with it
    return request.headers.get("Content-Type") not in {None, JSON_TYPE}
