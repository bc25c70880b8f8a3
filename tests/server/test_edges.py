"""What every server edge does with a request and an answer: one suite of cases for all of them."""

import pytest

from formation import ambient, reply, req, res
from formation.errors import DeadlineExceeded
from formation.http import Response
from formation.keys import DEADLINE, KIND, NATIVE, REQ_DURATION, REQ_ID, SENSITIVE, SESSION, SIDE, STATE, TRACE
from formation.middleware import (
    context,
    exception_handler,
    hide_server,
    request_duration,
    request_id,
    retry,
    security_headers,
)
from tests.server.edges import Reply, pieces


def echo(seen):
    """Answer with the body that came."""
    return Reply(200, [("X-Method", seen.method)], [seen.body])


def mapped(fn, finish=None):
    def mapped(ctx, call):
        ctx = call(ctx)
        res(ctx).body.map(fn, finish)
        return ctx

    return mapped


# The chain


def test_a_middleware_sees_the_request_and_the_response(ask):
    found = []

    def look(ctx, call):
        request = ctx["fmtn.req.http"]
        found.extend([request.method, request.path, request.params["b"], request.headers["x-a"]])
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        found.extend([response.status_code, response.headers["x-b"]])
        response.headers["X-C"] = "3"
        return ctx

    answer = ask([look], lambda seen: Reply(201, [("X-B", "2")]), "/a?b=1", headers={"X-A": "1"})
    assert found == ["GET", "/a", "1", "1", 201, "2"]
    assert (answer.status, answer.lines("x-c"), answer.body, answer.error) == (201, ["3"], b"ok", None)


def test_the_first_middleware_is_outermost_and_the_app_innermost(ask):
    log = []

    def noting(name):
        def noting(ctx, call):
            log.append(name)
            ctx = call(ctx)
            log.append(name.upper())
            return ctx

        return noting

    ask([noting("a"), noting("b")], lambda seen: log.append("app") or Reply())
    assert log == ["a", "b", "app", "B", "A"]


def test_the_context_is_that_of_a_server(ask):
    found = {}
    ask([lambda ctx, call: found.update(ctx) or call(ctx)])
    assert (found[SIDE], found[KIND]) == ("server", "http")
    assert (found[STATE], found[SESSION], found[SENSITIVE]) == ({}, {}, set())
    assert found[NATIVE]


def sets_the_status(ctx, call):
    ctx = call(ctx)
    ctx["fmtn.res.http"].status_code = 103
    return ctx


def makes_its_own(ctx, call):
    ctx["fmtn.res.http"] = Response(103, request=req(ctx))
    return ctx


@pytest.mark.parametrize("hint", [sets_the_status, makes_its_own, lambda ctx, call: reply(ctx, 103)])
def test_a_status_that_only_announces_an_answer_is_none_and_is_refused(ask, hint):
    heard = []

    def listening(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:  # of reply(), at once
            heard.append(error)
            raise

    answer = ask([listening, hint])
    error = answer.error or (heard and heard[0])
    assert answer.status in {0, 500}
    if error:  # Django answers by itself, and reports it
        assert "1xx only announces one" in str(error)


def test_a_middleware_answers_without_the_app(ask):
    called = []
    answer = ask([lambda ctx, call: reply(ctx, 401, {"X-A": "1"}, b"who?")], called.append)
    assert (answer.status, answer.lines("x-a"), answer.body, called) == (401, ["1"], b"who?", [])


def test_an_answer_of_a_middleware_tells_its_length(ask):
    assert ask([lambda ctx, call: reply(ctx, 200, None, b"four")]).lines("content-length") == ["4"]


def test_without_middleware_everything_passes(ask):
    answer = ask([], echo, method="PUT", body=b"abc")
    assert (answer.status, answer.body, answer.lines("x-method")) == (200, b"abc", ["PUT"])


# The request


def test_the_app_sees_the_headers_that_a_middleware_changes(ask):
    def change(ctx, call):
        headers = req(ctx).headers
        headers["X-New"], headers["X-Old"] = "1", "2"
        del headers["X-Gone"]
        return call(ctx)

    seen = []
    ask([change], lambda each: seen.append(each.headers) or Reply(), headers={"X-Old": "1", "X-Gone": "1", "X-A": "ä"})
    assert [seen[0].get(name) for name in ("x-new", "x-old", "x-gone", "x-a")] == ["1", "2", None, "ä"]


def test_the_app_sees_the_method_and_the_query_that_a_middleware_changes(ask):
    def change(ctx, call):
        req(ctx).method = "PUT"
        req(ctx).params["b"] = "2 3"
        return call(ctx)

    seen = []
    ask([change], lambda each: seen.append((each.method, each.query)) or Reply(), "/?a=1&b=1")
    assert seen in ([("PUT", "a=1&b=2+3")], [("PUT", "a=1&b=2%203")])


def test_the_app_sees_the_path_that_a_middleware_changes(ask):
    def change(ctx, call):
        req(ctx).url = "http://testserver/new/%C3%A4?x=1"
        return call(ctx)

    seen = []
    ask([change], lambda each: seen.append((each.path, each.query)) or Reply(), "/old")
    assert seen == [("/new/ä", "x=1")]


@pytest.mark.parametrize(
    "host", ["x/open?", "x/open#", "u@x", ":::", "[::1", "[::1.2.3.999]", "[::1]x", "x y", "ä", "x:y"]
)
def test_nothing_in_the_host_header_is_read_as_a_path_or_breaks_the_url(ask, host):
    found, seen = [], []

    def look(ctx, call):
        request = req(ctx)
        found.extend([request.path, request.name, request.scheme])
        request.params["a"] = "1"
        return call(ctx)

    ask([look], lambda each: seen.append((each.path, each.headers["host"])) or Reply(), "/own", headers={"Host": host})
    assert (found, seen) == (["/own", "GET /own", "http"], [("/own", host)])


@pytest.mark.parametrize("host", ["x", "x:8000", "[::1]", "[::1]:8000", "a_b.example"])
def test_a_host_header_stands_in_the_url_as_it_came(ask, host):
    found = []
    ask(
        [lambda ctx, call: found.append(req(ctx).url) or call(ctx)],
        lambda seen: Reply(),
        "/own",
        headers={"Host": host},
    )
    assert found == [f"http://{host}/own"]


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_a_middleware_makes_one_without_a_body_has_neither_body_nor_length(ask, status):
    def change(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = status
        return ctx

    def replace(ctx, call):
        return reply(call(ctx), status, {"X-A": "1"}, b"hello")

    for layer in (change, replace):
        for chunks in ([b"hello"], iter([b"hel", b"lo"])):
            answer = ask([layer], lambda seen, chunks=chunks: Reply(chunks=chunks))
            assert (answer.status, answer.body, answer.lines("content-length"), answer.error) == (status, b"", [], None)


def test_a_body_that_a_middleware_has_read_is_there_for_the_app(ask):
    found = []

    def read(ctx, call):
        found.append((req(ctx).content, req(ctx).json))
        return call(ctx)

    answer = ask([read, read], echo, method="POST", body=b"[1]", headers={"Content-Type": "application/json"})
    assert (found, answer.body) == ([(b"[1]", [1])] * 2, b"[1]")


def test_the_app_gets_the_body_that_a_middleware_gives_it(ask):
    def change(ctx, call):
        req(ctx).content = req(ctx).content * 2
        return call(ctx)

    assert ask([change], echo, method="POST", body=b"abc").body == b"abcabc"


def test_the_cookies_of_the_request_can_be_read(ask):
    found = []
    ask([lambda ctx, call: found.append(req(ctx).cookies) or call(ctx)], headers={"Cookie": "a=1; b=2"})
    assert found == [{"a": "1", "b": "2"}]


def test_a_retry_calls_the_app_again_with_the_same_body(ask):
    bodies = []

    def flaky(seen):
        bodies.append(seen.body)
        return Reply(503 if len(bodies) < 3 else 200, chunks=[b"%d" % len(bodies)])

    def reads(ctx, call):
        assert req(ctx).content == b"abc"
        return call(ctx)

    answer = ask([reads, retry(3, base=0)], flaky, method="PUT", body=b"abc")
    assert (answer.status, answer.body, bodies) == (200, b"3", [b"abc"] * 3)


# The response


def test_a_middleware_changes_the_status_and_the_headers(ask):
    def change(ctx, call):
        ctx = call(ctx)
        res(ctx).status_code = 418
        res(ctx).headers["X-A"] = "2"
        del res(ctx).headers["X-Gone"]
        return ctx

    answer = ask([change], lambda seen: Reply(200, [("X-A", "1"), ("X-Gone", "1"), ("X-B", "1")]))
    assert (answer.status, answer.lines("x-a"), answer.lines("x-gone"), answer.lines("x-b")) == (418, ["2"], [], ["1"])


def test_lines_of_a_header_stay_apart(ask):
    def change(ctx, call):
        ctx = call(ctx)
        assert res(ctx).headers.getlist("set-cookie") == ["a=1", "b=2"]
        res(ctx).headers.add("Set-Cookie", "c=3")
        return ctx

    answer = ask([change], lambda seen: Reply(200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]))
    assert answer.lines("set-cookie") == ["a=1", "b=2", "c=3"]


@pytest.mark.parametrize("chunks", [lambda: [b"ab", b"c"], lambda: pieces(b"ab", b"c")], ids=["list", "stream"])
def test_a_map_changes_the_body_as_it_passes(ask, chunks):
    answer = ask([mapped(bytes.upper, lambda: b"!")], lambda seen: Reply(chunks=chunks()))
    assert answer.body == b"ABC!"
    assert answer.lines("content-length") in ([], ["4"])  # a host that has it in memory may tell


def test_maps_of_several_middlewares_are_passed_from_the_inside_out(ask):
    outer, inner = mapped(lambda chunk: chunk.replace(b"1", b"2")), mapped(lambda chunk: chunk.replace(b"k", b"1"))
    assert ask([outer, inner]).body == b"o2"


def test_the_chunks_of_a_stream_pass_one_by_one(ask):
    answer = ask([lambda ctx, call: call(ctx)], lambda seen: Reply(chunks=pieces(b"a", b"b", b"c")))
    assert answer.chunks == [b"a", b"b", b"c"]


@pytest.mark.parametrize("chunks", [lambda: [b"ab", b"c"], lambda: pieces(b"ab", b"c")], ids=["list", "stream"])
def test_the_content_can_be_read_and_goes_out_all_the_same(ask, chunks):
    found = []

    def read(ctx, call):
        ctx = call(ctx)
        found.append(res(ctx).content)
        return ctx

    assert (ask([read, read], lambda seen: Reply(chunks=chunks())).body, found) == (b"abc", [b"abc", b"abc"])


def test_the_content_can_be_replaced_and_its_length_is_right(ask):
    def change(ctx, call):
        ctx = call(ctx)
        res(ctx).body = res(ctx).content + b"!"
        return ctx

    answer = ask([change], lambda seen: Reply(chunks=[b"abc"]))
    assert (answer.body, answer.lines("content-length")) == (b"abc!", ["4"])


def test_an_answer_is_replaced_after_the_app_has_given_it(ask):
    answer = ask([lambda ctx, call: reply(call(ctx), 404, None, b"no")], lambda seen: Reply(200, [("X-A", "1")]))
    assert (answer.status, answer.body, answer.lines("x-a")) == (404, b"no", [])


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_what_has_no_body_is_not_mapped(ask, method, status):
    answer = ask([mapped(lambda chunk: chunk, lambda: b"!")], lambda seen: Reply(status, chunks=[]), method=method)
    assert (answer.status, answer.body, answer.error) == (status, b"", None)


@pytest.mark.parametrize("chunks", [lambda: [b"ab", b"c"], lambda: pieces(b"ab", b"c")], ids=["list", "stream"])
def test_a_hook_hears_of_the_end_once_with_the_bytes(ask, chunks):
    log = []

    def hook(ctx, call):
        ctx = call(ctx)
        res(ctx).on_close(lambda count, error: log.append((count, error)))
        return ctx

    assert ask([hook], lambda seen: Reply(chunks=chunks())).body == b"abc"
    assert log == [(3, None)]


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0", "\u20ac"], ids=repr)
def test_a_header_that_would_break_the_message_is_refused_in_the_middleware(ask, value):
    refused = []

    def sets(ctx, call):
        ctx = call(ctx)
        try:
            res(ctx).headers["X-A"] = value
        except ValueError as error:
            refused.append(error)
        return ctx

    assert (ask([sets]).status, len(refused)) == (200, 1)


# Errors


def broken(seen):
    raise LookupError("no such table")


def test_an_error_of_the_app_is_raised_at_call_and_can_be_answered(ask):
    found = []

    def guard(ctx, call):
        try:
            return call(ctx)
        except LookupError as error:
            found.append(str(error))
            return reply(ctx, 503, None, b"later")

    answer = ask([guard], broken)
    assert (answer.status, answer.body, found, answer.error) == (503, b"later", ["no such table"], None)


def test_an_error_that_nobody_answers_comes_out_or_is_a_500(ask):
    answer = ask([lambda ctx, call: call(ctx)], broken)
    assert isinstance(answer.error, LookupError) or (answer.error, answer.status) == (None, 500)


def test_an_error_of_a_middleware_comes_out_or_is_a_500(ask):
    def fails(ctx, call):
        call(ctx)
        raise DeadlineExceeded("too late")

    answer = ask([fails])
    assert isinstance(answer.error, DeadlineExceeded) or (answer.error, answer.status) == (None, 500)


def test_a_middleware_that_forgets_its_return_is_an_error_that_names_it_or_a_500(ask):
    def forgets(ctx, call):
        call(ctx)

    answer = ask([forgets])
    assert "'forgets'" in str(answer.error) or (answer.error, answer.status) == (None, 500)


def test_what_is_no_middleware_is_refused_when_the_edge_is_built(edge):
    with pytest.raises(TypeError, match=r"middleware\[0\] is no middleware"):
        edge.build(echo, [None])


# What flows to the clients below


def test_id_deadline_and_trace_are_there_for_the_clients_in_the_app(ask):
    found = []

    def publish(ctx, call):
        ctx[REQ_ID], ctx[DEADLINE] = "7f3a", 1e9
        return call(ctx)

    def app(seen):
        outer = ambient.current.get()
        found.append((outer.request_id, outer.deadline, outer.trace))
        return Reply()

    assert ask([publish], app, headers={"traceparent": "00-a-b-01"}).status == 200
    assert found == [("7f3a", 1e9, {"traceparent": "00-a-b-01"})]
    assert ambient.current.get() is None


def test_the_trace_that_came_is_in_the_context(ask):
    found = []
    headers = {"traceparent": "00-a-b-01", "tracestate": "c=d"}
    ask([lambda ctx, call: found.append(ctx[TRACE]) or call(ctx)], headers=headers)
    assert found == [headers]


# Middlewares of the client, on the server


def test_request_id_takes_the_id_that_came_and_answers_with_it(ask):
    seen = []
    answer = ask([request_id()], lambda each: seen.append(each.headers) or Reply(), headers={"X-Request-ID": "7f3a"})
    assert (answer.lines("x-request-id"), seen[0]["x-request-id"]) == (["7f3a"], "7f3a")


def test_request_id_makes_one_where_none_came_or_what_came_is_none(ask):
    for headers in ({}, {"X-Request-ID": "a b"}):
        answer = ask([request_id(idgen=lambda: "new")], headers=headers)
        assert answer.lines("x-request-id") == ["new"]


def test_request_duration_and_context_work_as_they_do_in_a_client(ask):
    found = {}

    def keep(ctx, call):
        ctx = call(ctx)
        found.update(ctx)
        return ctx

    ask([keep, request_id(idgen=lambda: "7f3a"), context(namespace="shop"), request_duration()])
    assert found[REQ_DURATION] >= 0
    assert (found["fmtn.context"]["rid"], found["fmtn.context"]["ns"]) == ("7f3a", "shop")


def test_exception_handler_answers_safely(ask):
    answer = ask([request_id(idgen=lambda: "7f3a"), exception_handler()], broken)
    assert (answer.status, answer.error, answer.lines("x-request-id")) == (500, None, ["7f3a"])
    assert b"no such table" not in answer.body


def test_headers_that_chat_go_and_those_that_protect_come(ask):
    answer = ask([hide_server(), security_headers()], lambda seen: Reply(200, [("X-Powered-By", "PHP")]))
    assert answer.lines("x-powered-by") == []
    assert answer.lines("x-content-type-options") == ["nosniff"]
