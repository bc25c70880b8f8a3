"""What both senders are made of: a call becomes a request and a chain, and what comes out becomes a result.

The work is in three parts that know nothing of I/O, `BaseSender.prepare`, `BaseSender.finish` and
`BaseSender.explain`. The sync sender and the async one are what joins them, each in its world.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from attrs import define, evolve

from formation.client.follow import follow_redirects, tell
from formation.client.responses import Result, decoder, unstructured
from formation.client.settings import (
    KNOWN,
    NAMES,
    Settings,
    check_auth,
    check_expect,
    check_mapping,
    check_response_as,
    refuse_unknown,
)
from formation.client.transport import Transport
from formation.client.verbs import Verb
from formation.client.wire import inherit
from formation.errors import FormationError, StatusError
from formation.http.headers import SENSITIVE as SENSITIVE_HEADERS
from formation.http.origins import origin, same_origin
from formation.http.query import split
from formation.http.request import Request
from formation.http.templates import pathname
from formation.http.url import locate
from formation.kernel import BaseChain, Composed, Ctx, layer_of, wrap
from formation.keys import (
    ATTEMPTS,
    KIND,
    NATIVE,
    REQ_HTTP,
    RES_HTTP,
    SENSITIVE,
    SESSION,
    SIDE,
    STATE,
    STATE_ENDPOINT,
    STATE_STREAM,
    TEMPLATE,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.cookiejar import CookieJar
    from typing import Never

    from formation.http.headers import Headers
    from formation.http.response import Response

C = TypeVar("C")
S = TypeVar("S", bound="BaseSender[Any]")


@define
class Prepared:
    """One call, ready to run: ``chain(ctx)``."""

    method: str
    options: dict[str, Any]  # to be had again: what can be iterated but once is a list here
    ctx: Ctx
    chain: BaseChain[Any]
    decode: Callable[[Ctx], Any]
    expect: tuple[int, ...] | None
    started: float
    state: dict[str, Any]  # also that of copies of the context

    def responses(self) -> list[Response]:
        """Return what may have to be closed: the answer, and the streams that came, if there are others."""
        found = [self.ctx.get(RES_HTTP), *self.state.get(STATE_STREAM, ())]
        return [each for each in found if each is not None]


class BaseSender(Generic[C]):
    """What the senders have in common; ``C`` is the type of ``get`` and its like."""

    is_async: ClassVar[bool | None]
    streamed: ClassVar[type[BaseStreamed[Any]]]

    get: Verb[C] = Verb("GET")
    head: Verb[C] = Verb("HEAD")
    options: Verb[C] = Verb("OPTIONS")
    post: Verb[C] = Verb("POST")
    put: Verb[C] = Verb("PUT")
    patch: Verb[C] = Verb("PATCH")
    delete: Verb[C] = Verb("DELETE")

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

    def send(self, method: str, path: str = "", /, *more: Never, **options: Any) -> Any:
        """Send a request by any method. A bad argument is refused at once, before an async sender awaits anything.

        Raises:
            TypeError: an unknown argument, a missing path parameter, a value of a type that cannot be sent.
            ValueError: a URL, header, parameter or timeout that would not mean what it says.
            ForeignURLError: the path is a URL of another origin.
            TransportError: the exchange failed, see `formation.errors`.
            StatusError: a status that is not in ``expect``.
            DecodeError: a body that is not what ``response_as`` wants.
        """
        if more:
            given = f"{method.lower()}() takes the path, got {more[0]!r} as well"
            message = f"{given}: say what it is, such as params= or json="
            raise TypeError(message)
        prepared = self.prepare(method, path, options)
        return self.streamed(self, prepared) if options.get("stream") else self.run(prepared)

    def run(self, prepared: Prepared) -> Any:
        """Run a prepared call."""
        raise NotImplementedError

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
            options["headers"] = _outdo(headers, options["headers"])
        cookies = self._cookies if home else {}
        if "cookies" in options:
            cookies = {**cookies, **check_mapping("cookies", options["cookies"])}
        decode = decoder(check_response_as(options["response_as"])) if "response_as" in options else self._decode
        chain = self.chain
        if "middleware" in options or "without" in options:
            options["middleware"] = layers = Composed(get("middleware") or ()).middleware
            options["without"] = names = _names(get("without"))
            chain = _edited(chain, layers, names)
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
        options["expect"] = expect = check_expect(options["expect"]) if "expect" in options else None
        state = {STATE_ENDPOINT: chain.endpoint}  # bare, for a middleware that has to ask for a token
        ctx = {
            SIDE: "client",
            KIND: "http",
            REQ_HTTP: request,
            SESSION: dict(check_mapping("session_context", options["session_context"]))
            if "session_context" in options
            else {},
            TEMPLATE: request.template,
            SENSITIVE: set(),
            STATE: state,
            NATIVE: {},
        }
        inherit(ctx)
        return Prepared(
            method,
            options,
            ctx,
            chain,
            _body if get("stream") else decode,
            expect,
            started,
            state,
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


def _outdo(headers: Headers, given: Any) -> list[tuple[str, str | None]]:
    """Let the headers of a call replace those of its client, by the name; ``None`` removes one. Return their lines."""
    lines = list(given.items() if isinstance(given, Mapping) else given or ())
    for name, _ in lines:
        headers.popall(name, None)
    for name, value in lines:
        if value is not None:
            headers.add(name, value)
    return lines


def _names(without: str | Iterable[str] | None) -> list[str]:
    return [without] if isinstance(without, str) else list(without or ())


def _edited(chain: BaseChain[Any], layers: Iterable[Any], names: Iterable[str]) -> BaseChain[Any]:
    for layer in layers:
        chain = chain.with_(layer, before="follow_redirects")
    for name in names:
        chain = chain.without(name)
    return chain


class BaseStreamed(Generic[S]):
    """What a call with ``stream=True`` gives: it is sent where a ``with`` block begins, and closed where it ends."""

    def __init__(self, sender: S, prepared: Prepared) -> None:
        self._sender = sender
        self._prepared = prepared
        self._is_sent = False

    def _begin(self) -> Prepared:
        if self._is_sent:
            message = "this call has been sent already: make another one"
            raise RuntimeError(message)
        self._is_sent = True
        return self._prepared

    def _explain(self, error: BaseException | None) -> None:
        if isinstance(error, FormationError) and error.request is None:  # of the stream, while it was read
            self._sender.explain(error, self._prepared)


def _body(ctx: Ctx) -> Any:
    return ctx[RES_HTTP].body
