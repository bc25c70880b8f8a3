"""WebSocket over ASGI: one context for a connection, the chain around all of it, messages that stream past."""

import asyncio
import contextvars
import gc
import weakref

import anyio
import anyio.lowlevel
import pytest

from formation import ambient, await_, reply, req, res
from formation.errors import ClientGone, ProtocolError
from formation.for_asgi import FormationMiddleware
from tests.server.asgi_host import Host, colored, plain

CONNECT = {"type": "websocket.connect"}
ACCEPT = {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x-a", b"1")]}
CLOSE = {"type": "websocket.close", "code": 4000, "reason": "enough"}
LEFT = {"type": "websocket.disconnect", "code": 1001, "reason": "going"}
DENIAL = {"websocket.http.response": {}}

COLOURS = pytest.mark.parametrize("layers", [[plain], [colored], [plain, colored], [colored, plain, plain]])


def came(data):
    return {"type": "websocket.receive", "text" if isinstance(data, str) else "bytes": data}


def goes(data):
    return {"type": "websocket.send", "text" if isinstance(data, str) else "bytes": data}


def socket(*received, **scope):
    return Host(CONNECT, *received, **({"type": "websocket", "scheme": "ws", "subprotocols": ["chat", "talk"]} | scope))


async def echo(scope, receive, send):
    """Accept, and send back what comes until the client leaves."""
    assert (await receive())["type"] == "websocket.connect"
    await send(ACCEPT)
    while (message := await receive())["type"] == "websocket.receive":
        await send(goes(message["bytes"] if message.get("text") is None else message["text"]))


def sending(*messages):
    async def app(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        for message in messages:
            await send(message)

    return app


def seeing(into):
    def seeing(ctx, call):
        ctx = call(ctx)
        ws = ctx["fmtn.ws"]
        into.append((res(ctx).code, dict(res(ctx).headers), ws.subprotocol, ws.code, ws.reason))
        return ctx

    return seeing


# What passes


@COLOURS
def test_messages_pass_as_they_are_both_ways(serve, layers):
    messages = [{**came("a"), "own": 1}, came(b"b"), LEFT]
    seen = []

    async def app(scope, receive, send):
        seen.append(await receive())
        await send(ACCEPT)
        seen.extend([await receive() for _ in messages])
        await send(out)
        await send(CLOSE)

    out = {**goes("a"), "bytes": None, "own": 1}
    host = serve(FormationMiddleware(app, layers), host=socket(*messages))
    assert all(one is other for one, other in zip(seen, [CONNECT, *messages], strict=True))
    assert all(one is other for one, other in zip(host.sent, [ACCEPT, out, CLOSE], strict=True))


def test_nothing_is_received_unless_the_app_asks(serve):
    async def app(scope, receive, send):
        await send(ACCEPT)
        await send(CLOSE)

    assert serve(FormationMiddleware(app, [plain]), host=socket()).asked == 0


def test_the_call_returns_when_the_connection_is_over(serve):
    events = []

    def timer(ctx, call):
        events.append("before")
        ctx = call(ctx)
        events.append("after")
        return ctx

    async def app(scope, receive, send):
        await echo(scope, receive, send)
        events.append("app")

    serve(FormationMiddleware(app, [timer]), host=socket(came("a"), LEFT))
    assert events == ["before", "app", "after"]


def test_one_context_says_what_the_connection_is(serve):
    seen = []

    def look(ctx, call):
        ws = ctx["fmtn.ws"]
        seen.append((ctx["fmtn.kind"], ctx["fmtn.side"], req(ctx).url, req(ctx).name, ws.subprotocols, ws.is_accepted))
        return call(ctx)

    host = socket(LEFT)
    serve(FormationMiddleware(echo, [look, seeing(seen)]), host=host)
    assert seen == [
        ("websocket", "server", "ws://example.com/", "GET /", ["chat", "talk"], False),
        (101, {"x-a": "1"}, "chat", 1001, "going"),
    ]


def test_both_directions_go_on_at_the_same_time(serve):
    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        count = 0

        async def listen():
            nonlocal count
            while (await receive())["type"] == "websocket.receive":
                count += 1

        async def talk():
            for number in range(20):
                await send(goes(str(number)))

        async with anyio.create_task_group() as group:
            group.start_soon(listen)
            group.start_soon(talk)
        await send(goes(f"{count} came"))

    for messages in ([], [plain], [colored]):
        app_ = FormationMiddleware(app, [plain], messages)
        host = serve(app_, host=socket(*(came("x") for _ in range(20)), LEFT))
        assert [message.get("text") for message in host.sent[1:]] == [*map(str, range(20)), "20 came"]


def test_context_variables_pass_both_ways(serve):
    var = contextvars.ContextVar("var", default="unset")
    seen = []

    async def app(scope, receive, send):
        seen.append(var.get())
        var.set("app")
        await echo(scope, receive, send)

    def layer(ctx, call):
        var.set("layer")
        ctx = call(ctx)
        seen.append(var.get())
        return ctx

    serve(FormationMiddleware(app, [layer, colored]), host=socket(LEFT))
    assert seen == ["layer", "app"]


def test_a_connection_is_freed_without_the_garbage_collector():
    class Tracked:
        pass

    alive = []

    def track(ctx, call):
        ctx["tracked"] = Tracked()
        alive.append(weakref.ref(ctx["tracked"]))
        ctx["fmtn.ws"].on_receive(lambda data: ctx["fmtn.ws"].close() if data == "bad" else None)
        return call(ctx)

    async def main():
        await socket(came("a"), LEFT).call(FormationMiddleware(echo, [track, plain, colored], [plain]))
        return [ref() for ref in alive]

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == [None]
    finally:
        gc.enable()


# The handshake


def test_headers_of_a_middleware_go_with_the_answer_that_accepts(serve):
    def layer(ctx, call):
        ctx["fmtn.ws"].headers["X-Request-ID"] = "7f3a"
        return call(ctx)

    host = serve(FormationMiddleware(echo, [layer]), host=socket(LEFT))
    assert host.sent[0] == {**ACCEPT, "headers": [(b"x-a", b"1"), (b"x-request-id", b"7f3a")]}


def test_a_middleware_may_change_what_the_app_is_offered(serve):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope["subprotocols"], dict(scope["headers"])[b"x-user"]))
        await echo(scope, receive, send)

    def layer(ctx, call):
        ctx["fmtn.ws"].subprotocols.remove("chat")
        req(ctx).headers["X-User"] = "ann"
        return call(ctx)

    host = serve(FormationMiddleware(app, [layer]), host=socket(LEFT))
    assert seen == [(["talk"], b"ann")]
    assert host.scope["subprotocols"] == ["chat", "talk"]


@pytest.mark.parametrize("way", ["reply", "deny", "await deny"])
@pytest.mark.parametrize("extension", [True, False])
def test_a_handshake_may_be_denied_without_the_app(serve, way, extension):
    def plain_deny(ctx, call):
        if way == "deny":
            ctx["fmtn.ws"].deny(401, {"X": "1"}, b"who?")
            return ctx
        return reply(ctx, 401, {"X": "1"}, b"who?")

    async def async_deny(ctx, call):
        await ctx["fmtn.ws"].deny(401, {"X": "1"}, b"who?")
        return ctx

    layer = async_deny if way == "await deny" else plain_deny
    host = socket(extensions=DENIAL if extension else {})
    serve(FormationMiddleware(sending(), [plain, layer]), host=host)
    if extension:
        assert host.sent == [
            {"type": "websocket.http.response.start", "status": 401, "headers": [(b"x", b"1")]},
            {"type": "websocket.http.response.body", "body": b"who?", "more_body": False},
        ]
    else:
        assert host.sent == [{"type": "websocket.close", "code": 1008, "reason": ""}]


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_a_middleware_may_accept_to_say_why_it_closes(serve, colour):
    def layer(ctx, call):
        ctx["fmtn.ws"].accept("chat", {"X": "1"})
        ctx["fmtn.ws"].close(4401, "who are you?")
        return ctx

    async def alayer(ctx, call):
        await ctx["fmtn.ws"].accept("chat", {"X": "1"})
        await ctx["fmtn.ws"].close(4401, "who are you?")
        await ctx["fmtn.ws"].close(4402)
        return ctx

    host = serve(FormationMiddleware(sending(), [layer if colour == "plain" else alayer]), host=socket())
    assert host.sent == [
        {"type": "websocket.accept", "subprotocol": "chat", "headers": [(b"x", b"1")]},
        {"type": "websocket.close", "code": 4401, "reason": "who are you?"},
    ]


def test_an_app_may_accept_what_a_middleware_has_accepted(serve):
    def layer(ctx, call):
        ctx["fmtn.ws"].accept()
        return call(ctx)

    host = serve(FormationMiddleware(echo, [layer]), host=socket(came("a"), LEFT))
    assert [message["type"] for message in host.sent] == ["websocket.accept", "websocket.send"]


def test_a_connection_that_a_middleware_accepts_and_forgets_is_closed(serve):
    def layer(ctx, call):
        ctx["fmtn.ws"].accept()
        return ctx

    host = serve(FormationMiddleware(sending(), [layer]), host=socket())
    assert host.sent[-1] == {"type": "websocket.close", "code": 1000, "reason": ""}


def test_a_handshake_is_answered_once(serve):
    def layer(ctx, call):
        ctx["fmtn.ws"].accept()
        with pytest.raises(RuntimeError, match="answered already: <Connection: open"):
            ctx["fmtn.ws"].deny()
        ctx["fmtn.ws"].close()
        with pytest.raises(RuntimeError, match="can be called again only before"):
            call(ctx)
        return ctx

    serve(FormationMiddleware(sending(), [layer]), host=socket())


@pytest.mark.parametrize(
    ("messages", "status"),
    [
        ([CLOSE], 403),
        (
            [
                {"type": "websocket.http.response.start", "status": 418, "headers": [(b"x", b"1")]},
                {"type": "websocket.http.response.body", "body": b"a", "more_body": True},
                {"type": "websocket.http.response.body", "body": b"b"},
            ],
            418,
        ),
    ],
    ids=["close", "response"],
)
def test_a_denial_of_the_app_passes_and_has_its_status(serve, messages, status):
    seen = []
    host = serve(FormationMiddleware(sending(*messages), [seeing(seen)]), host=socket(extensions=DENIAL))
    assert all(one is other for one, other in zip(host.sent, messages, strict=True))
    assert seen[0][0] == status


def test_an_app_that_returns_without_an_answer_gets_no_error_made_up(serve):
    seen = []

    def look(ctx, call):
        try:
            return call(ctx)
        except ProtocolError as error:
            seen.append(str(error))
            raise

    assert serve(FormationMiddleware(sending(), [look]), host=socket()).sent == []
    assert seen == ["the app has returned without an answer to the handshake"]


# Errors


class Failed(Exception):
    pass


def failing_after(*messages):
    async def app(scope, receive, send):
        await sending(*messages)(scope, receive, send)
        raise Failed

    return app


@COLOURS
def test_an_error_of_the_app_comes_out_as_it_is(serve, layers):
    for messages in ([], [ACCEPT]):
        host = socket()
        with pytest.raises(Failed):
            serve(FormationMiddleware(failing_after(*messages), layers), host=host)
        assert host.sent == messages


def test_an_error_of_the_app_may_be_answered_or_else_the_connection_is_closed(serve):
    def catch(ctx, call):
        try:
            return call(ctx)
        except Failed:
            return reply(ctx, 500)

    denied = serve(FormationMiddleware(failing_after(), [catch]), host=socket(extensions=DENIAL))
    assert denied.sent[0]["status"] == 500
    closed = serve(FormationMiddleware(failing_after(ACCEPT), [catch]), host=socket())
    assert closed.sent == [ACCEPT, {"type": "websocket.close", "code": 1011, "reason": ""}]


def test_an_app_may_be_called_again_before_the_handshake_is_answered(serve):
    calls = []

    async def app(scope, receive, send):
        calls.append(await receive())
        if len(calls) == 1:
            raise Failed
        await send(ACCEPT)
        await send(CLOSE)

    def again(ctx, call):
        try:
            return call(ctx)
        except Failed:
            return call(ctx)

    assert serve(FormationMiddleware(app, [again]), host=socket()).sent == [ACCEPT, CLOSE]
    assert calls == [CONNECT, CONNECT]


@pytest.mark.parametrize(
    "breaks",
    [
        lambda ws: ws.accept("chat\r\nX-Evil: 1"),
        lambda ws: ws.accept(headers={"X-A": "1\r\nX-Evil: 1"}),
        lambda ws: ws.close(4000, "ä" * 62),
    ],
    ids=["subprotocol", "header", "reason"],
)
def test_what_would_break_the_protocol_is_refused_where_it_is_given(serve, breaks):
    def layer(ctx, call):
        with pytest.raises(ValueError, match=r"would start another|at most 123 bytes"):
            breaks(ctx["fmtn.ws"])
        ctx["fmtn.ws"].accept("chat")
        ctx["fmtn.ws"].close(4000, "ä" * 61)
        return ctx

    host = serve(FormationMiddleware(echo, [layer]), host=socket())
    assert [message["type"] for message in host.sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize("given", [None, {}], ids=repr)
def test_a_call_without_the_context_is_told(serve, given):
    def layer(ctx, call):
        with pytest.raises(TypeError, match=r"expected call\(ctx\) with the context that came, got"):
            call(given)
        return call(ctx)

    serve(FormationMiddleware(echo, [layer], [layer]), host=socket(came("a"), LEFT))


def test_a_chain_that_returns_no_response_says_so(serve):
    def layer(ctx, call):
        return ctx

    with pytest.raises(TypeError, match=r"wrap\(connect, \[layer\]\) returned without a response"):
        serve(FormationMiddleware(sending(), [layer]), host=socket())


def test_cancelling_the_server_s_task_ends_the_chain(serve):
    events = []

    def layer(ctx, call):
        try:
            return call(ctx)
        finally:
            events.append("layer")

    async def main(scope, receive, send):
        with anyio.move_on_after(0.01):
            await FormationMiddleware(echo, [layer, colored])(scope, receive, send)
        events.append("over")

    serve(main, host=socket())
    assert events == ["layer", "over"]


# Messages


def noting(into):
    def noting(ctx, call):
        into.append((ctx["fmtn.kind"], ctx["fmtn.direction"], ctx["fmtn.message"]))
        return call(ctx)

    return noting


@pytest.mark.parametrize("extra", [[], [colored]])
def test_message_middleware_sees_each_message_in_each_direction(serve, extra):
    seen = []
    host = serve(FormationMiddleware(echo, [], [noting(seen), *extra]), host=socket(came("a"), came(b"b"), LEFT))
    assert seen == [("message", way, data) for data in ("a", b"b") for way in ("in", "out")]
    assert host.sent == [ACCEPT, goes("a"), goes(b"b")]


def test_what_is_no_message_passes_as_it_is(serve):
    other, seen = {"type": "websocket.other"}, []

    async def app(scope, receive, send):
        await receive()
        seen.append(await receive())
        await send(ACCEPT)
        await send(other)

    host = serve(FormationMiddleware(app, [], [noting([])]), host=socket(other))
    assert seen[0] is other
    assert host.sent[1] is other


def test_a_message_of_the_chain_has_what_the_connection_has(serve):
    seen = []

    def connection(ctx, call):
        ctx["fmtn.state"]["user"] = "ann"
        return call(ctx)

    def message(ctx, call):
        seen.append((ctx["fmtn.state"]["user"], req(ctx).path, ctx["fmtn.ws"].is_accepted))
        ctx["mine"] = 1
        return call(ctx)

    serve(FormationMiddleware(echo, [connection], [message]), host=socket(came("a"), LEFT))
    assert seen == [("ann", "/", True)] * 2


def test_a_message_may_be_changed_dropped_and_doubled(serve):
    def change(ctx, call):
        if ctx["fmtn.direction"] == "in":
            if ctx["fmtn.message"] == "drop":
                return ctx
            ctx["fmtn.message"] = ctx["fmtn.message"].upper()
            return call(ctx)
        call(ctx)
        ctx["fmtn.message"] = ctx["fmtn.message"].encode()
        return call(ctx)

    def twice(ctx, call):
        if ctx["fmtn.direction"] == "in":
            call(ctx)
        return call(ctx)

    host = serve(FormationMiddleware(echo, [], [change]), host=socket(came("a"), came("drop"), came("b"), LEFT))
    assert host.sent == [ACCEPT, goes("A"), goes(b"A"), goes("B"), goes(b"B")]
    host = serve(FormationMiddleware(echo, [], [twice]), host=socket(came("a"), came("b"), LEFT))
    assert host.sent == [ACCEPT, *map(goes, "aabb")]


def test_the_first_in_the_list_is_next_to_the_server_in_both_directions(serve):
    def layer(name):
        def layer(ctx, call):
            ctx["fmtn.message"] += name
            return call(ctx)

        return layer

    one = FormationMiddleware(echo, [], [layer("a"), layer("b")])
    two = FormationMiddleware(FormationMiddleware(echo, [], [layer("b")]), [], [layer("a")])
    for app in (one, two):
        assert serve(app, host=socket(came("-"), LEFT)).sent == [ACCEPT, goes("-abba")]


def test_nothing_is_read_ahead(serve):
    asked = []

    def look(ctx, call):
        asked.append((ctx["fmtn.direction"], host.asked))
        return call(ctx)

    host = socket(came("a"), came("b"), LEFT)
    serve(FormationMiddleware(echo, [], [look]), host=host)
    assert asked == [("in", 2), ("out", 2), ("in", 3), ("out", 3)]


def test_hooks_look_at_messages_or_change_them(serve):
    seen = []

    def layer(ctx, call):
        ws = ctx["fmtn.ws"]
        ws.on_receive(seen.append)
        ws.on_receive(str.upper)
        ws.on_send(lambda data: data + "!")
        ws.on_send(seen.append)
        return call(ctx)

    for messages in ([], [plain]):
        seen.clear()
        host = serve(FormationMiddleware(echo, [layer], messages), host=socket(came("a"), LEFT))
        assert (host.sent, seen) == ([ACCEPT, goes("A!")], ["a", "A!"])


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("messages", [[], [plain], [colored]])
@pytest.mark.parametrize("direction", ["in", "out"])
def test_a_hook_may_close_the_connection_and_for_the_app_the_client_is_gone(serve, direction, messages, is_async):
    heard = []

    def layer(ctx, call):
        ws = ctx["fmtn.ws"]

        def hook(data):
            if data == "bad":
                ws.close(4000, "enough")

        async def ahook(data):
            if data == "bad":
                await ws.close(4000, "enough")

        (ws.on_receive if direction == "in" else ws.on_send)(ahook if is_async else hook)
        ctx = call(ctx)
        heard.append((ws.code, ws.reason, res(ctx).code))
        return ctx

    host = serve(FormationMiddleware(echo, [layer], messages), host=socket(came("a"), came("bad"), came("c"), LEFT))
    assert (host.sent, heard) == ([ACCEPT, goes("a"), CLOSE], [(4000, "enough", 101)])


def test_a_hook_may_wait_and_an_async_one_may_change_what_passes(serve):
    def waiting(data):
        await_(anyio.lowlevel.checkpoint())
        return data.upper()

    async def coloured(data):
        await anyio.lowlevel.checkpoint()
        return data + "?"

    def layer(ctx, call):
        ctx["fmtn.ws"].on_receive(waiting)
        ctx["fmtn.ws"].on_send(coloured)
        return call(ctx)

    assert serve(FormationMiddleware(echo, [layer]), host=socket(came("a"), LEFT)).sent == [ACCEPT, goes("A?")]


@pytest.mark.parametrize("way", ["hook", "middleware"])
def test_what_comes_when_a_middleware_has_closed_is_nobody_s(serve, way):
    seen, heard = [], []

    def layer(ctx, call):
        if way == "hook":
            ctx["fmtn.ws"].on_receive(closing)
        return call(ctx)

    def closing(data):
        seen.append(data)
        if data == "bad":
            sockets[0].close(4000, "enough")

    def closing_middleware(ctx, call):
        if ctx["fmtn.direction"] == "in":
            closing(ctx["fmtn.message"])
        return call(ctx)

    def keep(ctx, call):
        sockets.append(ctx["fmtn.ws"])
        return call(ctx)

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        heard.extend([await receive() for _ in range(3)])
        raise LookupError("it unwinds, as frameworks do when the client has gone")

    sockets = []
    messages = [closing_middleware] if way == "middleware" else []
    serve(FormationMiddleware(app, [keep, layer], messages), host=socket(came("a"), came("bad"), came("c"), LEFT))
    gone = {"type": "websocket.disconnect", "code": 4000, "reason": "enough"}
    assert (heard, seen) == ([came("a"), gone, gone], ["a", "bad"])


def test_a_hook_may_return_whatever_can_be_awaited(serve):
    class Later:
        def __init__(self, data):
            self.data = data

        def __await__(self):
            yield from anyio.lowlevel.checkpoint().__await__()
            return self.data.upper()

    def layer(ctx, call):
        ctx["fmtn.ws"].on_receive(Later)
        return call(ctx)

    assert serve(FormationMiddleware(echo, [layer]), host=socket(came("a"), LEFT)).sent == [ACCEPT, goes("A")]


def test_what_a_task_sends_that_the_app_has_left_behind_is_the_server_s(serve):
    left = []

    async def app(scope, receive, send):
        left.append(send)
        await sending(ACCEPT, CLOSE)(scope, receive, send)

    def layer(ctx, call):
        ctx["fmtn.ws"].on_send(str.upper)
        return call(ctx)

    async def outliving(scope, receive, send):
        await FormationMiddleware(app, [layer])(scope, receive, send)
        await left[0](goes("late"))

    assert serve(outliving, host=socket()).sent == [ACCEPT, CLOSE, goes("late")]


@pytest.mark.parametrize("answer", ["status", "framing", "body"])
def test_a_denial_that_cannot_be_sent_answers_nothing_and_is_closed(serve, answer):
    ended = []

    def failing():
        raise LookupError("no body")
        yield

    def layer(ctx, call):
        ctx = reply(ctx, 403, body=failing() if answer == "body" else iter([b"a"]))
        res(ctx).on_close(lambda count, error: ended.append(count))
        if answer == "status":
            res(ctx).status_code = 103
        if answer == "framing":
            res(ctx).headers["Transfer-Encoding"] = "chunked"
        return ctx

    host = socket(extensions=DENIAL)
    with pytest.raises((ValueError, LookupError), match=r"1xx only announces|the server's to set|no body"):
        serve(FormationMiddleware(sending(), [layer]), host=host)
    assert (host.sent, ended) == ([], [0])


def test_an_app_whose_connection_a_middleware_has_closed_is_told_when_it_sends(serve):
    def layer(ctx, call):
        async def close(data):
            await ctx["fmtn.ws"].close()

        ctx["fmtn.ws"].on_receive(close)
        return call(ctx)

    async def talking(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        with pytest.raises(ClientGone):
            await send(goes("never sent"))
        with pytest.raises(ClientGone):
            await send(CLOSE)

    host = serve(FormationMiddleware(talking, [layer]), host=socket(came("a"), LEFT))
    assert [message["type"] for message in host.sent] == ["websocket.accept", "websocket.close"]


@pytest.mark.parametrize("direction", ["in", "out"])
@pytest.mark.parametrize("way", ["middleware", "async middleware", "hook", "no message"])
def test_an_error_at_a_message_does_not_enter_the_app_and_is_raised_at_the_call(serve, direction, way):  # noqa: C901
    seen = []

    async def app(scope, receive, send):
        await receive()
        await send(ACCEPT)
        try:
            while (message := await receive())["type"] == "websocket.receive":
                await send(goes(message["text"]))
            seen.append(message)
        except OSError as error:
            seen.append(type(error))

    def fail(data=None):
        raise Failed

    def failing(ctx, call):
        if ctx["fmtn.direction"] == direction:
            if way == "no message":
                ctx["fmtn.message"] = 1
                return call(ctx)
            fail()
        return call(ctx)

    async def afailing(ctx, call):
        if ctx["fmtn.direction"] == direction:
            fail()
        return await call(ctx)

    def hooked(ctx, call):
        if way == "hook":
            ctx["fmtn.ws"].on_receive(fail) if direction == "in" else ctx["fmtn.ws"].on_send(fail)
        return call(ctx)

    messages = {"middleware": [failing], "async middleware": [afailing], "hook": [], "no message": [failing]}[way]
    error = TypeError if way == "no message" else Failed
    wrapped = FormationMiddleware(app, [hooked], messages)
    with pytest.raises(error):
        serve(wrapped, host=socket(came("a"), came("b"), LEFT))
    assert seen == [{"type": "websocket.disconnect", "code": 1011, "reason": ""} if direction == "in" else ClientGone]

    def catch(ctx, call):
        try:
            return call(ctx)
        except error:
            return reply(ctx, 500)

    host = serve(FormationMiddleware(wrapped, [catch]), host=socket(came("a"), LEFT))
    assert host.sent == [ACCEPT, {"type": "websocket.close", "code": 1011, "reason": ""}]


def test_an_error_of_the_server_at_a_message_is_raised_where_the_app_sends(serve):
    error, seen = OSError("gone"), []

    async def app(scope, receive, send):
        try:
            await echo(scope, receive, send)
        except OSError as raised:
            seen.append(raised)
            raise

    for messages in ([], [plain], [colored, plain]):
        host = Host(CONNECT, came("a"), type="websocket", fails={1: error})
        with pytest.raises(OSError, match="gone") as raised:
            serve(FormationMiddleware(app, [plain], messages), host=host)
        assert raised.value is error
    assert seen == [error] * 3


def test_a_message_middleware_may_wait(serve):
    def slow(ctx, call):
        await_(anyio.lowlevel.checkpoint())
        return call(ctx)

    host = serve(FormationMiddleware(echo, [plain], [slow]), host=socket(*map(came, "abc"), LEFT))
    assert host.sent == [ACCEPT, *map(goes, "abc")]


# What goes with it


def test_the_app_finds_what_the_chain_has_published(serve):
    seen = []

    async def app(scope, receive, send):
        inherited = {}
        ambient.inherit(inherited)
        seen.append(inherited)
        await echo(scope, receive, send)

    def layer(ctx, call):
        ctx["req.id"] = "7f3a"
        return call(ctx)

    serve(FormationMiddleware(app, [layer]), host=socket(LEFT))
    assert seen == [{"req.id": "7f3a", "req.parent.id": "7f3a"}]


def test_the_route_of_the_app_is_the_template(serve):
    class Route:
        path = "/rooms/{name}"

    async def app(scope, receive, send):
        scope["route"] = Route()
        await echo(scope, receive, send)

    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.append((ctx["fmtn.template"], req(ctx).name))
        return ctx

    serve(FormationMiddleware(app, [look]), host=socket(LEFT))
    assert seen == [("/rooms/{name}", "GET /rooms/{name}")]
