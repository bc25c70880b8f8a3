"""Leave an endpoint alone that fails again and again, and try it now and then."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import Any, Final

from formation import clock as clock_
from formation.events import Events
from formation.introspection import name_of
from formation.kernel import Call, Middleware
from formation.keys import STATE, STATE_BREAKER
from formation.places import Key, chosen
from formation.resilience.gate import Event, Gate, StateStorage
from formation.resilience.keyed import Keyed
from formation.resilience.shared_gate import SharedGate
from formation.resilience.verdicts import Verdict
from formation.resilience.verdicts import classify as classify_
from formation.storage.choice import Storage, of
from formation.storage.outages import Outages

VERDICTS: Final = ("ok", "fail", "neutral")
LEVELS: Final = {"opened": "error", "half_open": "warning", "closed": "info", "rejected": "debug"}


def circuit_breaker(  # noqa: PLR0917  the order of 0.1
    logger: Any = None,
    name: str | None = None,
    fail_max: int = 5,
    reset_timeout: float = 60,
    state_storage: StateStorage | None = None,
    exclude: Iterable[type[BaseException] | Callable[[Any], bool]] = (),
    *,
    max_trials: int = 1,
    success_threshold: int = 1,
    trial_lease: float | None = None,
    ratio: float | None = None,
    window: float = 30,
    min_calls: int = 20,
    key: Key | None = None,
    classify: Callable[[Any, Exception | None], Verdict] = classify_,
    storage: Storage | None = None,
    clock: Callable[[], float] = clock_.monotonic,
) -> Middleware[Any]:
    """Turn calls away while the endpoint fails: ``fail_max`` failures in a row open the circuit for its origin.

    A failure is a 500, 502, 503 or 504, an error of the connection or of time, and any other error that is not ours; a
    429, a cancelled call, and what another middleware has turned away count for nothing; any other response is a
    success. The error or the response that opens the circuit reaches the caller like any other. While it is open, calls
    raise `CircuitOpenError`; after ``reset_timeout`` seconds up to ``max_trials`` calls at a time are let through, and
    decide. No lock is held during a call.

    Each origin (scheme, host, port) has a circuit of its own, in the memory of the process; all calls without a request
    share one. With a Redis, processes share them: each counts for itself, and what one has found out the others know
    within a second; the trials are those of all together. Events: ``breaker.opened`` (error), ``breaker.half_open``
    (warning), ``breaker.closed`` (info), ``breaker.rejected`` (debug; info for the first since it has opened),
    ``storage.unavailable`` (warning, once a minute).

    Args:
        logger: a structlog logger, one of ``logging``, or ``None`` for structlog's.
        name: of the circuits in errors and events; ``None``: the origin.
        fail_max: failures in a row. Five, as in pybreaker.
        reset_timeout: seconds that the circuit stays open. A minute, as in pybreaker.
        state_storage: one of pybreaker's, for one circuit, whatever the origin; ``None``: in memory.
        exclude: types of errors that count for nothing, or functions of the error that say so.
        max_trials: calls under way at a time while the circuit is half-open.
        success_threshold: of them must succeed for it to close.
        trial_lease: seconds after which a trial that has not ended no longer keeps others out; ``None``:
            ``reset_timeout``, but at least one second.
        ratio: of the calls in the window that must have failed for it to open, above 0 and up to 1, in place of
            ``fail_max``: 0.5 leaves alone what answers now and then. ``None``: failures in a row count.
        window: seconds over which the ratio counts. Half a minute, as in Polly.
        min_calls: in the window, below which a ratio says nothing.
        key: a function of the context: which circuit it goes through. ``None``: by origin.
        classify: what a call has shown, ``"ok"``, ``"fail"`` or ``"neutral"``: a function of the context that came back
            and ``None``, or of the one that went in and the error.
        storage: a `formation.storage.Redis`, or its URL, for circuits that processes share; a key is then text, bytes,
            a number or a tuple of these. Without an answer from it each process goes on by itself.
        clock: monotonic seconds.

    Raises:
        TypeError: ``logger`` is none; ``exclude``, ``key``, ``classify`` or ``storage`` is no such thing.
        ValueError: a number that cannot be; ``key`` or ``storage`` with ``state_storage``, which has place for one
            circuit.
        CircuitOpenError: at a call. It is a `Rejected` and a ``pybreaker.CircuitBreakerError``.

    Order:
        Inside of `retry`, so that each attempt counts; outside of `timeout` and `trigger_breaker_if`, so that what they
        raise counts.

    >>> from formation import lift
    >>> @lift(middleware=[circuit_breaker(name="disk", fail_max=1)])
    ... def read():
    ...     raise OSError("no such device")
    >>> read()
    Traceback (most recent call last):
    OSError: no such device
    >>> read()
    Traceback (most recent call last):
    formation.errors.CircuitOpenError: circuit 'disk' is open; the next trial is due in 60 s
    """
    for named, other in (("key", key), ("storage", storage)):
        if other is not None and state_storage is not None:
            raise ValueError(f"expected {named} or state_storage, got both: that keeps one circuit, and its state")
    by_key = chosen(key)
    events = Events(logger)
    judge = _judge(exclude, classify)
    which = by_key if state_storage is None else lambda ctx: None

    def listen(gate: Gate, event: Event, fields: dict[str, Any]) -> None:
        level = "info" if fields.pop("first", False) else LEVELS[event]
        if fields.get("retry_after"):
            fields["retry_after"] = round(fields["retry_after"], 3)
        events(level, f"breaker.{event}", circuit=gate.name, **fields)

    settings: dict[str, Any] = {
        "fail_max": fail_max,
        "reset_timeout": reset_timeout,
        "max_trials": max_trials,
        "success_threshold": success_threshold,
        "trial_lease": trial_lease,
        "ratio": ratio,
        "window": window,
        "min_calls": min_calls,
        "listener": listen,
        "clock": clock,
    }
    redis = None if storage is None else of(storage)
    unavailable = partial(Outages("circuit_breaker", events), fail_open=True)

    def make(key: Hashable) -> Gate:
        known_as = name or ("circuit_breaker" if key is None else str(key))
        if redis is None:
            return Gate(known_as, storage=state_storage, **settings)
        place = redis.key("circuit_breaker", name, key)
        return SharedGate(known_as, redis=redis, key=place, unavailable=unavailable, **settings)

    make(None)  # refuses now what it would refuse at the first call
    gates = Keyed(make)

    def circuit_breaker(ctx: Any, call: Call[Any]) -> Any:
        gate = gates[which(ctx)]
        out = ctx
        try:
            permit = gate.admit()
            verdict: Verdict = "neutral"  # cancelled, unless something else comes of it
            try:
                try:
                    out = call(ctx)
                except Exception as error:
                    verdict = judge(ctx, error)
                    raise
                verdict = judge(out, None)
                return out
            finally:
                gate.settle(permit, verdict)
        finally:
            if isinstance(out, dict):
                out.setdefault(STATE, {})[STATE_BREAKER] = gate.state

    circuit_breaker.gates = gates  # type: ignore[attr-defined]  # for whoever wants to look, or to open one by hand
    return circuit_breaker


def _judge(
    exclude: Iterable[Any], classify: Callable[[Any, Exception | None], Verdict]
) -> Callable[[Any, Exception | None], Verdict]:
    """Make the function that says what a call has shown."""
    if not callable(classify):
        raise TypeError(f"expected classify as a function of the context and the error, got {classify!r}")
    if isinstance(exclude, str) or callable(exclude):
        raise TypeError(f"expected exclude as a list, got {exclude!r}: write exclude=[…]")
    given = tuple(exclude)
    kinds = tuple(each for each in given if isinstance(each, type) and issubclass(each, BaseException))
    tests = tuple(each for each in given if not isinstance(each, type) and callable(each))
    if len(kinds) + len(tests) < len(given):
        raise TypeError(f"expected exclude as types of errors and functions of the error, got {given!r}")

    def judge(ctx: Any, error: Exception | None) -> Verdict:
        if error is not None and (isinstance(error, kinds) or any(test(error) for test in tests)):
            return "neutral"
        verdict = classify(ctx, error)
        if verdict not in VERDICTS:
            raise ValueError(f"expected 'ok', 'fail' or 'neutral' from {name_of(classify)}, got {verdict!r}")
        return verdict

    return judge
