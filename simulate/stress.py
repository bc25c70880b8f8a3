"""C19: sixteen threads that take turns every microsecond, for a minute: no error of ours, and counts that are exact."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from formation import wrap
from formation.errors import BulkheadRejected, CircuitOpenError
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    circuit_breaker,
    client_throttle,
    coalesce,
    retry,
    throttle,
)
from formation.resilience.budget import Budget
from formation.resilience.turns import MemoryTurns, Quota
from formation.stacks import resilient
from simulate.lines import Line
from simulate.virtual import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 16


class Down(Exception):
    """Stands for an endpoint that fails."""


def endpoint(ctx: Any) -> Any:
    """Fail as often as the call says, and then answer."""
    if ctx.get("attempt", 1) <= ctx.get("fails", 0):
        raise Down
    return ctx


def hammer(seconds: float, call: Callable[[int], str]) -> Counter[str]:
    """Let threads make calls for so long; return how many there were of what they say."""
    from tests.resilience.stress import in_threads

    ends = time.monotonic() + seconds

    def work(thread: int) -> Counter[str]:
        said, number = Counter[str](), thread
        while time.monotonic() < ends:
            said[call(number)] += 1
            number += 1
        return said

    return sum(in_threads(work, THREADS), Counter[str]())


def retries(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Attempts, and tokens."""
    budget = Budget(1e15, cost=1, per_success=0, refund=False)
    chain = wrap(endpoint, [retry(4, budget=budget, sleep=lambda seconds: None, logger=SILENT)])

    def call(number: int) -> str:
        out = chain({"fails": number % 4})
        assert [each.number for each in out["fmtn.attempts"]] == list(range(1, number % 4 + 2))
        return str(number % 4)

    said = hammer(seconds, call)
    spent = sum(int(fails) * count for fails, count in said.items())
    return said.total(), {"tokens": (budget.spent.get(None, 0), spent)}


def rows(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Failures in a row."""
    made = circuit_breaker(SILENT, fail_max=10**9)
    calls = hammer(seconds, failing(wrap(endpoint, [made]))).total()
    return calls, {"failures": (made.gates[None]._breaker.fail_counter, calls)}  # type: ignore[attr-defined]  # noqa: SLF001


def ratios(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Calls of the window."""
    made = circuit_breaker(SILENT, ratio=1, min_calls=10**9, window=10**6)
    calls = hammer(seconds, failing(wrap(endpoint, [made]))).total()
    window = made.gates[None]._window  # type: ignore[attr-defined]  # noqa: SLF001
    return calls, {"calls": (window.calls, calls), "failures": (window.failures, calls)}


def turns(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """A circuit that opens and closes all the time."""
    made = circuit_breaker(SILENT, fail_max=2, reset_timeout=0, max_trials=2, trial_lease=60)
    chain = wrap(endpoint, [made])

    def call(number: int) -> str:
        try:
            chain({"fails": number % 3})
        except (Down, CircuitOpenError) as error:
            return type(error).__name__
        return "ok"

    said = hammer(seconds, call)
    return said.total(), {"trials left": (len(made.gates[None]._trials), 0)}  # type: ignore[attr-defined]  # noqa: SLF001


def slots(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Turns of a throttle."""
    store = MemoryTurns(lambda: 0.0)
    chain = wrap(endpoint, [throttle(1, storage=store, sleep=lambda seconds: None, logger=SILENT)])
    calls = hammer(seconds, answering(chain)).total()
    return calls, {"turns": (store.reserve(None, Quota(1), None)[1], calls)}


def places(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Places of a bulkhead."""
    made, lock = bulkhead(5, queue=8, max_wait=0.0005, logger=SILENT), threading.Lock()
    now = most = 0

    def busy(ctx: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        with lock:
            now -= 1
        return ctx

    chain = wrap(busy, [made])

    def call(number: int) -> str:
        try:
            chain({})
        except BulkheadRejected:
            return "rejected"
        return "ok"

    said = hammer(seconds, call)
    room = made.places[None]  # type: ignore[attr-defined]
    return said.total(), {"left in use": (room.in_use + room.waiting, 0), "over 5": (max(most - 5, 0), 0)}


def under_way(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Calls under an adaptive limit."""
    made = adaptive_limit(THREADS, algorithm="aimd", logger=SILENT)
    calls = hammer(seconds, answering(wrap(endpoint, [made]))).total()
    return calls, {"left under way": (made.limiters[None].in_flight, 0)}  # type: ignore[attr-defined]


def counts(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Requests and accepts of a client throttle."""
    made = client_throttle(window=10**6, min_rate=10**6, logger=SILENT)
    said = hammer(seconds, failing(wrap(endpoint, [made])))
    counted = made.counts[None]  # type: ignore[attr-defined]
    return said.total(), {"requests": (counted.requests, said.total()), "accepts": (counted.accepts, said.total())}


def followers(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """Calls that are one call."""
    chain = wrap(endpoint, [coalesce(key=lambda ctx: ctx["key"])])

    def call(number: int) -> str:
        ctx = {"key": number % 2}
        return "ok" if chain(ctx) is ctx else "another"

    said = hammer(seconds, call)
    return said.total(), {"answers": (said["ok"], said.total())}


def all_of_it(seconds: float) -> tuple[int, dict[str, tuple[Any, Any]]]:
    """The recommended stack."""
    chain = wrap(endpoint, resilient(at_once=THREADS, rate=10**9, logger=SILENT))
    said = hammer(seconds, answering(chain))
    return said.total(), {"answers": (said["ok"], said.total())}


def failing(chain: Callable[[Any], Any]) -> Callable[[int], str]:
    """Make calls that fail."""

    def call(number: int) -> str:
        try:
            chain({"fails": 1})
        except Down:
            return "down"
        return "ok"

    return call


def answering(chain: Callable[[Any], Any]) -> Callable[[int], str]:
    """Make calls that go well."""

    def call(number: int) -> str:
        chain({})
        return "ok"

    return call


PARTS: dict[str, Callable[[float], tuple[int, dict[str, tuple[Any, Any]]]]] = {
    "retry": retries,
    "circuit_breaker": rows,
    "circuit_breaker by ratio": ratios,
    "circuit_breaker, to and fro": turns,
    "throttle": slots,
    "bulkhead": places,
    "adaptive_limit": under_way,
    "client_throttle": counts,
    "coalesce": followers,
    "resilient": all_of_it,
}


def c19(size: float = 1) -> list[Line]:
    """Stress."""
    lines = []
    for name, part in PARTS.items():
        try:
            calls, found = part(60 * size / len(PARTS))
        except Exception as error:  # noqa: BLE001  that is what is looked for
            lines.append(Line("C19", name, "no error", repr(error), ok=False))
            continue
        told = ", ".join(f"{what} {seen:.0f}" for what, (seen, _) in found.items())
        ok = all(seen == right for seen, right in found.values())
        bar = ", ".join(f"{what} {right:.0f}" for what, (_, right) in found.items())
        lines.append(Line("C19", f"{name}: {calls} calls of {THREADS} threads", bar, told, ok, timed=True))
    return lines
