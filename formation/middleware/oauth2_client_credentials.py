"""OAuth 2 client credentials: fetch a token, send it, fetch another one when it is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

from attrs import field, frozen

from formation.bridge import await_
from formation.clock import monotonic
from formation.errors import OAuth2Error
from formation.http.origins import same_origin
from formation.http.request import Request
from formation.http.secrets import redact
from formation.http.url import check_base
from formation.kernel import Call, Ctx, Middleware
from formation.keys import DEADLINE, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SIDE, STATE, STATE_ENDPOINT, TEMPLATE
from formation.middleware._auth import AUTHORIZATION, check_text, check_visible, unauthorized
from formation.resilience.flight import Flight
from formation.resilience.forks import fork, merge

if TYPE_CHECKING:
    from formation.http.response import Response

LEEWAY: Final = 10.0
"""Seconds before its end at which a token is not used any more: clocks differ, and requests take time to arrive."""

LIFETIME: Final = 300.0
"""Seconds that a token is used for if the server does not say: shorter than any server would mean."""


@frozen
class _Token:
    value: str = field(repr=False)
    ends: float


def oauth2_client_credentials(
    token_url: str,
    client_id: str,
    client_secret: str,
    *,
    scope: str | None = None,
    params: Mapping[str, str] | None = None,
    auth_in_body: bool = False,
    clock: Callable[[], float] = monotonic,
) -> Middleware[Ctx]:
    """Send an access token from ``token_url`` as ``Authorization: Bearer …`` (RFC 6749, 4.4).

    A token is fetched at the first call and when it ends. If the server answers 401, one new token is fetched and the
    call is made once more, if its body can be sent again. Of many callers at the same time one fetches; the others
    wait, threads and tasks alike. The token request goes to the client's bare endpoint, so it is neither retried nor
    logged by the middleware around. A call that has an ``Authorization`` or an ``auth``, or goes to another origin, is
    left alone.

    Args:
        token_url: absolute.
        client_id: issued by the authorization server.
        client_secret: issued by the authorization server.
        scope: what to ask for, separated by spaces; ``None``: whatever the server gives.
        params: more fields of the token request, such as ``{"audience": …}``.
        auth_in_body: send id and secret as form fields, for servers that do not take basic authentication.
        clock: monotonic seconds.

    Raises:
        TypeError: id or secret is no ``str``.
        ValueError: ``token_url`` is no absolute http(s) URL, or id or secret has a control character.
        OAuth2Error: at a call: the token endpoint gave no token, or none that is a bearer's.
        TransportError: at a call: the token endpoint could not be asked.
        DeadlineExceeded: at a call: there was no token in time.
        LookupError: at a call: the context is not one of a client, so there is no endpoint to ask.

    Order:
        Inside of `retry`, so that an attempt after a while has a token that is still good. Inside of
        `raise_for_status`, which would take the 401 away.
    """
    tokens = _Tokens(token_url, client_id, client_secret, clock)
    tokens.fields |= {"scope": scope} if scope else {}
    tokens.fields |= dict(params or {})
    if auth_in_body:
        tokens.authorize_in_body()

    def oauth2_client_credentials(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = unauthorized(ctx)
        if request is None:
            return call(ctx)
        token = tokens.get(ctx)
        request.headers["Authorization"] = f"Bearer {token.value}"
        if not request.replayable:
            out = call(ctx)
            if _is_refused(request, out):
                tokens.drop(token)  # for the next call
            return out
        out = first = fork(ctx)
        try:
            out = call(first)
            refused = _is_refused(request, out)
        except BaseException:
            merge(ctx, first)
            raise
        if not refused:
            return merge(ctx, out)  # type: ignore[no-any-return]
        out[RES_HTTP].close()
        again = tokens.get(ctx, refused=token)
        request.rewind()
        request.headers["Authorization"] = f"Bearer {again.value}"
        return call(ctx)

    return oauth2_client_credentials


class _Tokens:
    """Fetches tokens, and keeps the last one."""

    def __init__(self, url: str, client_id: str, client_secret: str, clock: Callable[[], float]) -> None:
        _check_url(url)
        self.client = (check_text("a client_id", client_id), check_text("a client_secret", client_secret))
        self.url, self.clock = url, clock
        self.fields = {"grant_type": "client_credentials"}
        pair = ":".join(map(quote_plus, self.client))  # RFC 6749, 2.3.1: both are form-encoded first
        self.headers = {"Authorization": "Basic " + b64encode(pair.encode()).decode(), "Accept": "application/json"}
        self._flight: Flight[_Token] = Flight()
        self._kept: _Token | None = None

    def authorize_in_body(self) -> None:
        """Send id and secret as form fields."""
        del self.headers["Authorization"]
        self.fields |= dict(zip(("client_id", "client_secret"), self.client, strict=True))

    def get(self, ctx: Ctx, refused: _Token | None = None) -> _Token:
        """Return the token to use now: the kept one, unless it is ``refused`` or over, else a new one."""

        def landed() -> _Token | None:
            token = self._kept
            return token if token is not None and token is not refused and self.clock() < token.ends else None

        return self._flight.do(lambda: self._fetch(ctx), landed, ctx.get(DEADLINE))

    def drop(self, token: _Token) -> None:
        """Forget a token that was refused."""
        if self._kept is token:
            self._kept = None

    def _fetch(self, ctx: Ctx) -> _Token:
        asked = self.clock()
        request = Request("POST", self.url, headers=self.headers, data=self.fields)
        try:
            response = _ask(request, ctx)
            said = _said(response)
            value = _checked(said, response)
        except Exception as error:
            if getattr(error, "request", request) is None:  # it is not the request of the call that failed
                error.request = request  # type: ignore[attr-defined]
            error.add_note(f"asking {redact(self.url)} for an access token")
            raise
        self._kept = token = _Token(value, asked + _lifetime(said.get("expires_in")))
        return token


def _check_url(token_url: str) -> None:
    check_text("a token_url", token_url)
    try:
        check_base(token_url)
    except ValueError:
        raise ValueError(
            "expected token_url as an absolute http or https URL without user info and fragment, "
            f"got {redact(token_url)!r}"
        ) from None


def _ask(request: Request, ctx: Ctx) -> Response:
    """Send the token request by the bare endpoint of the client that the call belongs to."""
    endpoint: Any = ctx.get(STATE, {}).get(STATE_ENDPOINT)
    if endpoint is None:
        raise LookupError(
            "oauth2_client_credentials works in the clients of formation.for_…, whose endpoint it asks for a token; "
            "there is none in this context"
        )
    inner: Ctx = {
        SIDE: "client",
        KIND: "http",
        REQ_HTTP: request,
        TEMPLATE: request.path,
        SENSITIVE: {AUTHORIZATION},
        STATE: {},
        NATIVE: {},
    }
    if DEADLINE in ctx:
        inner[DEADLINE] = ctx[DEADLINE]
    out = endpoint(inner)
    response: Response = (await_(out) if isinstance(out, Awaitable) else out)[RES_HTTP]
    return response


def _said(response: Response) -> dict[str, Any]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _checked(said: dict[str, Any], response: Response) -> str:
    """Return the access token of what the token endpoint said, if it is one that can be sent."""
    problem = str(said.get("error_description", ""))
    if response.ok and "access_token" in said and not said.get("error"):
        kind = said.get("token_type", "Bearer")
        try:
            if str(kind).lower() == "bearer":
                return check_visible("access_token", said["access_token"])
            problem = f"a token of type {kind!r}, of which only bearer is understood (RFC 6749, 7.1)"
        except (TypeError, ValueError) as error:
            problem = str(error)
    refused = OAuth2Error(status_code=response.status_code, error=str(said.get("error", "")), description=problem)
    refused.response = response
    raise refused


def _lifetime(said: Any) -> float:
    """Return the seconds to use a token for; some servers say the number as a string."""
    try:
        seconds = 0.0 if isinstance(said, bool) else float(said)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    return max(seconds - LEEWAY, seconds / 2) if seconds > 0 else LIFETIME


def _is_refused(request: Request, ctx: Ctx) -> bool:
    """Tell whether the token was refused, and not by another origin, to which a redirect led without the token."""
    response: Response | None = ctx.get(RES_HTTP)
    if response is None or response.status_code != 401:
        return False
    return not response.url or same_origin(request.url, response.url)
