"""What middlewares say about themselves: events with fields, through structlog where it is, else through logging."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from formation.introspection import name_of
from formation.keys import FN, REQ_HTTP, REQ_RPC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEVELS: Final = ("debug", "info", "warning", "error")


class Events:
    """Say what happens: ``events("warning", "retry.scheduled", attempt=1)``. It never raises.

    This is the one rule for what a logger is, for whatever takes a ``logger``. The field ``exc_info`` is an error whose
    traceback is logged.

    Args:
        logger: a structlog logger, one of ``logging``, or anything with the four levels as methods that take an event
            and fields. ``None``: ``structlog.get_logger("formation")``, or, where structlog is not installed,
            ``logging.getLogger("formation")``; structlog is loaded with the first event, for it is slow to load.

    Raises:
        TypeError: it is none of these.

    >>> Events("github")
    Traceback (most recent call last):
    TypeError: expected a logger, got 'github': structlog.get_logger() or logging.getLogger(__name__) make one
    """

    def __init__(self, logger: Any = None) -> None:
        if logger is not None and not all(callable(getattr(logger, level, None)) for level in LEVELS):
            message = (
                f"expected a logger, got {logger!r}: structlog.get_logger() or logging.getLogger(__name__) make one"
            )
            raise TypeError(message)
        self._logger = logger

    def __call__(self, level: str, event: str, /, **fields: Any) -> None:
        try:
            if self._logger is None:
                self._logger = _default()
            say = getattr(self._logger, level)
            if isinstance(self._logger, (logging.Logger, logging.LoggerAdapter)):
                error = fields.pop("exc_info", None)
                said = " ".join([event, *(f"{name}={value!r}" for name, value in fields.items())])
                say("%s", said, exc_info=error)
            else:
                say(event, **fields)
        except Exception as error:  # noqa: BLE001  it is told of
            tell_of(self._logger, error)

    def bound(self, fields: Mapping[str, Any] | None) -> Callable[..., None]:
        """Return what says the same, with these fields in each event; without them if they have no names."""
        try:
            return partial(self, **dict(**fields or {}))  # which refuses now what is no name
        except TypeError as error:
            tell_of(self._logger, error)
            return self


def called(ctx: Any) -> dict[str, str]:
    """Say what is called: the ``request`` by its name, or the function as ``fn``; nothing where neither is known.

    >>> called({"fmtn.fn": len}), called(42)
    ({'fn': 'len'}, {})
    """
    if not isinstance(ctx, dict):
        return {}
    if (request := ctx.get(REQ_HTTP) or ctx.get(REQ_RPC)) is not None:
        return {"request": request.name}
    return {"fn": name_of(ctx[FN])} if FN in ctx else {}


def tell_of(logger: Any, error: Exception) -> None:
    """Tell ``logging.getLogger("formation")`` what ``logger`` has raised, which must not fail the call."""
    logging.getLogger("formation").error("a logger raised: %r", logger, exc_info=error)


def _default() -> Any:
    try:
        from structlog import get_logger
    except ImportError:
        return logging.getLogger("formation")
    return get_logger("formation")
