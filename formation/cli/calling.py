"""Call once what a name stands for, with a probe between its layers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Generator
from typing import TYPE_CHECKING, Any, Final

from formation.cli.errors import WrongCommand, refused, words
from formation.client.async_sender import AsyncSender, AsyncStreamed
from formation.client.base_sender import BaseSender
from formation.client.declare import BaseClient
from formation.client.sender import Sender, Streamed
from formation.client.settings import settled
from formation.http.request import Request
from formation.introspection import is_coroutine_callable, name_of
from formation.kernel import BaseChain, Composed, wrap
from formation.keys import KIND, REQ_HTTP, RES_HTTP, SIDE
from formation.trace import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from formation.cli.asking import Asked
    from formation.cli.find import Found
    from formation.trace import Trace

HERE: Final = "http://localhost"
"""Where an app in this process seems to be, if only a path is asked for."""


class Calling:
    """How something is to be called: what the command line says, of which most things need one.

    ``request``, ``ctx``, ``args``: ``None`` where nothing was said.
    """

    def __init__(
        self, request: Asked | None, ctx: dict[str, Any] | None, args: tuple[list[Any], dict[str, Any]] | None
    ) -> None:
        self.request = request
        self.ctx = ctx
        self.args = args

    def run(self, found: Found) -> tuple[list[Trace], Exception | None]:
        """Call it; return the traces, and what it raised.

        Raises:
            WrongCommand: it cannot be traced, or is called with something else.
        """
        traces: list[Trace] = []

        def traced(thing: Any) -> Any:
            try:
                return trace(thing, on_trace=traces.append)
            except TypeError as error:
                raise refused(error, thing) from error

        call, close = self._prepared(found, traced)
        try:
            made = call()
            if isinstance(made, (Awaitable, AsyncStreamed, AsyncGenerator)):
                asyncio.run(_awaited(made, close))
            else:
                try:
                    _spent(made)
                finally:
                    close()
        except Exception as error:  # noqa: BLE001  whatever is called may raise whatever
            return traces, error
        return traces, None

    def _prepared(self, found: Found, traced: Callable[[Any], Any]) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Return what calls it, and what closes it afterwards."""
        thing, owner = found.thing, found.owner
        if is_client(thing):
            client = made(thing)
            return self._sent(traced(client)), client.close
        if is_client(owner) and inspect.isroutine(thing) and not hasattr(thing, "chain"):
            client = made(owner)
            return self._called(getattr(traced(client), found.name)), client.close
        if isinstance(thing, BaseChain):
            return self._through(traced(thing)), _nothing
        if hasattr(thing, "chain"):
            args = [made(owner)] if inspect.isclass(owner) and takes_self(thing) else []
            return self._called(traced(thing), *args), _nothing
        if isinstance(thing, (list, tuple, Composed)):
            return self._below(traced(thing))
        return self._served(traced(thing))

    def _called(self, fn: Any, *first: Any) -> Callable[[], Any]:
        self._only("args", f"{name_of(fn)} takes arguments: --args '[7]'")
        by_place, by_name = self.args or ([], {})
        try:
            inspect.signature(fn).bind(*first, *by_place, **by_name)
        except TypeError as error:
            names = ", ".join(inspect.signature(fn).parameters)
            raise WrongCommand(f"{name_of(fn)}({names}): {error}; --args has them") from error
        return lambda: fn(*first, *by_place, **by_name)

    def _through(self, chain: Any) -> Callable[[], Any]:
        ctx = {} if self.ctx is None else self.ctx
        if self.request is not None:
            method, url, headers, content = self.request
            try:
                asked = Request(method, url, headers=headers, content=content)
            except (TypeError, ValueError) as error:
                raise WrongCommand(words(error)) from error
            ctx = {KIND: "http", SIDE: "client", REQ_HTTP: asked}
        elif self.args is not None:
            raise WrongCommand("a chain takes a context, --ctx, or a request; --args is for functions")
        return lambda: chain(ctx)

    def _sent(self, client: Any, **more: Any) -> Callable[[], Any]:
        sender = getattr(client, "request", client)
        method, url, headers, content = self._asked("a client" if sender is client else name_of(type(client)))
        given = more if content is None else {**more, "content": content}
        return lambda: sender.send(method, url, headers=headers, **given)

    def _served(self, edge: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
        url = self._asked("a server").url
        settings: dict[str, Any] = {"base_uri": None if "://" in url else HERE, "max_redirects": 0}
        sender: Any
        if is_coroutine_callable(edge):
            from formation.client.in_process_asgi import endpoint

            sender = AsyncSender(settled({**settings, "endpoint": endpoint(edge)}), _nothing, name="in this process")
        else:
            from formation.client.in_process_wsgi import endpoint as wsgi

            sender = Sender(settled({**settings, "endpoint": wsgi(edge)}), _nothing, name="in this process")
        return self._sent(sender), sender.close

    def _below(self, stack: Any) -> tuple[Callable[[], Any], Callable[[], Any]]:
        """Put the stack around a request that is sent, or around nothing."""
        if self.request is None:
            self._only("ctx", "a stack takes a request, as in: formation trace shop:stack https://…; or --ctx")
            ctx = self.ctx or {}
            chain = wrap(_nothing_below, stack if isinstance(stack, list) else [stack])
            return (lambda: chain(ctx)), _nothing
        if "://" not in self.request.url:
            raise WrongCommand("a stack has no server of its own: expected an absolute URL, got a path")
        layers = stack if isinstance(stack, list) else stack.middleware
        try:
            if any(map(is_coroutine_callable, layers)):
                from formation.for_httpx import AsyncClient as Client
            else:
                from formation.for_requests import Client  # type: ignore[assignment]
        except ImportError as error:
            raise WrongCommand(str(error)) from error
        client = Client(middleware=list(layers))
        return self._sent(client), client.close

    def _asked(self, what: str) -> Asked:
        self._only("request", f"{what} takes a request, as in: formation trace … -X POST -d 'a=1' /path")
        if self.request is None:
            raise WrongCommand(f"{what} takes a request: expected its URL or path as the last word, got none")
        return self.request

    def _only(self, name: str, why: str) -> None:
        if any(getattr(self, each) is not None for each in ("request", "ctx", "args") if each != name):
            raise WrongCommand(why)


def is_client(thing: Any) -> bool:
    """Tell whether it is a client, the class of one, or what sends."""
    return isinstance(thing, (BaseClient, BaseSender)) or (isinstance(thing, type) and issubclass(thing, BaseClient))


def made(thing: Any) -> Any:
    """Return an instance of a class; of what is one already, itself.

    Raises:
        WrongCommand: it cannot be made without arguments.
    """
    if not isinstance(thing, type):
        return thing
    try:
        return thing()
    except Exception as error:
        raise WrongCommand(f"{thing.__name__}() cannot be made: {words(error)}. Name an instance of it") from error


def takes_self(fn: Any) -> bool:
    """Tell whether a function of a class is a method of its instances."""
    return next(iter(inspect.signature(fn).parameters), "") == "self"


def _nothing() -> None:
    """Close nothing."""


def _nothing_below(ctx: Any) -> Any:
    return ctx


def _spent(made: Any) -> None:
    """Take to its end what is only begun when somebody looks."""
    if isinstance(made, Streamed):
        with made as result:
            for _ in result.response.body:
                pass
    elif isinstance(made, Generator):
        for _ in made:
            pass
    elif isinstance(made, dict) and (response := made.get(RES_HTTP)) is not None:
        try:
            for _ in response.body:
                pass
        finally:
            response.close()


async def _awaited(made: Any, close: Callable[[], Any]) -> None:
    try:
        if isinstance(made, AsyncStreamed):
            async with made as result:
                async for _ in result.response.body:
                    pass
        elif isinstance(made, AsyncGenerator):
            async for _ in made:
                pass
        else:
            out = await made
            if isinstance(out, dict) and (response := out.get(RES_HTTP)) is not None:
                try:
                    async for _ in response.body:
                        pass
                finally:
                    await response.aclose()
    finally:
        if isinstance(closing := close(), Awaitable):
            await closing
