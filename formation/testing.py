"""Test clients and middleware without a server: a script, a stub, a rehearsal, a simulation.

Nothing is patched: what answers is given as ``endpoint=``, so tests can run in parallel, and the whole chain of the
client runs, sync or async.

- `script`: answers one after the other, and no more.
- `Stub`: answers by method and template.
- `rehearse`: what a method would send, and as a curl command.
- `simulate`: a run in which an hour of back-off takes a millisecond.
- `fast_forward`: the same for an async program, whose tasks run side by side.

A middleware alone needs none of it: call it, ``log({"a": 1}, lambda ctx: ctx)``.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from difflib import get_close_matches
from functools import partial
from shlex import quote
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from formation.bridge import in_async_chain
from formation.bridge import run as on_the_bridge
from formation.client import wire
from formation.client.async_sender import AsyncStreamed
from formation.client.base_sender import BaseSender
from formation.client.declare import BaseClient
from formation.client.sender import Streamed
from formation.clock import Virtual, virtual
from formation.fast_forward import fast_forward
from formation.http.body import Body
from formation.http.request import Request
from formation.http.response import Response
from formation.http.secrets import SECRETS
from formation.http.url import redact
from formation.introspection import is_coroutine_callable, name_of
from formation.keys import DEADLINE, REQ_HTTP, RES_HTTP, SENSITIVE

if TYPE_CHECKING:
    from formation.kernel import Ctx

__all__ = ["Rehearsal", "Route", "Run", "Script", "Stub", "fast_forward", "rehearse", "script", "simulate"]

Answer: TypeAlias = (
    "int | Response | dict[str, Any] | list[Any] | BaseException | type[BaseException] | Callable[[Ctx], Any]"
)
"""A status; a response; a mapping or a list, sent as JSON with a 200; an error, to be raised; or a function of the
context that returns one of these, or the context with a response in it."""

_BODILESS: Final = frozenset({*range(100, 200), 204, 304})  # RFC 9112, 6.3
_JSON: Final = {"Content-Type": "application/json"}
_PARAMETER: Final = re.compile(r"\{(\+?)[^{}/]*\}|(?<=/):[A-Za-z_]\w*")


class Recorded:
    """What was sent, as a `Script`, a `Stub` and a `Route` keep it.

    ``calls``: a copy of the context of each call, in which the request has the body that was sent.
    """

    def __init__(self) -> None:
        self.calls: list[Ctx] = []

    @property
    def requests(self) -> list[Request]:
        """The request of each call, as it arrived; ``content`` and ``json`` can be read."""
        return [ctx[REQ_HTTP] for ctx in self.calls]


class Recorder(Recorded):
    """An endpoint that keeps what it is sent."""

    def __call__(self, ctx: Ctx, /) -> Any:
        """Answer."""
        if ctx[REQ_HTTP].body.is_async and not in_async_chain():  # an async client sends it: it awaits what it gets
            return on_the_bridge(self._serve, ctx)
        return self._serve(ctx)

    def _serve(self, ctx: Ctx) -> Ctx:
        raise NotImplementedError


class Script(Recorder):
    """What `script` returns: an endpoint that gives one answer after the other."""

    __name__ = "script"

    def __init__(self, answers: Iterable[Answer]) -> None:
        super().__init__()
        self._answers = [_checked(answer) for answer in answers]
        self._lock = Lock()

    @property
    def left(self) -> int:
        """How many answers nobody has asked for, yet."""
        return max(0, len(self._answers) - len(self.calls))

    def _serve(self, ctx: Ctx) -> Ctx:
        sent = _sent(ctx)
        with self._lock:
            number = len(self.calls)
            self.calls.append(sent)
        if number >= len(self._answers):
            raise AssertionError(
                f"unexpected call #{number + 1}, the script has {len(self._answers)}: {sent[REQ_HTTP].name}"
            )
        return _answer(ctx, self._answers[number])

    def __repr__(self) -> str:
        return f"<script: {len(self.calls)} of {len(self._answers)} asked for>"


def script(answers: Iterable[Answer]) -> Script:
    """Make an endpoint that gives one answer for each call, in order: ``endpoint=script([503, 503, 200])``.

    Args:
        answers: see `Answer`.

    Returns:
        A callable with ``calls`` and ``requests``, what was sent, and ``left``, how many answers are.

    Raises:
        TypeError: an answer that is none.
        AssertionError: at a call, if the script is at its end.

    >>> from formation.for_requests import build
    >>> answers = script([{"name": "ann"}, 404])
    >>> users = build(base_uri="https://h", endpoint=answers)
    >>> users.get("/users/1").status_code, users.get("/users/2").status_code
    (200, 404)
    >>> answers.requests[1].url
    'https://h/users/2'
    >>> users.get("/users/3")
    Traceback (most recent call last):
    AssertionError: unexpected call #3, the script has 2: GET /users/3
    client: ...
    """
    return Script(answers)


class Route(Recorded):
    """What answers for one method and template of a `Stub`."""

    def __init__(self, name: str, answer: Answer) -> None:
        super().__init__()
        method, _, template = name.partition(" ")
        if not method.isalpha() or not template.startswith("/"):
            raise ValueError(f"expected a route as 'GET /users/{{id}}', got {name!r}")
        self.name = f"{method.upper()} {template}"
        self.method, self.template = method.upper(), template
        self.literals = len([each for each in template.split("/") if not _PARAMETER.search(each)])
        self._pattern = re.compile(_pattern(template))
        self._answer = _checked(answer)
        self._failure: Answer | None = None
        self._failures: int | None = None
        self._lock = Lock()

    def answer(self, answer: Answer) -> Route:
        """Answer so from now on; return the route."""
        self._answer, self._failure = _checked(answer), None
        return self

    def fail(self, error: Answer, *, times: int | None = None) -> Route:
        """Raise ``error``, or answer with a status, for so many calls, or until `answer`; return the route."""
        self._failure, self._failures = _checked(error), times
        return self

    def next(self) -> Any:
        """Return what the next call gets."""
        with self._lock:
            if self._failure is None or self._failures == 0:
                return self._answer
            if self._failures is not None:
                self._failures -= 1
            return self._failure

    def matches(self, path: str) -> bool:
        """Tell whether the route is for this path, or template."""
        return self._pattern.fullmatch(path) is not None

    def __repr__(self) -> str:
        return f"<route {self.name}: {len(self.calls)} calls>"


class Stub(Recorder):
    """An endpoint that answers by method and template: ``endpoint=Stub({"GET /users/{id}": {"name": "ann"}})``.

    A call goes to the route whose template the client has used, or whose template its path fits; of several, to the
    one with the most words of its own, so that ``/users/me`` goes before ``/users/{id}``. What has no route is an
    error.

    Args:
        routes: ``"METHOD /template"`` to answer, see `Answer`; `on` adds more.

    Raises:
        ValueError: a name that is no method and template.
        TypeError: an answer that is none.
        AssertionError: at a call, if no route fits; it names the nearest.

    >>> from formation.for_requests import build, json_response
    >>> from formation.errors import ConnectTimeout
    >>> stub = Stub({"GET /users/{id}": {"name": "ann"}, "POST /users": 201})
    >>> users = build(base_uri="https://h/v1", endpoint=stub, response_as=json_response)
    >>> users.get("/users/{id}", path={"id": 7}).body
    {'name': 'ann'}
    >>> users.post("/users", json={"name": "bob"}).status_code, stub["POST /users"].requests[0].json
    (201, {'name': 'bob'})
    >>> users.get("/user/7")
    Traceback (most recent call last):
    AssertionError: unexpected GET /user/7: no such route, did you mean GET /users/{id}? There is: GET /users/{id}, ...
    client: ...
    >>> stub["GET /users/{id}"].fail(ConnectTimeout("no answer"), times=1)
    <route GET /users/{id}: 1 calls>
    >>> users.get("/users/7")
    Traceback (most recent call last):
    formation.errors.ConnectTimeout: no answer
    client: ...
    """

    __name__ = "stub"

    def __init__(self, routes: Mapping[str, Answer] | None = None) -> None:
        super().__init__()
        self._routes: dict[str, Route] = {}
        for name, answer in (routes or {}).items():
            self.on(name, answer)

    def on(self, name: str, answer: Answer = 200) -> Route:
        """Add a route, or replace it; return it."""
        route = Route(name, answer)
        self._routes[route.name] = route
        return route

    def __getitem__(self, name: str) -> Route:
        try:
            return self._routes[name]
        except KeyError:
            raise LookupError(f"no route {name}{self._hint(name)}") from None

    def fail(self, error: Answer, *, times: int | None = None) -> None:
        """Let every route fail, see `Route.fail`."""
        for route in self._routes.values():
            route.fail(error, times=times)

    def _serve(self, ctx: Ctx) -> Ctx:
        sent = _sent(ctx)
        route = self._find(sent[REQ_HTTP])
        self.calls.append(sent)
        route.calls.append(sent)
        return _answer(ctx, route.next())

    def _find(self, request: Request) -> Route:
        said = (request.template or "").partition("?")[0]
        paths = (request.path, "/" + said.lstrip("/") if said and "://" not in said else request.path)
        found = [
            route
            for route in self._routes.values()
            if route.method == request.method and any(route.matches(path) for path in paths)
        ]
        if not found:
            raise AssertionError(f"unexpected {request.name}: no such route{self._hint(request.name)}")
        return max(found, key=lambda route: route.literals)

    def _hint(self, name: str) -> str:
        near = get_close_matches(name, self._routes, n=1)
        return (f", did you mean {near[0]}?" if near else ";") + f" There is: {', '.join(self._routes) or 'none'}"

    def __repr__(self) -> str:
        return f"<stub: {', '.join(self._routes) or 'no routes'}>"


class Rehearsal:
    """What `rehearse` returns: the request that would be sent, with all that a request has, and `curl`.

    ``request``: the request; ``ctx``: the context.
    """

    def __init__(self, ctx: Ctx) -> None:
        self.ctx = ctx
        self.request: Request = ctx[REQ_HTTP]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["request"], name)

    def curl(self, *, secrets: bool = False) -> str:
        """Return the curl command that sends the same request, quoted for a POSIX shell.

        A body that is no text is to be given to it, as its standard input.

        Args:
            secrets: whether to show them: what Authorization, Cookie, the headers in ``fmtn.sensitive`` and those that
                are named like secrets say, and the parameters of that name, instead of ``[redacted]``. Nobody knows
                what is secret in a body.
        """
        request, hidden = self.request, SECRETS.union(self.ctx.get(SENSITIVE, ()))
        url, content = request.target, request.content
        words = ["curl"]
        if request.method == "HEAD":
            words.append("--head")
        elif request.method != ("POST" if content else "GET"):
            words += ["-X", request.method]
        if re.search(r"[\[\]{}]", url):
            words.append("--globoff")
        words.append(quote(url if secrets else redact(url, hidden)))
        lines = request.headers.items() if secrets else request.headers.redacted(hidden).items()
        for name, value in lines:
            words += ["-H", quote(f"{name}: {value}" if value else f"{name};")]
        if content:
            if "Content-Type" not in request.headers:
                words += ["-H", "Content-Type:"]  # or curl says that it is a form
            words += _data(content)
        return " ".join(words)

    def __repr__(self) -> str:
        return f"<rehearsal of {self.request!r}>"


def rehearse(call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Run a client's method up to the point where its request would be sent; return the `Rehearsal` of it.

    The middleware of the client runs, and sees neither an error nor an answer: it is as if the call was cancelled.

    Args:
        call: a method of a client, or of ``client.request``.
        *args: of the method.
        **kwargs: of the method.

    Returns:
        A `Rehearsal`; of an async client something to await that gives one.

    Raises:
        TypeError: ``call`` is no method of a client.
        LookupError: no request was sent: a middleware has answered, or the method makes none.

    >>> from formation.for_requests import Client
    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     auth = ("me", "secret")
    ...
    ...     def star(self, owner, repo):
    ...         path = {"owner": owner, "repo": repo}
    ...         return self.request.put("/user/starred/{owner}/{repo}", path=path).status_code == 204
    >>> request = rehearse(Github().star, "o'reilly", "a b")
    >>> request.method, request.url
    ('PUT', 'https://api.github.com/user/starred/o%27reilly/a%20b')
    >>> print(request.curl())
    curl -X PUT https://api.github.com/user/starred/o%27reilly/a%20b -H 'Authorization: [redacted]'
    """
    method: Any = call
    while isinstance(method, partial):
        args, kwargs, method = (*method.args, *args), {**method.keywords, **kwargs}, method.func
    client = getattr(method, "__self__", None)
    if not isinstance(client, (BaseClient, BaseSender)):
        raise TypeError(f"expected a method of a client, such as github.stars, got {call!r}")
    sent: list[Ctx] = []

    def rehearsal(ctx: Ctx, /) -> Ctx:
        sent.append(_sent(ctx))
        raise _Enough

    run = partial(method.__func__, client.extend(endpoint=rehearsal), *args, **kwargs)
    sender = client if isinstance(client, BaseSender) else client._make_request()  # noqa: SLF001  of any colour
    return _arehearse(run, sent, name_of(method)) if sender.is_async else _rehearse(run, sent, name_of(method))


class Run:
    """What `simulate` gives: the client to call, and what has happened.

    ``client``: the client, or sender, whose calls are answered by the script; ``script``: the `Script`, or ``None``.
    """

    def __init__(self, client: Any, script: Script | None, clock: Virtual) -> None:
        self.client = client
        self.script = script
        self._clock = clock

    @property
    def slept(self) -> list[float]:
        """The seconds of each sleep."""
        return self._clock.slept

    @property
    def elapsed(self) -> float:
        """The seconds that have passed, by the clock of the run."""
        return self._clock.elapsed

    def advance(self, seconds: float) -> None:
        """Let the time pass."""
        self._clock.advance(seconds)

    @property
    def calls(self) -> list[Ctx]:
        """The contexts of the calls that the script has answered."""
        return [] if self.script is None else self.script.calls

    @property
    def requests(self) -> list[Request]:
        """The requests that the script has answered."""
        return [] if self.script is None else self.script.requests


@contextmanager
def simulate(client: Any, script: Iterable[Answer] | None = None, *, seed: int = 0) -> Iterator[Run]:
    """Run what is inside of the ``with`` by a clock that moves only when somebody sleeps, and with the same luck.

    It counts for `formation.sleep`, for deadlines, and for each middleware that was not given a clock, a sleep or a
    random of its own; in this task, and in tasks that are started inside. One call at a time: each sleep of calls that
    run side by side moves the clock for all of them. ``time.sleep`` and ``asyncio.sleep`` take the time they take.

    Args:
        client: a client or a sender, sync or async.
        script: what answers, as for `script`; ``None``: what answers anyway.
        seed: of the random numbers.

    Yields:
        A `Run`: call ``run.client``, look at ``run.slept``.

    Raises:
        TypeError: ``client`` is none.

    >>> from formation.for_requests import Client
    >>> from formation.middleware import retry
    >>> class Github(Client):
    ...     base_uri = "https://api.github.com"
    ...     middleware = [retry(5, base=600, cap=3600)]
    ...
    ...     def stars(self):
    ...         return self.request.get("/stars")
    >>> from structlog.testing import capture_logs
    >>> with capture_logs() as events, simulate(Github(), [503, 503, 503, 200]) as run:
    ...     run.client.stars().status_code
    200
    >>> len(run.slept), run.elapsed > 600
    (3, True)
    """
    if not isinstance(client, (BaseClient, BaseSender)):
        raise TypeError(f"expected a client, got {client!r}")
    answers = None if script is None else Script(script)
    clock = Virtual(seed)
    run = Run(client if answers is None else client.extend(endpoint=answers), answers, clock)
    token = virtual.set(clock)
    try:
        yield run
    finally:
        virtual.reset(token)


# Answers


def _checked(answer: Any) -> Any:
    """Return ``answer`` if it is one."""
    if isinstance(answer, bool) or (isinstance(answer, type) and not issubclass(answer, BaseException)):
        raise _no_answer(answer)
    if isinstance(answer, int):
        Response(answer)  # refuses a status that is none
        return answer
    if is_coroutine_callable(answer):
        raise TypeError(f"expected a plain function as an answer, got {answer!r}: await_() awaits in an async chain")
    if not isinstance(answer, (Response, dict, list, BaseException)) and not callable(answer):
        raise _no_answer(answer)
    return answer


def _no_answer(answer: Any) -> TypeError:
    return TypeError(
        "expected an answer, a status, a Response, a dict or list for JSON, an error or a function of ctx, "
        f"got {answer!r}"
    )


def _answer(ctx: Ctx, answer: Any) -> Ctx:
    """Answer the call."""
    if (deadline := ctx.get(DEADLINE)) is not None:
        wire.remaining(deadline)
    if isinstance(answer, type):
        answer = answer()
    if isinstance(answer, BaseException):
        raise _fresh(answer)
    if callable(answer):
        found = answer(ctx)
        if isinstance(found, dict) and (found is ctx or RES_HTTP in found):
            if RES_HTTP not in found:
                raise LookupError(
                    f"{name_of(answer)!r} returned a context without a response: formation.reply makes one"
                )
            return found
        return _answer(ctx, _checked(found))
    if isinstance(answer, int):
        answer = Response(answer)
    elif isinstance(answer, (dict, list)):
        answer = Response(200, _JSON, json.dumps(answer).encode())
    ctx[RES_HTTP] = _received(answer, ctx[REQ_HTTP])
    return ctx


def _fresh(error: BaseException) -> BaseException:
    """Return a copy: it will be told its request, and the error may have to be raised for another one."""
    try:
        made = copy(error)
    except TypeError:  # its __init__ takes something else than its args
        return error
    made.__cause__ = error.__cause__
    return made


def _received(answer: Response, request: Request) -> Response:
    """Make the response as it comes out of an edge; the one that was given is left as it is."""
    response = Response(
        answer.status_code,
        answer.headers,
        reason=answer.reason,
        request=request,
        url=request.target,
        elapsed=0.0,
        trailers=answer.trailers,
        extensions=answer.extensions,
    )
    if request.method == "HEAD" or response.status_code in _BODILESS:
        return response
    limit = wire.check_length(request, response.headers)
    body = Body([answer.content] if answer.body.is_bytes else answer.body, limit=limit)
    response.receive(body if request.extensions.get("stream") else body.read())
    return response


def _sent(ctx: Ctx) -> Ctx:
    """Take the request as a server does, body and all; return a copy of the context, with a copy of the request."""
    request: Request = ctx[REQ_HTTP]
    content = b"".join(request.body)
    seen = Request(
        request.method,
        request.url,
        headers=request.headers,
        params=request.params,
        cookies=request.cookies,
        content=content,
        timeout=request.timeout,
        extensions=request.extensions,
        template=request.template,
    )
    return {**ctx, REQ_HTTP: seen}


def _pattern(template: str) -> str:
    """Make the pattern of the paths that a template fits."""
    pieces, at = [], 0
    for found in _PARAMETER.finditer(template):
        pieces += [re.escape(template[at : found.start()]), ".+" if found[1] else "[^/]+"]
        at = found.end()
    return "".join([*pieces, re.escape(template[at:])])


# Rehearsals


class _Enough(BaseException):
    """The request is known. Like a cancellation it is no error, so nobody tries again or counts it."""


def _rehearse(run: Callable[[], Any], sent: list[Ctx], name: str) -> Rehearsal:
    try:
        out = run()
        if isinstance(out, Streamed):
            out.__enter__()
        elif isinstance(out, Generator):
            next(out, None)
    except BaseException as error:
        if not sent or isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
    return _rehearsed(sent, name)


async def _arehearse(run: Callable[[], Any], sent: list[Ctx], name: str) -> Rehearsal:
    try:
        out = run()
        if isinstance(out, AsyncStreamed):
            await out.__aenter__()
        elif isinstance(out, AsyncGenerator):
            await anext(out, None)
        elif isinstance(out, Awaitable):
            await out
    except BaseException as error:
        from asyncio import CancelledError

        if not sent or isinstance(error, (CancelledError, KeyboardInterrupt, SystemExit)):
            raise
    return _rehearsed(sent, name)


def _rehearsed(sent: list[Ctx], name: str) -> Rehearsal:
    if not sent:
        raise LookupError(f"{name}() has sent no request: a middleware has answered, or the method makes none")
    return Rehearsal(sent[0])


def _data(content: bytes) -> list[str]:
    """The words that give curl the body."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return ["--data-binary", "@-"]
    return ["--data-binary", "@-"] if "\0" in text else ["--data-raw", quote(text)]
