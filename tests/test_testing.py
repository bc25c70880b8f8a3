"""The tools to test without a server, and the clock that they stand in for."""

import asyncio
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from formation import clock, reply, req, sleep, wrap
from formation.errors import BodyTooLarge, ConnectTimeout, DeadlineExceeded, StatusError
from formation.for_aiohttp import Client as AsyncClient
from formation.for_aiohttp import build as abuild
from formation.for_requests import Client, build, json_response
from formation.http import Response
from formation.keys import DEADLINE, RES_HTTP, SENSITIVE
from formation.middleware import circuit_breaker, raise_for_status, retry
from formation.testing import Rehearsal, Stub, rehearse, script, simulate

BASE = "https://h.example/v1"


def sync(endpoint: Any, **settings: Any) -> Any:
    return build(base_uri=BASE, endpoint=endpoint, **settings)


def get(kind: str, endpoint: Any, path: str = "/users", **settings: Any) -> Any:
    """Call by a client of either kind."""
    if kind == "sync":
        return sync(endpoint, **settings).get(path)

    async def main() -> Any:
        async with abuild(base_uri=BASE, endpoint=endpoint, **settings) as client:
            return await client.get(path)

    return asyncio.run(main())


both = pytest.mark.parametrize("kind", ["sync", "async"])


# --- script ---


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


# --- Stub ---


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


# --- rehearse ---


def stamp(ctx: Any, call: Any) -> Any:
    req(ctx).headers["X-Stamp"] = "it's"
    return call(ctx)


class Github(Client):
    base_uri = "https://api.github.com"
    middleware = (stamp,)
    auth = ("me", "secret")

    def stars(self, owner: str, repo: str, *, page: int = 1) -> Any:
        path = {"owner": owner, "repo": repo}
        return self.request.get("/repos/{owner}/{repo}/stargazers", path=path, params={"page": page}).body["items"]

    def rename(self, name: str) -> Any:
        return self.request.patch("/user", json={"name": name}).body

    def download(self) -> Any:
        return self.request.get("/zip", stream=True)

    def each(self) -> Iterator[Any]:
        yield self.request.get("/first")
        yield self.request.get("/second")

    def idle(self) -> None: ...

    def broken(self) -> None:
        raise LookupError("mine")

    def stubborn(self) -> Any:
        try:
            return self.request.get("/user")
        except BaseException:  # noqa: BLE001  that is what makes it stubborn
            return None


class AsyncGithub(AsyncClient):
    base_uri = "https://api.github.com"
    middleware = (stamp,)
    auth = ("me", "secret")

    def stars(self, owner: str, repo: str) -> Any:
        return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})

    async def both(self) -> Any:
        return await asyncio.gather(self.request.get("/first"), self.request.get("/first"))

    def download(self) -> Any:
        return self.request.get("/zip", stream=True)

    async def each(self) -> AsyncIterator[Any]:
        yield await self.request.get("/first")

    async def idle(self) -> None: ...

    async def broken(self) -> None:
        raise LookupError("mine")


def test_a_rehearsal_gives_the_request_that_would_be_sent() -> None:
    request = rehearse(Github().stars, "a", repo="b", page=2)
    assert isinstance(request, Rehearsal)
    assert (request.method, request.target) == ("GET", "https://api.github.com/repos/a/b/stargazers?page=2")
    assert request.headers["X-Stamp"] == "it's"
    assert request.headers["Authorization"].startswith("Basic ")
    assert request.ctx["fmtn.template"] == "/repos/{owner}/{repo}/stargazers"
    assert "GET" in repr(request)
    with pytest.raises(AttributeError):
        request.nothing  # noqa: B018


def test_an_async_method_is_rehearsed_by_awaiting() -> None:
    async def main() -> None:
        github = AsyncGithub()
        request = await rehearse(github.stars, "a", "b")
        assert request.url == "https://api.github.com/repos/a/b/stargazers"
        assert request.headers["X-Stamp"] == "it's"
        for method, path in ((github.both, "/first"), (github.download, "/zip"), (github.each, "/first")):
            assert (await rehearse(method)).path == path
        assert (await rehearse(github.request.post, "/x", json=1)).json == 1
        with pytest.raises(LookupError, match=r"idle\(\) has sent no request"):
            await rehearse(github.idle)
        with pytest.raises(LookupError, match="mine"):
            await rehearse(github.broken)

    asyncio.run(main())


def test_streams_generators_senders_and_stubborn_methods_can_be_rehearsed() -> None:
    github = Github()
    assert rehearse(github.download).path == "/zip"
    assert rehearse(github.each).path == "/first"
    assert rehearse(github.stubborn).path == "/user"
    assert rehearse(github.request.put, "/x", content=b"1").content == b"1"
    assert rehearse(github.request.send, "BREW", "/pot").method == "BREW"


def test_what_sends_nothing_or_is_no_method_cannot_be_rehearsed() -> None:
    with pytest.raises(LookupError, match=r"idle\(\) has sent no request"):
        rehearse(Github().idle)
    with pytest.raises(LookupError, match="mine"):
        rehearse(Github().broken)
    with pytest.raises(TypeError, match="expected a method of a client"):
        rehearse(print, 1)
    with pytest.raises(TypeError, match="missing 1 required"):
        rehearse(Github().stars, "a")


def test_a_rehearsal_is_neither_an_error_nor_an_answer_to_the_middleware() -> None:
    stub = Stub({"GET /zip": 200})
    breaker = circuit_breaker(fail_max=1)
    seen: list[str] = []

    def watch(ctx: Any, call: Any) -> Any:
        try:
            return call(ctx)
        except Exception as error:
            seen.append(repr(error))
            raise

    github = Github(middleware=[retry(5, base=0), breaker, watch], endpoint=stub)
    with capture_logs() as events:
        for _ in range(3):
            rehearse(github.stars, "a", "b")
        with github.download() as result:
            assert result.status_code == 200
    assert (events, seen, len(stub.calls)) == ([], [], 1)


def test_curl_is_quoted_for_the_shell_and_has_no_secrets() -> None:
    said = rehearse(Github().rename, "it's $HOME").curl()
    assert said == (
        "curl -X PATCH https://api.github.com/user -H 'Content-Type: application/json' "
        """-H 'X-Stamp: it'"'"'s' -H 'Authorization: [redacted]' --data-raw '{"name":"it'"'"'s $HOME"}'"""
    ) or sorted(shlex.split(said)) == sorted(
        shlex.split(
            "curl -X PATCH https://api.github.com/user -H 'Content-Type: application/json' "
            """-H 'X-Stamp: it'"'"'s' -H 'Authorization: [redacted]' --data-raw '{"name":"it'"'"'s $HOME"}'"""
        )
    )
    assert "Basic bWU6c2VjcmV0" in rehearse(Github().rename, "x").curl(secrets=True)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("GET", {}, "curl https://h.example/v1/x"),
        ("HEAD", {}, "curl --head https://h.example/v1/x"),
        ("DELETE", {}, "curl -X DELETE https://h.example/v1/x"),
        ("POST", {}, "curl -X POST https://h.example/v1/x"),
        ("POST", {"content": b"a b"}, "curl https://h.example/v1/x -H Content-Type: --data-raw 'a b'"),
        ("PUT", {"content": b"\xff"}, "curl -X PUT https://h.example/v1/x -H Content-Type: --data-binary @-"),
        ("PUT", {"content": b"a\0"}, "curl -X PUT https://h.example/v1/x -H Content-Type: --data-binary @-"),
        ("GET", {"headers": {"X-None": ""}}, "curl https://h.example/v1/x -H 'X-None;'"),
        ("GET", {"params": {"a": "1", "b": "2"}}, "curl 'https://h.example/v1/x?a=1&b=2'"),
    ],
)
def test_curl_says_what_is_special(method: str, options: dict[str, Any], expected: str) -> None:
    said = rehearse(build(base_uri=BASE).send, method, "/x", **options).curl()
    assert [word for word in said.split(" ") if "Content-Length" not in word] == expected.split(" ")


def test_curl_takes_no_address_for_a_pattern() -> None:
    assert rehearse(build(base_uri="http://[::1]:8000").get, "/x").curl() == "curl --globoff 'http://[::1]:8000/x'"


def test_curl_redacts_what_a_middleware_has_declared_in_headers_and_in_the_query() -> None:
    def key(ctx: Any, call: Any) -> Any:
        ctx[SENSITIVE].update({"X-Key", "token"})
        req(ctx).headers["X-Key"] = "s3cret"
        req(ctx).params["token"] = "s3cret"
        return call(ctx)

    said = rehearse(build(base_uri=BASE, middleware=[key]).get, "/x")
    assert "s3cret" not in said.curl()
    assert said.curl().count("[redacted]") == 2
    assert said.curl(secrets=True).count("s3cret") == 2


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell is asked")
def test_a_shell_reads_the_words_as_they_were_meant() -> None:
    name = 'it\'s "$HOME" `id` \\ \n é;&|'
    said = rehearse(Github().rename, name).curl(secrets=True)
    words = subprocess.run(
        ["sh", "-c", f"curl() {{ printf '%s\\0' \"$@\"; }}; {said}"], capture_output=True, check=True, text=True
    ).stdout.split("\0")
    import json

    assert json.loads(words[words.index("--data-raw") + 1]) == {"name": name}


# --- simulate ---


class Slow(Client):
    base_uri = BASE
    middleware = (retry(6, base=600, cap=7200),)

    def stars(self) -> Any:
        return self.request.get("/stars")


class AsyncSlow(AsyncClient):
    base_uri = BASE
    middleware = (retry(6, base=600, cap=7200),)

    def stars(self) -> Any:
        return self.request.get("/stars")


ANSWERS = [503, 503, 503, 503, {"stars": 1}]


def run_sync() -> tuple[Any, ...]:
    with capture_logs(), simulate(Slow(), ANSWERS) as run:
        result = run.client.stars()
    return result.status_code, run.slept, run.elapsed, len(run.calls), [request.path for request in run.requests]


def run_async() -> tuple[Any, ...]:
    async def main() -> tuple[Any, ...]:
        with capture_logs(), simulate(AsyncSlow(), ANSWERS) as run:
            result = await run.client.stars()
        return result.status_code, run.slept, run.elapsed, len(run.calls), [request.path for request in run.requests]

    return asyncio.run(main())


def test_hours_of_back_off_take_no_time_and_are_the_same_each_time_sync_and_async() -> None:
    started = time.monotonic()
    outcome = run_sync()
    assert outcome == run_sync() == run_async()
    assert time.monotonic() - started < 30
    status, slept, elapsed, calls, paths = outcome
    assert (status, calls, len(slept), paths) == (200, 5, 4, ["/v1/stars"] * 5)
    assert elapsed == sum(slept) > 600


def test_another_seed_is_another_run() -> None:
    def slept(seed: int) -> list[float]:
        with capture_logs(), simulate(Slow(), ANSWERS, seed=seed) as run:
            run.client.stars()
        return run.slept

    assert slept(1) == slept(1) != slept(2)


def test_retry_after_is_slept_to_the_second_and_a_date_counts_from_the_clock_of_the_run() -> None:
    from email.utils import formatdate

    with capture_logs(), simulate(Slow(middleware=[retry(3, base=0, max_retry_after=None)])) as outer:
        date = formatdate(clock.time() + 100, usegmt=True)
        answers = script([Response(503, {"Retry-After": "40"}), Response(503, {"Retry-After": date}), 200])
        assert outer.client.extend(endpoint=answers).stars().status_code == 200
    first, second = outer.slept
    assert 40 <= first <= 41
    assert 40 <= second <= 61


def test_a_circuit_breaker_closes_again_when_its_time_has_come() -> None:
    from formation.errors import CircuitOpenError

    breaker = circuit_breaker(fail_max=1, reset_timeout=3600)
    with capture_logs(), simulate(Slow(middleware=[breaker]), [503, 200, 200]) as run:
        run.client.stars()
        with pytest.raises(CircuitOpenError):
            run.client.stars()
        run.advance(3600)
        assert run.client.stars().status_code == 200
    assert run.elapsed == 3600
    assert run.slept == []


def test_a_deadline_passes_by_the_clock_of_the_run() -> None:
    def in_a_minute(ctx: Any, call: Any) -> Any:
        ctx[DEADLINE] = clock.monotonic() + 60
        sleep(61)
        return call(ctx)

    with simulate(Slow(middleware=[in_a_minute]), [200]) as run, pytest.raises(DeadlineExceeded):
        run.client.stars()


def test_a_simulation_without_a_script_goes_to_the_clients_own_endpoint() -> None:
    stub = Stub({"GET /stars": script([503, 200])})
    with capture_logs(), simulate(Slow(endpoint=stub)) as run:
        assert run.client.stars().status_code == 200
    assert (run.script, run.calls, run.requests, len(stub.calls)) == (None, [], [], 2)


def test_a_sender_can_be_simulated_and_what_is_no_client_cannot() -> None:
    with simulate(build(base_uri=BASE), [204]) as run:
        assert run.client.get("/").status_code == 204
    with pytest.raises(TypeError, match="expected a client"), simulate(print):
        pass


def test_the_simulation_ends_with_its_block_and_is_not_seen_by_other_threads() -> None:
    seen: list[Any] = []
    with suppress(LookupError), simulate(Slow(), []) as run:
        sleep(3600)
        thread = threading.Thread(target=lambda: seen.append(clock.virtual.get()))
        thread.start()
        thread.join()
        raise LookupError
    assert run.elapsed == 3600
    assert seen == [None]
    assert clock.virtual.get() is None
    assert abs(clock.monotonic() - time.monotonic()) < 30


def test_a_simulated_sleep_lets_other_tasks_have_their_turn() -> None:
    events: list[str] = []

    def doze(ctx: Any, call: Any) -> Any:
        sleep(3600)
        events.append("slept")
        return call(ctx)

    async def main() -> None:
        with simulate(AsyncSlow(middleware=[doze]), [200]) as run:
            other = asyncio.create_task(asyncio.sleep(0))
            other.add_done_callback(lambda _: events.append("other"))
            await asyncio.sleep(0)
            await run.client.stars()
            assert run.slept == [3600]

    asyncio.run(main())
    assert sorted(events) == ["other", "slept"]


def test_the_clock_is_the_machines_where_there_is_no_simulation() -> None:
    assert abs(clock.time() - time.time()) < 30
    draws = {clock.uniform(1, 2) for _ in range(10)}
    assert len(draws) > 1
    assert all(1 <= draw <= 2 for draw in draws)
