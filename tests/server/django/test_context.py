"""What a middleware finds in its context."""

import pytest
from django.http import HttpResponse

from formation.middleware import request_duration, request_id
from tests.server.django.host import later, ok, ours


def test_a_plain_function_sees_the_request_and_the_response(world):
    found = []

    def look(ctx, call):
        request = ctx["fmtn.req.http"]
        found.extend([request.method, request.url, request.headers["x-a"], request.params["b"], request.peer])
        found.extend([ctx["fmtn.side"], ctx["fmtn.kind"], request.cookies])
        ctx = call(ctx)
        response = ctx["fmtn.res.http"]
        found.extend([response.status_code, response.headers["x-b"], response.content, response.request is request])
        response.headers["X-C"] = "3"
        return ctx

    answer = world.ask(
        [ours(look)],
        lambda request: HttpResponse("made", status=201, headers={"X-B": "2"}),
        "/a?b=1",
        headers={"X-A": "1", "Cookie": "k=v"},
    )
    assert found == [
        "GET", "http://testserver/a?b=1", "1", "1", "127.0.0.1", "server", "http", {"k": "v"}, 201, "2", b"made", True
    ]  # fmt: skip
    assert (answer.status, answer.lines("x-c"), answer.body) == (201, ["3"], b"made")


def test_the_built_in_middlewares_run(world):
    answer = world.ask(
        [ours(request_id(), request_duration())], lambda request: HttpResponse(request.headers["X-Request-ID"])
    )
    assert answer.lines("x-request-id") == [answer.body.decode()]


def test_the_context_has_the_objects_of_django_for_whoever_must_escape(world):
    seen = []

    def look(ctx, call):
        native = ctx["fmtn.native"]
        native["request"].user = "ann"
        ctx = call(ctx)
        seen.append((native["response"] is ctx["fmtn.res.http"].native, native["response"].content))
        return ctx

    world.ask([ours(look)], lambda request: HttpResponse(request.user))
    assert seen == [(True, b"ann")]


@pytest.mark.parametrize(
    ("route", "path", "template"),
    [
        ("users/<int:id>/<name>", "/users/1/ann", "/users/{id}/{name}"),
        ("", "/", "/"),
    ],
)
def test_the_route_is_the_template_after_the_call(world, route, path, template):
    seen = []

    def look(ctx, call):
        assert "fmtn.template" not in ctx
        ctx = call(ctx)
        seen.extend([ctx["fmtn.template"], ctx["fmtn.req.http"].name])
        return ctx

    view = later(lambda request, **path: ok(request)) if world.is_async else lambda request, **path: ok(request)
    world.ask([ours(look)], {route: view}, path)
    assert seen == [template, f"GET {template}"]


def test_a_path_without_a_route_has_no_template(world):
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.extend([ctx.get("fmtn.template"), ctx["fmtn.res.http"].status_code])
        return ctx

    assert world.ask([ours(look)], {"a": ok}, "/b").status == 404
    assert seen == [None, 404]


def test_the_trace_of_the_client_is_in_the_context(world):
    seen = []
    world.ask(
        [ours(lambda ctx, call: seen.append(ctx.get("fmtn.trace")) or call(ctx))],
        headers={"traceparent": "00-1", "tracestate": "a=b"},
    )
    world.ask([ours(lambda ctx, call: seen.append(ctx.get("fmtn.trace")) or call(ctx))])
    assert seen == [{"traceparent": "00-1", "tracestate": "a=b"}, None]


def test_a_host_that_is_not_allowed_can_be_looked_at(world):
    seen = []
    answer = world.ask(
        [ours(lambda ctx, call: seen.append(ctx["fmtn.req.http"].url) or call(ctx))],
        lambda request: HttpResponse(request.get_host()),
        headers={"host": "evil"},
        ALLOWED_HOSTS=["good"],
    )
    assert (seen, answer.status) == (["http://evil/"], 400)


def test_a_number_sign_begins_no_fragment_for_nobody_sends_one(world):
    seen = []
    world.ask([ours(lambda ctx, call: seen.append(ctx["fmtn.req.http"].url) or call(ctx))], path="/?b#c")
    assert [url.partition("?")[2] for url in seen] == ["b%23c"]


def test_empty_headers_that_servers_make_up_are_none(world):
    seen = []
    world.ask(
        [ours(lambda ctx, call: seen.append("Content-Type" in ctx["fmtn.req.http"].headers) or call(ctx))],
        headers={"Content-Type": ""},
    )
    assert seen == [False]
