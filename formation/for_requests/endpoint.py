"""What sends on requests: by connections of our own, or by a session that somebody brought."""

from __future__ import annotations

from errno import ENOENT
from functools import lru_cache
from os import environ, getpid
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final
from urllib.request import getproxies

import requests
import urllib3

from formation.client import wire
from formation.for_requests import connections
from formation.for_requests.connections import FinalAdapter
from formation.for_requests.messages import header_dict, received, sendable, translated
from formation.http import Headers, Request
from formation.http.headers import SENSITIVE as SECRETS
from formation.http.origins import origin
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

if TYPE_CHECKING:
    from formation.kernel import Ctx


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
            raise translated(error, deadline) from error
        finally:
            connections.deadline.reset(token)
        ctx[RES_HTTP] = received(native, request, deadline, perf_counter() - started)
        ctx.setdefault(NATIVE, {})["response"] = native
        return ctx

    if TYPE_CHECKING:

        def _send(self, request: Request, timeout: tuple[float | None, float | None]) -> requests.Response: ...

    def close(self) -> None:
        """Close the connections, where they are ours."""


class _Pooled(Endpoint):
    """Connections of our own. What a session reads at each call, proxies and CA bundle, is read once."""

    def __init__(self, *, verify: bool | str, cert: Any, proxies: dict[str, str] | None) -> None:
        self._adapters: dict[int, FinalAdapter] = {}  # by process: after a fork the parent's are not ours
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
        prepared.body, length = sendable(request.body)
        prepared.headers = header_dict(request, _HEADERS)
        if length is not None and (length or request.method in {"POST", "PUT", "PATCH"}):
            prepared.headers.setdefault("Content-Length", str(length))
        proxies = self._proxies_for(origin(request.url)) if self._proxies_for else None
        how: Any = {"timeout": timeout, **self._tls}
        process = getpid()
        adapter = self._adapters.get(process) or self._adapters.setdefault(
            process, FinalAdapter(pool_maxsize=wire.POOL)
        )
        return adapter.send(prepared, stream=True, proxies=proxies, **how)

    def close(self) -> None:
        if (adapter := self._adapters.pop(getpid(), None)) is not None:
            adapter.close()


class _Sessioned(Endpoint):
    """A session that somebody brought: it adds its headers, auth, cookies, hooks, and what the environment says."""

    def __init__(self, session: requests.Session) -> None:
        self._session = session

    def _send(self, request: Request, timeout: tuple[float | None, float | None]) -> requests.Response:
        body, length = sendable(request.body)
        headers = dict(header_dict(request, Headers()))
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


def _as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared
