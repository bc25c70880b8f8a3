"""The sender: what ``self.request`` is. It turns a call into a request and a chain, runs it, and makes the result.

The work is in three parts that know nothing of I/O, `BaseSender.prepare`, `BaseSender.finish` and
`BaseSender.explain`; the sync and the async sender are what joins them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from threading import Lock
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, overload

from attrs import define, evolve

from formation.client.follow import follow_redirects, tell
from formation.client.pages import MAX_PAGES, Turning, link_header
from formation.client.responses import Result, decoder, unstructured
from formation.client.settings import (
    KNOWN,
    NAMES,
    Options,
    Settings,
    check_auth,
    check_expect,
    check_mapping,
    check_response_as,
    refuse_unknown,
)
from formation.client.wire import inherit
from formation.errors import FormationError, StatusError
from formation.http.headers import SENSITIVE as SENSITIVE_HEADERS
from formation.http.query import split
from formation.http.request import Request
from formation.http.url import locate, origin, pathname, same_origin
from formation.kernel import BaseChain, Composed, Ctx, layer_of, wrap
from formation.keys import ATTEMPTS, KIND, NATIVE, REQ_HTTP, RES_HTTP, SENSITIVE, SESSION, SIDE, STATE, TEMPLATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from http.cookiejar import CookieJar
    from types import TracebackType, UnionType
    from typing import Never, Self, Unpack

    from formation.http.headers import Headers

T = TypeVar("T")


@define
class Prepared:
    """One call, ready to run: ``chain(ctx)``."""

    method: str
    options: dict[str, Any]
    ctx: Ctx
    chain: BaseChain[Any]
    decode: Callable[[Ctx], Any]
    expect: tuple[int, ...] | None
    started: float


class Transport:
    """What sends, and the pool that it sends with; made on first use, shared by a client and its siblings."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.closed = False
        self._endpoint: Any = None
        self._lock = Lock()

    def __call__(self) -> Any:
        """Return the endpoint."""
        if self.closed:
            message = "this client is closed"
            raise RuntimeError(message)
        if self._endpoint is None:
            with self._lock:
                if self._endpoint is None:
                    self._endpoint = self.make()
        return self._endpoint

    def close(self) -> Any:
        """Close the pool; a second time does nothing."""
        self.closed = True
        endpoint, self._endpoint = self._endpoint, None
        return endpoint.close() if hasattr(endpoint, "close") else None


class BaseSender:
    """What the senders have in common."""

    is_async: ClassVar[bool | None]

    def __init__(
        self, settings: Settings, connect: Callable[[], Any], *, name: str = "client", pool: Transport | None = None
    ) -> None:
        self.settings = settings
        self.name = name
        self._connect = connect
        self._owner = pool is None
        self._transport = pool or Transport(connect if settings.endpoint is None else lambda: settings.endpoint)
        self._chain: BaseChain[Any] | None = None
        self._jar: CookieJar | None = settings.cookies if hasattr(settings.cookies, "extract_cookies") else None
        self._decode = decoder(settings.response_as)
        self._cookies: Mapping[str, str] = {} if self._jar is not None else settings.cookies or {}
        # What would be refused at the first call is refused now.
        wrap(settings.endpoint or _body, [*settings.middleware, *settings.per_hop], is_async=self.is_async)

    @property
    def chain(self) -> BaseChain[Any]:
        """The chain that calls run: the middleware, then what follows redirects, then ``per_hop``, then what sends."""
        endpoint = self._transport()
        if self._chain is None:
            settings = self.settings
            follow = follow_redirects(settings.max_redirects, self._jar)
            layers = [*settings.middleware, follow, *settings.per_hop]
            self._chain = wrap(endpoint, layers, is_async=self.is_async)
        return self._chain

    def extend(self, **settings: Any) -> Any:
        """Return a sender with other settings and the same connection pool, which stays this one's to close.

        With another ``endpoint`` it has a pool of its own.
        """
        refuse_unknown(settings, NAMES, "extend()")
        made = evolve(self.settings, **settings)
        pool = self._transport if made.endpoint is self.settings.endpoint else None
        return type(self)(made, self._connect, name=self.name, pool=pool)

    def prepare(self, method: str, path: str, options: dict[str, Any]) -> Prepared:
        """Make of a call its context and its chain; nothing is sent. A refusal says which call it refuses."""
        try:
            return self._prepared(method, path, options)
        except Exception as error:
            where = pathname(path) if isinstance(path, str) else repr(path)
            error.add_note(f"{self.name}: {method} {where}, not sent")
            raise

    def _prepared(self, method: str, path: str, options: dict[str, Any]) -> Prepared:
        started = perf_counter()
        if not options.keys() <= KNOWN:
            refuse_unknown(options, KNOWN, f"{method.lower()}()")
        get = options.get
        settings, base = self.settings, self.settings.base_uri
        params, values = split(get("params"), settings.params_encoder) if "params" in options else ([], {})
        if "path" in options:
            values = {**values, **check_mapping("path", options["path"])}
        url = locate(base, path, values, absolute=get("absolute", False), allow_origins=settings.allow_origins)
        home = base is None or "://" not in path or same_origin(base, url)  # only an absolute path leads away

        headers = settings.headers.copy()
        if not home:
            for name in SENSITIVE_HEADERS:
                headers.popall(name, None)
        if "headers" in options:
            _outdo(headers, options["headers"])
        cookies = self._cookies if home else {}
        if "cookies" in options:
            cookies = {**cookies, **check_mapping("cookies", options["cookies"])}
        decode = decoder(check_response_as(options["response_as"])) if "response_as" in options else self._decode
        chain = self.chain
        if "middleware" in options or "without" in options:
            chain = _edited(chain, get("middleware"), get("without"))
        extensions = {"stream": get("stream", False), "max_body": settings.max_body}
        if not home:
            extensions["away"] = True
        if self._jar is not None:
            extensions["jar"] = self._jar  # for who has to know whose answer it is; its cookies are sent further in
        request = Request(
            method,
            url,
            headers=headers,
            params=params,
            cookies=cookies,
            auth=check_auth(options["auth"]) if "auth" in options else settings.auth if home else None,
            content=get("content"),
            data=get("data"),
            json=unstructured(options["json"]) if "json" in options else None,
            files=get("files"),
            timeout=get("timeout", settings.timeout),
            extensions=extensions,
            template=pathname(path),
        )
        ctx = {
            SIDE: "client",
            KIND: "http",
            REQ_HTTP: request,
            SESSION: dict(check_mapping("session_context", options["session_context"]))
            if "session_context" in options
            else {},
            TEMPLATE: request.template,
            SENSITIVE: set(),
            STATE: {"endpoint": chain.endpoint},  # bare, for a middleware that has to ask for a token
            NATIVE: {},
        }
        inherit(ctx)
        return Prepared(
            method,
            options,
            ctx,
            chain,
            _body if get("stream") else decode,
            check_expect(options["expect"]) if "expect" in options else None,
            started,
        )

    def finish(self, prepared: Prepared, ctx: Ctx) -> Result[Any]:
        """Make the result of what came out of the chain."""
        response = ctx.get(RES_HTTP)
        if response is None:
            message = f"{prepared.chain!r} returned no response: to answer in its place, 'return reply(ctx, status)'"
            raise LookupError(message)
        prepared.ctx = ctx
        if prepared.expect is not None and response.status_code not in prepared.expect:
            raise StatusError(status_code=response.status_code, expected=prepared.expect, name=response.name)
        result = Result(prepared.decode(ctx), ctx)
        result.prepared = prepared
        return result

    def again(self, result: Result[Any], url: str) -> Prepared:
        """Prepare the call of ``result`` once more, to another URL; it keeps its template."""
        before = result.prepared
        before.ctx[REQ_HTTP].rewind()
        options = {name: value for name, value in before.options.items() if name not in {"params", "path"}}
        prepared = self.prepare(before.method, url, options)
        prepared.ctx[TEMPLATE] = prepared.ctx[REQ_HTTP].template = before.ctx[TEMPLATE]
        return prepared

    def explain(self, error: Exception, prepared: Prepared) -> None:
        """Tell the error where it comes from."""
        ctx = prepared.ctx
        request: Request = ctx[REQ_HTTP]
        tell(error, request, ctx.get(RES_HTTP))
        said = [f"{self.name}: {request.method} {ctx.get(TEMPLATE) or request.path} at {origin(request.url)}"]
        if layer := layer_of(error, prepared.chain):
            said.append(f"in {layer}")
        if attempts := ctx.get(ATTEMPTS):
            said.append(f"attempts {len(attempts)}")
        said.append(f"after {perf_counter() - prepared.started:.3f} s")
        error.add_note(", ".join(said))

    def __repr__(self) -> str:
        return f"<{self.name}: {self.settings.base_uri or 'no base_uri'}>"


def _outdo(headers: Headers, given: Any) -> None:
    """Let the headers of a call replace those of its client, by the name; ``None`` removes one."""
    lines = list(given.items() if isinstance(given, Mapping) else given or ())
    for name, _ in lines:
        headers.popall(name, None)
    for name, value in lines:
        if value is not None:
            headers.add(name, value)


def _edited(
    chain: BaseChain[Any], middleware: Iterable[Any] | None, without: str | Iterable[str] | None
) -> BaseChain[Any]:
    for layer in Composed(middleware).middleware if middleware else ():
        chain = chain.with_(layer, before="follow_redirects")
    for name in [without] if isinstance(without, str) else without or ():
        chain = chain.without(name)
    return chain


class Call(Protocol):
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


def refuse_more(method: str, more: tuple[Any, ...]) -> None:
    """Raise a `TypeError` for what is given by its place, as other clients take their parameters, or the body."""
    if more:
        given = f"{method.lower()}() takes the path, got {more[0]!r} as well"
        message = f"{given}: say what it is, such as params= or json="
        raise TypeError(message)


class Verb:
    """An HTTP method as a method: ``sender.get(path, …)`` is ``sender.send("GET", path, …)``."""

    def __init__(self, method: str) -> None:
        self.method = method

    def __get__(self, sender: Sender, owner: type | None = None) -> Call:
        return partial(sender.send, self.method)


class Sender(BaseSender):
    """Sends and waits: by ``get``, ``head``, ``options``, ``post``, ``put``, ``patch``, ``delete``, or any method.

    Each takes the path and `Options`; besides, ``response_as=`` says what the body is, ``expect=`` which statuses
    may be (any other is a `StatusError`), and ``stream=True`` gives a context manager whose result has an unread body:
    ``with sender.get("/big", stream=True) as result: for chunk in result.body: …``.
    """

    is_async = False

    get = Verb("GET")
    head = Verb("HEAD")
    options = Verb("OPTIONS")
    post = Verb("POST")
    put = Verb("PUT")
    patch = Verb("PATCH")
    delete = Verb("DELETE")

    def send(self, method: str, path: str = "", /, *more: Never, **options: Any) -> Any:
        """Send a request by any method.

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
            return Streamed(self, prepared)
        return self.run(prepared)

    def run(self, prepared: Prepared) -> Result[Any]:
        """Run a prepared call."""
        try:
            return self.finish(prepared, prepared.chain(prepared.ctx))
        except BaseException as error:
            if isinstance(error, Exception):
                self.explain(error, prepared)
            if (response := prepared.ctx.get(RES_HTTP)) is not None:
                response.close()  # a stream that nobody will get to read
            raise

    def pages(
        self,
        call: Callable[[], Result[Any]],
        *,
        next: Callable[[Result[Any]], str | None] = link_header,  # noqa: A002  the word of the trade
        items: Callable[[Any], Iterable[Any]] | None = None,
        max_pages: int = MAX_PAGES,
    ) -> Iterator[Any]:
        """Make a call and then the same for each next page; a generator of the results, or of the items in them.

        Args:
            call: makes the first call: ``lambda: github.stars("a", "b")``. The others have its arguments, but
                ``params`` and ``path``, which the next URL replaces.
            next: returns the URL of the page after a result, relative or absolute, or ``None``; as it stands, what the
                Link header says.
            items: returns the items in a body; without it the results themselves are yielded.
            max_pages: how many may be read, 1000.

        Raises:
            TypeError, ValueError: an argument that does not fit.
            ForeignURLError: in turning: the next page is of another origin.
            PagesError: in turning: the next page has been read already, or there are more than ``max_pages``.
            BodyConsumed: in turning: the body of the call is a one-shot stream.
        """
        return self._turn(call, Turning(call, next, max_pages), items)

    def _turn(
        self, call: Callable[[], Result[Any]], turning: Turning, items: Callable[[Any], Iterable[Any]] | None
    ) -> Iterator[Any]:
        result: Result[Any] | None = turning.check(call())
        while result is not None:
            yield from [result] if items is None else items(result.body)
            url = turning.after(result)
            result = self.run(self.again(result, url)) if url else None

    def close(self) -> None:
        """Close the connection pool, unless it is another sender's; a second time does nothing."""
        if self._owner:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Streamed:
    """A call that has not been sent yet: ``with`` sends it and closes the body at the end, whatever happens."""

    def __init__(self, sender: Sender, prepared: Prepared) -> None:
        self._sender = sender
        self._prepared = prepared
        self._result: Result[Any] | None = None

    def __enter__(self) -> Result[Any]:
        if self._result is not None:
            message = "this call has been sent already: make another one"
            raise RuntimeError(message)
        self._result = self._sender.run(self._prepared)
        return self._result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._result is not None:
            self._result.response.close()
        if isinstance(error, FormationError) and error.request is None:  # of the stream, while it was read
            self._sender.explain(error, self._prepared)


def _body(ctx: Ctx) -> Any:
    return ctx[RES_HTTP].body
