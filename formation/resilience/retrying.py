"""One call that is tried again: its attempts, the pauses between them, and which outcome counts in the end.

Theory of operation
-------------------
The first attempt costs no more than a copy of the context: around a function it has the caller's own, and the copy is
for the second; a request gets a fork. Only when it has failed, a ``tenacity.Retrying`` is made, for this call alone:
one that calls share mixes their attempts up as soon as something waits. It is handed the first outcome and goes on from
there. No error is raised through it: an `Outcome` holds it, and it is raised once, at the end.

An error holds its traceback, which holds the frames below and above it, and what their variables hold. So no variable
here holds an error, and at the end no outcome does: a request and its body would linger until the garbage collector
comes.

What is decided, and why, is in ``policy.py``; what it may cost, in ``budget.py``; who is asked, in
``formation/middleware/retry.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any

from attrs import define

from formation.keys import ATTEMPT, ATTEMPTS, DEADLINE, REQ_HTTP, REQ_RPC, RES_HTTP, RES_RPC, RETRY_DEPTH
from formation.resilience.attempts import Attempt, Outcome
from formation.resilience.budget import Budget
from formation.resilience.forks import fork, merge
from formation.resilience.policy import THROTTLED, Policy

try:
    from tenacity import RetryCallState, Retrying
except ImportError as error:
    message = "tenacity is not installed: pip install 'formation[resilience]'"
    raise ImportError(message, name=error.name) from error

__all__ = ["RetryCallState", "Run", "Shared"]


@define
class Shared:
    """What the calls of a `retry` share: its settings. ``say`` is told a level, an event, the context and fields."""

    policy: Policy
    budget: Budget | None
    key: Callable[[Any], Hashable]
    header: str | None
    say: Callable[..., None]
    sleep: Callable[[float], None]
    clock: Callable[[], float]
    has_warned: bool = False


class Run:
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
        "shared",
        "slept",
        "started",
    )

    def __init__(
        self, shared: Shared, ctx: Any, before: Any, call: Callable[[Any], Any], ledger: list[Attempt] | None = None
    ) -> None:
        self.shared, self.ctx, self.before, self.call = shared, ctx, before, call
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
            if self.depth and not shared.has_warned:
                shared.has_warned = True
                shared.say("warning", "retry.nested", self.ctx, depth=self.depth + 1)

    def attempt(self) -> Outcome:
        """Call on, with a fork of the context."""
        ctx, shared = fork(self.before), self.shared
        number = len(self.ledger) + 1
        if ctx is not self.before:
            ctx[ATTEMPT], ctx[RETRY_DEPTH] = number, self.depth + 1
            if number > 1 and shared.header and self.request is not None:
                (ctx.get(REQ_HTTP) or ctx[REQ_RPC]).headers[shared.header] = str(number)
        started = shared.clock()
        return self.note(_outcome(number, ctx, self.call, shared.clock), started)

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
        except BaseException:  # in a pause, or in a function of the user's: what was tried so far is told all the same
            ctx = self._merged(self.last)
            if isinstance(ctx, dict):
                ctx.pop(RES_HTTP, None)  # which was closed before the pause
                ctx.pop(RES_RPC, None)
            raise
        finally:
            budget = self.shared.budget
            if budget is not None and budget.spent:
                budget.settle(self.shared.key(self.before), paid=self.paid, ok=ok)
        return outcome

    def wants_another(self, state: RetryCallState | None = None) -> bool:
        """Tell whether the last outcome is one to try again after."""
        policy, request = self.shared.policy, self.request
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
            sleep=self.shared.sleep,
            retry=self._retry,
            wait=lambda state: self.shared.policy.wait(self.last, state),
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
        ctx = self._merged(outcome)
        if outcome.error is not None:
            self.last = self.kept = outcome
            outcome.unwrap()
        return ctx

    def _merged(self, outcome: Outcome) -> Any:
        ctx = merge(self.ctx, outcome.ctx)
        if isinstance(ctx, dict):
            ctx[ATTEMPTS], ctx[ATTEMPT], ctx[RETRY_DEPTH] = self.ledger, outcome.number, self.depth
            if not self.depth:
                del ctx[RETRY_DEPTH]
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
        self.reason = self.shared.policy.gives_up(self.last, state, deadline, self.request, self._pay)
        return self.reason is not None

    def _pay(self) -> bool:
        budget = self.shared.budget
        if budget is None:
            return True
        self.paid = budget.take(self.shared.key(self.before), throttled=self.last.status in THROTTLED)
        return self.paid > 0

    def _before_sleep(self, state: RetryCallState) -> None:
        self.kept, self.slept = self.last, state.upcoming_sleep
        with suppress(Exception):  # what breaks off is not kept
            self.kept.keep()
        with suppress(Exception):  # a connection that cannot even be closed properly is gone
            self.kept.close()
        hint = self.shared.policy.retry_after(self.kept)
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
        self.shared.say(level, event, self.ctx, attempt=last.number, **reason, **fields)


def _outcome(number: int, ctx: Any, call: Callable[[Any], Any], clock: Callable[[], float]) -> Outcome:
    try:
        out = call(ctx)
    except BaseException as error:  # noqa: BLE001  it is raised again, once the context is in order
        return Outcome(number, ctx, error, clock())
    return Outcome(number, out, None, clock())
