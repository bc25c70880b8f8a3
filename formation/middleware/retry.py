"""Try again, after a pause, what may do better the next time.

Theory of operation
-------------------
The first attempt costs no more than a copy of the context: around a function it has the caller's own, and the copy is
for the second; a request gets a fork. Only when it has failed, a ``tenacity.Retrying`` is made, for this call alone:
one that calls share mixes their attempts up as soon as something waits. It is handed the first outcome and goes on from
there. No error is raised through it: an `Outcome` holds it, and it is raised once, at the end.

An error holds its traceback, which holds the frames below and above it, and what their variables hold. So no variable
here holds an error, and at the end no outcome does: a request and its body would linger until the garbage collector
comes.

What is decided, and why, is in ``formation/resilience/policy.py``; what it may cost, in ``budget.py`` beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Literal

from attrs import define

from formation import clock as clock_
from formation.bridge import sleep as sleep_
from formation.http.headers import check_name
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPT, ATTEMPTS, DEADLINE, REQ_HTTP, REQ_RPC, RES_HTTP, RETRY_DEPTH
from formation.middleware._events import Events, called
from formation.middleware._keys import by_origin
from formation.resilience.budget import Budget
from formation.resilience.forks import BAGS, fork, merge
from formation.resilience.policy import THROTTLED, Attempt, Condition, Failure, Outcome, Policy

try:
    from tenacity import RetryCallState, Retrying
except ImportError as error:
    message = "tenacity is not installed: pip install 'formation[resilience]'"
    raise ImportError(message, name=error.name) from error

_FORKED: Final = frozenset({REQ_HTTP, REQ_RPC, RETRY_DEPTH, *BAGS})
"""Where none of these is in a context, its copy is a fork."""


def retry(
    attempts: int | None = 3,
    base: float = 0.1,
    *,
    throttled_base: float = 1,
    cap: float = 20,
    on: Failure | Iterable[Failure] | Condition | None = None,
    idempotent: bool = False,
    budget: Budget | float | Literal["quota"] | None = "quota",
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
    ``retry.budget_exhausted`` (warning), ``retry.nested`` (warning, once).

    Args:
        attempts: the first one included, as in the SDKs of AWS; ``None``: as many as ``stop`` allows.
        base: seconds; the pause before attempt n + 1 is random, up to ``base * 2 ** (n - 1)``.
        throttled_base: the same after a 429: the server has said that it is too much.
        cap: seconds; the most that the random pause can be. As the SDKs of AWS.
        on: what is retried, in place of the statuses and errors above: types of errors and statuses, or one of
            tenacity's ``retry_`` objects, which sees the context, or the error.
        idempotent: every request may be repeated, whatever its method.
        budget: what retries may cost, for each origin, so that they do not make an outage worse. ``"quota"``: that of
            the SDKs of AWS, 35 in a row; a number: so many for each call, and ten to begin with; a `Budget` may be
            shared; ``None``: whatever they cost.
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
        TypeError: ``on``, ``wait``, ``stop`` or ``budget`` is no such thing, ``sleep`` is an ``async def``.

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
    account = _account(budget)
    settings = _Settings(policy, account, attempt_header, Events(logger), sleep, clock)
    is_plain = policy.condition is None  # and without an error or a status there is nothing to look at

    def retry(ctx: Any, call: Call[Any]) -> Any:
        if type(ctx) is not dict or not _FORKED.isdisjoint(ctx):
            run = _Run(settings, ctx, ctx, call)
            return run.end(run.finish(run.attempt()))
        before = ctx.copy()
        ctx[ATTEMPTS] = ledger = []
        ctx[ATTEMPT] = ctx[RETRY_DEPTH] = 1
        started = clock()
        try:
            out = call(ctx)
        except BaseException as error:  # noqa: BLE001  it is raised again, once the context is in order
            first = Outcome(1, ctx, error, clock())
        else:
            if out is ctx and is_plain and RES_HTTP not in ctx and not (account and account.spent):
                ledger.append(Attempt(1, None, None, 0.0, clock() - started))
                ctx[ATTEMPTS], ctx[ATTEMPT] = ledger, 1
                ctx.pop(RETRY_DEPTH, None)
                return ctx
            first = Outcome(1, out, None, clock())
        run = _Run(settings, ctx, before, call, ledger)
        return run.end(run.finish(run.note(first, started)))

    return retry


def _account(budget: Any) -> Budget | None:
    if budget is None or isinstance(budget, Budget):
        return budget
    if budget == "quota":
        return Budget()
    if isinstance(budget, (int, float)):
        return Budget.ratio(budget)
    raise TypeError(f"expected budget as 'quota', a number of retries for each call, a Budget or None, got {budget!r}")


@define
class _Settings:
    """What the calls of a `retry` share."""

    policy: Policy
    budget: Budget | None
    header: str | None
    events: Events
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    has_warned: bool = False


class _Run:
    """One logical call: its attempts so far, and the answers to what tenacity asks between them.

    ``before`` is what an attempt has a fork of.
    """

    __slots__ = (
        "before",
        "call",
        "ctx",
        "depth",
        "failed",
        "kept",
        "last",
        "ledger",
        "paid",
        "reason",
        "request",
        "settings",
        "slept",
        "started",
    )

    def __init__(
        self, settings: _Settings, ctx: Any, before: Any, call: Call[Any], ledger: list[Attempt] | None = None
    ) -> None:
        self.settings, self.ctx, self.before, self.call = settings, ctx, before, call
        self.request = None  # the caller's; each attempt has a fork of it
        self.depth = 0
        self.ledger: list[Attempt] = [] if ledger is None else ledger
        self.last: Outcome
        self.kept: Outcome | None = None  # the last that is not the end: it counts if we turn away what follows
        self.slept = 0.0
        self.failed = False
        self.paid = 0.0  # for the last attempt
        self.started: float
        self.reason: str | None
        if isinstance(before, dict):
            self.request = before.get(REQ_HTTP) or before.get(REQ_RPC)
            before[ATTEMPTS] = self.ledger
            self.depth = before.get(RETRY_DEPTH, 0)
            if self.depth and not settings.has_warned:
                settings.has_warned = True
                settings.events("warning", "retry.nested", depth=self.depth + 1, **called(self.ctx))

    def attempt(self) -> Outcome:
        """Call on, with a fork of the context."""
        ctx, settings = fork(self.before), self.settings
        number = len(self.ledger) + 1
        if ctx is not self.before:
            ctx[ATTEMPT], ctx[RETRY_DEPTH] = number, self.depth + 1
            if number > 1 and settings.header and self.request is not None:
                (ctx.get(REQ_HTTP) or ctx[REQ_RPC]).headers[settings.header] = str(number)
        started = settings.clock()
        return self.note(_outcome(number, ctx, self.call, settings.clock), started)

    def note(self, outcome: Outcome, started: float) -> Outcome:
        """Write an attempt into the ledger."""
        if outcome.number == 1:
            self.started = started
        self.last = outcome
        elapsed = outcome.ended - started
        self.ledger.append(Attempt(outcome.number, outcome.status, outcome.failure, self.slept, elapsed))
        return outcome

    def finish(self, first: Outcome) -> Outcome:
        """Make other attempts if the first asks for them, and settle with the budget; return the one that counts."""
        ok = None
        try:
            outcome = self.go_on() if self.wants_another() else first
            if not self.last.is_local and (self.last.error is None or isinstance(self.last.error, Exception)):
                ok = not self.failed
        finally:  # of a cancelled pause, too
            budget = self.settings.budget
            if budget is not None and budget.spent:
                budget.settle(by_origin(self.before), paid=self.paid, ok=ok)
        return outcome

    def wants_another(self, state: RetryCallState | None = None) -> bool:
        """Tell whether the last outcome is one to try again after."""
        policy, request = self.settings.policy, self.request
        self.failed = policy.failed(self.last, state, http=request is not None)
        return self.failed and (request is None or policy.repeatable(request, self.last.error))

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
        deadline = self.before.get(DEADLINE) if isinstance(self.before, dict) else None
        self.reason = self.settings.policy.gives_up(self.last, state, deadline, self.request, self._pay)
        return self.reason is not None

    def _pay(self) -> bool:
        budget = self.settings.budget
        if budget is None:
            return True
        self.paid = budget.take(by_origin(self.before), throttled=self.last.status in THROTTLED)
        return self.paid > 0

    def _before_sleep(self, state: RetryCallState) -> None:
        self.kept, self.slept = self.last, state.upcoming_sleep
        with suppress(Exception):  # a connection that cannot even be closed properly is gone
            self.kept.close()
        hint = self.settings.policy.retry_after(self.kept)
        self._say("warning", "retry.scheduled", delay=round(self.slept, 3), retry_after=hint)

    def _exhausted(self, state: RetryCallState) -> None:
        state.outcome = None  # it has done its work, and may hold the error
        if self.reason == "budget":
            self._say("warning", "retry.budget_exhausted")
        else:
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
