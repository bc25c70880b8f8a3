"""HTTP over ASGI: what passes, what the chain sees, and in which order."""

import asyncio
import contextvars
import gc
import inspect
import weakref
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

from formation import ambient, await_, reply, req, res
from formation.errors import BodyTooLarge, ClientGone
from formation.for_asgi import FormationMiddleware
from formation.http import Request
from formation.server.asgi import messages
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

COLOURS = pytest.mark.parametrize("layers", [[plain], [colored], [plain, colored], [colored, plain, plain]])


# What passes


@COLOURS
def test_messages_pass_as_the_app_sent_them(serve, layers):
    sent = [
        start(200, (b"X-A", b"1"), (b"x-a", b"2"), (b"Set-Cookie", b"a=1"), (b"set-cookie", b"b=2"), own="key"),
        {**body(b"a", more=True), "own": 1},
        {"type": "http.response.body"},
    ]
    host = serve(FormationMiddleware(answering(*sent), layers))
    assert all(came is gave for came, gave in zip(host.sent, sent, strict=True))


def test_headers_may_be_any_iterable_of_pairs_or_absent(serve):
    head = {"type": "http.response.start", "status": 204}
    assert serve(FormationMiddleware(answering(head, body()), [plain])).sent[0] is head
    head = {**start(200), "headers": iter([[b"a", b"1"], (b"b", b"2")])}
    assert serve(FormationMiddleware(answering(head, body()), [header("c")])).headers == [
        (b"a", b"1"), (b"b", b"2"), (b"c", b"1")
    ]  # fmt: skip


def test_the_app_gets_the_very_scope_of_the_server(serve):
    seen = []

    async def look(scope, receive, send):
        seen.append(scope)
        scope["route"] = "found"

    host = serve(FormationMiddleware(answering(*HELLO, first=look), [plain, colored]))
    assert seen[0] is host.scope
    assert host.scope["route"] == "found"


def test_nothing_is_received_unless_somebody_asks(serve):
    assert serve(FormationMiddleware(answering(*HELLO), [plain])).asked == 0


def test_parts_of_the_request_and_the_disconnect_reach_the_app_once_and_in_order(serve):
    messages = [chunk(b"a", more=True), chunk(b"b"), GONE]
    seen = []

    async def receive_all(scope, receive, send):
        seen.extend([await receive() for _ in range(3)])

    serve(FormationMiddleware(answering(*HELLO, first=receive_all), [plain]), *messages)
    assert all(came is gave for came, gave in zip(seen, messages, strict=True))


def test_the_app_runs_in_the_task_of_the_server():
    tasks = []

    async def look(scope, receive, send):
        tasks.append(asyncio.current_task())

    def layer(ctx, call):
        tasks.append(asyncio.current_task())
        ctx = call(ctx)
        tasks.append(asyncio.current_task())
        return ctx

    async def main():
        tasks.append(asyncio.current_task())
        await Host().call(FormationMiddleware(answering(*HELLO, first=look), [layer]))

    asyncio.run(main())
    assert len(tasks) == 4
    assert len(set(tasks)) == 1


@COLOURS
def test_context_variables_pass_both_ways(serve, layers):
    var = contextvars.ContextVar("var", default="unset")
    seen = {}

    async def look(scope, receive, send):
        seen["app"] = var.get()
        var.set("app")

    def sets(ctx, call):
        seen["outside"] = var.get()
        var.set("layer")
        ctx = call(ctx)
        seen["after"] = var.get()
        return ctx

    app = FormationMiddleware(answering(*HELLO, first=look), [*layers, sets])

    async def outer(scope, receive, send):
        var.set("outer")
        await app(scope, receive, send)
        seen["end"] = var.get()

    serve(outer)
    assert seen == {"outside": "outer", "app": "layer", "after": "app", "end": "app"}


def test_the_server_takes_a_message_before_the_app_goes_on(serve):
    events = []

    async def app(scope, receive, send):
        for number, message in enumerate([start(), body(b"a", more=True), body(b"b")]):
            await send(message)
            events.append(f"app {number}")

    class Slow(Host):
        async def send(self, message):
            await super().send(message)
            events.append(f"server {len(self.sent) - 1}")

    for layers in ([plain], [upper], [pulling], [apulling]):
        events.clear()
        serve(FormationMiddleware(app, layers), host=Slow())
        assert [event for event in events if event != "server 3"] == [
            "server 0", "app 0", "server 1", "app 1", "server 2", "app 2"
        ]  # fmt: skip


def test_background_work_runs_in_the_call_and_after_the_answer(serve):
    events = []

    async def background(scope, receive, send):
        events.append(list(host.kinds))

    host = Host()
    serve(FormationMiddleware(answering(*HELLO, last=background), [plain, colored]), host=host)
    assert events == [["start", "body"]]


def test_what_is_no_http_passes_untouched(serve):
    seen = []

    async def app(scope, receive, send):
        seen.append((scope, receive, send))

    host = Host(type="lifespan", state={})
    serve(FormationMiddleware(app, [plain]), host=host)
    other = Host(type="something.else")
    serve(FormationMiddleware(app, [plain]), host=other)
    assert seen == [(each.scope, each.receive, each.send) for each in (host, other)]
    assert seen[0][0]["state"] is host.scope["state"]


def test_an_app_that_raises_on_lifespan_raises(serve):
    async def app(scope, receive, send):
        raise LookupError("no lifespan")

    with pytest.raises(LookupError, match="no lifespan"):
        serve(FormationMiddleware(app, [plain]), type="lifespan")


@pytest.mark.parametrize("layers", [[plain], [upper], [header("x")], [reading]])
def test_extensions_pass_in_place(serve, layers):
    sent = [
        {"type": "http.response.debug", "info": {}},
        {"type": "http.response.early_hint", "links": []},
        start(200, trailers=True),
        {"type": "http.response.push", "path": "/x", "headers": []},
        body(b"a"),
        {"type": "http.response.trailers", "headers": [(b"a", b"1")], "more_trailers": False},
    ]
    host = serve(FormationMiddleware(answering(*sent), layers))
    kinds = [kind for kind in host.kinds if kind != "push"]
    assert kinds == ["debug", "early_hint", "start", "body", "trailers"]
    assert host.sent[-1] is sent[-1]
    assert "push" in host.kinds


@pytest.mark.parametrize(
    "layers", [[plain], [upper], [pulling], [apulling], [reading]], ids=lambda layers: layers[0].__name__
)
def test_what_comes_after_the_end_is_the_server_s_to_judge(serve, layers):
    late = body(b"late", more=True)
    host = serve(FormationMiddleware(answering(*HELLO, late), layers))
    assert host.sent[-1] is late


def test_head_and_304_keep_their_length_and_are_not_mapped(serve):
    head = start(304, (b"content-length", b"5"), (b"etag", b'"a"'))
    assert serve(FormationMiddleware(answering(head, body()), [upper])).sent[0] is head
    head = start(200, (b"content-length", b"5"))
    assert serve(FormationMiddleware(answering(head, body()), [upper]), method="HEAD").sent == [head, body()]


def test_200_requests_at_once_do_not_mix():
    async def app(scope, receive, send):
        await asyncio.sleep(0)
        await send(start(200, (b"path", scope["path"].encode())))
        await asyncio.sleep(0)
        await send(body(scope["path"].encode()))

    def tag(ctx, call):
        path = req(ctx).path
        await_(asyncio.sleep(0))
        ctx = call(ctx)
        res(ctx).headers["tag"] = path
        return ctx

    async def main():
        wrapped = FormationMiddleware(app, [tag, colored, tag])
        hosts = [Host(path=f"/{number}", raw_path=b"/%d" % number) for number in range(200)]
        await asyncio.gather(*(host.call(wrapped) for host in hosts))
        return hosts

    for number, host in enumerate(asyncio.run(main())):
        path = b"/%d" % number
        assert (host.headers, host.body) == ([(b"path", path), (b"tag", path)], path)


def test_the_app_may_send_from_another_task(serve):
    async def app(scope, receive, send):
        async def stream():
            await send(start())
            await send(body(b"a", more=True))
            await send(body(b"b"))

        async with anyio.create_task_group() as group:
            group.start_soon(stream)

    for layers in ([plain, header("x")], [upper], [pulling], [apulling], [reading]):
        host = serve(FormationMiddleware(app, layers))
        assert host.body.lower() == b"ab"


def test_a_cancel_scope_of_the_app_around_its_sends_works(serve):
    class Slow(Host):
        async def send(self, message):
            if self.sent:
                await anyio.sleep_forever()
            await super().send(message)

    cancelled = []

    async def app(scope, receive, send):
        await send(start())
        with anyio.move_on_after(0.01) as scope_:
            await send(body(b"a", more=True))
        cancelled.append(scope_.cancelled_caught)
        with anyio.move_on_after(0.01) as scope_:
            await receive()
        cancelled.append(scope_.cancelled_caught)

    for layers in ([plain], [upper], [pulling], [apulling]):
        serve(FormationMiddleware(app, layers), host=Slow())
    assert cancelled == [True] * 8


def test_servers_and_frameworks_see_an_async_callable():
    wrapped = FormationMiddleware(answering(*HELLO), [plain])
    assert inspect.iscoroutinefunction(wrapped.__call__)


@pytest.mark.parametrize("app", ["answers", "fails at once", "fails late"])
@pytest.mark.parametrize("layers", [[plain], [colored], [upper], [pulling], [apulling], [reading], [header("x")]])
def test_an_exchange_is_freed_without_the_garbage_collector(layers, app):
    class Tracked:
        pass

    alive = []

    def track(ctx, call):
        tracked = ctx["tracked"] = Tracked()
        alive.append(weakref.ref(tracked))
        res(ctx := call(ctx)).on_close(lambda count, error: tracked)
        return ctx

    apps = {
        "answers": answering(*HELLO),
        "fails at once": answering(*HELLO, first=fails),
        "fails late": answering(HELLO[0], last=fails),
    }

    async def main():
        with suppress(ZeroDivisionError):
            await Host().call(FormationMiddleware(apps[app], [track, *layers]))
        return [ref() for ref in alive]

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == [None]
    finally:
        gc.enable()


@pytest.mark.parametrize("layers", [[], [reading], [pulling], [apulling]])
@pytest.mark.parametrize("how", ["cancelled", "the server raises"])
def test_an_exchange_that_is_cut_short_is_freed_without_the_garbage_collector(layers, how):
    class Tracked:
        pass

    class Cut(Host):
        async def send(self, message):
            if self.sent and how == "the server raises":
                raise OSError("gone")
            self.sent.append(message)

    alive, begun = [], []

    def track(ctx, call):
        ctx["tracked"] = Tracked()
        alive.append(weakref.ref(ctx["tracked"]))
        return call(ctx)

    async def app(scope, receive, send):
        await send(start())
        await send(body(b"a", more=True))
        begun[0].set()
        if how == "cancelled":
            await asyncio.Event().wait()
        await send(body(b"b"))

    async def main():
        begun.append(asyncio.Event())
        task = asyncio.create_task(Cut().call(FormationMiddleware(app, [track, *layers])))
        if how == "cancelled":
            await begun[0].wait()
            task.cancel()
        with suppress(OSError, asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)
        return [ref() for ref in alive]

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == [None]
    finally:
        gc.enable()


def test_what_listens_for_the_client_is_freed_without_the_garbage_collector():
    async def main():
        await Host(chunk(), http_version="1.1").call(FormationMiddleware(fails, [answers]))
        await asyncio.sleep(0)
        return [found for found in gc.get_objects() if type(found).__name__ == "Leaving"]

    def answers(ctx, call):
        return reply(ctx, 200, {}, iter([b"a", b"b", b"c"]))

    gc.collect()
    gc.disable()
    try:
        assert asyncio.run(main()) == []
    finally:
        gc.enable()


# What the chain sees


def test_the_context_says_what_it_is_about(serve):
    seen = {}

    def look(ctx, call):
        seen.update(ctx)
        return call(ctx)

    host = serve(FormationMiddleware(answering(*HELLO), [look]))
    assert {key: seen[key] for key in ("fmtn.side", "fmtn.kind", "fmtn.state", "fmtn.session", "fmtn.sensitive")} == {
        "fmtn.side": "server", "fmtn.kind": "http", "fmtn.state": {}, "fmtn.session": {}, "fmtn.sensitive": set()
    }  # fmt: skip
    assert seen["fmtn.native"] == {"scope": host.scope}
    assert "fmtn.trace" not in seen


@pytest.mark.parametrize(
    ("scope", "url"),
    [
        ({}, "http://example.com/"),
        ({"path": "/ä b", "raw_path": b"/%C3%A4%20b", "query_string": b"a=1&b=%20"}, "http://example.com/%C3%A4%20b?a=1&b=%20"),
        ({"path": "/ä", "raw_path": None}, "http://example.com/%C3%A4"),
        ({"path": "/a%23", "raw_path": None}, "http://example.com/a%2523"),  # which is not /a#
        ({"path": "/a#", "raw_path": b"/a#", "query_string": b"b#c"}, "http://example.com/a%23?b%23c"),
        ({"headers": [], "server": ("h", 8080)}, "http://h:8080/"),
        ({"headers": [], "server": ("::1", 443), "scheme": "https"}, "https://[::1]/"),
        ({"headers": [], "server": None}, "http:///"),
        ({"headers": [(b"host", b"[::1]:81")]}, "http://[::1]:81/"),
        ({"path": "*", "raw_path": b"*"}, "http://example.com/*"),  # OPTIONS *
        ({"path": "@h/a", "raw_path": b"@h/a"}, "http://example.com/@h/a"),
    ],
)  # fmt: skip
def test_the_url_is_what_the_client_asked_for(serve, scope, url):
    seen = []

    def look(ctx, call):
        seen.append((req(ctx).url, req(ctx).peer, req(ctx).method))
        return call(ctx)

    serve(FormationMiddleware(answering(*HELLO), [look]), **scope)
    assert seen == [(url, "192.0.2.1", "GET")]


def test_code_after_the_call_runs_before_the_body_is_sent_and_on_close_runs_at_the_end(serve):
    events = []

    def layer(ctx, call):
        ctx = call(ctx)
        events.append(("after", list(host.kinds)))
        res(ctx).on_close(lambda count, error: events.append((count, error, list(host.kinds))))
        return ctx

    host = Host()
    serve(FormationMiddleware(answering(HELLO[0], body(b"hel", more=True), body(b"lo")), [layer]), host=host)
    assert events == [("after", []), (5, None, ["start", "body", "body"])]


@COLOURS
def test_a_changed_head_goes_out_and_the_rest_as_it_was(serve, layers):
    def change(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = 201
        res(ctx).headers["X-New"] = "ä"
        return ctx

    head = start(200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), own=1)
    host = serve(FormationMiddleware(answering(head, body(b"a")), [*layers, change]))
    assert host.sent == [
        {**head, "status": 201, "headers": [*head["headers"], (b"x-new", "ä".encode("latin-1"))]}, body(b"a")
    ]  # fmt: skip
    assert head == start(200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), own=1)


def test_a_changed_request_is_what_the_app_gets_in_a_scope_of_its_own(serve):
    seen = []

    async def look(scope, receive, send):
        seen.append(scope)
        scope["mine"] = 1

    def change(ctx, call):
        request = req(ctx)
        request.headers["X-User"] = "ann"
        request.url = "https://other.example:444/b%C3%A4?x=1"
        request.params["y"] = "2"
        request.method = "PUT"
        request.peer = "203.0.113.9"
        return call(ctx)

    host = serve(FormationMiddleware(answering(*HELLO, first=look), [change]))
    (scope,) = seen
    assert "mine" not in host.scope
    changed = ("scheme", "path", "raw_path", "query_string", "method", "client", "headers")
    assert {key: scope[key] for key in changed} == {
        "scheme": "https", "path": "/bä", "raw_path": b"/b%C3%A4", "query_string": b"x=1&y=2", "method": "PUT",
        "client": ("203.0.113.9", 0), "headers": [(b"host", b"other.example:444"), (b"x-user", b"ann")],
    }  # fmt: skip


def test_the_route_of_the_app_is_the_template(serve):
    class Route:
        path = "/users/{id}"

    async def route(scope, receive, send):
        scope.update(route=Route(), root_path="/api/v1")

    seen = []

    def look(ctx, call):
        try:
            ctx = call(ctx)
        finally:
            seen.append((ctx["fmtn.template"], req(ctx).template, req(ctx).name))
        return ctx

    serve(FormationMiddleware(answering(*HELLO, first=route), [look]), root_path="/api")
    assert seen == [("/v1/users/{id}", "/v1/users/{id}", "GET /v1/users/{id}")]

    async def route_and_fail(scope, receive, send):
        await route(scope, receive, send)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        serve(FormationMiddleware(route_and_fail, [look]), root_path="/api")
    assert seen[1] == seen[0]


# Bodies


@pytest.mark.parametrize("layer", [upper, pulling, apulling])
def test_a_body_is_changed_as_it_passes(serve, layer):
    head = start(200, (b"content-length", b"4"), (b"etag", b'"x"'))
    host = serve(
        FormationMiddleware(answering(head, body(b"ab", more=True), body(more=True), body(b"cd")), [plain, layer])
    )
    assert host.body == b"ABCD"
    assert host.headers == [(b"etag", b'W/"x"')]
    assert [message["more_body"] for message in host.sent[1:]][-1] is False


def test_a_map_has_a_last_word(serve):
    def count(ctx, call):
        ctx = call(ctx)
        sizes = []
        res(ctx).body.map(lambda part: sizes.append(len(part)) or part, lambda: b"%d" % sum(sizes))
        return ctx

    host = serve(FormationMiddleware(answering(start(), body(b"ab", more=True), body(b"c")), [count]))
    assert [message.get("body") for message in host.sent[1:]] == [b"ab", b"c3"]


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_who_reads_the_body_gets_it_before_the_head_goes_out(serve, colour):
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.append((res(ctx).content, list(host.kinds)))
        res(ctx).headers["size"] = str(len(res(ctx).content))
        return ctx

    async def alook(ctx, call):
        ctx = await call(ctx)
        seen.append((await res(ctx).body.aread(), list(host.kinds)))
        res(ctx).headers["size"] = str(len(res(ctx).content))
        return ctx

    layer = look if colour == "plain" else alook
    host = Host()
    serve(FormationMiddleware(answering(start(), body(b"ab", more=True), body(b"cd")), [plain, layer]), host=host)
    assert seen == [(b"abcd", [])]
    assert host.sent == [start(200, (b"size", b"4")), body(b"abcd")]


@pytest.mark.parametrize("value", [b"other", [b"ot", b"her"]])
def test_a_body_may_be_replaced_unread(serve, value):
    def replace(ctx, call):
        ctx = call(ctx)
        res(ctx).body = value
        return ctx

    done = []

    async def background(scope, receive, send):
        done.append(1)

    host = serve(FormationMiddleware(answering(*HELLO, last=background), [replace]))
    assert host.body == b"other"
    assert dict(host.headers).get(b"content-length", b"5") == b"5"
    assert done == [1]


def test_the_first_chunk_may_be_looked_at(serve):
    def peek(ctx, call):
        ctx = call(ctx)
        chunks = iter(res(ctx).body)
        first = next(chunks)
        res(ctx).headers["first"] = first.decode()

        def rest():
            yield first
            yield from chunks

        res(ctx).body = rest()
        return ctx

    host = serve(
        FormationMiddleware(answering(start(), body(b"a", more=True), body(b"b", more=True), body(b"c")), [peek])
    )
    assert (host.headers, host.body) == ([(b"first", b"a")], b"abc")


def test_a_body_over_the_limit_is_an_error_of_the_chain(serve):
    def guard(ctx, call):
        ctx = call(ctx)
        try:
            return reply(ctx, 200, {}, res(ctx).content)
        except BodyTooLarge as error:
            return reply(ctx, 502, {}, str(error.limit))

    host = serve(FormationMiddleware(answering(*HELLO), [guard], max_body=4))
    assert (host.status, host.body) == (502, b"4")
    with pytest.raises(BodyTooLarge):
        serve(FormationMiddleware(answering(*HELLO), [reading], max_body=4))


def test_files_that_the_server_would_send_are_read_where_a_middleware_changes_the_body(serve, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"hello world")
    path = {"type": "http.response.pathsend", "path": str(file)}
    assert serve(FormationMiddleware(answering(start(), path), [plain, header("x")])).sent[1] is path
    for layer in (upper, pulling, apulling):
        assert serve(FormationMiddleware(answering(start(), path), [layer])).body == b"HELLO WORLD"
    with file.open("rb") as opened:
        parts = [
            {"type": "http.response.zerocopysend", "file": opened, "offset": 6, "count": 5, "more_body": True},
            {"type": "http.response.zerocopysend", "file": opened, "offset": 0, "count": 5},
        ]
        assert serve(FormationMiddleware(answering(start(), *parts), [plain])).sent[1:] == parts
        assert serve(FormationMiddleware(answering(start(), *parts), [upper])).body == b"WORLDHELLO"
        opened.seek(6)
        whole = {"type": "http.response.zerocopysend", "file": opened}
        assert serve(FormationMiddleware(answering(start(), whole), [upper])).body == b"WORLD"
        opened.seek(6)
        part = {"type": "http.response.zerocopysend", "file": opened, "count": 2}
        assert serve(FormationMiddleware(answering(start(), part), [upper])).body == b"WO"


@pytest.mark.parametrize("inner", [plain, upper, pulling, apulling, reading])
@pytest.mark.parametrize("outer", [colored, upper, pulling, apulling, reading])
def test_one_edge_inside_of_another_works(serve, outer, inner):
    around = FormationMiddleware(answering(start(), body(b"ab", more=True), body(b"c")), [inner])

    async def between(scope, receive, send):
        await around(scope, receive, send)

    host = serve(FormationMiddleware(between, [outer, header("x")]))
    assert (host.body.lower(), host.headers, host.kinds.count("start")) == (b"abc", [(b"x", b"1")], 1)
    assert host.sent[-1]["more_body"] is False


# The request's body


def reads_all(into):
    async def read(scope, receive, send):
        more = True
        while more:
            message = await receive()
            into.append(message)
            more = message.get("more_body", False)

    return read


@pytest.mark.parametrize("colour", ["plain", "async"])
def test_who_reads_the_request_takes_nothing_from_the_app(serve, colour):
    seen = []

    def look(ctx, call):
        seen.append(req(ctx).content)
        return call(ctx)

    async def alook(ctx, call):
        seen.append(await req(ctx).body.aread())
        return await call(ctx)

    async def then(scope, receive, send):
        await reads_all(seen)(scope, receive, send)
        seen.append(await receive())

    app = FormationMiddleware(answering(*HELLO, first=then), [look if colour == "plain" else alook])
    serve(app, chunk(b"a", more=True), chunk(b"b"), GONE)
    assert seen == [b"ab", chunk(b"ab"), GONE]


def test_a_request_may_be_read_after_the_app_has(serve):
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.append(req(ctx).content)
        return ctx

    serve(FormationMiddleware(answering(*HELLO, first=reads_all([])), [look]), chunk(b"a", more=True), chunk(b"b"))
    assert seen == [b"ab"]


@pytest.mark.parametrize("kind", ["map", "plain generator", "async generator", "bytes"])
def test_a_request_body_may_be_changed(serve, kind):
    got = []

    async def agen(old):
        async for part in old:
            yield part.upper()

    def change(ctx, call):
        body = req(ctx).body
        if kind == "map":
            body.map(bytes.upper)
        elif kind == "plain generator":
            req(ctx).body = (part.upper() for part in body)
        elif kind == "async generator":
            req(ctx).body = agen(body)
        else:
            req(ctx).body = b"AB"
        return call(ctx)

    seen = []

    async def read(scope, receive, send):
        seen.append(dict(scope["headers"]))
        await reads_all(got)(scope, receive, send)
        seen.append(await receive())

    headers = [(b"host", b"h"), (b"content-length", b"2")]
    app = FormationMiddleware(answering(*HELLO, first=read), [change])
    serve(app, chunk(b"a", more=True), chunk(b"b"), GONE, method="POST", headers=headers)
    assert b"".join(message["body"] for message in got) == b"AB"
    assert seen[0].get(b"content-length") == (b"2" if kind == "bytes" else None)
    assert seen[1] == GONE


def test_a_hook_on_the_request_is_called_when_the_app_has_read_it(serve):
    seen = []

    def watch(ctx, call):
        req(ctx).body.on_close(lambda count, error: seen.append((count, error)))
        return call(ctx)

    serve(FormationMiddleware(answering(*HELLO, first=reads_all([])), [watch]), chunk(b"abc"))
    assert seen == [(3, None)]


def test_a_request_over_the_limit_is_answered_with_413(serve):
    def read(ctx, call):
        req(ctx).content  # noqa: B018
        return call(ctx)

    assert serve(FormationMiddleware(answering(*HELLO), [read], max_body=2), chunk(b"abc")).status == 413


def test_a_client_that_goes_while_its_request_is_read_gets_no_answer_and_is_no_failure(serve):
    seen = []

    def read(ctx, call):
        try:
            req(ctx).content  # noqa: B018
        except OSError as error:
            seen.append(type(error))
            raise
        return call(ctx)

    assert serve(FormationMiddleware(answering(*HELLO), [read]), chunk(b"a", more=True), GONE).sent == []
    assert seen == [ClientGone]


def test_an_error_of_a_request_generator_does_not_enter_the_app(serve):
    seen = []

    def change(ctx, call):
        def gen():
            yield b"a"
            raise ZeroDivisionError

        req(ctx).body = gen()
        try:
            return call(ctx)
        except ZeroDivisionError:
            return reply(ctx, 400)

    async def app(scope, receive, send):
        seen.extend([await receive(), await receive()])
        raise OSError("the client has gone")

    assert serve(FormationMiddleware(app, [change])).status == 400
    assert seen == [chunk(b"a", more=True), GONE]


# Ambient


def test_the_app_finds_what_the_chain_has_published_and_the_deadline_ends_with_the_answer(serve):
    seen = []

    async def look(scope, receive, send):
        inherited = {}
        ambient.inherit(inherited)
        seen.append(inherited)

    def publish(ctx, call):
        ctx["req.id"], ctx["fmtn.deadline"] = "7f3a", 1e9
        return call(ctx)

    headers = [(b"traceparent", b"00-1-2-01"), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")]
    trace = {"traceparent": "00-1-2-01", "tracestate": "a=1, b=2"}
    common = {"req.id": "7f3a", "req.parent.id": "7f3a", "fmtn.trace": trace}
    for layers in ([publish], [publish, upper], [publish, pulling], [publish, reading]):
        seen.clear()
        serve(FormationMiddleware(answering(*HELLO, first=look, last=look), layers), headers=headers)
        assert seen == [common | {"fmtn.deadline": 1e9}, common]
    assert ambient.current.get() is None


def test_names_of_headers_are_remembered_as_they_come_and_only_so_many(monkeypatch):
    monkeypatch.setattr(messages, "_names", {})
    monkeypatch.setattr(messages, "_raw", {})
    mixed = messages.decoded([(b"X-Own", b"1"), (bytearray(b"x-own"), b"2"), (memoryview(b"X-OWN"), memoryview(b"3"))])
    assert list(mixed.items()) == [("X-Own", "1"), ("x-own", "2"), ("X-OWN", "3")]
    for number in range(2 * messages.MANY):
        made_up = messages.decoded([(b"x-made-up-%d" % number, b"1"), (b"x" * number, b"\xe4")])
        assert messages.encoded(made_up) == [(b"x-made-up-%d" % number, b"1"), (b"x" * number, b"\xe4")]
    assert len(messages._names) <= messages.MANY
    assert len(messages._raw) <= messages.MANY
    assert max(map(len, [*messages._names, *messages._raw])) < messages.LONG


def test_headers_and_bodies_may_be_any_bytes(serve):
    def layer(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["y"] = "2"
        res(ctx).body.map(bytes.upper)
        return ctx

    sent = [start(200, (memoryview(b"x"), memoryview(b"1"))), body(memoryview(b"ab"), more=True), body(bytearray(b"c"))]
    host = serve(FormationMiddleware(answering(*sent), [layer]))
    assert (host.headers, host.body) == ([(b"x", b"1"), (b"y", b"2")], b"ABC")


def test_a_request_object_of_its_own_is_what_the_app_gets(serve):
    seen = []

    async def look(scope, receive, send):
        seen.append((scope["method"], scope["path"], dict(scope["headers"]), await receive(), await receive()))

    def layer(ctx, call):
        headers = {"Host": "example.com", "X-A": "1"}
        ctx["fmtn.req.http"] = Request("PUT", "http://example.com/other", headers=headers, content=b"new")
        return call(ctx)

    serve(FormationMiddleware(answering(*HELLO, first=look), [layer]), chunk(b"old", more=True), chunk(b"rest"), GONE)
    (method, path, headers, first, second) = seen[0]
    assert (method, path, headers[b"x-a"], first, second) == ("PUT", "/other", b"1", chunk(b"new"), GONE)


def test_what_the_client_still_sends_is_nobody_s_where_the_body_was_replaced(serve):
    seen = []

    async def read(scope, receive, send):
        seen.extend([await receive(), await receive()])

    def layer(ctx, call):
        req(ctx).body = b"new"
        return call(ctx)

    app = FormationMiddleware(answering(*HELLO, first=read), [layer])
    serve(app, chunk(b"a", more=True), chunk(b"b"), GONE, method="POST")
    assert seen == [chunk(b"new"), GONE]


# A client that goes while an answer goes out that no app sends: see `formation.server.asgi.leaving`


class Deaf(Host):
    """A server that drops what is sent to a client that has gone, without a word, and says so to who receives."""

    stays = 5  # chunks

    async def receive(self):
        self.asked += 1
        if self.received:
            return self.received.pop(0)
        while len(self.sent) < self.stays:
            await anyio.lowlevel.checkpoint()
        return GONE


def endless(ended, *, is_sync=False):
    def middleware(ctx, call):
        async def chunks():
            while True:
                await anyio.lowlevel.checkpoint()
                yield b"x"

        def pulled():
            while True:
                yield b"x"

        ctx = reply(ctx, 200, {}, pulled() if is_sync else chunks())
        res(ctx).on_close(lambda count, error: ended.append(type(error)))
        return ctx

    return middleware


@pytest.mark.parametrize("is_sync", [False, True])
@pytest.mark.parametrize(
    ("received", "scope"),
    [
        ([chunk()], {}),
        ([chunk(b"a"), chunk()], {"headers": [(b"content-length", b"1")], "method": "POST"}),
    ],
    ids=["no body", "a body that has been read"],
)
def test_an_endless_answer_of_a_middleware_ends_when_the_client_goes(received, scope, is_sync):
    ended, host = [], Deaf(*received, http_version="1.1", **scope)

    async def read(ctx, call):
        await req(ctx).body.aread()
        return await call(ctx)

    layers = [read, endless(ended, is_sync=is_sync)] if scope else [endless(ended, is_sync=is_sync)]
    asyncio.run(host.call(FormationMiddleware(fails, layers)))
    assert ended == [ClientGone]
    assert host.sent[-1].get("more_body")


@pytest.mark.parametrize("is_sync", [False, True])
def test_an_endless_answer_leaves_room_for_others_where_the_server_never_waits(is_sync):
    ended = []

    class Quick(Deaf):
        async def send(self, message):
            self.sent.append(message)

    def middleware(ctx, call):
        async def chunks():
            while True:
                yield b"x"

        def pulled():
            while True:
                yield b"x"

        ctx = reply(ctx, 200, {}, pulled() if is_sync else chunks())
        res(ctx).on_close(lambda count, error: ended.append(type(error)))
        return ctx

    asyncio.run(Quick(chunk(), http_version="1.1").call(FormationMiddleware(fails, [middleware])))
    assert ended == [ClientGone]


def test_an_answer_of_one_chunk_listens_for_nobody():
    async def one():
        yield b"one"

    host = Deaf(chunk())
    asyncio.run(host.call(FormationMiddleware(fails, [lambda ctx, call: reply(ctx, 200, {}, one())])))
    assert (host.asked, host.body) == (0, b"one")


@pytest.mark.parametrize("http_version", ["1.1", "2"])
def test_a_body_of_the_request_that_is_read_while_the_answer_goes_out_is_left_alone(http_version):
    async def echo(ctx, call):
        async def chunks():
            yield b"hello "
            yield b"you "
            async for part in req(ctx).body:
                yield part

        return reply(ctx, 200, {}, chunks())

    announced = {"headers": [(b"transfer-encoding", b"chunked")]} if http_version == "1.1" else {}
    host = Deaf(chunk(b"a", more=True), chunk(b"b", more=True), chunk(b"c"), method="POST",
                http_version=http_version, **announced)  # fmt: skip
    host.stays = 50
    asyncio.run(host.call(FormationMiddleware(fails, [echo])))
    assert host.body == b"hello you abc"


def test_a_request_without_a_body_can_be_read_while_somebody_listens():
    async def late(ctx, call):
        async def chunks():
            for _ in range(3):
                yield b"x"
                await asyncio.sleep(0)
            yield repr(await req(ctx).body.aread()).encode()

        return reply(ctx, 200, {}, chunks())

    host = Deaf(chunk())
    host.stays = 50
    asyncio.run(host.call(FormationMiddleware(fails, [late])))
    assert host.body == b"xxxb''"


def test_a_server_that_fails_to_tell_is_not_asked_again():
    class Broken(Deaf):
        async def receive(self):
            self.asked += 1
            raise RuntimeError("no more to receive")

    async def ten():
        for _ in range(10):
            yield b"x"
            await asyncio.sleep(0)

    host = Broken()
    asyncio.run(host.call(FormationMiddleware(fails, [lambda ctx, call: reply(ctx, 200, {}, ten())])))
    assert (host.asked, host.body) == (1, b"x" * 10)
