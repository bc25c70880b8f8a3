"""Try again, after a pause, what may do better the next time.

When, and after how long, is decided in ``formation/resilience/policy.py``; how attempts follow each other is in
``retrying.py`` beside it, and what they may cost in ``budget.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

from formation import clock as clock_
from formation.bridge import sleep as sleep_
from formation.events import Events, called
from formation.http.headers import check_name
from formation.introspection import is_coroutine_callable
from formation.kernel import Call, Middleware
from formation.keys import ATTEMPT, ATTEMPTS, REQ_HTTP, REQ_RPC, RES_HTTP, RETRY_DEPTH
from formation.places import by_origin
from formation.resilience.attempts import Attempt, Outcome
from formation.resilience.budget import Budget
from formation.resilience.forks import BAGS
from formation.resilience.policy import Condition, Failure, Policy
from formation.resilience.retrying import RetryCallState, Run, Shared

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
    caller's, where ``ctx["fmtn.attempts"]`` has an `Attempt` for each. Before the pause the failed response is closed;
    of a stream the body of an error is kept, up to 4 KiB. No pause ends after ``ctx["fmtn.deadline"]``. Events:
    ``retry.scheduled`` (warning), ``retry.exhausted`` (error), ``retry.budget_exhausted`` (warning), ``retry.nested``
    (warning, once).

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
    events = Events(logger)

    def say(level: str, event: str, ctx: Any, **fields: Any) -> None:
        events(level, event, **fields, **called(ctx))

    shared = Shared(policy, account, by_origin, attempt_header, say, sleep, clock)
    is_plain = policy.condition is None  # and without an error or a status there is nothing to look at

    def retry(ctx: Any, call: Call[Any]) -> Any:
        if type(ctx) is not dict or not _FORKED.isdisjoint(ctx):
            run = Run(shared, ctx, ctx, call)
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
        run = Run(shared, ctx, before, call, ledger)
        return run.end(run.finish(run.note(first, started)))

    retry.budget = account  # type: ignore[attr-defined]  # for whoever wants to look
    return retry


def _account(budget: Any) -> Budget | None:
    if budget is None or isinstance(budget, Budget):
        return budget
    if budget == "quota":
        return Budget()
    if isinstance(budget, (int, float)):
        return Budget.ratio(budget)
    raise TypeError(f"expected budget as 'quota', a number of retries for each call, a Budget or None, got {budget!r}")
