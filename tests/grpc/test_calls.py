"""All four ways to stream, sync and asyncio: what goes through is what would go without us, and what the chain adds."""

import grpc
import pytest

from formation import reply, req, res
from formation.errors import ThrottleRejected
from formation.rpc import Result
from tests.grpc.hosts import every_server, every_world


def passing(ctx, call):
    return call(ctx)


EVERY = [("one", b"a"), ("many", b"a"), ("collect", [b"a", b"b"]), ("both", [b"a", b"b"])]
every_arity = pytest.mark.parametrize(("way", "request_"), EVERY)
# Where a server ends a call while requests are written, gRPC on asyncio may say INTERNAL, without us as well.
every_refusal = pytest.mark.parametrize(
    ("way", "request_"), [("one", b"a"), ("many", b"a"), ("collect", []), ("both", [])]
)
ANSWERS = {"one": [b"<a>"], "many": [b"a0", b"a1", b"a2"], "collect": [b"ab"], "both": [b"<a>", b"<b>"]}


class Notes:
    """A middleware that notes what it sees, at both ends of the call."""

    def __init__(self):
        self.began, self.ended, self.raised = [], [], []

    def __call__(self, ctx, call):
        request = req(ctx)
        self.began.append((ctx["fmtn.side"], request.name, request.arity))
        try:
            ctx = call(ctx)
        except BaseException as error:
            self.raised.append(error)
            raise
        self.ended.append((ctx["fmtn.side"], res(ctx).code, res(ctx).details))
        return ctx


@every_server
@every_arity
def test_what_is_asked_and_answered_goes_through(running, way, request_):
    server, client = Notes(), Notes()
    with running([server], [client]) as caller:
        outcome = getattr(caller, way)(request_, metadata=(("user", "ann"), ("raw-bin", b"\x00")), timeout=10)

    assert (outcome.messages, outcome.code, outcome.error) == (ANSWERS[way], "OK", None)
    assert caller.seen.calls == [{"user": "ann", "raw-bin": b"\x00"}]
    assert 0 < caller.seen.left <= 10 + 0.2
    name = f"/test.Service/{way.title()}"
    arity = {"one": "unary_unary", "many": "unary_stream", "collect": "stream_unary", "both": "stream_stream"}[way]
    assert server.began == [("server", name, arity)]
    assert client.began == [("client", name, arity)]
    assert server.ended == [("server", "OK", None)]
    assert client.ended == [("client", "OK", None)]


@every_server
@every_arity
def test_an_abort_is_a_result_with_its_code_its_details_and_its_trailers(running, way, request_):
    server, client = Notes(), Notes()
    request_ = b"abort" if isinstance(request_, bytes) else [b"abort"]
    with running([server], [client]) as caller:
        outcome = getattr(caller, way)(request_)

    assert (outcome.code, outcome.details) == ("NOT_FOUND", "no such thing")
    assert outcome.trailers == {"why": "asked", "raw-bin": b"\x00\xff"}
    assert isinstance(outcome.error, grpc.RpcError)
    assert server.ended == [("server", "NOT_FOUND", "no such thing")]
    assert client.ended == [("client", "NOT_FOUND", "no such thing")]
    assert not server.raised


@every_server
def test_a_code_that_is_set_without_an_abort_keeps_its_details(running):
    with running([passing], [passing]) as caller:
        outcome = caller.one(b"set")
    assert (outcome.code, outcome.details) == ("ALREADY_EXISTS", "it is there")


@every_server
@every_arity
def test_an_error_of_a_handler_is_raised_at_the_call_and_is_unknown_to_the_client(running, way, request_):
    server, client = Notes(), Notes()
    request_ = b"boom" if isinstance(request_, bytes) else [b"boom"]
    with running([server], [client]) as caller:
        outcome = getattr(caller, way)(request_)

    assert outcome.code == "UNKNOWN"
    assert "boom from inside" in outcome.details
    assert [str(error) for error in server.raised] == ["boom from inside"]
    assert client.ended == [("client", "UNKNOWN", outcome.details)]
    if way == "many":
        assert outcome.messages == [b"boom0", b"boom1", b"boom2"]


@every_server
@every_arity
def test_an_error_that_the_chain_answers_is_what_the_client_gets(running, way, request_):
    def safe(ctx, call):
        try:
            return call(ctx)
        except ValueError:
            return reply(ctx, 500, {"X-Why": "hidden"}, "sorry")

    request_ = b"boom" if isinstance(request_, bytes) else [b"boom"]
    with running([safe]) as caller:
        outcome = getattr(caller, way)(request_)
    assert (outcome.code, outcome.details, outcome.trailers) == ("INTERNAL", "sorry", {"x-why": "hidden"})


@every_server
def test_initial_metadata_of_the_handler_and_of_the_chain(running):
    def add(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["X-Added"] = "2"
        res(ctx).trailers["X-Last"] = "3"
        return ctx

    with running([add], [passing]) as caller:
        plain, sent, stream = caller.one(b"a"), caller.one(b"head"), caller.many(b"a")
    assert (plain.headers, plain.trailers) == ({"x-added": "2"}, {"x-last": "3"})
    # What comes after the initial metadata has gone, goes with the trailers.
    assert (sent.headers, sent.trailers) == ({"first": "1"}, {"x-added": "2", "x-last": "3"})
    assert (stream.headers, stream.trailers) == ({}, {"x-added": "2", "x-last": "3"})


@every_world
@every_arity
def test_a_client_finds_the_metadata_of_the_answer(running, way, request_):
    found = []

    def tell(ctx, call):
        ctx = call(ctx)
        res(ctx).headers["x-head"] = "1"
        res(ctx).trailers["x-tail"] = "2"
        return ctx

    def look(ctx, call):
        ctx = call(ctx)
        found.append((res(ctx).headers.get("x-head"), res(ctx).trailers.get("x-tail"), res(ctx).name))
        return ctx

    with running([tell], [look]) as caller:
        getattr(caller, way)(request_)
    head = None if way in {"many", "both"} else "1"
    assert found == [(head, "2", f"/test.Service/{way.title()}")]


@every_server
@every_arity
def test_metadata_that_a_middleware_sets_reaches_the_handler(running, way, request_):
    def client(ctx, call):
        req(ctx).headers["X-Client"] = "1"
        req(ctx).headers.add("x-client", "2")
        return call(ctx)

    def server(ctx, call):
        req(ctx).headers["x-server-bin"] = b"\x01"
        del req(ctx).headers["user"]
        return call(ctx)

    with running([server], [client]) as caller:
        getattr(caller, way)(request_, metadata=[("user", "ann")])
    assert caller.seen.calls == [{"x-client": "2", "x-server-bin": b"\x01"}]


@every_world
@every_arity
def test_a_client_is_answered_without_a_server(running, way, request_):
    def refuse(ctx, call):
        return reply(ctx, 401, {"X-Why": "no token"})

    with running([], [refuse]) as caller:
        outcome = getattr(caller, way)(request_)
    assert (outcome.code, outcome.details, outcome.trailers) == (
        "UNAUTHENTICATED",
        "Unauthorized",
        {"x-why": "no token"},
    )
    assert isinstance(outcome.error, grpc.RpcError)
    assert not caller.seen.calls


@every_world
@every_refusal
@pytest.mark.parametrize("side", ["server", "client"])
def test_a_message_in_the_place_of_the_answer(running, way, request_, side):
    def answer(ctx, call):
        return reply(ctx, 200, {}, [b"x", b"y"] if req(ctx).response_streaming else b"x")

    with running([answer] if side == "server" else [], [answer] if side == "client" else []) as caller:
        outcome = getattr(caller, way)(request_)
    assert outcome.code == "OK"
    assert outcome.messages == ([b"x", b"y"] if way in {"many", "both"} else [b"x"])
    assert not caller.seen.calls


@every_world
def test_a_message_is_changed_on_both_sides_in_both_directions(running):
    def loud(ctx, call):
        req(ctx).message += b"!"
        ctx = call(ctx)
        res(ctx).message += b"?"
        return ctx

    with running([loud], [loud]) as caller:
        assert caller.one(b"a").message == b"<a!!>??"


@every_world
def test_a_result_is_changed_after_an_abort(running):
    def other(ctx, call):
        ctx = call(ctx)
        res(ctx).code = "PERMISSION_DENIED"
        res(ctx).details = "never mind what there is"
        return ctx

    with running([other]) as caller:
        one, many = caller.one(b"abort"), caller.many(b"abort")
    assert (one.code, one.details) == ("PERMISSION_DENIED", "never mind what there is")
    assert (many.code, many.details, many.messages) == (one.code, one.details, [b"abort0", b"abort1", b"abort2"])
    with running([], [other]) as caller:
        one, many = caller.one(b"a"), caller.many(b"a")
    assert (one.code, one.details) == ("PERMISSION_DENIED", "never mind what there is")
    assert (many.code, len(many.messages)) == ("PERMISSION_DENIED", 3)


@every_world
@every_refusal
@pytest.mark.parametrize("side", ["server", "client"])
def test_an_error_of_ours_has_a_code_on_the_wire(running, way, request_, side):
    def refuse(ctx, call):
        raise ThrottleRejected("slowly")

    with running([refuse] if side == "server" else [], [refuse] if side == "client" else []) as caller:
        outcome = getattr(caller, way)(request_)
        assert (outcome.code, outcome.details) == ("RESOURCE_EXHAUSTED", "slowly")


@every_world
@every_arity
def test_another_error_of_a_middleware_comes_out_of_a_client_as_it_is(running, way, request_):
    def broken(ctx, call):
        raise KeyError("broken")

    with running([], [broken]) as caller, pytest.raises(KeyError, match="broken"):
        getattr(caller, way)(request_)


@every_world
def test_who_returns_no_result_is_told_so(running):
    def forgetful(ctx, call):
        return {}

    with running([], [forgetful]) as caller, pytest.raises(TypeError, match=r"expected a context with a result"):
        caller.one(b"a")


@every_world
@every_arity
def test_a_method_that_nobody_serves_is_unimplemented(running, way, request_):
    notes = Notes()
    with running([notes], [notes]) as caller:
        method = caller.channel.unary_unary("/test.Service/Other")
        outcome = caller._unary(method, b"a", {})
    assert outcome.code == "UNIMPLEMENTED"
    assert notes.ended == [("client", "UNIMPLEMENTED", outcome.details)]


@every_world
@every_arity
def test_hooks_at_the_end_get_the_count_of_the_answers(running, way, request_):
    ends = []

    def watch(ctx, call):
        side, ctx = ctx["fmtn.side"], call(ctx)
        res(ctx).on_close(lambda count, error: ends.append((side, count, error)))
        return ctx

    with running([watch], [watch]) as caller:
        getattr(caller, way)(request_)
    assert sorted(ends) == [("client", len(ANSWERS[way]), None), ("server", len(ANSWERS[way]), None)]


@every_world
def test_a_call_has_the_surface_of_a_request(running):
    found = []

    def look(ctx, call):
        request = req(ctx)
        if ctx["fmtn.side"] == "server":
            found.append((request.method, request.path, request.service, request.peer, request.headers["User"]))
            found.append(("context" in ctx["fmtn.native"], ctx["fmtn.kind"], ctx["fmtn.template"]))
        return call(ctx)

    with running([look], [look]) as caller:
        caller.one(b"a", metadata=[("user", "ann")])
    method = "/test.Service/One"
    assert found == [(method, method, "test.Service", "127.0.0.1", "ann"), (True, "rpc", method)]


@every_world
def test_a_middleware_of_a_client_may_name_another_method(running):
    def move(ctx, call):
        req(ctx).method = "/test.Service/Nowhere"
        return call(ctx)

    with running([], [move]) as caller:
        assert caller.one(b"a").code == "UNIMPLEMENTED"
        assert caller.seen.calls == []


def test_a_result_may_be_made_by_hand():
    result = Result("NOT_FOUND", "gone")
    assert (result.ok, result.status_code, repr(result)) == (False, 404, "<Result NOT_FOUND>")
