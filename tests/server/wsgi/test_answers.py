"""What a middleware answers, or makes of an answer."""

import pytest

from formation import reply, res
from formation.http import Response
from formation.keys import RES_HTTP
from tests.server.wsgi.host import PLAIN, Chunks, Served, answering, hooked, look, wrapped


def test_wm4_who_answers_without_calling_on_needs_no_app():
    called = []
    app = wrapped(called.append, lambda ctx, call: reply(ctx, 401, {"WWW-Authenticate": "Bearer"}, b"who?"))
    served = Served(app).run()
    assert (served.heads[0][0], served.headers, served.body, called) == (
        "401 Unauthorized", [("WWW-Authenticate", "Bearer"), ("Content-Length", "4")], b"who?", []
    )  # fmt: skip


@pytest.mark.parametrize(
    "replaces",
    [
        lambda ctx: reply(ctx, 404, PLAIN, b"no"),
        lambda ctx: ctx | {RES_HTTP: Response(404, PLAIN, b"no")},
        lambda ctx: ctx | {RES_HTTP: Response(404, PLAIN, iter([b"n", b"o"]))},
    ],
    ids=["reply", "another response", "a stream"],
)
def test_wm4_an_answer_that_is_replaced_is_closed_unread(replaces):
    chunks = Chunks(b"a")
    served = Served(wrapped(answering(chunks), lambda ctx, call: replaces(call(ctx)))).run()
    assert (served.status, served.body, chunks.log) == ("404 Not Found", b"no", ["close"])


def test_wm4_a_new_response_may_stream_from_the_old_one():
    chunks = Chunks(b"a", b"b")

    def wraps(ctx, call):
        ctx = call(ctx)
        ctx[RES_HTTP] = Response(200, PLAIN, (chunk.upper() for chunk in res(ctx).body))
        return ctx

    served = Served(wrapped(answering(chunks), wraps)).call()
    assert chunks.log == []
    assert (list(served.result), chunks.log.count("close")) == ([b"A", b"B"], 1)
    served.close()
    assert chunks.log.count("close") == 1


def test_wm5_an_error_after_call_closes_the_apps_answer_first_and_tells_its_hooks():
    chunks, log = Chunks(b"a"), []
    error = LookupError("mine")

    def fails(ctx, call):
        call(ctx)
        raise error

    served = Served(wrapped(answering(chunks), fails, hooked(log)))
    with pytest.raises(LookupError) as caught:
        served.call()
    assert (caught.value, chunks.log, served.heads, log) == (error, ["close"], [], [(0, error)])


@pytest.mark.parametrize("name", ["Connection", "transfer-encoding", "Keep-Alive", "TE", "Upgrade", "Trailer"])
def test_wm6_a_header_about_the_connection_is_refused(name):
    chunks = Chunks(b"a")

    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).headers[name] = "x"
        return ctx

    with pytest.raises(ValueError, match=r"'[A-Za-z-]+', which is about the connection"):
        Served(wrapped(answering(chunks), sets)).call()
    assert chunks.log == ["close"]
    with pytest.raises(ValueError, match="about the connection"):
        Served(wrapped(answering([]), lambda ctx, call: reply(ctx, 200, {name: "x"}))).call()


def test_wm6_what_the_app_says_about_the_connection_is_its_own_business():
    lines = [("connection", "close"), ("Keep-Alive", "timeout=5")]
    assert Served(wrapped(answering([], headers=lines), look)).run().headers == [*lines, ("X-Status", "200")]


@pytest.mark.parametrize(("status", "line"), [(404, "404 Not Found"), (299, "299 "), (503, "503 Service Unavailable")])
def test_wm7_a_status_gets_its_phrase(status, line):
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = status
        return ctx

    assert Served(wrapped(answering([b"a"]), sets)).run().status == line


def test_wm7_a_phrase_of_ones_own_goes_out():
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).reason = "Fine"
        return ctx

    assert Served(wrapped(answering([b"a"]), sets)).run().status == "200 Fine"


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0", "\u20ac"], ids=repr)
def test_wm7_what_would_break_the_message_is_refused(value):
    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["X-A"] = value
        return ctx

    chunks = Chunks(b"a")
    with pytest.raises(ValueError, match="X-A"):
        Served(wrapped(answering(chunks), sets)).call()
    assert chunks.log == ["close"]


def test_wm7_a_bodiless_status_that_a_middleware_sets_has_no_body():
    chunks = Chunks(b"a")

    def sets(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = 304
        return ctx

    served = Served(wrapped(answering(chunks), sets)).run()
    assert (served.status, served.body, chunks.log) == ("304 Not Modified", b"", ["close"])
