"""The sender of async clients: what `formation.client.sender.Sender` is, with everything to be awaited."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

from formation.client.pages import MAX_PAGES, Turning, link_header
from formation.client.sender import BaseSender, refuse_more
from formation.errors import FormationError
from formation.keys import RES_HTTP

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType
    from typing import Never, Self, Unpack

    from formation.client.responses import Result
    from formation.client.sender import Prepared
    from formation.client.settings import Options
    from formation.kernel import Ctx

T = TypeVar("T")


class AsyncCall(Protocol):
    """What ``sender.get`` and its like are: they take the path and `Options`."""

    @overload
    def __call__(
        self,
        path: str = ...,
        /,
        *,
        response_as: type[T] | Callable[[Ctx], T],
        stream: Literal[False] = ...,
        expect: int | Iterable[int] | None = ...,
        **options: Unpack[Options],
    ) -> Awaitable[Result[T]]: ...
    @overload
    def __call__(
        self,
        path: str = ...,
        /,
        *,
        stream: Literal[True],
        response_as: Any = ...,
        expect: int | Iterable[int] | None = ...,
        **options: Unpack[Options],
    ) -> AsyncStreamed: ...
    @overload
    def __call__(
        self,
        path: str = ...,
        /,
        *,
        response_as: None = ...,
        stream: Literal[False] = ...,
        expect: int | Iterable[int] | None = ...,
        **options: Unpack[Options],
    ) -> Awaitable[Result[Any]]: ...


class AsyncVerb:
    """An HTTP method as a method: ``await sender.get(path, …)`` is ``await sender.send("GET", path, …)``."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __get__(self, sender: AsyncSender, owner: type | None = None) -> AsyncCall:
        return partial(sender.send, self.method)


class AsyncSender(BaseSender):
    """Sends: by ``get``, ``head``, ``options``, ``post``, ``put``, ``patch``, ``delete``, or any method, to be awaited.

    Each takes what the methods of the sync sender take; ``stream=True`` gives an async context manager:
    ``async with sender.get("/big", stream=True) as result: async for chunk in result.body: …``.
    """

    is_async = True

    get = AsyncVerb("GET")
    head = AsyncVerb("HEAD")
    options = AsyncVerb("OPTIONS")
    post = AsyncVerb("POST")
    put = AsyncVerb("PUT")
    patch = AsyncVerb("PATCH")
    delete = AsyncVerb("DELETE")

    def send(self, method: str, path: str = "", /, *more: Never, **options: Any) -> Any:
        """Send a request by any method; to be awaited. A bad argument is refused at once, before anything is awaited.

        Raises:
            TypeError: an unknown argument, a missing path parameter, a value of a type that cannot be sent.
            ValueError: a URL, header, parameter or timeout that would not mean what it says.
            ForeignURLError: the path is a URL of another origin.
            TransportError: the exchange failed, see `formation.errors`.
            StatusError: a status that is not in ``expect``.
            DecodeError: a body that is not what ``response_as`` wants.
        """
        refuse_more(method, more)
        prepared = self.prepare(method, path, options)
        if options.get("stream"):
            return AsyncStreamed(self, prepared)
        return self.run(prepared)

    async def run(self, prepared: Prepared) -> Result[Any]:
        """Run a prepared call."""
        try:
            return self.finish(prepared, await prepared.chain(prepared.ctx))
        except BaseException as error:
            if isinstance(error, Exception):
                self.explain(error, prepared)
            if (response := prepared.ctx.get(RES_HTTP)) is not None:
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


class AsyncStreamed:
    """A call that has not been sent yet: ``async with`` sends it and closes the body at the end, whatever happens."""

    def __init__(self, sender: AsyncSender, prepared: Prepared) -> None:
        self._sender = sender
        self._prepared = prepared
        self._result: Result[Any] | None = None

    async def __aenter__(self) -> Result[Any]:
        if self._result is not None:
            raise RuntimeError("this call has been sent already: make another one")
        self._result = await self._sender.run(self._prepared)
        return self._result

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._result is not None:
            await self._result.response.aclose()
        if isinstance(error, FormationError) and error.request is None:  # of the stream, while it was read
            self._sender.explain(error, self._prepared)
