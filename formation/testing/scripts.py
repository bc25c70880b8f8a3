"""A script: an endpoint that gives one answer after the other, and no more."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from formation.keys import REQ_HTTP
from formation.testing.answers import answered, checked
from formation.testing.recording import Recorder, as_sent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from formation.kernel import Ctx
    from formation.testing.answers import Answer


class Script(Recorder):
    """What `script` returns: an endpoint that gives one answer after the other."""

    __name__ = "script"

    def __init__(self, answers: Iterable[Answer]) -> None:
        super().__init__()
        self._answers = [checked(answer) for answer in answers]
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many answers nobody has asked for, yet."""
        return max(0, len(self._answers) - len(self.calls))

    def _serve(self, ctx: Ctx) -> Ctx:
        sent = as_sent(ctx)
        with self._lock:
            number = len(self.calls)
            self.calls.append(sent)
        if number >= len(self._answers):
            raise AssertionError(
                f"unexpected call #{number + 1}, the script has {len(self._answers)}: {sent[REQ_HTTP].name}"
            )
        return answered(ctx, self._answers[number])

    def __repr__(self) -> str:
        return f"<script: {len(self.calls)} of {len(self._answers)} asked for>"


def script(answers: Iterable[Answer]) -> Script:
    """Make an endpoint that gives one answer for each call, in order: ``endpoint=script([503, 503, 200])``.

    Args:
        answers: see `Answer`.

    Returns:
        A callable with ``calls`` and ``requests``, what was sent, and ``left``, how many answers are.

    Raises:
        TypeError: an answer that is none.
        AssertionError: at a call, if the script is at its end.

    >>> from formation.for_requests import build
    >>> answers = script([{"name": "ann"}, 404])
    >>> users = build(base_uri="https://h", endpoint=answers)
    >>> users.get("/users/1").status_code, users.get("/users/2").status_code
    (200, 404)
    >>> answers.requests[1].url
    'https://h/users/2'
    >>> users.get("/users/3")
    Traceback (most recent call last):
    AssertionError: unexpected call #3, the script has 2: GET /users/3
    client: ...
    """
    return Script(answers)
