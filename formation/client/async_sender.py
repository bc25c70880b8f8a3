"""The sender of async clients: what `formation.client.sender.Sender` is, with everything to be awaited."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from formation.client.base_sender import BaseSender, BaseStreamed
from formation.client.pages import MAX_PAGES, Turning, link_header
from formation.client.verbs import AsyncCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from formation.client.base_sender import Prepared
    from formation.client.responses import Result


class AsyncStreamed(BaseStreamed["AsyncSender"]):
    """A call that has not been sent yet: ``async with`` sends it and closes the body at the end, whatever happens."""

    async def __aenter__(self) -> Result[Any]:
        return await self._sender.run(self._begin())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for response in self._prepared.responses():
            await response.aclose()
        self._explain(error)


class AsyncSender(BaseSender[AsyncCall]):
    """Sends: by ``get``, ``head``, ``options``, ``post``, ``put``, ``patch``, ``delete``, or any method, to be awaited.

    Each takes what the methods of the sync sender take; ``stream=True`` gives an async context manager:
    ``async with sender.get("/big", stream=True) as result: async for chunk in result.body: …``.
    """

    is_async = True
    streamed = AsyncStreamed

    async def run(self, prepared: Prepared) -> Result[Any]:
        """Run a prepared call."""
        try:
            return self.finish(prepared, await prepared.chain(prepared.ctx))
        except BaseException as error:
            if isinstance(error, Exception):
                self.explain(error, prepared)
            for response in prepared.responses():
                await response.aclose()  # a stream that nobody will get to read
            raise

    def pages(
        self,
        call: Callable[[], Awaitable[Result[Any]]],
        *,
        next: Callable[[Result[Any]], str | None] = link_header,  # noqa: A002  the word of the trade
        items: Callable[[Any], Iterable[Any]] | None = None,
        max_pages: int = MAX_PAGES,
    ) -> AsyncGenerator[Any, None]:
        """Make a call and then the same for each next page; an async generator of the results, or the items in them.

        Takes what ``pages`` of the sync sender takes, and raises the same.
        """
        return self._turn(call, Turning(call, next, max_pages), items)

    async def _turn(
        self, call: Callable[[], Awaitable[Result[Any]]], turning: Turning, items: Callable[[Any], Iterable[Any]] | None
    ) -> AsyncGenerator[Any, None]:
        made: Any = call()
        result: Result[Any] | None = turning.check(await made if isinstance(made, Awaitable) else made)
        while result is not None:
            for each in [result] if items is None else items(result.body):
                yield each
            url = turning.after(result)
            result = await self.run(self.again(result, url)) if url else None

    async def close(self) -> None:
        """Close the connection pool, unless it is another sender's; a second time does nothing."""
        if self._owner and (closing := self._transport.close()) is not None:
            await closing

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
