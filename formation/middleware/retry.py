"""Try again, after a pause, what may do better the next time.

Theory of operation
-------------------
The first attempt costs no more than a copy of the context. Only when it has failed, a ``tenacity.Retrying`` is made,
for this call alone: one that calls share mixes their attempts up as soon as something waits. It is handed the first
outcome and goes on from there. No error is raised through it: an `Outcome` holds it, and it is raised once, at the end.

An error holds its traceback, which holds the frames below and above it, and what their variables hold. So no variable
here holds an error, and at the end no outcome does: a request and its body would linger until the garbage collector
comes.

What is decided, and why, is in ``formation/resilience/policy.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from attrs import define

from formation import clock as clock_
from formation.bridge import sleep as sleep_
from formation.http.headers import check_name
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPT, ATTEMPTS, DEADLINE, REQ_HTTP, RETRY_DEPTH
from formation.middleware._events import Events, called
from formation.resilience.forks import fork, merge
from formation.resilience.policy import Attempt, Condition, Failure, Outcome, Policy

try:
    from tenacity import RetryCallState, Retrying
except ImportError as error:
    message = "tenacity is not installed: pip install 'formation[resilience]'"
    raise ImportError(message, name=error.name) from error


def retry(
    attempts: int | None = 3,
    base: float = 0.1,
    *,
    throttled_base: float = 1,
    cap: float = 20,
    on: Failure | Iterable[Failure] | Condition | None = None,
    idempotent: bool = False,
    max_retry_after: float | None = 30,
    headers: Iterable[str] = ("Retry-After",),
    attempt_header: str | None = None,
    wait: Callable[[RetryCallState], float] | None = None,
    stop: Condition | None = None,
    logger: Any = None,
    sleep: Callable[[float], None] = sleep_,
    clock: Callable[[], float] = clock_.monotonic,
    now: Callable[[], float] = clock_.time,
    random: Callable[[float, float], float] = clock_.uniform,
) -> Middleware[Any]:
    """Make up to ``attempts`` attempts, with pauses between; return the last response, or raise the last error.

    Retried are the statuses 408, 429, 500, 502, 503, 504 and errors of connections and of time, but not of TLS, and
    only if the request may be repeated: GET, HEAD, OPTIONS, TRACE, PUT and DELETE, any method with an
    ``Idempotency-Key`` header, and what was never sent. A body that cannot be sent again is sent once. Around a
    function without a request, any ``Exception`` is retried. Never retried is what another middleware has turned away,
    a `Rejected` or `DeadlineExceeded`: if an earlier attempt got through, its outcome counts.

    Each attempt has a copy of the context with its number in ``ctx["attempt"]``; the one that counts is merged into the
    caller's, where ``ctx["fmtn.attempts"]`` has an `Attempt` for each. Before the pause the failed response is closed.
    No pause ends after ``ctx["fmtn.deadline"]``. Events: ``retry.scheduled`` (warning), ``retry.exhausted`` (error),
    ``retry.nested`` (warning, once).

    Args:
        attempts: the first one included, as in the SDKs of AWS; ``None``: as many as ``stop`` allows.
        base: seconds; the pause before attempt n + 1 is random, up to ``base * 2 ** (n - 1)``.
        throttled_base: the same after a 429: the server has said that it is too much.
        cap: seconds; the most that the random pause can be. As the SDKs of AWS.
        on: what is retried, in place of the statuses and errors above: types of errors and statuses, or one of
            tenacity's ``retry_`` objects, which sees the context, or the error.
        idempotent: every request may be repeated, whatever its method.
        max_retry_after: seconds; a server that says a longer Retry-After, with a 429 or a 503, is not asked again.
            Nobody waits half a minute. ``None``: there is no limit.
        headers: where the server says it. A number over 10⁹ is a date, so ``X-RateLimit-Reset`` will do, too.
        attempt_header: a request header for the number of the attempt, set from the second on.
        wait: one of tenacity's ``wait_`` objects, in place of the random pause; Retry-After still counts.
        stop: one of tenacity's ``stop_`` objects, besides ``attempts``.
        logger: see `Events`.
        sleep: waits so many seconds; a plain function, also in an async chain.
        clock: monotonic seconds.
        now: seconds since 1970, for a Retry-After that is a date.
        random: a number between two.

    Raises:
        ValueError: ``attempts`` below 1, or ``None`` without ``stop``; seconds below 0.
        TypeError: ``on``, ``wait`` or ``stop`` is no such thing, ``sleep`` is an ``async def``.

    Order:
        Outside of `circuit_breaker` and `timeout`: each attempt is an observation, and has its time. Inside of
        `request_id` and of whatever shall see one call, not attempts.

    >>> from formation import lift
    >>> from structlog.testing import capture_logs
    >>> answers = ["no", "not yet", "yes"]
    >>> @lift(middleware=[retry(base=0)])
    ... def ask():
    ...     answer = answers.pop(0)
    ...     if answer != "yes":
    ...         raise OSError(answer)
    ...     return answer
    >>> with capture_logs() as events:
    ...     ask()
    'yes'
    >>> [(event["event"], event["attempt"]) for event in events]
    [('retry.scheduled', 1), ('retry.scheduled', 2)]
    """
    policy = Policy(
        attempts=attempts,
        base=base,
        throttled_base=throttled_base,
        cap=cap,
        on=on,
        idempotent=idempotent,
        max_retry_after=max_retry_after,
        hints=headers,
        wait=wait,
        stop=stop,
        random=random,
        now=now,
    )
    if is_coroutine_callable(sleep):
        raise TypeError(f"expected sleep as a plain function, got {sleep!r}: formation.sleep awaits where it has to")
    if attempt_header is not None:
        check_name(attempt_header)
    settings = _Settings(policy, attempt_header, Events(logger), sleep, clock)

    def retry(ctx: Any, call: Call[Any]) -> Any:
        run = _Run(settings, ctx, call)
        outcome = run.attempt()
        if run.wants_another():
            outcome = run.go_on()
        return run.end(outcome)

    return retry


@define
class _Settings:
    """What the calls of a `retry` share."""

    policy: Policy
    header: str | None
    events: Events
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    has_warned: bool = False


class _Run:
    """One logical call: its attempts so far, and the answers to what tenacity asks between them."""

    __slots__ = ("call", "ctx", "depth", "kept", "last", "ledger", "reason", "request", "settings", "slept", "started")

    def __init__(self, settings: _Settings, ctx: Any, call: Call[Any]) -> None:
        self.settings, self.ctx, self.call = settings, ctx, call
        self.request = None  # the caller's; each attempt has a fork of it
        self.depth = 0
        self.ledger: list[Attempt] = []
        self.last: Outcome
        self.kept: Outcome | None = None  # the last that is not the end: it counts if we turn away what follows
        self.slept = 0.0
        self.started: float
        self.reason: str | None
        if isinstance(ctx, dict):
            self.request = ctx.get(REQ_HTTP)
            ctx[ATTEMPTS] = self.ledger
            self.depth = ctx.get(RETRY_DEPTH, 0)
            if self.depth and not settings.has_warned:
                settings.has_warned = True
                settings.events("warning", "retry.nested", depth=self.depth + 1, **called(self.ctx))

    def attempt(self) -> Outcome:
        """Call on, with a fork of the context."""
        ctx, settings = fork(self.ctx), self.settings
        number = len(self.ledger) + 1
        if ctx is not self.ctx:
            ctx[ATTEMPT], ctx[RETRY_DEPTH] = number, self.depth + 1
            if number > 1 and settings.header and self.request is not None:
                ctx[REQ_HTTP].headers[settings.header] = str(number)
        started = settings.clock()
        if number == 1:
            self.started = started
        self.last = _outcome(number, ctx, self.call, settings.clock)
        elapsed = self.last.ended - started
        self.ledger.append(Attempt(number, self.last.status, self.last.failure, self.slept, elapsed))
        return self.last

    def wants_another(self, state: RetryCallState | None = None) -> bool:
        """Tell whether the last outcome is one to try again after."""
        policy, request = self.settings.policy, self.request
        if not policy.failed(self.last, state, http=request is not None):
            return False
        return request is None or policy.repeatable(request, self.last.error)

    def go_on(self) -> Outcome:
        """Go on after the first attempt; return the outcome that counts."""
        is_first = True  # which tenacity believes to make

        def attempt() -> None:
            nonlocal is_first
            if not is_first:
                self.attempt()
            is_first = False

        retrying = Retrying(
            sleep=self.settings.sleep,
            retry=self._retry,
            wait=lambda state: self.settings.policy.wait(self.last, state),
            stop=self._stop,
            before_sleep=self._before_sleep,
            retry_error_callback=self._exhausted,
        )
        try:
            retrying(attempt)
        finally:
            retrying.iter_state.reset()  # it holds methods of what holds it
        if self.last.is_local and self.kept is not None:
            self._say("error", "retry.exhausted", stopped_by="rejected")
            return self.kept
        return self.last

    def end(self, outcome: Outcome) -> Any:
        """Make the caller's context say what came of it, and return it, or raise the error."""
        ctx = merge(self.ctx, outcome.ctx)
        if isinstance(ctx, dict):
            ctx[ATTEMPTS], ctx[ATTEMPT], ctx[RETRY_DEPTH] = self.ledger, outcome.number, self.depth
            if not self.depth:
                del ctx[RETRY_DEPTH]
        if outcome.error is not None:
            self.last = self.kept = outcome
            outcome.unwrap()
        return ctx

    def _retry(self, state: RetryCallState) -> bool:
        outcome = self.last
        if outcome.error is None:
            state.set_result(outcome.ctx)
        else:
            state.set_exception((type(outcome.error), outcome.error, outcome.error.__traceback__))
        state.start_time, state.outcome_timestamp = self.started, outcome.ended
        if self.wants_another(state):
            return True
        state.set_result(None)  # which tenacity returns; it would raise an error
        return False

    def _stop(self, state: RetryCallState) -> bool:
        deadline = self.ctx.get(DEADLINE) if isinstance(self.ctx, dict) else None
        self.reason = self.settings.policy.gives_up(self.last, state, deadline, self.request)
        return self.reason is not None

    def _before_sleep(self, state: RetryCallState) -> None:
        self.kept, self.slept = self.last, state.upcoming_sleep
        with suppress(Exception):  # a connection that cannot even be closed properly is gone
            self.kept.close()
        hint = self.settings.policy.retry_after(self.kept)
        self._say("warning", "retry.scheduled", delay=round(self.slept, 3), retry_after=hint)

    def _exhausted(self, state: RetryCallState) -> None:
        state.outcome = None  # it has done its work, and may hold the error
        self._say("error", "retry.exhausted", stopped_by=self.reason)

    def _say(self, level: str, event: str, **fields: Any) -> None:
        last = self.ledger[-1]
        reason = {"error": last.error} if last.status is None else {"status": last.status}
        self.settings.events(level, event, attempt=last.number, **reason, **fields, **called(self.ctx))


def _outcome(number: int, ctx: Any, call: Call[Any], clock: Callable[[], float]) -> Outcome:
    try:
        out = call(ctx)
    except BaseException as error:  # noqa: BLE001  it is raised again, once the context is in order
        return Outcome(number, ctx, error, clock())
    return Outcome(number, out, None, clock())
