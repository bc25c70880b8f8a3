"""Rehearsals: what a method would send, and as a curl command."""

import asyncio
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from formation import req
from formation.for_aiohttp import Client as AsyncClient
from formation.for_requests import Client, build
from formation.keys import SENSITIVE
from formation.middleware import circuit_breaker, retry
from formation.testing import Rehearsal, Stub, rehearse
from tests.testing.cases import BASE


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


def test_a_body_that_is_awaited_below_middleware_that_is_awaited_can_be_rehearsed() -> None:
    async def hop(ctx: Any, call: Any) -> Any:
        return await call(ctx)

    class Store(AsyncClient):
        base_uri = BASE
        per_hop = (hop,)

        def put(self, content: Any) -> Any:
            return self.request.put("/file", content=content)

    async def content() -> AsyncIterator[bytes]:
        yield b"ab"
        yield b"cd"

    async def main() -> Rehearsal:
        rehearsal: Rehearsal = await rehearse(Store().put, content())
        return rehearsal

    assert asyncio.run(main()).content == b"abcd"


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
