"""Find the orders of middleware that hurt, and say why they do.

Only names are looked at, and the seconds of `deadline`, of `timeout` and of a client: no middleware is loaded, and a
`retry` of your own is one as well. What is not in the tables below is up to you.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from warnings import warn

from formation.introspection import name_of, refuse

OUTSIDE: Final = (
    # outside, inside, what comes of it
    ("circuit_breaker", "retry", "it counts calls, not attempts, so retries go on against what is down"),
    ("bulkhead", "retry", "a place is held during the pauses, in which nothing is done"),
    ("adaptive_limit", "retry", "the pauses between attempts look like a slow server, and the limit shrinks"),
    ("throttle", "retry", "only first attempts wait for their turn, and retries exceed the rate"),
    ("client_throttle", "retry", "only calls are counted, and the attempts that were refused are not"),
    ("throttle", "hedge", "only the first of the calls waits for its turn, and the second exceeds the rate"),
    ("bulkhead", "hedge", "two calls are under way in one place"),
    ("retry", "deadline", "each attempt has a deadline of its own, and nothing bounds them all"),
    ("retry", "fallback", "the answer in place of a failure looks like a success, and there is no second attempt"),
    ("retry", "idempotency_key", "retry sees no key, so a POST has one attempt; others have a key for each"),
    ("retry", "request_id", "each attempt has an id of its own, and no id ties the attempts together"),
    ("otel", "retry", "all attempts are one span, and the pauses between them look like a slow server"),
    ("retry", "coalesce", "those who shared a failure pause for different times, and then each calls by itself"),
    ("circuit_breaker", "fallback", "the answer in place of a failure looks like a success, and it never opens"),
    ("throttle", "circuit_breaker", "calls that the open circuit turns away use up turns"),
    ("bulkhead", "throttle", "a place is held while the call waits for its turn"),
    ("throttle", "coalesce", "a call that only waits for another's answer uses up a turn"),
    ("bulkhead", "coalesce", "a call that only waits for another's answer takes up a place"),
    ("timeout", "retry", "it ends all attempts together, which deadline does, and no attempt by itself"),
    ("timeout", "circuit_breaker", "a call that is ended for its time is no failure to the circuit"),
    ("timeout", "throttle", "waiting for a turn counts against the server"),
    ("timeout", "bulkhead", "waiting for a place counts against the server"),
    ("trigger_breaker_if", "circuit_breaker", "what it raises, the circuit never sees"),
    ("deadline", "exception_handler", "the error is raised outside of it, and does not become a 504"),
    ("timeout", "exception_handler", "the error is raised outside of it, and does not become a 504"),
    ("etag", "compress", "each encoding has a tag of its own, and a body is packed that a 304 then leaves out"),
    ("decompress", "cache", "what comes from the cache is plain, and is taken for packed"),
    ("retry", "cache", "a stale answer covers up the first failure, and there is no second attempt"),
    ("hedge", "cache", "the second call waits for the first, as all calls do that miss the same entry"),
    ("circuit_breaker", "cache", "while the circuit is open the cache is not asked"),
    ("throttle", "cache", "a hit uses up a turn"),
    ("bulkhead", "cache", "a call that only waits for another's answer takes up a place"),
    ("coalesce", "cache", "to look up what is kept takes less than to share it"),
    ("cache", "request_logger", "hits are in no log"),
    ("cache", "bearer", "the cache cannot see whose request it is, and keeps only what is public"),
    ("cache", "basic", "the cache cannot see whose request it is, and keeps only what is public"),
    ("cache", "api_key", "the cache cannot see whose request it is, and keeps only what is public"),
    ("cache", "oauth2_client_credentials", "the cache cannot see whose request it is, and keeps only what is public"),
    ("compress_request", "content_type", "it does not know the type, and packs what is packed already"),
    ("retry", "compress_request", "each attempt packs the same body again"),
    ("load_shed", "deadline", "it cannot see a deadline that is not set yet"),
    ("rate_limit", "exception_handler", "what its key raises does not become an answer"),
    ("rate_limit", "load_shed", "what is not even begun counts against the client"),
    ("rate_limit", "adaptive_limit", "what the server turns away for its own load counts against the client"),
    ("timeout", "rate_limit", "waiting for the storage counts against the app"),
    ("idempotency", "rate_limit", "requests that repeat a key are answered without limit"),
    ("idempotency", "compress", "an answer is kept packed, and given again to clients that cannot unpack it"),
    ("timeout", "idempotency", "the answer may be cut off from being kept, and the work is done again"),
)
AGAIN: Final = ("retry", "hedge")
"""Each multiplies the attempts of the other."""


class StackWarning(UserWarning):
    """A stack has an order that hurts."""


def check(stack: Any, *, stacklevel: int = 1) -> None:
    """Warn of each order in ``stack`` that hurts, by a `StackWarning` that says why.

    Args:
        stack: a list of middleware, outermost first, or what has one as its ``middleware``: a chain, what `compose`
            returns, a client, whose own ``timeout`` counts, or its class.
        stacklevel: whose line the warning shows: 1 is the caller's.

    Raises:
        TypeError: it is no such thing, or has something in it that is no middleware.

    >>> from warnings import catch_warnings
    >>> from formation.middleware import circuit_breaker, retry, timeout
    >>> with catch_warnings(record=True, action="always") as said:
    ...     check([circuit_breaker(), retry(), timeout(1)])
    >>> print(said[0].message)
    circuit_breaker stands outside of retry: it counts calls, not attempts, so retries go on against what is down
    """
    for fault in faults(stack):
        warn(fault, StackWarning, stacklevel=stacklevel + 1)


def faults(stack: Any) -> list[str]:
    """Return what `check` would warn of.

    >>> def retry(ctx, call):
    ...     return call(ctx)
    >>> faults([retry])
    ['retry has no timeout inside: one attempt may take all the time there is, and leave none for another']
    """
    layers = layers_of(stack)
    names = [name_of(layer) for layer in layers]
    found = [
        f"{outer} stands outside of {inner}: {why}"
        for outer, inner, why in OUTSIDE
        if inner in names and outer in names[: _last(names, inner)]
    ]

    again = [name for name in names if name in AGAIN]
    if len(again) > 1:
        found.append(f"{again[0]} stands outside of {again[1]}: their attempts multiply, three times three are nine")
    own = _own_timeout(stack)
    if "retry" in names and "timeout" not in names[names.index("retry") :] and own is None:
        found.append(
            "retry has no timeout inside: one attempt may take all the time there is, and leave none for another"
        )
    if "chaos" in names[:-1]:
        inside = ", ".join(names[names.index("chaos") + 1 :])
        found.append(f"chaos stands outside of {inside}: what is inside never meets what it does")

    total, attempt = _seconds(layers, "deadline", "total"), own or _seconds(layers, "timeout", "seconds")
    if total is not None and attempt is not None and total <= attempt:
        found.append(
            f"deadline({total}) ends the call before timeout({attempt}) ends an attempt: the timeout does nothing, "
            "and there is no second attempt"
        )
    return found


def layers_of(stack: Any) -> list[Any]:
    """Take the stack, and what is composed in it, apart."""
    said = settings_of(stack)
    middleware = getattr(said, "middleware", said)
    if isinstance(middleware, str) or not isinstance(middleware, Iterable):
        message = f"expected a list of middleware, or what has one, got {stack!r}"
        raise TypeError(message)
    layers: list[Any] = []
    for at, layer in enumerate((*middleware, *(getattr(said, "per_hop", None) or ()))):
        if hasattr(layer, "middleware"):
            layers += layers_of(layer)
        else:
            refuse(layer, at)
            layers.append(layer)
    return layers


def settings_of(stack: Any) -> Any:
    """Return the settings of a client, or of what it sends with; of anything else, itself."""
    for each in (stack, getattr(stack, "request", None)):
        if hasattr(found := getattr(each, "settings", None), "middleware"):
            return found
    return stack


def _own_timeout(stack: Any) -> float | None:
    """Return the seconds that a client itself gives each wait for bytes."""
    said = getattr(settings_of(stack), "timeout", None)
    whole = said[1] if isinstance(said, tuple) else said
    return whole if isinstance(whole, (int, float)) else None


def _last(names: list[str], name: str) -> int:
    return len(names) - 1 - names[::-1].index(name)


def _seconds(layers: list[Any], name: str, setting: str) -> float | None:
    """Return the least that the middlewares of that name were given."""
    given = [getattr(layer, setting, None) for layer in layers if name_of(layer) == name]
    return min((each for each in given if isinstance(each, (int, float))), default=None)
