"""The app is called more than once."""

import pytest

from formation import req
from formation.errors import BodyConsumed
from formation.http import Request
from formation.keys import REQ_HTTP
from formation.middleware import retry
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import PLAIN, Chunks, Served, answering, changing, taking, wrapped


def flaky(log, fails=1):
    def app(environ, start_response):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        log.append((environ.get("HTTP_X_ATTEMPT"), body))
        made = Chunks(b"answer %d" % len(log), log=[])
        app.answers.append(made)
        start_response("503 Later" if len(log) <= fails else "200 OK", list(PLAIN))
        return made

    app.answers = []
    return app


def test_a_retry_calls_the_app_again_and_the_first_answer_is_closed():
    log = []
    app = flaky(log)
    served = Served(wrapped(app, retry(3, base=0))).run()
    assert (served.status, served.body, len(log)) == ("200 OK", b"answer 2", 2)
    assert [each.log.count("close") for each in app.answers] == [1, 1]


def test_who_calls_twice_gets_two_answers_and_sends_one():
    def twice(ctx, call):
        forks = []
        for number in "12":
            fork = dict(ctx, **{REQ_HTTP: req(ctx).fork()})
            req(fork).headers["X-Attempt"] = number
            assert req(fork).content == b"abc"
            forks.append(call(fork))
        return forks[0]

    log = []
    app = flaky(log, 0)
    served = Served(wrapped(app, twice), environ_of(Sent(method="POST", body=b"abc")))
    req_of = changing(lambda request: request.content)
    served.app = wrapped(app, req_of, twice)
    served.run()
    assert (served.body, log) == (b"answer 1", [("1", b"abc"), ("2", b"abc")])
    assert [each.log.count("close") for each in app.answers] == [1, 1]


def test_what_one_attempt_writes_into_the_environ_the_next_does_not_find():
    def attempts(ctx, call):
        first = dict(ctx, **{REQ_HTTP: req(ctx).fork()})
        req(first).headers["X-Attempt"] = "1"
        req(first).method = "PUT"
        req(first).url = "http://testserver/first"
        call(first)
        return call(ctx)

    found = []

    def app(environ, start_response):
        found.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_X_ATTEMPT")))
        return answering([b""])(environ, start_response)

    Served(wrapped(app, attempts)).run()
    assert found == [("PUT", "/first", "1"), ("GET", "/", None)]


def test_an_app_that_has_had_the_body_cannot_be_called_again():
    log = []
    app = flaky(log)

    def twice(ctx, call):
        call(ctx)
        return call(ctx)

    with pytest.raises(BodyConsumed, match=r"read request\.content before"):
        Served(wrapped(app, twice), environ_of(Sent(method="POST", body=b"abc"))).call()
    assert app.answers[0].log == ["close"]


def test_another_request_may_stand_in_its_place():
    def replaces(ctx, call):
        ctx[REQ_HTTP] = Request("POST", "http://h/new?a=1", headers={"X-A": "1"}, content=b"abc")
        return call(ctx)

    found = []
    environ = environ_of(Sent())
    Served(wrapped(taking(found), replaces), environ).run()
    assert found == [b"abc"]
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_A"]) == (
        "POST", "/new", "a=1", "1"
    )  # fmt: skip
