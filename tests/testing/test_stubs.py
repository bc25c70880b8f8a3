"""Stubs: answers by method and template."""

import pytest
from structlog.testing import capture_logs

from formation.errors import ConnectTimeout
from formation.for_requests import Client, json_response
from formation.http import Response
from formation.middleware import retry
from formation.testing import Stub, script
from tests.testing.cases import BASE, both, get, sync


@both
def test_a_stub_answers_by_method_and_template(kind: str) -> None:
    stub = Stub({"GET /users/{id}": {"name": "ann"}, "GET /users/me": {"name": "me"}, "get /files/{+path}": 206})
    assert get(kind, stub, "/users/7", response_as=json_response).body == {"name": "ann"}
    assert get(kind, stub, "/users/me", response_as=json_response).body == {"name": "me"}
    assert get(kind, stub, "/files/a/b/c").status_code == 206
    assert get(kind, stub, "files/a?q=1").status_code == 206
    assert len(stub.calls) == 4
    assert [request.path for request in stub["GET /files/{+path}"].requests] == ["/v1/files/a/b/c", "/v1/files/a"]


@pytest.mark.parametrize("template", ["/users/{id}", "/users/:id", "/v1/users/{id}"])
@pytest.mark.parametrize("how", ["{id}", ":id", "7"])
def test_it_does_not_matter_how_the_template_is_written(template: str, how: str) -> None:
    stub = Stub({f"GET {template}": 204})
    path = {} if how == "7" else {"path": {"id": 7}}
    assert sync(stub).get(f"/users/{how}", **path).status_code == 204


def test_a_stub_follows_where_the_client_is_redirected() -> None:
    stub = Stub({"GET /old": Response(302, {"Location": "/v1/new"}), "GET /v1/new": 204})
    assert sync(stub).get("/old").status_code == 204
    assert [route.calls != [] for route in (stub["GET /old"], stub["GET /v1/new"])] == [True, True]


def test_what_has_no_route_is_an_error_that_names_the_nearest() -> None:
    stub = Stub({"GET /users/{id}": 200, "POST /users": 201})
    with pytest.raises(AssertionError) as caught:
        sync(stub).get("/user/{id}", path={"id": 7})
    assert str(caught.value) == (
        "unexpected GET /user/{id}: no such route, did you mean GET /users/{id}? There is: GET /users/{id}, POST /users"
    )
    with pytest.raises(AssertionError, match="There is: none"):
        sync(Stub()).get("/")
    with pytest.raises(AssertionError, match="unexpected DELETE /users/7"):
        sync(stub).delete("/users/7")
    assert stub.calls == []


def test_a_template_is_no_regular_expression() -> None:
    with pytest.raises(AssertionError):
        sync(Stub({"GET /a.b": 200})).get("/aXb")
    assert sync(Stub({"GET /a+b/{x}.json": 200})).get("/a+b/1.json").status_code == 200


def test_routes_can_be_added_changed_and_looked_up() -> None:
    stub = Stub()
    route = stub.on("GET /users")
    assert sync(stub).get("/users").status_code == 200
    assert route.answer(404) is route
    assert sync(stub).get("/users").status_code == 404
    assert stub["GET /users"] is route
    with pytest.raises(LookupError, match=r"no route GET /user, did you mean GET /users\?"):
        stub["GET /user"]
    assert "GET /users" in repr(stub)
    assert repr(route) == "<route GET /users: 2 calls>"


@pytest.mark.parametrize("name", ["/users", "GET", "GET users", "GET  /users", "12 /users"])
def test_a_route_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a route as"):
        Stub({name: 200})


@both
def test_a_route_can_fail_and_recover(kind: str) -> None:
    stub = Stub({"GET /users": 200, "GET /other": 200})
    stub["GET /users"].fail(ConnectTimeout("gone"), times=1)
    with pytest.raises(ConnectTimeout, match="gone"):
        get(kind, stub)
    assert get(kind, stub).status_code == 200
    stub["GET /users"].fail(503)
    assert [get(kind, stub).status_code for _ in range(3)] == [503] * 3
    assert stub["GET /users"].answer(200)
    assert get(kind, stub).status_code == 200
    stub.fail(ConnectTimeout)
    for path in ("/users", "/other"):
        with pytest.raises(ConnectTimeout):
            get(kind, stub, path)


def test_a_route_can_have_a_script() -> None:
    stub = Stub({"GET /users": script([503, {"a": 1}])})
    with capture_logs():
        assert sync(stub, middleware=[retry(base=0)], response_as=json_response).get("/users").body == {"a": 1}
    assert len(stub["GET /users"].calls) == 2


def test_a_stub_can_be_an_attribute_of_a_client_class() -> None:
    class Users(Client):
        base_uri = BASE
        endpoint = Stub({"GET /users": {"a": 1}})
        response_as = json_response

    assert Users().request.get("/users").body == {"a": 1}
