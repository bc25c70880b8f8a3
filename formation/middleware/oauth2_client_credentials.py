"""OAuth 2 client credentials: fetch a token, send it, fetch another one when it is refused."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from attrs import define

from formation.bridge import await_
from formation.errors import OAuth2Error
from formation.http.request import Request
from formation.http.url import check_base
from formation.keys import DEADLINE, REQ_HTTP, RES_HTTP, STATE
from formation.resilience.flight import Flight

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.http.response import Response
    from formation.kernel import Call, Ctx, Middleware

LEEWAY: Final = 10.0
"""Seconds before its end at which a token is not used any more: clocks differ, and requests take time to arrive."""

LIFETIME: Final = 300.0
"""Seconds that a token is used for if the server does not say: shorter than any server would mean."""


@define
class _Token:
    value: str
    ends: float


def oauth2_client_credentials(
    token_url: str,
    client_id: str,
    client_secret: str,
    *,
    scope: str | None = None,
    params: dict[str, str] | None = None,
    auth_in_body: bool = False,
    clock: Callable[[], float] = monotonic,
) -> Middleware[Ctx]:
    """Send an access token from ``token_url`` as ``Authorization: Bearer …`` (RFC 6749, 4.4).

    A token is fetched at the first call and when it ends. If the server answers 401, one new token is fetched and the
    call is made once more, if its body can be sent again. Of many callers at the same time one fetches; the others
    wait, threads and tasks alike. The token request goes to the client's bare endpoint, so it is neither retried nor
    logged by the middleware around. A call that has an ``Authorization``, or goes to another origin, is left alone.

    Args:
        token_url: absolute.
        client_id: issued by the authorization server.
        client_secret: issued by the authorization server.
        scope: what to ask for, separated by spaces; ``None``: whatever the server gives.
        params: more fields of the token request, such as ``{"audience": …}``.
        auth_in_body: send id and secret as form fields, for servers that do not take basic authentication.
        clock: monotonic seconds.

    Raises:
        ValueError: ``token_url`` is no absolute http(s) URL.
        OAuth2Error: at a call: the token endpoint gave no token.
        LookupError: at a call: the context is not one of a client, so there is no endpoint to ask.

    Order:
        Inside of `retry`, so that an attempt after a while has a token that is still good.
    """
    check_base(token_url)
    flight: Flight[_Token] = Flight()
    kept: list[_Token] = []

    def fresh(refused: _Token | None = None) -> _Token | None:
        token = kept[0] if kept else None
        return token if token is not None and token is not refused and clock() < token.ends else None

    def fetch(ctx: Ctx) -> _Token:
        endpoint: Any = ctx.get(STATE, {}).get("endpoint")
        if endpoint is None:
            message = (
                "oauth2_client_credentials works in the clients of formation.for_…, whose endpoint it asks for a token"
            )
            raise LookupError(message)
        fields = {"grant_type": "client_credentials", **({"scope": scope} if scope else {}), **(params or {})}
        request = Request("POST", token_url, headers={"Accept": "application/json"})
        if auth_in_body:
            fields |= {"client_id": client_id, "client_secret": client_secret}
        else:  # RFC 6749, 2.3.1: both are form-encoded first
            pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
            request.headers["Authorization"] = "Basic " + b64encode(pair.encode()).decode()
        request.data = fields
        asked = clock()
        inner: Ctx = {REQ_HTTP: request, **({DEADLINE: ctx[DEADLINE]} if DEADLINE in ctx else {})}
        out = endpoint(inner)
        response: Response = (await_(out) if isinstance(out, Awaitable) else out)[RES_HTTP]
        said = _said(response)
        if not response.ok or not isinstance(said.get("access_token"), str):
            raise OAuth2Error(
                status_code=response.status_code,
                error=str(said.get("error", "")),
                description=str(said.get("error_description", "")),
            )
        lifetime = said.get("expires_in")
        seconds = float(lifetime) if isinstance(lifetime, (int, float)) and lifetime > 0 else LIFETIME
        kept[:] = [token := _Token(said["access_token"], asked + max(seconds - LEEWAY, seconds / 2))]
        return token

    def oauth2_client_credentials(ctx: Ctx, call: Call[Ctx]) -> Ctx:
        request = ctx.get(REQ_HTTP)
        if request is None or "Authorization" in request.headers or not request.extensions.get("home", True):
            return call(ctx)
        token = flight.do(lambda: fetch(ctx), fresh)
        request.headers["Authorization"] = f"Bearer {token.value}"
        ctx = call(ctx)
        response = ctx.get(RES_HTTP)
        if response is None or response.status_code != 401 or not request.replayable:
            return ctx
        response.close()
        again = flight.do(lambda: fetch(ctx), lambda: fresh(token))
        request.rewind()
        request.headers["Authorization"] = f"Bearer {again.value}"
        return call(ctx)

    return oauth2_client_credentials


def _said(response: Response) -> dict[str, Any]:
    try:
        said = response.json()
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
