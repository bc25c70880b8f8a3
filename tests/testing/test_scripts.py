"""Scripts: one answer after the other, and no more."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from formation import reply, req, wrap
from formation.errors import BodyTooLarge, ConnectTimeout, DeadlineExceeded, StatusError
from formation.for_aiohttp import build as abuild
from formation.for_requests import json_response
from formation.http import Response
from formation.keys import DEADLINE, RES_HTTP
from formation.middleware import raise_for_status, retry
from formation.testing import Stub, script
from tests.testing.cases import BASE, both, get, sync


@both
def test_a_script_answers_in_order_and_no_more(kind: str) -> None:
    answers = script([503, {"a": 1}, [1, 2], Response(201, {"X": "1"}, b"made")])
    assert [get(kind, answers, response_as=json_response).status_code for _ in range(3)] == [503, 200, 200]
    assert answers.left == 1
    result = get(kind, answers)
    assert (result.status_code, result.headers["X"], result.body) == (201, "1", b"made")
    assert answers.left == 0
    with pytest.raises(AssertionError, match=r"unexpected call #5, the script has 4: GET /users"):
        get(kind, answers)
    assert len(answers.calls) == 5
    assert repr(answers) == "<script: 5 of 4 asked for>"


@both
def test_a_script_raises_errors_and_tells_them_their_request(kind: str) -> None:
    cause = OSError("cable")
    error = ConnectTimeout("too far")
    error.__cause__ = cause
    answers = script([error, ConnectTimeout, KeyError("mine")])
    with pytest.raises(ConnectTimeout, match="too far") as caught:
        get(kind, answers)
    assert caught.value.request is not None
    assert caught.value.__cause__ is cause
    assert error.request is None
    with pytest.raises(ConnectTimeout):
        get(kind, answers)
    with pytest.raises(KeyError, match="mine"):
        get(kind, answers)


def test_an_error_that_is_raised_twice_is_not_told_of_the_first_time_and_keeps_its_note() -> None:
    error = ConnectTimeout("no answer")
    error.add_note("of the test")
    sender = sync(script([error, error]))
    for _ in range(2):
        with pytest.raises(ConnectTimeout) as caught:
            sender.get("/")
        assert [note.partition(":")[0] for note in caught.value.__notes__] == ["of the test", "client"]
    assert error.__notes__ == ["of the test"]


def test_an_error_that_cannot_be_copied_is_raised_itself() -> None:
    class Odd(Exception):
        def __init__(self, a: int, *, b: int) -> None:
            super().__init__(a, b)

    error = Odd(1, b=2)
    with pytest.raises(Odd) as caught:
        sync(script([error])).get("/")
    assert caught.value is error


@both
def test_an_answer_may_be_a_function_of_the_context(kind: str) -> None:
    def by_reply(ctx: Any) -> Any:
        return reply(ctx, 202, body=req(ctx).name.encode())

    answers = script([by_reply, lambda ctx: 204, lambda ctx: {"path": req(ctx).path}, lambda ctx: ConnectTimeout("x")])
    assert get(kind, answers).body == b"GET /users"
    assert get(kind, answers).status_code == 204
    assert get(kind, answers, response_as=json_response).body == {"path": "/v1/users"}
    with pytest.raises(ConnectTimeout):
        get(kind, answers)


def test_a_function_that_gives_no_answer_is_told_so() -> None:
    with pytest.raises(TypeError, match="expected an answer"):
        sync(script([lambda ctx: None])).get("/")
    with pytest.raises(LookupError, match="without a response"):
        sync(script([lambda ctx: ctx])).get("/")


async def _async_answer(ctx: Any) -> Any: ...


@pytest.mark.parametrize("answer", [None, True, b"bytes", "text", int, 1.5, _async_answer])
def test_what_is_no_answer_is_refused_when_it_is_given(answer: Any) -> None:
    with pytest.raises(TypeError, match="answer"):
        script([answer])
    with pytest.raises(TypeError, match="answer"):
        Stub({"GET /": answer})


def test_a_status_that_is_none_is_refused_when_it_is_given() -> None:
    with pytest.raises(ValueError, match="42"):
        script([42])


def test_what_was_sent_is_kept_as_it_was_sent() -> None:
    answers = script([200, 200, 200])
    client = sync(answers, auth=("me", "pw"), cookies={"a": "1"})
    client.post("/users", json={"name": "ann"}, params={"q": "1"})
    client.put("/blob", content=iter([b"a", b"b"]))
    client.get("/users/{id}", path={"id": 7})
    first, second, third = answers.requests
    assert (first.method, first.target, first.json) == ("POST", f"{BASE}/users?q=1", {"name": "ann"})
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Authorization"].startswith("Basic ")
    assert first.headers["Cookie"] == "a=1"  # which is taken away again after the call
    assert second.content == b"ab"
    assert third.template == "/users/{id}"
    assert answers.calls[2]["fmtn.template"] == "/users/{id}"


def test_an_async_upload_is_kept_too() -> None:
    async def upload() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    answers = script([200])

    async def main() -> None:
        await abuild(base_uri=BASE, endpoint=answers).put("/blob", content=upload())

    asyncio.run(main())
    assert answers.requests[0].content == b"ab"


def test_a_one_shot_upload_stays_one() -> None:
    answers = script([503, 200])
    with capture_logs():
        result = sync(answers, middleware=[retry(base=0)]).put("/", content=iter([b"a"]))
    assert result.status_code == 503
    assert len(answers.calls) == 1


def test_a_response_that_is_given_is_left_as_it_is() -> None:
    given = Response(200, {"X": "1"}, b"abc")

    def change(ctx: Any, call: Any) -> Any:
        ctx = call(ctx)
        ctx[RES_HTTP].headers["X"] = "2"
        ctx[RES_HTTP].body.map(bytes.upper)
        return ctx

    client = sync(script([given, given]), middleware=[change])
    assert [client.get("/").body for _ in range(2)] == [b"ABC", b"ABC"]
    assert (given.headers["X"], given.content, given.request) == ("1", b"abc", None)


@both
def test_a_stream_streams(kind: str) -> None:
    answers = script([Response(200, body=iter([b"a", b"b"]))])

    async def main() -> list[bytes]:
        async with abuild(base_uri=BASE, endpoint=answers).get("/", stream=True) as result:
            return [chunk async for chunk in result.body]

    if kind == "async":
        assert asyncio.run(main()) == [b"a", b"b"]
    else:
        with sync(answers).get("/", stream=True) as result:
            assert list(result.body) == [b"a", b"b"]


def test_the_clients_own_rules_hold() -> None:
    with pytest.raises(BodyTooLarge):
        sync(script([Response(200, body=b"x" * 10)]), max_body=5).get("/")
    assert sync(script([Response(200, body=b"x")])).head("/").body is None
    assert sync(script([Response(204, body=b"x")])).get("/").body is None
    with pytest.raises(StatusError):
        sync(script([404]), middleware=[raise_for_status()]).get("/")
    moved = Response(302, {"Location": "/v1/new"})
    assert sync(script([moved, {"a": 1}]), response_as=json_response).get("/old").body == {"a": 1}


def test_a_deadline_that_has_passed_is_kept() -> None:
    def late(ctx: Any, call: Any) -> Any:
        ctx[DEADLINE] = 0.0
        return call(ctx)

    with pytest.raises(DeadlineExceeded):
        sync(script([200]), middleware=[late]).get("/")


def test_a_script_works_without_a_client_and_from_many_threads() -> None:
    from formation.http import Request

    answers = script([200] * 40)
    chain = wrap(answers)

    def work() -> None:
        for _ in range(10):
            chain({"fmtn.req.http": Request("GET", "http://h/")})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.left == 0
