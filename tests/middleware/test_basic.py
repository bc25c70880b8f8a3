from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import reply
from formation.for_requests import build
from formation.http import Request
from formation.middleware import basic
from tests.middleware.worlds import every_lift, every_world

OURS = "Basic YW5uOnNlY3JldA=="


def sent(world, request):
    out = world(basic("ann", "secret"), {"fmtn.req.http": request}, lambda ctx: reply(ctx, 200))
    return out["fmtn.req.http"].headers.getlist("Authorization"), out.get("fmtn.sensitive")


@every_world
def test_sets_the_header_and_declares_it(world):
    assert sent(world, Request("GET", "https://h/")) == ([OURS], {"authorization"})


@every_world
@pytest.mark.parametrize("own", ["Bearer own", ""])
def test_a_header_of_the_call_stays(world, own):
    assert sent(world, Request("GET", "https://h/", headers={"authorization": own}))[0] == [own]


@every_world
def test_the_auth_of_the_call_goes_before(world):
    assert sent(world, Request("GET", "https://h/", auth=("bob", "pw")))[0] == []


@every_world
def test_a_request_to_another_origin_gets_none(world):
    assert sent(world, Request("GET", "https://h/", extensions={"away": True}))[0] == []


@every_world
def test_around_a_function_nothing_happens(world):
    assert world(basic("ann", "secret"), {}, lambda ctx: ctx) == {}


@every_lift
def test_a_lifted_function_is_called(lifted):
    assert lifted([basic("ann", "secret")], len, "four")[0] == 4


@every_world
def test_an_error_passes(world):
    error = ValueError("no")

    def endpoint(ctx):
        raise error

    assert world(basic("ann", "secret"), {"fmtn.req.http": Request("GET", "https://h/")}, endpoint) is error


@pytest.mark.parametrize(
    ("user", "password", "error"),
    [
        (None, "secret", TypeError),
        ("ann", None, TypeError),
        (b"ann", "secret", TypeError),
        ("an:n", "secret", ValueError),
        ("ann\n", "secret", ValueError),
        ("ann", "secret\n", ValueError),
        ("ann", "sec\0ret", ValueError),
        ("ann", "sec\x85ret", ValueError),
    ],
)
def test_refuses_what_cannot_be_sent_and_does_not_say_the_secret(user, password, error):
    with pytest.raises(error) as caught:
        basic(user, password)
    assert "sec" not in str(caught.value)


@given(
    user=st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters=":")),
    password=st.text(st.characters(exclude_categories=["Cc", "Cs"])),
)
def test_a_server_gets_the_same_back(user, password):
    ctx = basic(user, password)({"fmtn.req.http": Request("GET", "https://h/")}, lambda ctx: ctx)
    scheme, _, value = ctx["fmtn.req.http"].headers["Authorization"].partition(" ")
    assert scheme == "Basic"
    assert b64decode(value).decode().split(":", 1) == [user, password]


def test_a_client_gets_in(server):
    with build(base_uri=server.url, middleware=[basic("ann", "secret")]) as api:
        assert api.get("/basic-auth/ann/secret").status_code == 200
        assert api.get("/basic-auth/bob/pw").status_code == 401
        assert api.get("/basic-auth/bob/pw", auth=("bob", "pw")).status_code == 200
        assert api.get("/basic-auth/bob/pw", auth=basic("bob", "pw")).status_code == 200
        assert api.get("/basic-auth/ann/secret", without=["basic"]).status_code == 401


def test_auth_takes_it_as_well(server):
    with build(base_uri=server.url, auth=basic("ann", "secret")) as api:
        assert api.get("/basic-auth/ann/secret").status_code == 200
        assert api.get("/basic-auth/ann/secret", auth=None).status_code == 401
        assert api.get("/basic-auth/bob/pw", auth=("bob", "pw")).status_code == 200


def test_a_redirect_keeps_it_at_home_and_drops_it_abroad(server, other_server):
    with build(base_uri=server.url, middleware=[basic("ann", "secret")]) as api, other_server.watch() as seen:
        assert api.get("/redirect/302?to=/basic-auth/ann/secret").status_code == 200
        api.get(f"/redirect/302?to={other_server.url}/echo")
        api.get(f"{other_server.url}/echo", absolute=True)
    assert [request.header("Authorization") for request in seen.requests] == [None, None]


def test_as_a_layer_of_each_hop_it_stays_at_home_too(server, other_server):
    with build(base_uri=server.url, per_hop=[basic("ann", "secret")]) as api, other_server.watch() as seen:
        assert api.get("/redirect/302?to=/basic-auth/ann/secret").status_code == 200
        api.get(f"/redirect/302?to={other_server.url}/echo")
    assert [request.header("Authorization") for request in seen.requests] == [None]
