import pytest

from formation.client import wire
from formation.clock import Virtual, virtual
from formation.errors import BodyTooLarge, DeadlineExceeded
from formation.http import Headers, Request


@pytest.fixture
def clock():
    clock = Virtual(seed=0)
    token = virtual.set(clock)
    yield clock
    virtual.reset(token)


def test_a_connect_has_five_seconds_and_an_answer_thirty_where_nobody_says():
    assert wire.timeouts(Request("GET", "https://h/"), None) == (5, 30)


@pytest.mark.parametrize(
    ("said", "seconds"), [(2, (2, 2)), ((1, 9), (1, 9)), ((None, 9), (None, 9)), (None, (None, None))]
)
def test_what_is_said_counts_and_none_waits_for_ever(said, seconds):
    assert wire.timeouts(Request("GET", "https://h/", timeout=said), None) == seconds


@pytest.mark.parametrize(("said", "seconds"), [(2, (2, 2)), ((1, 9), (1, 4)), (None, (4, 4)), ((9, None), (4, 4))])
def test_nothing_waits_beyond_the_deadline(clock, said, seconds):
    assert wire.timeouts(Request("GET", "https://h/", timeout=said), clock.monotonic() + 4) == seconds


def test_a_deadline_that_has_passed_sends_nothing(clock):
    with pytest.raises(DeadlineExceeded, match="before the request was sent"):
        wire.timeouts(Request("GET", "https://h/"), clock.monotonic())


def test_the_requests_own_lines_outdo_what_is_always_sent():
    request = Request("POST", "https://h/", headers={"user-agent": "mine"}, content=b"four")
    lines = wire.headers(request, [("User-Agent", "formation"), ("Accept", "*/*")], 4)
    assert lines == [("Accept", "*/*"), ("user-agent", "mine"), ("Content-Length", "4")]


@pytest.mark.parametrize(("method", "stated"), [("POST", True), ("PUT", True), ("PATCH", True), ("GET", False)])
def test_no_body_has_a_length_where_the_method_wants_one(method, stated):
    lines = wire.headers(Request(method, "https://h/"), [], 0)
    assert lines == ([("Content-Length", "0")] if stated else [])


def test_an_announced_body_over_the_limit_is_refused_before_it_is_read():
    request = Request("GET", "https://h/", extensions={"max_body": 10})
    assert wire.check_length(request, Headers({"Content-Length": "10"})) == 10
    for nobody_knows in ("what", "9" * 5000):
        assert wire.check_length(request, Headers({"Content-Length": nobody_knows})) == 10
    with pytest.raises(BodyTooLarge):
        wire.check_length(request, Headers({"Content-Length": "11"}))


@pytest.mark.parametrize(
    "request_", [Request("HEAD", "https://h/"), Request("GET", "https://h/", extensions={"stream": True})]
)
def test_what_is_not_read_has_no_announced_limit(request_):
    assert wire.check_length(request_, Headers({"Content-Length": "999999999"})) == wire.MAX_BODY


def test_the_limit_is_64_mib_where_nobody_says():
    assert wire.MAX_BODY == 64 * 1024 * 1024
