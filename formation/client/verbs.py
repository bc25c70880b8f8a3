"""The methods of a sender, ``get``, ``post`` and the rest, and what a type checker is told of them.

A sync sender's return results, an async one's return awaitables of them: that is all that `Call` and `AsyncCall` differ
in.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from types import UnionType
    from typing import Unpack

    from formation.client.async_sender import AsyncStreamed
    from formation.client.base_sender import BaseSender
    from formation.client.responses import Result
    from formation.client.sender import Streamed
    from formation.client.settings import Options
    from formation.kernel import Ctx

T = TypeVar("T")
C = TypeVar("C")


class Call(Protocol):
    """What ``sender.get`` and its like are of a sync sender: they take the path and `Options`."""

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
    ) -> Result[T]: ...
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
    ) -> Streamed: ...
    @overload
    def __call__(
        self,
        path: str = ...,
        /,
        *,
        response_as: UnionType | None = ...,
        stream: Literal[False] = ...,
        expect: int | Iterable[int] | None = ...,
        **options: Unpack[Options],
    ) -> Result[Any]: ...


class AsyncCall(Protocol):
    """What they are of an async sender."""

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
        response_as: UnionType | None = ...,
        stream: Literal[False] = ...,
        expect: int | Iterable[int] | None = ...,
        **options: Unpack[Options],
    ) -> Awaitable[Result[Any]]: ...


class Verb(Generic[C]):
    """An HTTP method as a method: ``sender.get(path, …)`` is ``sender.send("GET", path, …)``."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __get__(self, sender: BaseSender[C] | None, owner: type | None = None) -> C:
        if sender is None:
            return self  # type: ignore[return-value]  # of the class, for who looks what there is
        return partial(sender.send, self.method)  # type: ignore[return-value]  # of any type, which the sender knows
