"""Do what is asked once, and answer the second time as the first: the server's half of `idempotency_key`.

Theory of operation
-------------------
The key of a request is claimed before the app is called (`formation.resilience.claims`), and the answer is kept before
a byte of it goes out. So whoever has seen an answer gets the same one again, whether or not the connection broke on the
way; and while there is no answer the key is either claimed, or free.

*An answer is the end of the work.* Until the app has said its status, an error, or a cancelled task, frees the key.
After that the key is never freed: if the rest of the answer cannot be had, or is not to be kept, what is kept is that
the work was done.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

from formation import clock as clock_
from formation.errors import StorageUnavailable
from formation.events import Events, called
from formation.exchange import reply
from formation.http import Request, Response
from formation.http.headers import check_name
from formation.http.request import check_method
from formation.kernel import Call, Middleware
from formation.keys import KIND, REQ_HTTP, RES_HTTP
from formation.middleware._shed import is_asked, is_shed, shed
from formation.places import user_of
from formation.resilience.checks import count, positive
from formation.resilience.claims import Claims, Found
from formation.resilience.register import Claim, Register
from formation.resilience.replay import digest, pack, read_key, unpack
from formation.server.whole import whole
from formation.storage.choice import Storage

METHODS: Final = ("POST", "PATCH")
"""Those that are not idempotent by themselves (RFC 9110, 9.2.2; RFC 5789, 2)."""

TTL: Final = 24 * 3600
"""Seconds: who comes back later has forgotten what he wanted. As Stripe."""

LEASE: Final = 300
"""Seconds: five times what proxies wait for an answer, after which clients give up and come back with the same key. It
is not renewed: an app that hangs would hold the key for ever."""

MAX_BODY: Final = 1024 * 1024
"""Bytes of an answer to a POST; a longer one is a download, and who wants that again asks with a GET."""

AGAIN: Final = frozenset({401, 403, 408, 425, 429})
"""Statuses below 500 that are not the end: who asks has to show who he is first, or is to come back."""

AGAIN_AFTER: Final = {"Retry-After": "1"}
"""Seconds: most apps have answered by then."""

CREDENTIALS: Final = ("Authorization", "X-API-Key")
"""Headers that say who asks: both, for one may be that of all. Else Cookie, which may change with each answer."""


def by_caller(ctx: Any) -> Hashable:
    """Say who asks: the user, if somebody outside of here has found out (`user_of`); else by `CREDENTIALS`."""
    uid = user_of(ctx)
    if uid is not None:
        return "uid", str(uid)
    headers = ctx[REQ_HTTP].headers
    names = [name for name in CREDENTIALS if name in headers] or ["Cookie"]
    return tuple(part for name in names for part in (name, headers.get(name, "")))


def is_final(status: int) -> bool:
    """Tell whether a status is the end of the matter: no failure (5xx), and nothing that wants to be asked again.

    >>> [status for status in (201, 400, 402, 429, 500, 503) if is_final(status)]
    [201, 400, 402]
    """
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in AGAIN


def idempotency(
    storage: Storage | Claims | None = None,
    ttl: float = TTL,
    *,
    required: bool = False,
    key: Callable[[Any], Hashable] = by_caller,
    methods: Iterable[str] = METHODS,
    header: str = "Idempotency-Key",
    lease: float = LEASE,
    max_body: int = MAX_BODY,
    keep: Callable[[int], bool] = is_final,
    replay_header: str | None = "Idempotency-Replayed",
    fail_open: bool = True,
    logger: Any = None,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Do what a POST or a PATCH with an ``Idempotency-Key`` asks once: the same key gets the same answer again.

    A key belongs to a caller, a method and a path. While the first request is under way, others with its key get a 409
    with Retry-After; one whose query or body is another gets a 422, a key that is none a 400. An answer is kept as the
    app has given it, before it goes out, so it is held back until it is whole: but for ``text/event-stream``, and what
    is longer than ``max_body``. Of these is kept that they were given: the same key gets a 409 without Retry-After. An
    app that raises, is cancelled, or answers with what `is_final` does not call final, frees the key.

    On a client, around a function and on a WebSocket it does nothing. The body of the request is read into memory, up
    to the ``max_body`` of the edge. Events: ``idempotency.replayed`` (info), ``idempotency.rejected`` (warning),
    ``idempotency.not_kept`` (warning), ``idempotency.overtaken`` (error), ``idempotency.per_process`` (warning),
    ``storage.unavailable`` (warning, once a minute).

    Args:
        storage: a `formation.storage.redis.Redis`, or its URL, for all processes together; ``None``: the memory of this
            one, which is right where there is one; a `MemoryClaims` with other limits.
        ttl: seconds for which an answer is kept.
        required: whether such a request without a key is answered by a 400, or passes.
        key: a function of the context: who asks, text or a tuple of texts; ``None``: the request passes.
        methods: of requests that it is for.
        header: that has the key.
        lease: seconds after which a request that has been under way no longer counts, for its process was killed; more
            than the app ever takes.
        max_body: bytes of an answer that is kept.
        keep: a function of the status: whether the answer is kept, and the key not freed.
        replay_header: of answers that are given again; ``None``: none.
        fail_open: what to do where Redis does not answer: go on with what the memory of this process knows, so that
            something may be done twice; or answer 503.
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        random: a number between two.

    Raises:
        ValueError: a number that cannot be; a header or a method that is none.
        TypeError: ``storage``, ``key``, ``keep`` or ``logger`` is none.

    Order:
        Inside of what finds out who asks, and of a limit to the rate; outside of `timeout`, and of what changes data.
        What stands inside is a part of the answer that is kept; what stands outside, such as a request id, is not.

    Source: draft-ietf-httpapi-idempotency-key-header.

    >>> from logging import getLogger
    >>> from formation.for_requests import build
    >>> from formation.for_wsgi import FormationMiddleware, endpoint
    >>> orders = []
    >>> def app(environ, start_response):
    ...     orders.append("beans")
    ...     start_response("201 Created", [])
    ...     return [b"order %d" % len(orders)]
    >>> served = FormationMiddleware(app, [idempotency(logger=getLogger("docs.quiet"))])
    >>> shop = build(base_uri="http://shop", endpoint=endpoint(served))
    >>> first, again = (shop.post("/orders", headers={"Idempotency-Key": "7f3a"}).response for attempt in range(2))
    >>> first.content, again.content, again.headers["Idempotency-Replayed"], orders
    (b'order 1', b'order 1', 'true', ['beans'])
    """
    positive("ttl", ttl)
    positive("lease", lease)
    count("max_body", max_body, least=0)
    if not callable(keep):
        raise TypeError(f"expected keep as a function of the status, got {keep!r}")
    keyed = frozenset(map(check_method, [methods] if isinstance(methods, str) else methods))
    events = Events(logger)
    register = Register(storage, ttl, lease, events, fail_open=fail_open)
    asked = _Asked(header, keyed, key, required=required)
    answers = _Answers(header, replay_header, events)

    def first(ctx: Any, call: Call[Any], claim: Claim) -> Any:
        """Call the app, and keep what it answers."""
        try:
            out = call(ctx)
            response = out.get(RES_HTTP) if isinstance(out, dict) else None
            is_done = response is not None and not is_shed(out) and keep(response.status_code)
        except BaseException:
            register.release(claim)
            raise
        if response is None or not is_done:
            register.release(claim)
            return out
        register.keep(claim, lambda: _outcome(response, max_body), called(ctx))
        return out

    def idempotency(ctx: Any, call: Call[Any]) -> Any:
        claim = asked(ctx)
        if claim is None:
            return call(ctx)
        if isinstance(claim, str):
            return answers.refuse(ctx, 400, claim)
        try:
            found = register.claim(claim)
        except StorageUnavailable:
            return shed(ctx, "idempotency", random)
        return first(ctx, call, claim) if found is None else answers.again(ctx, claim, found)

    return idempotency


class _Asked:
    """What a request asks to be done once."""

    def __init__(self, header: str, methods: frozenset[str], key: Callable[[Any], Hashable], *, required: bool) -> None:
        if not callable(key):
            raise TypeError(f"expected key as a function of the context, got {key!r}")
        check_name(header)
        self._header, self._methods, self._key, self._required = header, methods, key, required

    def __call__(self, ctx: Any) -> Claim | str | None:
        """Return what is to be claimed; ``None``: nothing; or what is wrong."""
        if (
            not is_asked(ctx)
            or REQ_HTTP not in ctx
            or ctx[REQ_HTTP].method not in self._methods
            or ctx.get(KIND) == "websocket"
        ):
            return None
        request: Request = ctx[REQ_HTTP]
        lines = request.headers.getlist(self._header)
        if not lines:
            return f"this request needs a header {self._header}" if self._required else None
        who = self._key(ctx)
        if who is None:
            return None
        try:
            given = read_key(lines)
        except ValueError as error:
            return f"{self._header}: {error}"
        place = digest(_named(who), request.method, request.path, given)
        return Claim(place, digest(urlsplit(request.target).query, request.content))


class _Answers:
    """What is answered in place of the app."""

    def __init__(self, header: str, replay_header: str | None, events: Events) -> None:
        self._header = header
        self._mark = [] if replay_header is None else [(check_name(replay_header), "true")]
        self._events = events

    def again(self, ctx: Any, claim: Claim, found: Found) -> Any:
        """Answer a key that somebody has claimed before."""
        if found.fingerprint != claim.fingerprint:
            return self.refuse(ctx, 422, f"this {self._header} came with another request")
        if found.outcome is None:
            return self.refuse(ctx, 409, f"the first request with this {self._header} is under way", AGAIN_AFTER)
        if not found.outcome:
            return self.refuse(ctx, 409, f"what this {self._header} asks for was done; its answer was not kept")
        status, headers, content = unpack(found.outcome)
        self._events("info", "idempotency.replayed", status=status, **called(ctx))
        return reply(ctx, status, headers + self._mark, content)

    def refuse(self, ctx: Any, status: int, why: str, headers: Mapping[str, str] = MappingProxyType({})) -> Any:
        """Answer by problem details (RFC 9457)."""
        self._events("warning", "idempotency.rejected", status=status, reason=why, **called(ctx))
        said = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": why}
        return reply(ctx, status, {"Content-Type": "application/problem+json", **headers}, json.dumps(said))


def _named(who: Hashable) -> str:
    """Name who asks, the same in every process."""
    if isinstance(who, str):
        return who
    if isinstance(who, tuple) and all(isinstance(each, str) for each in who):
        return digest(*who)
    raise TypeError(f"expected from key a text, a tuple of texts, or None, got {who!r}")


def _outcome(response: Response, limit: int) -> tuple[str, str]:
    """Return the answer as it is kept; or nothing, and why."""
    if response.content_type == "text/event-stream":
        return "", "a stream of events"
    content = whole(response, limit)
    if content is None:
        return "", f"longer than {limit} bytes"
    return pack(response.status_code, response.headers.items(), content), ""
