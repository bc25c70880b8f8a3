"""A client for each event loop, for an asyncio connection belongs to the loop that it was made in.

*It is closed with the loop* where that is done properly, as `asyncio.run` and all servers do: it lies in an
asynchronous generator, and those are closed then.
"""

from __future__ import annotations

from threading import local
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Semaphore
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

STEPS: Final = 5
"""Of a timeout: few, as each is a timer; and one that is lost to a pause leaves most of it."""


class Loops(local):
    """The clients of the event loops of a thread, for a loop that runs does not leave its thread.

    Args:
        connections: how many commands there may be in flight in a loop.
        own: the clients are ours to close.
    """

    def __init__(self, connections: int, *, own: bool) -> None:
        self._connections = connections
        self._own = own
        self._loops: WeakKeyDictionary[AbstractEventLoop, _OfLoop] = WeakKeyDictionary()

    async def client(self, make: Callable[[], Any]) -> tuple[Any, Semaphore]:
        """Return the client of the running loop, which ``make`` makes if there is none, and its places in flight.

        Raises:
            RuntimeError: the loop is not one of asyncio.
        """
        from asyncio import Semaphore

        loop = _running()
        found = self._loops.get(loop)
        if found is None:
            for each in [each for each in self._loops if each.is_closed()]:
                del self._loops[each]  # its client knows it, so it would never go by itself
            client = make()
            found = self._loops[loop] = _OfLoop(client, Semaphore(self._connections), _keep(client, own=self._own))
            await anext(found.keeper)
        return found.client, found.places

    async def aclose(self) -> None:
        """Close the client of the running loop. The next command makes another one."""
        found = self._loops.pop(_running(), None)
        if found is not None:
            await found.keeper.aclose()

    def __len__(self) -> int:
        return len(self._loops)


class _OfLoop(NamedTuple):
    client: Any
    places: Semaphore
    keeper: AsyncGenerator[None, None]


class Patience:
    """`asyncio.timeout`, but only time counts in which the event loop turned.

    Where something else has blocked the loop for longer than the timeout, the answer is there, and nobody has had the
    chance to read it. So the time is taken in steps, of which such a pause is one.
    """

    __slots__ = ("_handle", "_left", "_loop", "_scope", "_step")

    def __init__(self, seconds: float) -> None:
        self._step = seconds / STEPS
        self._left = STEPS

    async def __aenter__(self) -> None:
        from asyncio import timeout

        self._loop, self._scope = _running(), timeout(None)
        await self._scope.__aenter__()
        self._handle = self._loop.call_later(self._step, self._tick)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._handle.cancel()
        await self._scope.__aexit__(kind, error, traceback)

    def _tick(self) -> None:
        self._left -= 1
        if self._left:
            self._handle = self._loop.call_later(self._step, self._tick)
        else:
            self._scope.reschedule(self._loop.time())


async def _keep(client: Any, *, own: bool) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if own:
            await client.connection_pool.disconnect()


def _running() -> AbstractEventLoop:
    from asyncio import get_running_loop

    try:
        return get_running_loop()
    except RuntimeError:
        raise RuntimeError("redis-py knows no event loop but asyncio's: use a sync chain in a thread") from None
