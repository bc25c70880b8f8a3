"""The bridge: a plain function runs in an async chain and waits there without blocking the event loop.

Theory of operation
-------------------
A plain middleware says ``ctx = call(ctx)`` and means: wait until the rest of the chain is through. In an async chain
the rest is a coroutine, and a plain function cannot await. So the function runs in a *worker*, a greenlet. Where it has
to wait, `await_` switches from the worker to the coroutine that drives it (`run`) and hands over the awaitable; the
coroutine awaits it, as any coroutine would, and switches back with the result, or throws the error in::

    event loop ──► run() ──switch──► worker: timeit(ctx, call)
                     │ ◄──awaitable──────────── call(ctx) = await_(rest(ctx))
                   await
                     │ ──result──► ............ returns, goes on
                     │ ◄──_DONE──────────────── timeit returned
                  returns

Nothing runs in another thread, and nothing runs at the same time: the task, the event loop, the current task and the
cancel scopes are those of the caller.

*Workers are parked.* Since CPython 3.11 a new greenlet maps a stack for its frames and unmaps it at its end, about 9 us
a call. A worker that has served a call waits in a list of its thread for the next one: about 2 us a call, all in all.

*Context variables are shared, not copied.* Before each resume the worker gets the very ``Context`` object of its
driver, so what either side sets the other sees. The exception is a worker that waits inside ``Context.run``: it keeps
that one.

*Every path gives the worker back*: return, error, cancellation, and a coroutine that is closed or collected, for which
``GeneratorExit`` is thrown in at the waiting point. A parked worker holds no context, result, error or function.

*A worker that nobody holds ends*: greenlet throws ``GreenletExit`` in, in the worker's own thread. So none of the
frames below, which stay while the worker waits, may hold the worker itself: its thread would end and leave it behind.
"""

from __future__ import annotations

import sys
import time
from contextvars import copy_context
from threading import local
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from greenlet import GreenletExit, getcurrent, greenlet

from formation.clock import virtual

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

T = TypeVar("T")
C = TypeVar("C")

IDLE_WORKERS: Final = 256
"""Parked workers kept for each thread. Each holds one 16 KiB frame stack, so a thread keeps 4 MiB at most; calls over
that number in flight at once work as well, and pay for a greenlet of their own."""

LATE_WAITS: Final = 100
"""How often a plain function may try to wait after its chain has been closed, each time in vain. Cleaning up takes a
few; a loop that swallows every error would hang the garbage collector."""

_DONE: Final = object()


class _Idle(local):
    """The parked workers of a thread; a greenlet never leaves its thread."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []


_idle = _Idle()


class Worker(greenlet):
    """Serves one plain call after another. ``value`` and ``raised`` hold the outcome until its driver has taken it."""

    __slots__ = ("raised", "value")
    value: Any
    raised: BaseException | None
    if TYPE_CHECKING:
        parent: greenlet  # only the main greenlet of a thread has none

    def __init__(self) -> None:
        super().__init__(_serve)
        self.value = self.raised = None
        self.switch()  # without a call: greenlet keeps for good what it was first started with


class _Abandoned(Worker):
    """What a worker turns into once nobody drives it: it can no longer wait."""

    __slots__ = ()


_current = cast("Callable[[], Worker]", getcurrent)  # for where it is known what it finds


def _serve() -> object:
    """Park, take a function and its context from the next driver, call it, park again."""
    while True:
        fn = ctx = None
        fn, ctx = _current().parent.switch(_DONE)
        try:
            _current().value = fn(ctx)
        except BaseException as error:  # noqa: BLE001  whatever it is, it belongs to the driver
            # This frame goes on with other calls: who looks into the locals of a traceback must not find theirs.
            error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
            _current().raised = error
            if isinstance(error, GreenletExit):  # this worker is being ended, with a call in it
                return _DONE


async def run(fn: Callable[[C], C], ctx: C, /) -> C:
    """Call the plain ``fn(ctx)`` in a worker and await on its behalf whatever it hands to `await_`."""
    workers = _idle.workers
    worker = workers.pop() if workers else Worker()
    worker.parent = driver = getcurrent()
    if (context := driver.gr_context) is None:
        context = _new_context(driver)
    worker.gr_context = context
    awaitable = worker.switch(fn, ctx)
    while awaitable is not _DONE:
        try:
            value = await awaitable
        except GeneratorExit as error:  # this coroutine is closed, nobody can wait any more
            _unwind(worker, error)
            raise
        except BaseException as error:  # noqa: BLE001  cancellation too: it belongs to the plain function
            if getcurrent() is not driver or driver.gr_context is not context:
                driver, context = _attach(worker, context)
            # In three parts: throw(error) alone loses the traceback on 3.11.
            awaitable = worker.throw(type(error), error, error.__traceback__)
        else:
            if getcurrent() is not driver or driver.gr_context is not context:
                driver, context = _attach(worker, context)
            awaitable = worker.switch(value)
    if worker.raised is not None:
        raised, before = worker.raised, worker.raised.__context__
        _park(worker)
        try:
            raise raised
        finally:
            raised.__context__ = before or raised.__context__  # Python has put there what is being handled out here
            del raised, before  # or the error, its traceback and this frame hold each other
    out: C = worker.value
    worker.value = worker.gr_context = None
    if len(workers) < IDLE_WORKERS:
        workers.append(worker)
    return out


def await_(awaitable: Awaitable[T], /) -> T:
    """Wait for ``awaitable`` from a plain function in an async chain, and return its result.

    The event loop goes on meanwhile. Errors of the awaitable, and cancellation, are raised here.

    Args:
        awaitable: a coroutine, a future, a task: anything that ``await`` takes.

    Raises:
        RuntimeError: this is not a plain function in an async chain, so there is nothing to wait with. A coroutine is
            closed first, so that nothing is left un-awaited.

    >>> import asyncio
    >>> from formation import wrap
    >>> async def answer():
    ...     return 42
    >>> def ask(ctx, call):
    ...     ctx["answer"] = await_(answer())
    ...     return call(ctx)
    >>> async def endpoint(ctx):
    ...     return ctx
    >>> asyncio.run(wrap(endpoint, [ask])({}))
    {'answer': 42}
    """
    if type(getcurrent()) is not Worker:
        _refuse(awaitable)
    result: T = _current().parent.switch(awaitable)
    return result


def waiting(step: Callable[[C], Awaitable[C]], check: Callable[[C], None]) -> Callable[[C], C]:
    """Make of an async step the plain one that a plain middleware calls: `await_` without its frame, a hot path.

    ``check`` is shown a result that is not the context that went in.
    """

    def wait(ctx: C, /) -> C:
        awaitable = step(ctx)
        if type(getcurrent()) is not Worker:
            _refuse(awaitable)
        out: C = _current().parent.switch(awaitable)
        if out is not ctx:
            check(out)
        return out

    return wait


def _refuse(awaitable: Awaitable[Any]) -> NoReturn:
    said = repr(awaitable)
    if hasattr(awaitable, "close"):  # a coroutine, or a step of an async generator
        awaitable.close()
    message = (
        f"{said} cannot be waited for here: this is not a plain function in an async chain, or it runs in another "
        "thread or greenlet than its chain; in an 'async def' use 'await', in a sync program call something that "
        "blocks; in_async_chain() tells"
    )
    raise RuntimeError(message)


def in_async_chain() -> bool:
    """Tell whether this plain function runs in an async chain, so that `await_` works here.

    >>> in_async_chain()
    False
    """
    return isinstance(getcurrent(), Worker)


def sleep(seconds: float, /) -> None:
    """Sleep, the right way for the chain: block the thread in a sync chain, let the event loop go on in an async one.

    Args:
        seconds: how long; zero and less returns soon, in an async chain after the others had their turn.

    >>> sleep(0)
    """
    if (clock := virtual.get()) is not None:
        clock.sleep(seconds)
        seconds = 0  # the others have their turn, all the same
    if in_async_chain():
        await_(_loop_sleep(max(seconds, 0)))
    else:
        time.sleep(max(seconds, 0))


def _loop_sleep(seconds: float) -> Awaitable[None]:
    trio = sys.modules.get("trio")
    if trio is not None and trio.lowlevel.in_trio_run():
        return trio.sleep(seconds)  # type: ignore[no-any-return]
    from asyncio import sleep  # 30 ms that only an async program should pay, and it has

    return sleep(seconds)


def _new_context(driver: greenlet) -> Context:
    """Make the context that a thread has only once somebody uses it."""
    copy_context()
    return cast("Context", driver.gr_context)


def _attach(worker: Worker, context: Context) -> tuple[greenlet, Context]:
    """Prepare to resume ``worker``, last seen in ``context``, from where its driver runs by now."""
    driver = getcurrent()
    if not _adopt(worker, driver):
        raise RuntimeError("an async chain that was started in one thread cannot go on in another")
    if (current := driver.gr_context) is None:
        current = _new_context(driver)
    if current is not context and worker.gr_context is context:  # else it waits inside of Context.run, and stays there
        worker.gr_context = current
    return driver, current


def _park(worker: Worker) -> None:
    worker.value = worker.raised = None
    if worker.dead:
        return
    worker.gr_context = None
    workers = _idle.workers
    if len(workers) < IDLE_WORKERS:
        workers.append(worker)


def _adopt(worker: Worker, driver: greenlet) -> bool:
    """Make ``driver`` the one that ``worker`` switches to, unless it is of another thread."""
    try:
        worker.parent = driver
    except ValueError:  # greenlet will end the worker in its own thread, as soon as that one switches
        worker.__class__ = _Abandoned
        return False
    return True


def _unwind(worker: Worker, error: BaseException) -> None:
    """End the call that ``worker`` is in. It may clean up; it can no longer wait."""
    if not _adopt(worker, getcurrent()):  # the coroutine was collected in another thread
        return
    awaitable = worker.throw(type(error), error, error.__traceback__)
    waits = 0
    while awaitable is not _DONE:
        if hasattr(awaitable, "close"):
            awaitable.close()
        if (waits := waits + 1) > LATE_WAITS:
            worker.value = worker  # it stays as it is, for good: dropped, it would be asked to end again
            raise RuntimeError("a plain function in a chain that has been closed ignored it again and again")
        late = RuntimeError("await_() in a chain that has been closed: nothing can be waited for any more")
        awaitable = worker.throw(type(late), late, None)
    _park(worker)


class Aside:
    """A plain call in a greenlet of its own, which can pause in the middle while who has begun it goes on.

    For a host that must do something between two steps of a function that it calls, and not of one that awaits. It is
    not the bridge: in here nothing can be waited for.
    """

    __slots__ = ("_greenlet", "is_paused")

    def __init__(self, fn: Callable[[], None]) -> None:
        self._greenlet = greenlet(fn)
        self.is_paused = False

    def go_on(self, error: BaseException | None = None) -> None:
        """Begin, or go on after a pause, where ``error`` is raised; return at the next pause, or at the end."""
        aside, self.is_paused = self._greenlet, False
        aside.parent = driver = getcurrent()
        if not aside:  # not begun
            aside.gr_context = _new_context(driver) if driver.gr_context is None else driver.gr_context
        try:
            if error is None:
                aside.switch()
            else:
                aside.throw(type(error), error, error.__traceback__)
        finally:
            del error  # or the error, its traceback and this frame hold each other

    def pause(self) -> None:
        """Go back to who has begun it; called by what runs in here."""
        self.is_paused = True
        cast("greenlet", self._greenlet.parent).switch()
