from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import reply, wrap
from formation.errors import BodyTooLarge, StatusError
from formation.for_requests import build
from formation.http import Request, Response
from formation.middleware import raise_for_status
from tests.middleware.worlds import every_lift, every_world


def request():
    return Request("GET", "https://h/users/7", template="/users/{id}")


@every_world
@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 499, 500, 503, 599, 600, 999])
def test_a_status_from_400_on_is_an_error(world, status):
    ctx = {"fmtn.req.http": request()}
    error = world(raise_for_status(), ctx, lambda ctx: reply(ctx, status, {"X-Why": "so"}, b"no"))
    assert type(error) is StatusError
    assert str(error) == f"expected a status below 400, got {status} from GET /users/{{id}}"
    assert (error.status_code, error.expected) == (status, None)
    assert error.request is ctx["fmtn.req.http"]
    assert error.response is ctx["fmtn.res.http"]
    assert (error.response.content, error.response.headers["X-Why"]) == (b"no", "so")


@every_world
@pytest.mark.parametrize("status", [200, 204, 206, 301, 304, 399])
def test_any_other_is_none(world, status):
    ctx = {"fmtn.req.http": request()}
    assert world(raise_for_status(), ctx, lambda ctx: reply(ctx, status)) is ctx


@given(st.integers(100, 999))
def test_raises_if_and_only_if_the_response_is_not_ok(status):
    ctx = {"fmtn.res.http": Response(status)}
    with nullcontext() if ctx["fmtn.res.http"].ok else pytest.raises(StatusError):
        raise_for_status()(ctx, lambda ctx: ctx)


@every_world
def test_passes_a_context_without_a_response_through(world):
    assert world(raise_for_status(), {}, lambda ctx: {"n": 1}) == {"n": 1}


@every_lift
def test_passes_a_plain_function_through(lifted):
    assert lifted([raise_for_status()], len, "four")[0] == 4


@every_world
def test_passes_errors_through(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    assert world(raise_for_status(), {}, endpoint) is error


@every_world
def test_the_body_of_a_stream_can_be_read_from_the_error(world):
    closed = []

    def endpoint(ctx):
        ctx = reply(ctx, 503, body=iter([b"not ", b"now"]))
        ctx["fmtn.res.http"].on_close(lambda count, error: closed.append((count, error)))
        return ctx

    error = world(raise_for_status(), {"fmtn.req.http": request()}, endpoint)
    assert closed == [(7, None)]
    assert error.response.text == "not now"


@every_world
def test_a_body_that_breaks_off_does_not_hide_the_status(world):
    def chunks():
        yield b"not "
        raise OSError("gone")

    error = world(raise_for_status(), {"fmtn.req.http": request()}, lambda ctx: reply(ctx, 503, body=chunks()))
    assert (type(error), error.status_code) == (StatusError, 503)


def test_an_inner_middleware_still_sees_the_response():
    seen = []

    def look(ctx, call):
        ctx = call(ctx)
        seen.append(ctx["fmtn.res.http"].status_code)
        return ctx

    chain = wrap(lambda ctx: reply(ctx, 503), [raise_for_status(), look])
    with pytest.raises(StatusError):
        chain({"fmtn.req.http": request()})
    assert seen == [503]


def test_a_client_raises_and_says_where(server):
    with build(base_uri=server.url, middleware=[raise_for_status()]) as api:
        assert api.get("/status/204").status_code == 204
        with pytest.raises(StatusError) as caught:
            api.get("/status/{status}", path={"status": 404})
    error = caught.value
    assert (error.status_code, error.response.text) == (404, "Status 404")
    assert error.request.url == f"{server.url}/status/404"
    assert f"GET /status/{{status}} at {server.url}, in raise_for_status" in error.__notes__[0]


def test_a_client_leaves_it_out_for_a_call(server):
    with build(base_uri=server.url, middleware=[raise_for_status()]) as api:
        assert api.get("/status/404", without="raise_for_status").status_code == 404


def test_after_redirects_the_request_is_the_last_one(server):
    with build(base_uri=server.url, middleware=[raise_for_status()]) as api, pytest.raises(StatusError) as caught:
        api.get("/redirect/302", params={"to": "/status/410"})
    assert caught.value.request.url == f"{server.url}/status/410"


def test_a_stream_is_read_and_its_connection_free_again(server):
    with build(base_uri=server.url, middleware=[raise_for_status()]) as api, server.watch() as seen:
        for _ in range(2):
            with pytest.raises(StatusError) as caught, api.get("/status/500", stream=True):
                pass
            assert caught.value.response.text == "Status 500"
    assert seen.connections == 1


def test_a_stream_is_read_within_the_limit_of_the_client(server):
    with build(base_uri=server.url, middleware=[raise_for_status()], max_body=3) as api:
        with pytest.raises(StatusError) as caught, api.get("/status/500", stream=True):
            pass
        with pytest.raises(BodyTooLarge):
            api.get("/status/500")
    assert caught.value.status_code == 500
