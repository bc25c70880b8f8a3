"""RFC 9457: what problem details have to be, as `exception_handler` writes and `problem_details` reads them."""

import json
from http import HTTPStatus

import pytest
from structlog.testing import capture_logs

from formation import reply, wrap
from formation.errors import ProblemError
from formation.http import Request
from formation.middleware import exception_handler, problem_details
from tests.middleware.hosts import answered, every_host
from tests.middleware.worlds import every_world

KIND = {"Content-Type": "application/problem+json"}


def written(host, error, accept="application/problem+json"):
    def app(seen):
        raise error

    with capture_logs():
        return answered(host, [exception_handler()], app, headers={"Accept": accept})


def read(world, problem, status=403, url="https://shop/orders/7"):
    ctx = {"fmtn.req.http": Request("GET", url)}
    body = json.dumps(problem).encode()
    return world(problem_details(), ctx, lambda ctx: reply(ctx, status, KIND, body))


@every_host
def test_section_3_it_is_a_json_object_of_its_own_media_type(host):
    got = written(host, ValueError("no"))
    assert got.lines("content-type") == ["application/problem+json"]
    assert isinstance(got.json(), dict)


@every_host
@pytest.mark.parametrize("status", [403, 409, 422, 429, 500, 503])
def test_section_3_1_2_the_status_in_it_is_that_of_the_answer(host, status):
    got = written(host, ProblemError(status_code=status, extensions={"status": 200}))
    assert (got.status, got.json()["status"]) == (status, status)


@every_host
@pytest.mark.parametrize("status", [403, 409, 429, 500, 503])
def test_section_4_2_1_about_blank_has_the_title_of_its_status(host, status):
    problem = written(host, ProblemError(status_code=status)).json()
    assert (problem["type"], problem["title"]) == ("about:blank", HTTPStatus(status).phrase)


@every_host
def test_section_5_nothing_from_inside_is_told(host):
    got = written(host, ValueError("postgres://me:pw@db"))
    assert b"postgres" not in got.body
    assert b"ValueError" not in got.body


@every_host
def test_section_3_2_extensions_stand_beside_and_hide_no_member(host):
    error = ProblemError(status_code=403, title="No credit", extensions={"balance": 30, "title": "x", "type": "y"})
    problem = written(host, error).json()
    assert (problem["balance"], problem["title"], problem["type"]) == (30, "No credit", "about:blank")


@every_world
def test_section_3_1_1_without_a_type_it_is_about_blank(world):
    assert read(world, {}).type == "about:blank"


@every_world
def test_section_3_1_1_a_relative_type_is_resolved(world):
    assert read(world, {"type": "problems/credit"}).type == "https://shop/orders/problems/credit"
    assert read(world, {"type": "//other/credit"}).type == "https://other/credit"


@every_world
def test_section_3_1_5_and_so_is_an_instance(world):
    assert read(world, {"instance": "/log/9"}).instance == "https://shop/log/9"


@every_world
@pytest.mark.parametrize("member", ["type", "title", "detail", "instance"])
@pytest.mark.parametrize("value", [1, None, True, [], {}])
def test_section_3_1_a_member_of_another_type_is_ignored(world, member, value):
    assert getattr(read(world, {member: value}), member) == getattr(read(world, {}), member)


@every_world
@pytest.mark.parametrize("value", ["403", 403.5, None, True, 99, 600])
def test_section_3_1_2_a_status_that_is_none_is_ignored(world, value):
    assert read(world, {"status": value}).status is None


@every_world
def test_section_3_1_2_the_status_of_the_answer_counts(world):
    error = read(world, {"status": 404}, 502)
    assert (error.status_code, error.status) == (502, 404)


@every_world
def test_section_3_2_extensions_that_nobody_knows_are_no_error(world):
    assert read(world, {"balance": 30, "x": {"y": [1]}}).extensions == {"balance": 30, "x": {"y": [1]}}


def test_what_one_writes_the_other_reads():
    error = ProblemError(status_code=409, type="https://shop/taken", title="Taken", detail="by ann", instance="/7")

    def app(ctx):
        raise error

    ctx = {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://shop/")}
    with capture_logs():
        answer = wrap(app, [exception_handler()])(ctx)["fmtn.res.http"]
    with pytest.raises(ProblemError) as caught:
        problem_details()(
            {"fmtn.req.http": Request("GET", "https://shop/")},
            lambda ctx: reply(ctx, answer.status_code, answer.headers, answer.content),
        )
    found = caught.value
    assert (found.type, found.title, found.detail) == (error.type, error.title, error.detail)
    assert (found.status, found.status_code, found.instance) == (409, 409, "https://shop/7")
