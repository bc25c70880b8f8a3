"""The body of an answer: hooks of its end, its content, and what is put in its place."""

import pytest

from formation import reply, res
from formation.errors import BodyAbandoned, BodyConsumed
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import PLAIN, Chunks, Served, answering, hooked, mapped, pulled, wrapped


@pytest.mark.parametrize("kind", ["list", "generator"])
def test_wm9_a_hook_hears_of_the_end_once_with_the_bytes(kind):
    log = []
    chunks = [b"ab", b"c"]
    served = Served(wrapped(answering(chunks if kind == "list" else iter(chunks)), hooked(log))).call()
    assert log == []
    assert b"".join(served.result) == b"abc"
    served.close()
    served.close()
    assert log == [(3, None)]


def test_wm9_a_hook_hears_of_a_client_that_goes_and_of_an_error():
    log = []
    served = Served(wrapped(answering(iter([b"ab", b"c"])), hooked(log))).call()
    next(served.result)
    served.close()
    error = LookupError("gone")
    with pytest.raises(LookupError):
        Served(wrapped(answering(Chunks(b"ab", error)), hooked(log))).run()
    ((count, abandoned), failed) = log
    assert (count, type(abandoned), failed) == (2, BodyAbandoned, (2, error))


def test_wm9_a_hook_hears_of_the_end_where_the_server_stops_at_the_last_byte():
    def tailed(ctx, call):
        ctx = call(ctx)
        res(ctx).body.map(bytes.upper, lambda: b"!")
        return ctx

    log = []
    served = Served(wrapped(answering(iter([b"ab"])), hooked(log), tailed)).call()
    assert [next(served.result), next(served.result)] == [b"AB", b"!"]  # and no more: it has counted
    served.close()
    assert [error for _, error in log] == [None]


def test_wm9_a_hook_hears_of_what_a_middleware_answers_too():
    log = []
    served = Served(wrapped(answering([]), hooked(log), lambda ctx, call: reply(ctx, 200, PLAIN, b"abc"))).call()
    assert log == []
    assert list(served.result) == [b"abc"]
    served.close()
    assert log == [(3, None)]


@pytest.mark.parametrize("body", [b"abc", iter([b"abc"])], ids=["bytes", "a stream"])
def test_an_answer_to_head_has_no_body_and_that_is_no_error(body):
    log = []
    answers = wrapped(answering([]), hooked(log), lambda ctx, call: reply(ctx, 200, {"Content-Length": "3"}, body))
    served = Served(answers, environ_of(Sent(method="HEAD"))).run()
    assert (served.headers, served.body, log) == ([("Content-Length", "3")], b"", [(0, None)])


def test_the_content_can_be_read_and_replaced():
    def changes(ctx, call):
        ctx = call(ctx)
        res(ctx).body = res(ctx).content + b"!"
        return ctx

    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks, headers=[("Content-Length", "2")]), changes)).run()
    assert (served.body, served.headers, chunks.log.count("close")) == (b"ab!", [("Content-Length", "3")], 1)


def test_a_body_is_replaced_by_a_generator_over_it_in_lock_step():
    chunks = Chunks(b"a", b"b", b"c")

    def doubles(ctx, call):
        ctx = call(ctx)
        old = res(ctx).body
        res(ctx).body = (chunk * 2 for chunk in old)
        return ctx

    served = Served(wrapped(answering(chunks), doubles, mapped(bytes.upper))).call()
    found = []
    for number, chunk in enumerate(served.result, 1):
        found.append(chunk)
        assert chunks.log.count("next") == number
    served.close()
    assert (found, chunks.log.count("close")) == ([b"AA", b"BB", b"CC"], 1)


def test_a_generator_over_the_body_that_is_closed_early_closes_the_app():
    chunks = Chunks(b"a", b"b")
    served = Served(wrapped(answering(chunks), lambda ctx, call: pulled(call(ctx)))).call()
    assert next(served.result) == b"A"
    served.close()
    assert chunks.log == ["iter", "next", "close"]


def test_a_body_that_has_been_iterated_already_is_refused():
    def iterates(ctx, call):
        ctx = call(ctx)
        next(iter(res(ctx).body))
        return ctx

    chunks = Chunks(b"a", b"b")
    with pytest.raises(BodyConsumed):
        Served(wrapped(answering(chunks), iterates)).call()
    assert chunks.log[-1] == "close"
