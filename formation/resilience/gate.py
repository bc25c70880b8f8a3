"""The gate of a circuit: who may pass, and what his passing has shown. On pybreaker, whose lock no call is made under.

Theory of operation
-------------------
``pybreaker.CircuitBreaker.call(fn)`` holds a lock while ``fn`` runs: calls that it protects run one after the other,
and in an async chain the lock outlives the switch to another task. So nothing runs inside of it here. A call takes a
*permit* first (`Gate.admit`) and hands it back with a verdict (`Gate.settle`); then the breaker is driven with a
function that does nothing, or fails at once, which takes a microsecond. Neither waits, so both are safe on the bridge::

    permit = gate.admit()             CircuitOpenError if the circuit is open
    ...                               the call, for as long as it takes, under no lock
    gate.settle(permit, verdict)      "ok", "fail" or "neutral", see `verdicts`

*A permit belongs to a period*, from one change of state to the next. What is settled after its period says something
about a past that the breaker has drawn its conclusion from; it is dropped. So a late failure does not put off the next
trial, and a late success does not close the circuit.

*Trials.* When `reset_timeout` has passed, the first call that comes half-opens the circuit. Up to `max_trials` calls
may be under way then, all others are turned away at once. A failed trial opens it anew; `success_threshold` good ones
close it; a neutral one (a cancelled task) gives its place back and proves nothing. A trial that is never settled loses
its place after `trial_lease`.

*Time* is what `clock` says, for who sets the wall clock means neither to open a circuit nor to close one. Only where
somebody else has opened it, in a storage that is shared, the storage's wall clock is all there is.

*A ratio.* Failures in a row are what pybreaker counts; an endpoint that answers each fifth call is never left alone.
With a ``ratio`` the gate counts the calls of a `Window` itself, and opens the breaker when so many of them have failed.

*Nothing of anybody else's runs under the lock*: the listener is told afterwards, and if it raises, that is logged.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from formation.errors import Rejected
from formation.resilience.checks import count, positive, seconds
from formation.resilience.window import Window

try:
    import pybreaker
except ImportError as error:
    message = "pybreaker is not installed: pip install 'formation[resilience]'"
    raise ImportError(message, name=error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.resilience.verdicts import Verdict

StateStorage: TypeAlias = pybreaker.CircuitBreakerStorage
Event: TypeAlias = Literal["opened", "half_open", "closed", "rejected"]
Listener: TypeAlias = "Callable[[Gate, Event, dict[str, Any]], object]"


class CircuitOpenError(Rejected, pybreaker.CircuitBreakerError):
    """The circuit is open: the endpoint was not asked.

    ``name``: of the circuit. ``retry_after``: seconds until a trial is let through, ``None`` while one is under way.
    """

    __module__ = "formation.errors"  # where it is to be imported from


class Permit:
    """Leave to make one call; to be settled once."""

    __slots__ = ()


class Gate:
    """A circuit, which threads and tasks may share.

    Args:
        name: what errors and events call it.
        fail_max: failures in a row that open it.
        reset_timeout: seconds that it stays open.
        max_trials: calls that may be under way while it is half-open.
        success_threshold: good trials that close it.
        trial_lease: seconds after which a trial that was not settled is given up; ``None``: ``reset_timeout``, but at
            least one second, for a slow trial is a trial.
        storage: of pybreaker, where the state is kept; ``None``: in memory.
        ratio: of the calls in the window that must have failed for it to open, in place of ``fail_max``.
        window: seconds.
        min_calls: in the window, below which a ratio says nothing.
        listener: told ``(gate, event, fields)``, under no lock.
        clock: monotonic seconds.

    Raises:
        ValueError: a number that cannot be.
    """

    def __init__(
        self,
        name: str = "circuit",
        *,
        fail_max: int = 5,
        reset_timeout: float = 60,
        max_trials: int = 1,
        success_threshold: int = 1,
        trial_lease: float | None = None,
        ratio: float | None = None,
        window: float = 30,
        min_calls: int = 20,
        storage: StateStorage | None = None,
        listener: Listener | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.fail_max = count("fail_max", fail_max)
        self.reset_timeout = seconds("reset_timeout", reset_timeout)
        self.max_trials = count("max_trials", max_trials)
        self.success_threshold = count("success_threshold", success_threshold)
        self.trial_lease = max(reset_timeout, 1) if trial_lease is None else seconds("trial_lease", trial_lease)
        self.min_calls = count("min_calls", min_calls)
        positive("window", window)
        if ratio is not None and positive("ratio", ratio) > 1:
            raise ValueError(f"expected ratio as a number up to 1, got {ratio!r}")
        self.ratio, self._window = ratio, Window(window)
        self._listener, self._clock = listener, clock
        self._storage = storage or pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
        # A collection may end a forgotten call, which is settled, while this very thread holds the lock.
        self._lock = RLock()
        self._permit = Permit()  # of all calls of a closed period
        self._trials: dict[Permit, float] = {}
        self._successes = 0
        self._opened_at: float | None = None
        self._due_in: float | None = None  # what somebody else has said of when the next trial is due
        self._has_rejected = False
        self._untold: deque[tuple[Event, dict[str, Any]]] = deque()
        self._breaker = pybreaker.CircuitBreaker(
            name=name,
            fail_max=fail_max,
            reset_timeout=reset_timeout,
            state_storage=self._storage,
            listeners=[_Turns(self)],
            throw_new_error_on_trip=False,
        )

    @property
    def state(self) -> str:
        """``"closed"``, ``"open"`` or ``"half-open"``."""
        return self._storage.state

    @property
    def in_memory(self) -> bool:
        """Whether to ask for the state is to look into the memory of this process, which takes no time."""
        return type(self._storage) is pybreaker.CircuitMemoryStorage

    def open(self) -> None:
        """Open it, for `reset_timeout` from now."""
        with self._lock:
            self._breaker.open()
        self._tell()

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._breaker.close()
        self._tell()

    def admit(self) -> Permit:
        """Return a permit for one call.

        Raises:
            CircuitOpenError: it is open, or half-open and its trials are under way.
        """
        permit = self._permit  # read before the state: then it cannot be of a later period than the state
        if self._storage.state == pybreaker.STATE_CLOSED:
            return permit
        with self._lock:
            admitted = self._admit()
        self._tell()
        if isinstance(admitted, Permit):
            return admitted
        raise admitted

    def settle(self, permit: Permit, verdict: Verdict) -> None:
        """Hand a permit back, and say what the call has shown of the endpoint.

        Args:
            permit: what `admit` returned.
            verdict: ``"ok"``; ``"fail"``; or ``"neutral"``, which counts for nothing.
        """
        if verdict == "ok" and permit is self._permit and self.ratio is None and not self._storage.counter:
            return  # nothing has failed, so a success changes nothing
        with self._lock:
            is_trial = self._trials.pop(permit, None) is not None
            expected = pybreaker.STATE_HALF_OPEN if is_trial else pybreaker.STATE_CLOSED
            is_late = not is_trial and permit is not self._permit
            if is_late or verdict == "neutral" or self._storage.state != expected:
                return
            if is_trial and verdict == "ok":
                self._successes += 1
                if self._successes < self.success_threshold:
                    return
            if self.ratio is not None and not is_trial:
                self._count(self.ratio, failed=verdict == "fail")
            else:
                # CircuitBreakerError: another process has opened it just now.
                with suppress(_Failure, pybreaker.CircuitBreakerError):
                    self._breaker.call(_pass if verdict == "ok" else _fail)
        self._tell()

    def _count(self, ratio: float, *, failed: bool) -> None:
        self._window.add(self._clock(), failed=failed)
        if self._window.calls >= self.min_calls and self._window.failures / self._window.calls >= ratio:
            self._breaker.open()

    def __repr__(self) -> str:
        return f"<Gate {self.name}: {self.state}>"

    def _admit(self) -> Permit | CircuitOpenError:
        now = self._clock()
        if self._storage.state == pybreaker.STATE_OPEN:
            left = self.reset_timeout - (now - self._since(now))
            if left > 0:
                return self._rejection(f"circuit {self.name!r} is open; the next trial is due in {left:.3g} s", left)
            self._breaker.half_open()
        if self._storage.state == pybreaker.STATE_CLOSED:
            return self._permit
        if len(self._trials) >= self.max_trials:
            for permit, started in list(self._trials.items()):
                if now - started >= self.trial_lease:
                    self._trials.pop(permit, None)
        if len(self._trials) >= self.max_trials:
            return self._rejection(f"circuit {self.name!r} is half-open, and its trials are under way", None)
        permit = Permit()
        self._trials[permit] = now
        return permit

    def _rejection(self, said: str, left: float | None) -> CircuitOpenError:
        self._note("rejected", first=not self._has_rejected, retry_after=left)
        self._has_rejected = True
        return CircuitOpenError(said, name=self.name, retry_after=left)

    def _since(self, now: float) -> float:
        """When it was opened, by our clock."""
        if self._opened_at is None:  # by somebody else; their clock may be wrong, but not by more than the timeout
            opened = self._storage.opened_at
            if opened is None:
                return now - self.reset_timeout
            age = (datetime.now(UTC) - (opened if opened.tzinfo else opened.replace(tzinfo=UTC))).total_seconds()
            self._opened_at = now - min(max(age, 0), self.reset_timeout)
        return self._opened_at

    def _turned(self, state: str) -> None:
        """Begin a period; called by pybreaker, under its lock."""
        self._permit = Permit()
        self._trials.clear()
        self._window.clear()
        self._successes = 0
        self._opened_at = None
        if state == pybreaker.STATE_OPEN:
            left = self.reset_timeout if self._due_in is None else self._due_in
            self._opened_at = self._clock() + left - self.reset_timeout
            self._has_rejected = False
            self._note("opened", retry_after=left)
        elif state == pybreaker.STATE_HALF_OPEN:
            self._note("half_open")
        else:
            self._note("closed")

    def _note(self, event: Event, **fields: Any) -> None:
        """Keep in mind, while the lock is held, what to tell when it is not."""
        if self._listener is not None:
            self._untold.append((event, fields))

    def _tell(self) -> None:
        while self._untold:
            try:
                event, fields = self._untold.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                self._listener(self, event, fields)  # type: ignore[misc]  # without one nothing is noted
            except Exception:
                logging.getLogger("formation").exception("the listener of %r raised", self)


class _Turns(pybreaker.CircuitBreakerListener):
    """Tells a gate that its state changes."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        """Begin a period."""
        self.gate._turned(new_state.name)  # noqa: SLF001  they are one


class _Failure(Exception):
    """Stands for the failure of a call: the real error needs no other traceback."""


def _pass() -> None:
    """Stand for a call that went well."""


def _fail() -> NoReturn:
    raise _Failure
