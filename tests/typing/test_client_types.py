"""What a type checker says of a client. Nothing here runs: mypy reads it, and each ignored error has to be one."""

from collections.abc import Awaitable
from dataclasses import dataclass
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, assert_type

import requests
from attrs import define

from formation import Call, Ctx
from formation.client.async_sender import AsyncSender, AsyncStreamed
from formation.client.responses import Result
from formation.client.sender import Sender, Streamed
from formation.exchange import reply, req, res
from formation.for_requests import Adapter, Client, Endpoint, build, client, endpoint, json_response, text_response
from formation.http import Headers, Request, Response

if TYPE_CHECKING:
    from collections.abc import Callable


@define
class User:
    id: int


@dataclass
class Repo:
    name: str


def count(ctx: Ctx) -> int:
    return len(res(ctx).content)


def log(ctx: Ctx, call: Call[Ctx]) -> Ctx:
    assert_type(req(ctx), Request)
    ctx = call(ctx)
    assert_type(res(ctx), Response)
    return ctx


def guard(ctx: Ctx, call: Call[Ctx]) -> Ctx:
    return reply(ctx, 401, {"WWW-Authenticate": "Bearer"}, b"who?")


async def later(ctx: Ctx, call: Call[Ctx]) -> Ctx:
    return call(ctx)


# A class


class Github(Client):
    base_uri = "https://api.github.com"
    middleware = (log, guard)
    response_as = json_response
    timeout = (5, 30)
    max_body = None

    def __init__(self, token: str) -> None:
        self.token = token

    def user(self, name: str) -> Result[User]:
        return self.request.get("/users/{name}", path={"name": name}, response_as=User)

    def repos(self, name: str) -> list[Repo]:
        return self.request.get("/users/:name/repos", path={"name": name}, response_as=list[Repo]).body


@client
class Decorated:
    base_uri = "https://api.github.com"


@client(base_uri="https://api.github.com", timeout=None)
class WithSettings:
    pass


@define
class Fields(Client):
    owner: str
    base_uri: str | None = "https://api.github.com"


def a_client_is_what_it_says() -> None:
    with Github("t") as github:
        assert_type(github, Github)
        assert_type(github.request, Sender)
        assert_type(github.token, str)
        assert_type(github.user("ann"), Result[User])
        assert_type(github.extend(timeout=3), Github)
    assert_type(Client(base_uri="https://api.github.com", timeout=3), Client)
    Client("https://api.github.com")  # type: ignore[call-arg]
    Fields("ann").request.get("/")
    Fields()  # type: ignore[call-arg]
    Github("t").close()
    Client.timeout = "3"  # type: ignore[assignment]


# Calls


def a_result_is_of_what_response_as_makes(sender: Sender) -> None:
    result = sender.get("/user", response_as=User)
    assert_type(result, Result[User])
    assert_type(result.body, User)
    assert_type(result.body.id, int)
    result.body.nope  # type: ignore[attr-defined]  # noqa: B018
    assert_type(result.status_code, int)
    assert_type(result.headers, Headers)
    assert_type(result.request, Request)
    assert_type(result.response, Response)
    assert_type(result.url, str)
    assert_type(result.elapsed, float | None)

    body, status_code, headers = result
    assert_type(body, User)
    assert_type(status_code, int)
    assert_type(headers, Headers)

    assert_type(sender.get("/users", response_as=list[User]).body, list[User])
    assert_type(sender.get("/repo", response_as=Repo).body, Repo)
    assert_type(sender.get("/n", response_as=int).body, int)
    assert_type(sender.get("/d", response_as=dict[str, User]).body, dict[str, User])
    assert_type(sender.get("/", response_as=count).body, int)
    assert_type(sender.get("/", response_as=lambda ctx: res(ctx).headers).body, Headers)
    assert_type(sender.get("/", response_as=json_response).body, Any)
    assert_type(sender.get("/", response_as=text_response).body, Any)
    sender.get("/", response_as=User | None)
    assert_type(sender.get("/").body, Any)
    sender.get("/", response_as="json")  # type: ignore[call-overload]


def every_method_is_alike(sender: Sender) -> None:
    for call in (sender.get, sender.head, sender.options, sender.post, sender.put, sender.patch, sender.delete):
        assert_type(call("/", response_as=User).body, User)


def a_stream_is_a_context_manager(sender: Sender) -> None:
    streamed = sender.get("/big", stream=True)
    assert_type(streamed, Streamed)
    with streamed as result:
        assert_type(result.response, Response)
        for chunk in result.response.body:
            assert_type(chunk, bytes)
    streamed.body  # type: ignore[attr-defined]  # noqa: B018


async def an_async_client_is_awaited(sender: AsyncSender) -> None:
    result = await sender.get("/user", response_as=User)
    assert_type(result, Result[User])
    assert_type(result.body, User)
    assert_type(sender.get("/user", response_as=User), Awaitable[Result[User]])
    assert_type(sender.get("/"), Awaitable[Result[Any]])
    sender.get("/", response_as=User | None)
    sender.get("/").body  # type: ignore[attr-defined]  # noqa: B018
    for call in (sender.get, sender.head, sender.options, sender.post, sender.put, sender.patch, sender.delete):
        assert_type((await call("/", response_as=User)).body, User)
    streamed = sender.get("/big", stream=True)
    assert_type(streamed, AsyncStreamed)
    async with streamed as result_of_stream:
        async for chunk in result_of_stream.response.body:
            assert_type(chunk, bytes)
    with streamed:  # type: ignore[attr-defined]
        pass
    sender.get("/", prams={})  # type: ignore[call-overload]
    async for page in sender.pages(lambda: sender.get("/", response_as=User)):
        assert_type(page, Any)


def arguments_are_known(sender: Sender) -> None:
    sender.get()
    sender.post(
        "/x",
        params={"a": 1},
        path={"b": 2},
        headers={"A": "1", "B": None},
        cookies={"c": "3"},
        auth=("me", "pw"),
        json=[User(1)],
        timeout=(5, None),
        session_context={"uid": 1},
        middleware=[log],
        without=["retry"],
        expect=(200, 404),
        absolute=True,
    )
    sender.get("/", timeout=None, expect=200)
    sender.get("/", prams={})  # type: ignore[call-overload]
    sender.get("/", timeout="3")  # type: ignore[call-overload]
    sender.get("/", headers={"A": 1})  # type: ignore[arg-type]
    sender.get("/", headers=[("A", "1"), ("A", "2")])
    sender.get("/", headers=Headers({"A": "1"}))
    sender.get(3)  # type: ignore[call-overload]
    sender.get("/", {"a": 1})  # type: ignore[call-overload]
    sender.send("GET", "/", {"a": 1})  # type: ignore[arg-type]
    sender.get("/", expect="200")  # type: ignore[arg-type]


# The edge


def the_edge_of_requests(session: requests.Session) -> None:
    assert_type(build(base_uri="https://h", cookies=CookieJar()), Sender)
    assert_type(endpoint(verify="ca.pem", cert=("a", "b"), proxies={"http": "http://p"}), Endpoint)
    assert_type(endpoint(session), Endpoint)
    assert_type(endpoint()({}), Ctx)
    endpoint(verify=3)  # type: ignore[arg-type]
    session.mount("https://", Adapter([log, guard], pool_maxsize=3))
    session.mount("https://", Adapter(middleware=(log,)))
    Adapter([count])  # type: ignore[list-item]
    Adapter([later])  # type: ignore[list-item]
    send: Callable[[Ctx], Ctx] = endpoint()
    send({})
