"""How a body ends: once, whichever way, and whoever wants to know is told.

>>> from formation.http import Body
>>> body = Body([b"hello"], close=lambda: print("closed"))
>>> body.on_close(lambda count, error: print(count, repr(error)))
>>> body.close()
closed
0 BodyAbandoned('the body was closed before its end')
>>> body.close()

Theory of operation
-------------------
Ending it closes the source, then tells the hooks, then closes what it stands in the place of. All of that is done
however much of it fails: the first error goes on when the last has been told.

Some sources are closed by awaiting, and `close` can be called where nothing can wait. What it could not wait for is
kept: the next `aclose` does, or who takes the place of this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import copy
from types import AsyncGeneratorType
from typing import Any, TypeAlias, TypeVar

from formation.bridge import await_, in_async_chain
from formation.errors import BodyAbandoned

T = TypeVar("T")
OnClose: TypeAlias = Callable[[int, BaseException | None], object]


class Ending:
    """What has an end. `Body` fills it in."""

    __slots__ = ("_behind", "_close", "_closing", "_count", "_error", "_hooks", "_over")

    _behind: tuple[Ending, ...]  # closed with this one
    _close: Callable[[], Any] | None  # called once
    _closing: tuple[Any, ...]  # what close() could not wait for, or what makes it
    _count: int  # bytes that have come out
    _error: BaseException | None
    _hooks: tuple[OnClose, ...]
    _over: bool

    @property
    def ended(self) -> bool:
        """Whether it has been read to its end, or closed."""
        return self._over

    def on_close(self, hook: OnClose) -> None:
        """Call ``hook(count, error)`` once when the body has ended; at once if it has ended already.

        ``count``: the bytes that came out. ``error``: ``None``, what stopped it, or a `BodyAbandoned`. A hook that
        raises is logged and changes nothing.
        """
        if self._over:
            _tell_each((hook,), self._count, self._error)
        else:
            self._hooks += (hook,)

    def close(self, error: BaseException | None = None) -> None:
        """End it, read or not. Closing it twice does nothing.

        Outside of an async chain this cannot wait for a source that is closed by awaiting: `aclose` does.
        """
        if not self._over:
            self._shut(error or self._abandoned())

    async def aclose(self, error: BaseException | None = None) -> None:
        """Do what `close` does, for an ``async def``."""
        await self._ashut(error or self._abandoned())

    def end(self, error: BaseException | None = None) -> None:
        """Be over: all of it has been pushed, or ``error`` has stopped it. Ending it twice does nothing."""
        if not self._over:
            self._shut(error)

    def replace(self, old: Ending) -> None:
        """Stand in the place of ``old``: what is left of it is closed with this one."""
        if old.has_something_to_close:
            self._behind += (old,)
            if self._over:
                old.close()

    @property
    def has_something_to_close(self) -> bool:
        """Whether it has not ended, or its source has not been waited for."""
        return not self._over or bool(self._closing)

    # How, for a subclass

    def _closers(self) -> tuple[Callable[[], Any], ...]:
        """Return what closes the source; asked for at each end."""
        raise NotImplementedError

    def _abandoned(self) -> BaseException | None:
        """Return what closing it now means."""
        raise NotImplementedError

    def _shut(self, error: BaseException | None) -> None:
        try:
            try:
                self._end(error)
            finally:
                if self._closing and in_async_chain():
                    try:
                        await_(self._wait())
                    finally:
                        self._forget()  # the chain has been dropped, so that nobody waits any more
        finally:
            if self._behind:
                _every(self._behind, lambda body: body.close(error))
            error = None  # or the traceback of the error, this frame and the error hold each other

    async def _ashut(self, error: BaseException | None) -> None:
        try:
            try:
                if not self._over:
                    self._end(error)
            finally:
                await self._wait()
        finally:
            await _close_each(self._behind, error)
            error = None

    async def _wait(self) -> None:
        if self._closing:
            *left, closing = self._closing
            self._closing = tuple(left)
            try:
                await (closing() if callable(closing) else closing)
            finally:
                await self._wait()

    def _forget(self) -> None:
        closings, self._closing = self._closing, ()
        for closing in closings:
            if not callable(closing):
                closing.close()

    def _end(self, error: BaseException | None) -> None:
        """Be over: close the source and tell the hooks."""
        self._over = True
        try:
            if closers := self._closers():
                _every(closers, self._close_by)
        except BaseException as failed:
            error = error or failed
            raise
        finally:
            self._error = None if error is None else _kept(error)
            self._tell(self._count, error)
            error = None

    def _close_by(self, close: Callable[[], Any]) -> None:
        if isinstance(getattr(close, "__self__", None), AsyncGeneratorType):
            self._closing += (close,)  # not called before it can be awaited: 3.13 would warn
        elif hasattr(closing := close(), "__await__"):
            self._closing += (closing,)

    def _tell(self, count: int, error: BaseException | None) -> None:
        hooks, self._hooks = self._hooks, ()
        _tell_each(hooks, count, error)


def _every(items: Iterable[T], do: Callable[[T], object]) -> None:
    """Do it for every item. An error, or an interrupt, goes on when it has been done for the others."""
    left = iter(items)
    for item in left:
        try:
            do(item)
        except BaseException:
            _every(left, do)
            raise


async def _close_each(bodies: tuple[Ending, ...], error: BaseException | None) -> None:
    if bodies:
        try:
            await bodies[0].aclose(error)
        finally:
            await _close_each(bodies[1:], error)


def _kept(error: BaseException) -> BaseException:
    """Return a copy for hooks that come late: the error itself holds, by its traceback, frames that hold the body."""
    try:
        return copy(error)
    except Exception:  # noqa: BLE001  some errors cannot be made of their args
        return BodyAbandoned(f"the body ended before its time: {error!r}")


def _tell_each(hooks: Iterable[OnClose], count: int, error: BaseException | None) -> None:
    left = iter(hooks)
    for hook in left:
        try:
            hook(count, error)
        except Exception:
            from logging import getLogger  # rarely needed

            getLogger("formation").exception("an on_close hook raised: %r", hook)
        except BaseException:  # an interrupt goes on when the others have been told
            _tell_each(left, count, error)
            raise
