"""HTTP over ASGI where something goes wrong: errors on either side, cancellation, other answers, a second call."""

import asyncio
import contextlib
import contextvars

import anyio
import pytest

from formation import await_, reply, req, res
from formation.errors import BodyAbandoned, BodyConsumed, ClientGone, ProtocolError
from formation.for_asgi import FormationMiddleware
from formation.http import Body, Response
from tests.server.asgi_host import (
    GONE,
    HELLO,
    Host,
    answering,
    apulling,
    body,
    chunk,
    colored,
    fails,
    header,
    plain,
    pulling,
    reading,
    start,
    upper,
)

LAYERS = pytest.mark.parametrize(
    "layers",
    [[plain], [colored], [plain, colored], [upper], [pulling], [apulling]],
    ids=lambda layers: "-".join(each.__name__ for each in layers),
)


def failing(ctx, call):
    call(ctx)
    raise LookupError("the middleware failed")


async def afailing(ctx, call):
    await call(ctx)
    raise LookupError("the middleware failed")


async def raising(ctx, call):
    await call(ctx)
    raise LookupError("the middleware failed")


async def cancelled(ctx, call):
    await call(ctx)
    raise asyncio.CancelledError


async def framing(ctx, call):
    ctx = await call(ctx)
    res(ctx).headers["Transfer-Encoding"] = "chunked"
    return ctx


@pytest.mark.parametrize("outer", [raising, cancelled, framing])
@pytest.mark.parametrize("inner", ["answer", "replaced"])
def test_what_a_middleware_has_answered_is_closed_though_it_does_not_go_out(serve, outer, inner):
    ended = []

    def layer(ctx, call):
        if inner == "answer":
            ctx = reply(ctx, 200, body=iter([b"a"]))
        else:
            ctx = call(ctx)
            res(ctx).body = (part for part in res(ctx).body)
        res(ctx).on_close(lambda count, error: ended.append((count, type(error))))
        return ctx

    with pytest.raises((LookupError, ValueError, asyncio.CancelledError)):
        serve(FormationMiddleware(answering(*HELLO), [outer, layer]))
    assert ended == [(0, BodyAbandoned)]


# Errors of the app


@pytest.mark.parametrize("layers", [[plain], [colored], [plain, colored, plain]])
def test_an_error_before_the_start_comes_out_as_it_is(serve, layers):
    error = ZeroDivisionError()

    async def app(scope, receive, send):
        raise error

    for outer in (None, ValueError()):
        error.__context__ = outer
        with pytest.raises(ZeroDivisionError) as raised:
            serve(FormationMiddleware(app, layers))
        assert raised.value is error
        assert error.__context__ is outer


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_an_error_before_the_start_is_raised_at_the_call_and_may_be_answered(serve, colour):
    def catch(ctx, call):
        try:
            return call(ctx)
        except ZeroDivisionError as error:
            return reply(ctx, 500, {"x": "1"}, str(error))

    async def acatch(ctx, call):
        try:
            return await call(ctx)
        except ZeroDivisionError as error:
            return reply(ctx, 500, {"x": "1"}, str(error))

    host = serve(FormationMiddleware(fails, [plain, catch if colour == "plain" else acatch]))
    assert (host.status, host.body) == (500, b"the app failed")
    assert host.headers == [(b"x", b"1"), (b"content-length", b"14")]


@LAYERS
def test_an_error_after_the_start_comes_out_with_no_second_start_and_no_end_made_up(serve, layers):
    seen, closed = [], []

    def outer(ctx, call):
        try:
            ctx = call(ctx)
        except ZeroDivisionError as error:
            seen.append(error)
            raise
        res(ctx).on_close(lambda count, error: closed.append((count, type(error))))
        return ctx

    host = Host()
    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(answering(start(), body(b"a", more=True), last=fails), [outer, *layers]), host=host)
    assert (host.kinds, seen, closed) == (["start", "body"], [], [(1, ZeroDivisionError)])


def test_an_error_in_mid_body_is_raised_where_the_body_is_read_and_may_be_answered(serve):
    def catch(ctx, call):
        ctx = call(ctx)
        try:
            res(ctx).content  # noqa: B018
        except ZeroDivisionError:
            return reply(ctx, 502)
        return ctx

    app = answering(start(), body(b"a", more=True), last=fails)
    assert serve(FormationMiddleware(app, [catch])).status == 502
    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(app, [reading]))


def test_an_app_that_sends_nothing_or_only_a_start_gets_no_error_made_up(serve):
    seen = []

    def look(ctx, call):
        try:
            ctx = call(ctx)
            res(ctx).on_close(lambda count, error: seen.append(type(error)))
        except ProtocolError as error:
            seen.append(str(error))
            raise
        return ctx

    assert serve(FormationMiddleware(answering(), [look])).sent == []
    for layers in ([look], [look, upper], [look, pulling], [look, apulling]):
        assert serve(FormationMiddleware(answering(start()), layers)).sent == [start()]
    assert serve(FormationMiddleware(answering(start()), [reading])).sent == []
    assert seen[0] == "the app has returned without a response"
    assert seen[1:3] == [BodyAbandoned] * 2
    assert seen[3:] == [ProtocolError] * 2


def test_a_silent_app_may_be_answered_for(serve):
    def catch(ctx, call):
        try:
            return call(ctx)
        except ProtocolError:
            return reply(ctx, 500)

    assert serve(FormationMiddleware(answering(), [catch])).status == 500


def test_an_app_that_leaves_with_its_client_is_told_apart(serve):
    seen = []

    async def app(scope, receive, send):
        await receive()

    def look(ctx, call):
        try:
            return call(ctx)
        except ClientGone as error:
            seen.append(str(error))
            raise

    assert serve(FormationMiddleware(app, [look]), GONE).sent == []
    assert seen == ["the client has gone, and the app has returned without a response"]


# Errors of a middleware


@pytest.mark.parametrize("layer", [failing, afailing])
def test_an_error_after_the_call_does_not_enter_the_app_and_comes_out(serve, layer):
    seen = []

    async def app(scope, receive, send):
        try:
            await send(start())
        except Exception as error:
            seen.append(type(error))
            raise RuntimeError("the app makes something of it") from error

    host = Host()
    with pytest.raises(LookupError, match="the middleware failed") as raised:
        serve(FormationMiddleware(app, [plain, layer]), host=host)
    assert (seen, host.sent, raised.value.__context__) == ([ClientGone], [], None)
    assert issubclass(ClientGone, OSError)


def test_an_error_after_the_call_comes_out_though_the_app_swallows_what_it_was_told(serve):
    seen = []

    async def app(scope, receive, send):
        for message in (start(), body(b"a")):
            try:
                await send(message)
            except OSError as error:
                seen.append(error)

    with pytest.raises(LookupError):
        serve(FormationMiddleware(app, [failing]))
    assert len(seen) == 2


def test_an_error_after_the_call_may_be_answered_further_out(serve):
    def catch(ctx, call):
        try:
            return call(ctx)
        except LookupError:
            return reply(ctx, 500)

    assert serve(FormationMiddleware(answering(*HELLO), [catch, failing])).status == 500
    assert serve(FormationMiddleware(answering(*HELLO), [catch, afailing])).status == 500


@pytest.mark.parametrize("kind", ["map", "finish", "plain generator", "async generator"])
def test_an_error_of_a_map_or_a_generator_does_not_enter_the_app_and_comes_out(serve, kind):
    closed = []

    def bad(part=b""):
        raise LookupError("the map failed")

    async def abad(old):
        async for part in old:
            bad()
            yield part

    def layer(ctx, call):
        ctx = call(ctx)
        response = res(ctx)
        if kind == "map":
            response.body.map(bad)
        elif kind == "finish":
            response.body.map(lambda part: part, bad)
        elif kind == "plain generator":
            response.body = (bad(part) for part in response.body)
        else:
            response.body = abad(response.body)
        response.on_close(lambda count, error: closed.append(type(error)))
        return ctx

    app = answering(start(), body(b"a"), last=fails)
    with pytest.raises(LookupError, match="the map failed"):
        serve(FormationMiddleware(app, [layer]))
    assert closed == [LookupError]


@pytest.mark.parametrize(
    ("value", "got"), [({}, "None"), ({"fmtn.res.http": "a"}, "'a'"), (Response(404), "<Response 404>")]
)
def test_a_chain_that_returns_no_response_says_so(serve, value, got):
    said = rf"wrap\(enter, \[layer\]\) returned without a response: expected .*, got {got}; .*reply"
    with pytest.raises(TypeError, match=said):
        serve(FormationMiddleware(answering(*HELLO), [returning(value)]))


def returning(value):
    def layer(ctx, call):
        return value

    return layer


@pytest.mark.parametrize("given", [None, {}, 1], ids=repr)
def test_a_call_without_the_context_is_told(serve, given):
    def layer(ctx, call):
        with pytest.raises(TypeError, match=r"expected call\(ctx\) with the context that came, got"):
            call(given)
        return reply(ctx, 204)

    assert serve(FormationMiddleware(fails, [layer])).status == 204


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_request_that_says_nonsense_is_told_at_the_call(serve, colour):
    def layer(ctx, call):
        req(ctx).url = "http://[/"
        with pytest.raises(ValueError, match="IPv6"):
            call(ctx)
        return reply(ctx, 204)

    async def alayer(ctx, call):
        req(ctx).url = "http://[/"
        with pytest.raises(ValueError, match="IPv6"):
            await call(ctx)
        return reply(ctx, 204)

    assert serve(FormationMiddleware(fails, [layer if colour == "plain" else alayer])).status == 204


def test_a_middleware_that_forgets_its_return_is_told(serve):
    def forgets(ctx, call):
        call(ctx)

    with pytest.raises(TypeError, match=r"'forgets' \(1 of 1, .*did you forget 'return call\(ctx\)'"):
        serve(FormationMiddleware(answering(*HELLO), [forgets]))


# Errors of the server


@LAYERS
def test_an_error_of_the_server_is_raised_where_the_app_sends(serve, layers):
    for at in (0, 1):
        gone, seen, closed = OSError("the client has gone"), [], []

        async def app(scope, receive, send, seen=seen):
            try:
                for message in (start(), body(b"a", more=True), body(b"b")):
                    await send(message)
            except OSError as error:
                seen.append(error)
                raise

        def outer(ctx, call, closed=closed):
            ctx = call(ctx)
            res(ctx).on_close(lambda count, error: closed.append(type(error)))
            return ctx

        with pytest.raises(OSError, match="the client has gone") as raised:
            serve(FormationMiddleware(app, [outer, *layers]), fails={at: gone})
        assert raised.value is gone
        assert seen == [gone]
        assert closed == [OSError]


def test_a_hook_hears_that_the_client_has_gone_where_the_app_keeps_it_to_itself(serve):
    gone, closed = OSError("the client has gone"), []

    async def app(scope, receive, send):
        await send(start())
        with contextlib.suppress(OSError):
            await send(body(b"a", more=True))

    def layer(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: closed.append(error))
        return ctx

    serve(FormationMiddleware(app, [layer]), fails={1: gone})
    assert closed == [gone]


def test_an_error_of_the_server_comes_out_where_there_is_no_app(serve):
    with pytest.raises(OSError, match="gone"):
        serve(FormationMiddleware(answering(), [lambda ctx, call: reply(ctx, 200)]), fails={1: OSError("gone")})


# Other answers


def test_a_chain_may_answer_without_the_app(serve):
    async def generate():
        for part in (b"a", b"b"):
            await anyio.lowlevel.checkpoint()
            yield part

    for given, expected in ((b"ab", b"ab"), ([b"a", b"b"], b"ab"), (generate(), b"ab"), (iter([b"a", b"b"]), b"ab")):
        closed = []

        def answer(ctx, call, given=given, closed=closed):
            ctx = reply(ctx, 200, {"X": "1"}, given)
            res(ctx).on_close(lambda count, error: closed.append((count, error)))
            return ctx

        host = serve(FormationMiddleware(fails, [plain, answer]))
        assert (host.status, host.body, host.sent[-1]["more_body"]) == (200, expected, False)
        assert closed == [(2, None)]


def test_an_answer_of_its_own_has_a_length_unless_it_has_no_body(serve):
    def answer(ctx, call):
        return reply(ctx, int(req(ctx).path[1:]), {}, b"" if req(ctx).path == "/204" else b"abc")

    app = FormationMiddleware(fails, [answer])
    host = serve(app, path="/200", raw_path=b"/200", method="HEAD")
    assert (host.headers, host.body) == ([(b"content-length", b"3")], b"")
    host = serve(app, path="/204", raw_path=b"/204")
    assert (host.headers, host.body) == ([], b"")


@pytest.mark.parametrize(
    "make",
    [lambda ctx: reply(ctx, 403, {}, b"no"), lambda ctx: {**ctx, "fmtn.res.http": Response(403, {}, b"no")}],
    ids=["reply", "Response"],
)
def test_a_replaced_answer_drops_the_app_s_and_background_work_goes_on(serve, make):
    done, closed = [], []

    async def background(scope, receive, send):
        done.append(list(host.kinds))

    def replace(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: closed.append(type(error)))
        return make(ctx)

    host = Host()
    serve(FormationMiddleware(answering(*HELLO, last=background), [replace]), host=host)
    assert (host.status, host.body, host.kinds) == (403, b"no", ["start", "body"])
    assert (done, closed) == ([["start", "body"]], [BodyAbandoned])


def test_an_endless_stream_ends_where_its_answer_was_replaced(serve):
    sent = []

    async def app(scope, receive, send):
        await send(start())
        while True:
            sent.append(1)
            await send(body(b"a", more=True))

    assert serve(FormationMiddleware(app, [lambda ctx, call: reply(call(ctx), 403)])).status == 403
    assert sent == [1]


def test_an_error_in_the_background_comes_out_though_the_answer_was_replaced(serve):
    app = answering(*HELLO, last=fails)
    host = Host()
    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(app, [lambda ctx, call: reply(call(ctx), 403)]), host=host)
    assert host.status == 403


def test_a_new_response_may_have_the_old_body(serve):
    def replace(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body
        ctx["fmtn.res.http"] = Response(201, {"x": "1"}, (part.upper() for part in old))
        return ctx

    done = []

    async def background(scope, receive, send):
        done.append(1)

    app = answering(start(), body(b"a", more=True), body(b"b"), last=background)
    host = serve(FormationMiddleware(app, [replace]))
    assert (host.status, host.headers, host.body, done) == (201, [(b"x", b"1")], b"AB", [1])


def test_a_generator_that_stops_early_ends_the_answer(serve):
    def first(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body

        def new():
            for part in old:
                yield part
                return

        res(ctx).body = new()
        return ctx

    sent = []

    async def app(scope, receive, send):
        await send(start())
        while True:
            sent.append(1)
            await send(body(b"a", more=True))

    host = serve(FormationMiddleware(app, [first]))
    assert (host.body, host.sent[-1]["more_body"], len(sent)) == (b"a", False, 2)


# A second call


class Flaky:
    """An app that answers 503 first; it remembers what it was asked for and what became of it."""

    def __init__(self, failures=1, *, raising=False):
        self.failures = failures
        self.raising = raising
        self.asked = []
        self.done = 0

    async def __call__(self, scope, receive, send):
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message["body"])
            more = message["more_body"]
        self.asked.append(b"".join(parts))
        if len(self.asked) <= self.failures:
            if self.raising:
                raise ZeroDivisionError
            await send(start(503))
            await send(body(b"later"))
        else:
            await send(start(200))
            await send(body(b"hello ", more=True))
            await send(body(b"world"))
        self.done += 1


def again(ctx, call):
    try:
        first = call(ctx)
        if res(first).ok:
            return first
    except ZeroDivisionError:
        pass
    return call(ctx)


async def aagain(ctx, call):
    try:
        first = await call(ctx)
        if res(first).ok:
            return first
    except ZeroDivisionError:
        pass
    return await call(ctx)


@pytest.mark.parametrize("raising", [False, True], ids=["answering", "raising"])
@pytest.mark.parametrize(
    "layers",
    [[again], [aagain], [plain, again, colored], [again, header("x"), upper], [again, pulling]],
    ids=lambda layers: "-".join(each.__name__ for each in layers),
)
def test_a_second_call_runs_the_app_again_with_the_same_request(serve, layers, raising):
    app = Flaky(raising=raising)
    host = serve(FormationMiddleware(app, layers), chunk(b"a", more=True), chunk(b"b"), method="POST")
    assert app.asked == [b"ab", b"ab"]
    assert (host.status, host.body.lower(), host.kinds.count("start")) == (200, b"hello world", 1)
    assert app.done == (1 if raising else 2)


@pytest.mark.parametrize("raising", [False, True], ids=["answering", "raising"])
@pytest.mark.parametrize("reads", [False, True])
def test_retry_works_on_a_server(serve, raising, reads):
    app = Flaky(2, raising=raising)

    def look(ctx, call):
        if reads:
            assert req(ctx).content == b"ab"
        req(ctx).headers["x-attempt"] = str(ctx["attempt"])
        return call(ctx)

    host = serve(FormationMiddleware(app, [again3, look]), chunk(b"a", more=True), chunk(b"b"), method="POST")
    assert app.asked == [b"ab"] * 3
    assert (host.status, host.body) == (200, b"hello world")


def again3(ctx, call):
    from formation.resilience.forks import fork, merge

    for attempt in (1, 2, 3):
        forked = fork(ctx)
        forked["attempt"] = attempt
        try:
            forked = call(forked)
        except ZeroDivisionError:
            continue
        if res(forked).ok or attempt == 3:
            return merge(ctx, forked)
        res(forked).close()
    raise AssertionError


def test_a_long_request_that_the_app_has_read_is_not_sent_again(serve):
    app = Flaky()
    with pytest.raises(BodyConsumed, match="before the first call"):
        serve(FormationMiddleware(app, [again]), chunk(b"a" * 70000, more=True), chunk(b"b"))
    assert len(app.asked) == 1

    def read(ctx, call):
        req(ctx).content  # noqa: B018
        return call(ctx)

    app = Flaky()
    host = serve(FormationMiddleware(app, [read, again]), chunk(b"a" * 70000, more=True), chunk(b"b"))
    assert (host.status, list(map(len, app.asked))) == (200, [70001, 70001])


def test_a_long_request_that_the_app_has_read_cannot_be_read_any_more(serve):
    seen = []

    def look(ctx, call):
        assert req(ctx).replayable
        ctx = call(ctx)
        seen.append(req(ctx).replayable)
        with pytest.raises(BodyConsumed, match="the app has read the body of the request"):
            req(ctx).content  # noqa: B018
        return ctx

    app = FormationMiddleware(Flaky(0), [look])
    assert serve(app, chunk(b"a" * 70000, more=True), chunk(b"b")).status == 200
    assert seen == [False]


def test_a_request_whose_body_somebody_has_looked_at_is_sent_again_from_its_start(serve):
    app = Flaky(2)

    def look(ctx, call):
        assert req(ctx).body.native is not None
        return call(ctx)

    serve(FormationMiddleware(app, [look, again3]), chunk(b"a", more=True), chunk(b"b"))
    assert app.asked == [b"ab"] * 3


def test_the_first_answer_may_win_after_all(serve):
    def fallback(ctx, call):
        first = call(dict(ctx))
        second = call(dict(ctx))
        return second if res(second).ok else first

    calls = []

    async def app(scope, receive, send):
        calls.append(1)
        number = len(calls)
        await send(start(500 + number))
        await send(body(b"%d" % number, more=True))
        await send(body(b"!"))

    host = serve(FormationMiddleware(app, [fallback]))
    assert (host.status, host.body, len(calls)) == (501, b"1!", 2)


def test_a_second_call_that_fails_does_not_fail_the_first_app(serve):
    seen = []

    async def app(scope, receive, send):
        if seen:
            raise ZeroDivisionError
        seen.append(0)
        try:
            await send(start(503))
        except OSError as error:
            seen.append(type(error))
            raise

    def again(ctx, call):
        call(ctx)
        return call(ctx)

    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(app, [again]))
    assert seen == [0, ClientGone]


# Cancellation


def test_cancelling_the_server_s_task_cancels_the_app_whose_cleaning_up_may_wait(serve):
    events = []

    async def app(scope, receive, send):
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                events.append("app")

    def layer(ctx, call):
        try:
            return call(ctx)
        except BaseException as error:
            events.append(isinstance(error, Exception))
            raise
        finally:
            with anyio.CancelScope(shield=True):  # noqa: ASYNC100  it does, by way of await_
                await_(anyio.lowlevel.checkpoint())
            events.append("layer")

    async def main(scope, receive, send):
        with anyio.move_on_after(0.01) as scope_:
            await wrapped(scope, receive, send)
        events.append(scope_.cancelled_caught)

    for layers in ([layer], [colored, layer], [layer, colored]):
        events.clear()
        wrapped = FormationMiddleware(app, layers)
        serve(main)
        assert events == ["app", False, "layer", True]


@pytest.mark.parametrize("where", ["before", "after"])
def test_cancellation_is_raised_where_a_middleware_waits(serve, where):
    events = []

    def layer(ctx, call):
        if where == "after":
            ctx = call(ctx)
        try:
            await_(anyio.sleep_forever())
        except BaseException as error:
            events.append(isinstance(error, anyio.get_cancelled_exc_class()))
            raise
        finally:
            with anyio.CancelScope(shield=True):  # noqa: ASYNC100  it does, by way of await_
                await_(anyio.lowlevel.checkpoint())
            events.append("layer")
        return ctx

    async def main(scope, receive, send):
        with anyio.move_on_after(0.01) as scope_:
            await FormationMiddleware(answering(*HELLO), [plain, layer])(scope, receive, send)
        events.append(scope_.cancelled_caught)

    assert serve(main).sent == []
    assert events == [True, "layer", True]


def test_cancellation_in_mid_stream_ends_the_body(serve):
    closed = []

    async def wait(scope, receive, send):
        await anyio.sleep_forever()

    def layer(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: closed.append((count, isinstance(error, Exception))))
        return ctx

    async def main(scope, receive, send):
        with anyio.move_on_after(0.01):
            await wrapped(scope, receive, send)

    for layers in ([layer], [layer, upper], [layer, pulling], [layer, apulling]):
        wrapped = FormationMiddleware(answering(start(), body(b"a", more=True), last=wait), layers)
        assert serve(main).kinds == ["start", "body"]
    assert closed == [(1, False)] * 4


def test_a_timeout_that_a_middleware_holds_around_the_call_bounds_the_app():
    async def limit(ctx, call):
        try:
            async with asyncio.timeout(0.01):
                return await call(ctx)
        except TimeoutError:
            return reply(ctx, 504)

    async def wait(scope, receive, send):
        await asyncio.sleep(60)

    host = asyncio.run(Host().call(FormationMiddleware(answering(first=wait), [plain, limit])))
    assert host.status == 504


def test_an_app_that_gives_up_waiting_for_a_middleware_is_dropped(serve):
    def slow(ctx, call):
        ctx = call(ctx)
        await_(anyio.sleep_forever())
        return ctx

    seen = []

    async def app(scope, receive, send):
        with anyio.move_on_after(0.01):
            await send(start())
        try:
            await send(body(b"a", more=True))
        except OSError:
            seen.append("dropped")

    assert serve(FormationMiddleware(app, [slow])).sent == []
    assert seen == ["dropped"]


def test_an_exchange_that_the_server_drops_ends_the_chain():
    events = []

    async def wait(scope, receive, send):
        await asyncio.sleep(60)

    def layer(ctx, call):
        try:
            return call(ctx)
        finally:
            events.append("layer")

    async def main():
        coroutine = Host().call(FormationMiddleware(answering(first=wait), [layer, colored]))
        coroutine.send(None)
        coroutine.close()

    asyncio.run(main())
    assert events == ["layer"]


def test_two_tasks_that_send_while_a_middleware_is_at_work_are_told_apart():
    def slow(ctx, call):
        ctx = call(ctx)
        await_(asyncio.sleep(0))
        res(ctx).content  # noqa: B018
        await_(asyncio.sleep(0))
        return ctx

    async def app(scope, receive, send):
        first = asyncio.create_task(send(start()))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="two tasks at once"):
            await send(body(b"a", more=True))
        await first
        await send(body(b"a"))

    assert asyncio.run(Host().call(FormationMiddleware(app, [slow]))).body == b"a"


def test_an_app_that_begins_its_answer_twice_is_told(serve):
    with pytest.raises(RuntimeError, match=r"has sent http\.response\.start twice"):
        serve(FormationMiddleware(answering(start(), start(), body()), [reading]))


def test_what_an_app_leaves_behind_cannot_answer_for_it():
    left = []

    async def app(scope, receive, send):
        async def late():
            for message in HELLO:
                await send(message)

        left.append(asyncio.create_task(late()))

    async def main():
        host = await Host().call(FormationMiddleware(app, [plain]))
        await left[0]
        return host

    assert asyncio.run(main()).sent == []


def test_a_call_in_a_task_of_its_own_is_refused_with_a_reason():
    async def layer(ctx, call):
        async def task():
            return await call(ctx)

        return await asyncio.create_task(task())

    with pytest.raises(RuntimeError, match="has to be awaited in the task of the chain"):
        asyncio.run(Host().call(FormationMiddleware(answering(*HELLO), [layer])))


def test_variables_that_a_middleware_resets_are_reset(serve):
    var = contextvars.ContextVar("var", default=0)

    def layer(ctx, call):
        token = var.set(1)
        try:
            return call(ctx)
        finally:
            var.reset(token)

    async def main(scope, receive, send):
        await FormationMiddleware(answering(*HELLO), [layer, colored])(scope, receive, send)
        assert var.get() == 0

    serve(main)


@pytest.mark.parametrize("where", ["a middleware", "a body"])
def test_an_exchange_that_the_server_drops_while_it_waits_for_us_is_closed(where):
    events = []

    def layer(ctx, call):
        ctx = call(ctx)
        if where == "a middleware":
            try:
                await_(asyncio.sleep(60))
            finally:
                events.append("layer")
        res(ctx).body = slow()
        return ctx

    def slow():
        try:
            await_(asyncio.sleep(60))
            yield b""
        finally:
            events.append("body")

    async def main():
        coroutine = Host().call(FormationMiddleware(answering(*HELLO), [layer]))
        while coroutine.send(None) is None:  # to what is waited for
            pass
        coroutine.close()

    asyncio.run(main())
    assert events == ["layer" if where == "a middleware" else "body"]


def test_a_body_that_is_read_in_a_task_of_its_own_is_refused_with_a_reason():
    async def layer(ctx, call):
        ctx = await call(ctx)
        await asyncio.create_task(res(ctx).body.aread())
        return ctx

    with pytest.raises(RuntimeError, match="has to be read in the task of its chain"):
        asyncio.run(Host().call(FormationMiddleware(answering(*HELLO), [layer])))


def test_a_stream_of_its_own_is_not_sent_where_there_is_no_body(serve):
    def answer(ctx, call):
        ctx = reply(ctx, 200, {}, iter([b"a"]))
        res(ctx).on_close(lambda count, error: closed.append(count))
        return ctx

    closed = []
    host = serve(FormationMiddleware(fails, [answer]), method="HEAD")
    assert (host.body, host.kinds, closed) == (b"", ["start", "body"], [0])


def test_what_is_left_of_an_answer_cannot_be_read_when_its_app_has_ended(serve):
    seen, kept = [], []

    def layer(ctx, call):
        first = call(dict(ctx))
        kept.append(res(call(dict(ctx))).body)
        for name in ("returned", "ended"):
            with pytest.raises(ProtocolError, match=f"{name} in the middle of its response"):
                list(kept[0] if name == "returned" else Body(kept[0]._source))
            seen.append(name)
        return first

    calls = []

    async def app(scope, receive, send):
        calls.append(1)
        await send(start(200 + len(calls)))
        if len(calls) == 1:
            await send(body(b"a"))

    assert serve(FormationMiddleware(app, [layer])).status == 201
    assert seen == ["returned", "ended"]


def test_an_error_in_mid_body_comes_out_though_a_generator_makes_the_best_of_it(serve):
    def layer(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body

        def new():
            try:
                yield from old
            except ZeroDivisionError:
                yield b" and so on"

        res(ctx).body = new()
        return ctx

    host = Host()
    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(answering(start(), body(b"a", more=True), last=fails), [layer]), host=host)
    assert host.body == b"a and so on"


def test_trailers_pass_though_the_body_was_replaced(serve):
    def layer(ctx, call):
        ctx = call(ctx)
        res(ctx).body = b"other"
        return ctx

    trailers = {"type": "http.response.trailers", "headers": [], "more_trailers": False}
    host = serve(FormationMiddleware(answering(start(trailers=True), body(b"a"), trailers), [layer]))
    assert (host.body, host.sent[-1]) == (b"other", trailers)


# Framing


def test_how_a_connection_frames_an_answer_is_not_for_a_middleware_to_say(serve):
    def frame(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["Transfer-Encoding"] = "chunked"
        return ctx

    def frame_another(ctx, call):
        return reply(ctx, 200, {"Transfer-Encoding": "chunked"}, b"hello")

    for middleware in (frame, frame_another):
        with pytest.raises(ValueError, match="got 'Transfer-Encoding'"):
            serve(FormationMiddleware(answering(start(), body(b"hello")), [middleware]))


def test_how_an_app_frames_its_answer_is_for_the_server_to_judge(serve):
    def other(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["X-A"] = "1"
        return ctx

    async def app(scope, receive, send):
        await send(start(200, (b"transfer-encoding", b"chunked")))
        await send(body(b"hello"))

    host = serve(FormationMiddleware(app, [other]))
    assert (b"transfer-encoding", b"chunked") in host.headers
