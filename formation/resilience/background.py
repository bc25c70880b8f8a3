"""What is done for nobody who waits: in a task of asyncio, or in a thread of its own, with the caller's contextvars.

It inherits neither the deadline nor the cancellation of who has begun it. An event loop that ends cancels its tasks,
and a process that ends does not wait for the threads.
"""

from __future__ import annotations

import sys
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from formation import ambient, bridge

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

_tasks: Final[dict[Any, Callable[[], object]]] = {}  # an event loop holds its tasks by a weak reference only


def in_background(fn: Callable[[], object], ended: Callable[[], object], name: str) -> bool:
    """Call the plain ``fn`` aside, on the bridge where there is an event loop of asyncio; ``False``: there is no way.

    ``fn`` has to deal with its own errors. ``ended`` is called once in the end, also if ``fn`` never was: a task may be
    cancelled before it begins.
    """
    loop = running_loop()
    if loop is None:
        if bridge.in_async_chain():
            return False  # trio has no tasks without a nursery
        run = copy_context().run
        thread = Thread(target=run, args=(_apart, fn, ended), name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # there are too many, or the interpreter is about to end
            return False
        return True
    for task in [task for task in list(_tasks) if task.get_loop().is_closed()]:  # other threads put theirs in meanwhile
        task._log_destroy_pending = False  # noqa: SLF001  its loop has been closed without a word to its tasks
        _end(task)
    task = loop.create_task(_apart_async(fn), name=name, context=copy_context())
    _tasks[task] = ended
    task.add_done_callback(_end)
    return True


def running_loop() -> AbstractEventLoop | None:
    """Return the running event loop of asyncio, if there is one."""
    asyncio = sys.modules.get("asyncio.events")  # who runs one has loaded it
    return None if asyncio is None else asyncio._get_running_loop()  # noqa: SLF001  the one that raises nothing


def _apart(fn: Callable[[], object], ended: Callable[[], object]) -> None:
    ambient.forget_deadline()
    try:
        fn()
    finally:
        ended()


async def _apart_async(fn: Callable[[], object]) -> None:
    ambient.forget_deadline()
    await bridge.run(lambda _: fn(), None)


def _end(task: Any) -> None:
    if (ended := _tasks.pop(task, None)) is not None:
        ended()
