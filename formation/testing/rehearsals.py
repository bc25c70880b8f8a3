"""A rehearsal: what a method would send, and as a curl command."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any

from formation.client.async_sender import AsyncStreamed
from formation.client.base_sender import BaseSender
from formation.client.declare import BaseClient
from formation.client.sender import Streamed
from formation.http.secrets import SECRETS, redact
from formation.introspection import name_of
from formation.keys import REQ_HTTP, SENSITIVE
from formation.testing.recording import Recorder, as_sent

if TYPE_CHECKING:
    from formation.http.request import Request
    from formation.kernel import Ctx


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
    rehearsal = _Recording()
    sent = rehearsal.calls
    run = partial(method.__func__, client.extend(endpoint=rehearsal), *args, **kwargs)
    sender = client if isinstance(client, BaseSender) else client._make_request()  # noqa: SLF001  of any colour
    return _arehearse(run, sent, name_of(method)) if sender.is_async else _rehearse(run, sent, name_of(method))


class _Enough(BaseException):
    """The request is known. Like a cancellation it is no error, so nobody tries again or counts it."""


class _Recording(Recorder):
    """The endpoint: it keeps the request, and that is all."""

    __name__ = "rehearsal"

    def _serve(self, ctx: Ctx) -> Ctx:
        self.calls.append(as_sent(ctx))
        raise _Enough


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
