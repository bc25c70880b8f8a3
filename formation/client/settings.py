"""What can be said about a client, on a class, an instance or in `extend`, and what can be said about one call.

A setting is checked where it is given, not when the first request fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from http.cookiejar import CookieJar
from typing import Any, Final, TypedDict, get_origin

import attrs
from attrs import define, field

from formation.http.headers import Headers, HeadersLike
from formation.http.origins import origin
from formation.http.redirects import MAX_REDIRECTS
from formation.http.timeouts import UNSET, Timeout, Unset, check_timeout
from formation.http.url import check_base
from formation.kernel import Composed

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a decoded body that are read into memory: far more than a JSON answer has, far less than a machine."""


def _base_uri(value: str | None) -> str | None:
    return None if value is None else check_base(value)


def _headers(value: HeadersLike | None) -> Headers:
    return Headers(value)


def _origins(value: Iterable[str]) -> frozenset[str]:
    if isinstance(value, str):
        message = f"expected allow_origins as a list of origins, got {value!r}: write [{value!r}]"
        raise TypeError(message)
    return frozenset(map(origin, value))


def _layers(value: Iterable[Any] | None) -> tuple[Any, ...]:
    return Composed(value or ()).middleware  # which refuses what is no middleware


def _cookies(value: Any) -> Any:
    if value is None or isinstance(value, CookieJar):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    message = f"expected cookies as a mapping, or a CookieJar to keep them between calls, got {value!r}"
    raise TypeError(message)


def check_auth(value: Any) -> Any:
    """Return ``value`` if it is a pair, a function or nothing."""
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)
    if value is None or pair or callable(value):
        return value
    message = f"expected auth as (user, password) or a function of the request, got {type(value).__name__}"
    raise TypeError(message)


def _whole(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        message = f"expected a whole number, 0 or more, got {value!r}"
        raise ValueError(message)
    return value


def _limit(value: int | None) -> int | None:
    return None if value is None else _whole(value)


def check_response_as(value: Any) -> Any:
    """Return ``value`` if it is a function, a type or nothing."""
    if value is None or callable(value) or get_origin(value) is not None:
        return value
    message = f"expected response_as as a function of ctx or a type, got {value!r}"
    raise TypeError(message)


def check_expect(value: Any) -> tuple[int, ...] | None:
    """Return the statuses that may be, if ``value`` is one or has some; ``None``: any may."""
    if value is None:
        return None
    statuses: tuple[Any, ...] = tuple(value) if isinstance(value, Iterable) else (value,)
    if not statuses or not all(isinstance(status, int) and not isinstance(status, bool) for status in statuses):
        message = f"expected expect as a status or a list of them, got {value!r}"
        raise TypeError(message)
    return statuses


def check_mapping(name: str, value: Any) -> Mapping[str, Any]:
    """Return ``value`` if it is a mapping; ``None`` is an empty one."""
    if value is None or isinstance(value, Mapping):
        return value or {}
    message = f"expected {name} as a mapping, got {type(value).__name__}"
    raise TypeError(message)


def _encoder(value: Any) -> Any:
    return _function("params_encoder", value)


def _endpoint(value: Any) -> Any:
    return _function("endpoint", value)


def _function(name: str, value: Any) -> Any:
    if value is None or callable(value):
        return value
    message = f"expected {name} as a function, got {value!r}"
    raise TypeError(message)


@define(frozen=True, kw_only=True)
class Settings:
    """The settings of a client.

    Args:
        base_uri: absolute http or https URL that paths are appended to; ``None``: calls give absolute URLs.
        middleware: outermost first.
        response_as: what the body of a result is: a function of ctx, or a type; see `formation.client.responses`.
        timeout: seconds, or ``(connect, read)``; ``None`` waits for ever; unset: 5 s to connect, 30 s to read.
        auth: ``(user, password)`` for basic authentication; a function that gets the request and sets what it has to;
            or a middleware: `bearer`, `basic`, `api_key`, `oauth2_client_credentials`.
        cookies: a mapping, sent with each call; or a `CookieJar`, which keeps what servers set.
        headers: sent with each call that does not set them.
        max_body: bytes of a decoded body that are read into memory, 64 MiB; ``None``: no limit.
        max_redirects: hops to follow, 10; 0: none.
        allow_origins: other origins that calls may name by absolute URL.
        per_hop: middleware that runs for each hop of a redirect, not once per call.
        params_encoder: makes query parameters of nested mappings, which are refused without it.
        endpoint: what sends, in place of the library's own; a function of ctx.

    Raises:
        TypeError, ValueError: a value that does not fit, with what would.
    """

    base_uri: str | None = field(default=None, converter=_base_uri)
    middleware: tuple[Any, ...] = field(default=(), converter=_layers)
    response_as: Any = field(default=None, converter=check_response_as)
    timeout: Timeout | Unset = field(default=UNSET, converter=check_timeout)
    auth: Any = field(default=None, converter=check_auth, repr=False)
    cookies: Any = field(default=None, converter=_cookies, repr=False)
    headers: Headers = field(default=None, converter=_headers, repr=False)
    max_body: int | None = field(default=MAX_BODY, converter=_limit)
    max_redirects: int = field(default=MAX_REDIRECTS, converter=_whole)
    allow_origins: frozenset[str] = field(default=(), converter=_origins)
    per_hop: tuple[Any, ...] = field(default=(), converter=_layers)
    params_encoder: Callable[..., Any] | None = field(default=None, converter=_encoder)
    endpoint: Any = field(default=None, converter=_endpoint)


NAMES: Final = tuple(each.name for each in attrs.fields(Settings))


class Options(TypedDict, total=False):
    """What a call can say; a call outdoes the client's settings.

    Body: ``json``, ``data``, ``files``, ``content``. Request: ``params``, ``path`` (values for ``{name}`` and
    ``:name``), ``headers``, ``cookies``, ``auth``, ``timeout``. Chain: ``middleware`` (innermost), ``without`` (names),
    ``session_context``. ``absolute=True``: the URL may be of another origin. The methods of a sender name three more
    themselves, for their types: ``response_as``, ``stream``, ``expect``.
    """

    params: Any
    path: Mapping[str, Any]
    headers: Mapping[str, str | None] | Iterable[tuple[str, str | None]]
    cookies: Mapping[str, str]
    auth: Any
    json: Any
    data: Any
    files: Any
    content: Any
    timeout: Timeout
    session_context: Mapping[str, Any]
    middleware: Iterable[Any]
    without: Iterable[str]
    absolute: bool


KNOWN: Final = frozenset({*Options.__annotations__, "response_as", "stream", "expect"})


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise a `TypeError` that lists the known names, and the nearest one, if a name is not known."""
    known = sorted(known)
    for name in given:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            message = f"{where} got an unknown argument {name!r}; {hint}It takes {', '.join(known)}"
            raise TypeError(message)


def settled(given: Mapping[str, Any]) -> Settings:
    """Return the settings that ``build`` was given.

    Raises:
        TypeError: an unknown one; it lists the known ones, and the nearest.
        TypeError, ValueError: a value that does not fit.
    """
    refuse_unknown(given, NAMES, "build()")
    return Settings(**given)
