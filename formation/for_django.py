"""The edge for Django: middleware for ``settings.MIDDLEWARE``, in sync and in async stacks.

Two ways in:

- `middleware` makes what ``MIDDLEWARE`` names by a dotted path of yours.
- `FormationMiddleware` is named in ``MIDDLEWARE`` itself; its list stands in ``settings.FORMATION``.

Theory of operation
-------------------
*Colour.* Django builds its stack once, from the inside out, and hands each layer the next one. The chain is async
exactly when that one is, and says so by Django's own mark. So Django puts no thread between, and neighbours see the
truth. Plain layers of an async chain run on the bridge.

*Errors.* What a layer calls never raises: around each layer Django turns an error into an answer. Right before it makes
a 500 it sends ``got_request_exception``. The edge notes that error, and raises it again at ``call(ctx)``. A layer may
answer it; if none does, the 500 that Django has made goes out. So the error is reported once, with all that Django and
its hooks do about errors. What Django answers by 4xx (``Http404``, ``PermissionDenied``, ``SuspiciousOperation``…) is
an answer, and comes as a response. The errors of ``catch`` are taken before Django hears of them, by
``process_exception``: what a layer answers is then no failure, and is not reported.

*What nobody has touched* stays as it is: the response that goes out is the very object of the view. A body that is
mapped, read or watched is put back as ``content``, or as ``streaming_content`` in the colour of the stack.

*The end* is ``response.close()``, which Django calls once, when the server has sent the answer. Hooks of the body run
there at the latest, and the deadline is taken back. A response that is dropped is closed too, but for the signal
``request_finished``, which belongs to the request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation import ambient
from formation.http import Response
from formation.introspection import is_coroutine_callable, name_of, where
from formation.kernel import wrap
from formation.keys import NATIVE, REQ_HTTP, RES_HTTP, TEMPLATE
from formation.server.request import MAX_BODY, check_max_body

try:
    from asgiref.sync import iscoroutinefunction, markcoroutinefunction
    from django.core.exceptions import MiddlewareNotUsed  # type: ignore[import-untyped]
    from django.core.signals import got_request_exception  # type: ignore[import-untyped]
    from django.http import HttpResponse  # type: ignore[import-untyped]

    from formation.server.django.configured import errors_of, from_settings
    from formation.server.django.failures import FAILURE, Failure, failed, note
    from formation.server.django.request import begun, give, put_body, template_of
    from formation.server.django.response import DjangoResponse, close_with, given_back, go_on, made
except ImportError as error:
    message = "Django is not installed: pip install 'formation[django]'"
    raise ImportError(message, name=error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from formation.ambient import Ambient
    from formation.kernel import AnyMiddleware, Ctx

__all__ = ["FormationMiddleware", "middleware"]


def middleware(
    middleware: Iterable[AnyMiddleware], *, catch: Iterable[type[Exception]] = (), max_body: int | None = MAX_BODY
) -> Callable[[Any], Any]:
    """Make of ``middleware`` what ``settings.MIDDLEWARE`` names by its dotted path.

    Args:
        middleware: functions ``(ctx, call) -> ctx``; the first is outermost. An ``async def`` needs an async stack.
        catch: classes of errors in views that the chain answers by itself, such as an ``OutOfStock`` that becomes a
            409. Django neither reports them nor shows them to the ``process_exception`` of neighbours outside of this
            one. All other errors are raised at ``call(ctx)`` too, after Django has reported them.
        max_body: bytes of a request, and of a stream that answers it, that a middleware may read into memory; see
            `MAX_BODY`. A larger request is answered by a 413. ``None``: no limit but Django's own.

    Raises:
        TypeError: a middleware is none, or ``catch`` holds something else than classes of errors. When Django builds
            its stack: a middleware is async, and the stack is sync.
        ValueError: ``max_body`` is no number of bytes.

    >>> from formation.middleware import request_duration, request_id
    >>> formation = middleware([request_id(), request_duration()])  # in shop/middleware.py
    >>> MIDDLEWARE = ["shop.middleware.formation", "django.middleware.common.CommonMiddleware"]  # in the settings
    """
    layers, errors = wrap(_unused, middleware).middleware, errors_of(catch)
    check_max_body(max_body)

    def formation(get_response: Callable[[Any], Any]) -> FormationMiddleware:
        return FormationMiddleware(get_response, layers, catch=errors, max_body=max_body)

    formation.sync_capable = formation.async_capable = True  # type: ignore[attr-defined]  # Django asks for them
    return formation


class FormationMiddleware:
    """The middleware of ``settings.FORMATION``, around what Django calls ``get_response``.

    In the settings stand ``MIDDLEWARE = ["formation.for_django.FormationMiddleware", ...]`` and
    ``FORMATION = {"middleware": [...]}``, with ``"catch"`` and ``"max_body"`` where they are wanted. The entries are
    functions and classes of errors, or dotted paths to them, for those whose module needs the settings itself.

    Args:
        get_response: what is inside; sync or async, and so is this.
        middleware: as for `middleware`; ``None``: as the settings say.
        catch: as for `middleware`.
        max_body: as for `middleware`.

    Raises:
        ImproperlyConfigured: the settings do not say it, or not so.
        MiddlewareNotUsed: there is no middleware in the list, so Django leaves this layer out.
        TypeError, ValueError: as for `middleware`.
    """

    sync_capable = True
    async_capable = True

    def __init__(
        self,
        get_response: Callable[[Any], Any],
        middleware: Iterable[AnyMiddleware] | None = None,
        *,
        catch: Iterable[type[Exception]] = (),
        max_body: int | None = MAX_BODY,
    ) -> None:
        if middleware is None:
            said = from_settings()
            middleware, catch, max_body = said["middleware"], said.get("catch", ()), said.get("max_body", max_body)
        layers = wrap(_unused, middleware).middleware
        if not layers:
            raise MiddlewareNotUsed("there is no middleware in the list")
        self.catch = errors_of(catch)
        if self.catch:  # and only then, for Django registers what it finds
            self.process_exception = self._catch
        check_max_body(max_body)
        self.max_body = max_body
        self.is_async: bool = iscoroutinefunction(get_response)
        inner = getattr(get_response, "__wrapped__", None)
        if isinstance(inner, FormationMiddleware) and inner.max_body == max_body:  # one chain, one look at the messages
            layers, get_response = (*layers, *inner.middleware), inner.get_response
        self.get_response: Callable[[Any], Any] = get_response
        self.middleware: tuple[Any, ...] = layers
        if self.is_async:
            markcoroutinefunction(self)
            self._chain: Any = wrap(self._aenter, layers)
        else:
            if coloured := [layer for layer in layers if is_coroutine_callable(layer)]:
                raise TypeError(
                    f"middleware {where(coloured[0])} is async, and this stack of Django is sync: make it a plain "
                    "function, which runs in both, or serve by ASGI, with no sync-only middleware inside of this one"
                )
            self._chain = wrap(self._enter, layers)
        got_request_exception.connect(note)

    def __repr__(self) -> str:
        return f"FormationMiddleware({name_of(self.get_response)}, [{', '.join(map(name_of, self.middleware))}])"

    def __call__(self, request: Any) -> Any:
        """Take Django's request through the chain; return its response, or what is awaited for it."""
        if self.is_async:
            return self._acall(request)
        ctx = begun(request, self.max_body)
        bag = ctx[NATIVE]
        try:
            return self._answer(self._chain(ctx), bag)
        except BaseException as error:
            if (answer := failed(bag, error)) is None:
                if (left := _left(ctx)) is not None:
                    left.close()
                raise
            return answer

    async def _acall(self, request: Any) -> Any:
        ctx = begun(request, self.max_body)
        bag = ctx[NATIVE]
        try:
            return self._answer(await self._chain(ctx), bag)
        except BaseException as error:
            if (answer := failed(bag, error)) is None:
                if (left := _left(ctx)) is not None:
                    await left.aclose()
                raise
            return answer

    # What the chain calls

    def _enter(self, ctx: Ctx) -> Ctx:
        native = _request_of(ctx)
        if (body := give(ctx[REQ_HTTP], native)) is not None:
            put_body(native, body.read())
        published = ambient.publish(ctx)
        around = ambient.current.get()
        try:
            response = self.get_response(native)
        finally:
            if published is not None:
                ambient.restore(published)
        return self._take(ctx, response, around if published is not None else None)

    async def _aenter(self, ctx: Ctx) -> Ctx:
        native = _request_of(ctx)
        if (body := give(ctx[REQ_HTTP], native)) is not None:
            put_body(native, await body.aread())
        published = ambient.publish(ctx)
        around = ambient.current.get()
        try:
            response = await self.get_response(native)
        finally:
            if published is not None:
                ambient.restore(published)
        return self._take(ctx, response, around if published is not None else None)

    def _take(self, ctx: Ctx, native: Any, around: Ambient | None) -> Ctx:
        """Put Django's response into ``ctx``, or raise the error that it stands for."""
        request, bag = ctx[REQ_HTTP], ctx[NATIVE]
        template = template_of(bag["request"])
        if template is not None:
            ctx[TEMPLATE] = request.template = template
        if around is not None:
            go_on(native, around)
        bag["response"] = native
        failure = getattr(bag["request"], FAILURE, None)
        if failure is not None and native.status_code >= 500:  # else somebody inside has answered it
            failure.response = native
            try:
                raise failure.error
            finally:
                del failure  # or the error, its traceback and this frame hold each other
        ctx[RES_HTTP] = DjangoResponse(native, request, is_async=self.is_async, limit=self.max_body)
        return ctx

    def _catch(self, request: Any, exception: Exception) -> Any:
        """Keep an error of ``catch`` from Django: the answer only stands in for it on its way to the chain."""
        if not isinstance(exception, self.catch):
            return None
        setattr(request, FAILURE, Failure(exception, is_reported=False))
        return HttpResponse(status=500)

    # What comes out of it

    def _answer(self, ctx: Ctx, bag: dict[str, Any]) -> Any:
        """Return what Django gets for the response in ``ctx``."""
        response = ctx.get(RES_HTTP) if isinstance(ctx, dict) else None
        if not isinstance(response, Response):
            raise TypeError(
                f"{self!r} expected a context with a response in {RES_HTTP!r}, got {ctx!r}: "
                "return call(ctx), or answer by reply(ctx, status)"
            )
        vars(bag["request"]).pop(FAILURE, None)
        if isinstance(response, DjangoResponse):
            native = given_back(response)
        else:
            native = made(response, is_async=self.is_async)
        came = bag.get("response")
        if came is not None and came is not native:
            close_with(native, came)
        return native


def _request_of(ctx: Ctx) -> Any:
    """Return Django's request, with nothing left of a call before."""
    try:
        native = ctx[NATIVE]["request"]
    except (TypeError, LookupError):
        raise TypeError(f"expected call(ctx) with the context that came, got {ctx!r}") from None
    vars(native).pop(FAILURE, None)
    return native


def _left(ctx: Ctx) -> Response | None:
    """Return the response that does not go out, for an error has come instead: hooks of its body wait for the end."""
    response = ctx.get(RES_HTTP)
    return response if isinstance(response, Response) else None


# How


def _unused(ctx: Ctx) -> Ctx:
    """Stand in for what is inside, as long as only the list is looked at."""
    return ctx
