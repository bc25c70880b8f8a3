"""A simulation: a run in which an hour of back-off takes a millisecond."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from formation.client.base_sender import BaseSender
from formation.client.declare import BaseClient
from formation.clock import Virtual, virtual
from formation.testing.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from formation.http.request import Request
    from formation.kernel import Ctx
    from formation.testing.answers import Answer


class Run:
    """What `simulate` gives: the client to call, and what has happened.

    ``client``: the client, or sender, whose calls are answered by the script; ``script``: the `Script`, or ``None``.
    """

    def __init__(self, client: Any, script: Script | None, clock: Virtual) -> None:
        self.client = client
        self.script = script
        self._clock = clock

    @property
    def slept(self) -> list[float]:
        """The seconds of each sleep."""
        return self._clock.slept

    @property
    def elapsed(self) -> float:
        """The seconds that have passed, by the clock of the run."""
        return self._clock.elapsed

    def advance(self, seconds: float) -> None:
        """Let the time pass."""
        self._clock.advance(seconds)

    @property
    def calls(self) -> list[Ctx]:
        """The contexts of the calls that the script has answered."""
        return [] if self.script is None else self.script.calls

    @property
    def requests(self) -> list[Request]:
        """The requests that the script has answered."""
        return [] if self.script is None else self.script.requests


@contextmanager
def simulate(client: Any, script: Iterable[Answer] | None = None, *, seed: int = 0) -> Iterator[Run]:
    """Run what is inside of the ``with`` by a clock that moves only when somebody sleeps, and with the same luck.

    It counts for `formation.sleep`, for deadlines, and for each middleware that was not given a clock, a sleep or a
    random of its own; in this task, and in tasks that are started inside. One call at a time: each sleep of calls that
    run side by side moves the clock for all of them. ``time.sleep`` and ``asyncio.sleep`` take the time they take.

    Args:
        client: a client or a sender, sync or async.
        script: what answers, as for `script`; ``None``: what answers anyway.
        seed: of the random numbers.

    Yields:
        A `Run`: call ``run.client``, look at ``run.slept``.

    Raises:
        TypeError: ``client`` is none.

    >>> from formation.for_requests import Client
    >>> from formation.middleware import retry
    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     middleware = [retry(5, base=600, cap=3600)]
    ...
    ...     def stars(self):
    ...         return self.request.get("/stars")
    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as events, simulate(Github(), [503, 503, 503, 200]) as run:
    ...     run.client.stars().status_code
    200
    >>> len(run.slept), run.elapsed > 600
    (3, True)
    """
    if not isinstance(client, (BaseClient, BaseSender)):
        raise TypeError(f"expected a client, got {client!r}")
    answers = None if script is None else Script(script)
    clock = Virtual(seed)
    run = Run(client if answers is None else client.extend(endpoint=answers), answers, clock)
    token = virtual.set(clock)
    try:
        yield run
    finally:
        virtual.reset(token)
