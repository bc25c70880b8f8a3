"""When to try again, and after how long: what `retry` decides. No I/O, no sleep, no state.

Theory of operation
-------------------
Three questions are asked about each outcome, in this order:

1. *Has it failed?* `Policy.failed`: by its status or its error. What we have turned away ourselves has not, for that is
   not what the endpoint said.
2. *May the request be repeated?* `Policy.repeatable`: a method that is idempotent, or a key that makes it so, or a
   request that was never sent; and a body that can be sent again.
3. *Is it worth it?* `Policy.wait` says after how long, and then `Policy.gives_up` whether that is too long.

The pause is "full jitter": anything from nothing to a bound that doubles each time. It spreads clients that failed
together best (AWS Architecture Blog, "Exponential Backoff And Jitter", 2015), and goes on to do so at the cap, where
jitter that is added to the bound and then cut off no longer does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from formation import clock
from formation.errors import AttemptTimeout, TLSError, TransportError
from formation.resilience.checks import count, seconds
from formation.resilience.retry_after import retry_after

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tenacity import RetryCallState

    from formation.resilience.attempts import Outcome

Condition: TypeAlias = Callable[["RetryCallState"], bool]
Failure: TypeAlias = type[Exception] | int | str
Reason: TypeAlias = Literal["attempts", "stop", "retry_after", "deadline", "body", "budget"]

STATUSES: Final[frozenset[int | str]] = frozenset({408, 429, 500, 502, 503, 504})
"""What a server says when it may do better in a moment. Not 501 and 505, which it will say again."""

THROTTLED: Final = frozenset({429})
"""The server wants less: the pause has ``throttled_base``."""

HINTED: Final = frozenset({429, 503})
"""Where Retry-After is heeded. With a redirect it means another thing (RFC 9110, 10.2.3)."""

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, 9.2.2."""

IDEMPOTENCY_KEYS: Final = ("Idempotency-Key", "X-Idempotency-Key")
"""Headers with which any method is idempotent: the server knows a repetition when it sees one. As Go's net/http."""

DOUBLINGS: Final = 64
"""The bound doubles so often at most, which is 58 000 years for a base of 0.1 s: beyond, a float might overflow."""

_code = re.compile(r"[A-Z]+(?:_[A-Z]+)*").fullmatch


class Policy:
    """The settings of `retry`, and what follows from them. See there for what each means; here none means no retry.

    Raises:
        TypeError: ``on``, ``wait`` or ``stop`` is no such thing.
        ValueError: a number that cannot be.
    """

    def __init__(
        self,
        *,
        attempts: int | None = 1,
        base: float = 0,
        throttled_base: float = 0,
        cap: float = 0,
        on: Failure | Iterable[Failure] | Condition | None = None,
        idempotent: bool = False,
        max_retry_after: float | None = None,
        hints: Iterable[str] = (),
        wait: Callable[[RetryCallState], float] | None = None,
        stop: Condition | None = None,
        random: Callable[[float, float], float] = clock.uniform,
        now: Callable[[], float] = clock.time,
    ) -> None:
        if attempts is None and stop is None:
            raise ValueError("expected attempts as a whole number, got None: to try for ever, say stop=stop_never")
        for name, value in (("wait", wait), ("stop", stop)):
            if value is not None and not callable(value):
                raise TypeError(f"expected {name} as one of tenacity's {name}_ objects, or a function, got {value!r}")
        self.attempts = None if attempts is None else count("attempts", attempts)
        self.base = seconds("base", base)
        self.throttled_base = seconds("throttled_base", throttled_base)
        self.cap = seconds("cap", cap)
        self.idempotent = idempotent
        self.max_retry_after = None if max_retry_after is None else seconds("max_retry_after", max_retry_after)
        self.hints = (hints,) if isinstance(hints, str) else tuple(hints)
        self.condition, self.errors, self.statuses = told(on)
        self._wait, self._stop = wait, stop
        self._random, self._now = random, now

    def failed(self, outcome: Outcome, state: RetryCallState | None = None, *, http: bool) -> bool:
        """Tell whether ``outcome`` is one to try again after.

        Args:
            outcome: of an attempt.
            state: what a condition of tenacity's wants to see.
            http: whether there was a request. Without one any error is a failure.
        """
        error = outcome.error
        if error is not None and (outcome.is_local or not isinstance(error, Exception)):
            return False
        if self.condition is not None:
            return state is None or bool(self.condition(state))
        said = outcome.status in self.statuses or getattr(outcome.response, "code", None) in self.statuses
        if error is None or said:
            return said
        if self.errors is not None:
            return isinstance(error, self.errors)
        return not http or (isinstance(error, _PASSING) and not isinstance(error, TLSError))

    def repeatable(self, request: Any, error: BaseException | None) -> bool:
        """Tell whether ``request`` may be sent again, and can be, after ``error`` or an answer."""
        allowed = (
            self.idempotent
            or request.method in IDEMPOTENT
            or getattr(error, "never_sent", False)
            or any(name in request.headers for name in IDEMPOTENCY_KEYS)
        )
        return allowed and request.replayable

    def retry_after(self, outcome: Outcome) -> float | None:
        """Return the seconds after which the server wants to be asked again, if it says so."""
        pushback: float | None = getattr(outcome.response, "pushback", None)
        if pushback is not None or outcome.status not in HINTED:
            return pushback
        return retry_after(outcome.response.headers, self.hints, self._now)

    def wait(self, outcome: Outcome, state: RetryCallState) -> float:
        """Return the seconds to wait after ``outcome``. Asked before `gives_up`, so it changes nothing."""
        if self._wait is not None:
            pause = float(self._wait(state))
        else:
            base = self.throttled_base if outcome.status in THROTTLED else self.base
            pause = self._random(0, min(self.cap, base * 2.0 ** min(outcome.number - 1, DOUBLINGS)))
        hint = self.retry_after(outcome)
        if hint is None:
            return pause
        # A little more than the server says, for it says the same to everybody.
        return max(pause, hint) + self._random(0, min(0.1 * hint, 1))

    def gives_up(
        self,
        outcome: Outcome,
        state: RetryCallState,
        deadline: float | None,
        request: Any,
        pay: Callable[[], bool] = lambda: True,
    ) -> Reason | None:
        """Tell why there shall be no other attempt after ``outcome``, or return ``None``.

        What only reads comes first, what does something last: an attempt that is not made must have cost nothing.
        ``pay`` takes from the budget what the attempt costs, and tells whether there was enough.
        """
        if self.attempts is not None and outcome.number >= self.attempts:
            return "attempts"
        if self._stop is not None and self._stop(state):
            return "stop"
        hint = self.retry_after(outcome)
        if hint is not None and (hint == inf or (self.max_retry_after is not None and hint > self.max_retry_after)):
            return "retry_after"
        if deadline is not None and outcome.ended + state.upcoming_sleep >= deadline:
            return "deadline"
        if request is not None and not _rewound(request):
            return "body"
        if not pay():
            return "budget"
        return None


def told(on: Any) -> tuple[Condition | None, tuple[type[Exception], ...] | None, frozenset[int | str]]:
    """Sort what ``on`` may be: a condition, or types of errors and statuses; ``None`` for the types is the default."""
    if on is None:
        return None, None, STATUSES
    if callable(on) and not isinstance(on, type):
        return on, (), frozenset()
    each = list(on) if hasattr(on, "__iter__") and not isinstance(on, (str, type)) else [on]
    kinds = tuple(kind for kind in each if isinstance(kind, type) and issubclass(kind, Exception))
    statuses = tuple(code for code in each if _is_status(code))
    if len(kinds) + len(statuses) < len(each):
        raise TypeError(
            f"expected on as types of errors and statuses, or as one of tenacity's retry_ objects, got {on!r}"
        )
    return None, kinds, frozenset(statuses)


def _is_status(code: Any) -> bool:
    """Tell whether it is a status, or the name of a code of gRPC."""
    if isinstance(code, str):
        return _code(code) is not None
    return isinstance(code, int) and not isinstance(code, bool)


def _rewound(request: Any) -> bool:
    """Make the body ready to be sent again, if it can be: a file may have been closed since."""
    try:
        request.rewind()
    except Exception:  # noqa: BLE001  whatever it is, what counts is what the endpoint said
        return False
    return True


_PASSING: Final = (TransportError, AttemptTimeout, TimeoutError, ConnectionError)
