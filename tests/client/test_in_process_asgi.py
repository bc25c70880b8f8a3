"""ASGI apps called in process: messages both ways, streams, ends of all kinds, lifespan, and real frameworks."""

import asyncio
import gc
import gzip
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse, RedirectResponse, StreamingResponse
from starlette.routing import Route

from formation import wrap
from formation.clock import Virtual, virtual
from formation.errors import BodyTooLarge, ConnectError, DeadlineExceeded, ProtocolError, ReadTimeout
from formation.for_aiohttp import Client, build, json_response
from formation.for_asgi import Endpoint, endpoint
from formation.http import Request, Response
from formation.keys import DEADLINE, NATIVE, REQ_HTTP, RES_HTTP

Messages = list[dict[str, Any]]
START = {"type": "http.response.start", "status": 200, "headers": []}
END = {"type": "http.response.body"}


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def start(status: int = 200, **headers: str) -> dict[str, Any]:
    fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": fields}


def sending(*messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        for message in messages:
            await send(message)

    return app


async def send(app: Any, method: str = "GET", url: str = "http://app/", **options: Any) -> Response:
    names = ("raise_app_exceptions", "root_path", "lifespan", "client")
    how = {name: options.pop(name) for name in names if name in options}
    made = app if isinstance(app, Endpoint) else endpoint(app, **how)
    ctx = {REQ_HTTP: Request(method, url, **options)}
    try:
        ctx = await wrap(made)(ctx)
    finally:
        if made is not app and not options.get("extensions"):
            await made.close()
    response: Response = ctx[RES_HTTP]
    return response


async def stream(app: Any, method: str = "GET", **options: Any) -> Response:
    return await send(app, method, extensions={"stream": True}, **options)


def call(app: Any, method: str = "GET", url: str = "http://app/", **options: Any) -> Response:
    return asyncio.run(send(app, method, url, **options))


def seen(method: str = "GET", url: str = "http://app/", **options: Any) -> tuple[dict[str, Any], Messages]:
    """The scope and the messages that an app gets until the body is all there."""
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())
        found.append((scope, messages))
        await send(START)
        await send(END)

    call(app, method, url, lifespan="off", **options)
    return found[0]  # type: ignore[no-any-return]


# --- the scope ---


def test_the_url_becomes_the_scope() -> None:
    scope, _ = seen("GET", "http://user:pw@host.example:8080/a%2Fb/%C3%BC?q=1&r=%20#top")
    assert (scope["type"], scope["method"], scope["scheme"], scope["http_version"]) == ("http", "GET", "http", "1.1")
    assert scope["path"] == "/a/b/ü"
    assert scope["raw_path"] == b"/a%2Fb/%C3%BC"
    assert scope["query_string"] == b"q=1&r=%20"
    assert scope["server"] == ("host.example", 8080)
    assert scope["client"] == ("127.0.0.1", 0)
    assert dict(scope["headers"])[b"host"] == b"host.example:8080"
    assert scope["asgi"]["version"] == "3.0"
    assert scope["state"] == {}


def test_headers_are_lower_case_bytes_in_order_with_their_duplicates() -> None:
    scope, messages = seen("POST", headers=[("X-One", "1"), ("x-one", "é")], content=b"hello")
    names = [name for name, _ in scope["headers"]]
    assert [value for name, value in scope["headers"] if name == b"x-one"] == [b"1", b"\xe9"]
    assert names[0] == b"host"
    assert dict(scope["headers"])[b"content-length"] == b"5"
    assert messages == [{"type": "http.request", "body": b"hello", "more_body": False}]


def test_who_calls_can_be_said() -> None:
    scope, _ = seen(client=None)
    assert scope["client"] is None


def test_an_app_that_is_mounted_sees_the_whole_path_and_where() -> None:
    scope, _ = seen(url="http://h/api/users", root_path="/api")
    assert (scope["root_path"], scope["path"]) == ("/api", "/api/users")
    with pytest.raises(ValueError, match=r"not below root_path '/api'"):
        seen(url="http://h/apis", root_path="/api")


def test_what_cannot_be_is_refused_when_it_is_given() -> None:
    with pytest.raises(TypeError, match="expected an ASGI app"):
        endpoint(42)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected root_path"):
        endpoint(sending(), root_path="api/")
    with pytest.raises(ValueError, match="expected lifespan"):
        endpoint(sending(), lifespan="yes")  # type: ignore[arg-type]


def test_middleware_finds_the_scope_as_the_native_object() -> None:
    ctx = asyncio.run(endpoint(sending(START, END))({REQ_HTTP: Request("GET", "http://h/")}))
    assert ctx[NATIVE]["scope"]["type"] == "http"


# --- the request's body ---


def test_a_sync_stream_arrives_chunk_by_chunk() -> None:
    scope, messages = seen("POST", content=iter([b"a", b"", b"b"]))
    assert [message["body"] for message in messages] == [b"a", b"b", b""]
    assert [message["more_body"] for message in messages] == [True, True, False]
    assert dict(scope["headers"])[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in dict(scope["headers"])


def test_an_async_stream_arrives_chunk_by_chunk() -> None:
    async def upload() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0)
            yield b"%d" % number

    _, messages = seen("POST", content=upload())
    assert [message["body"] for message in messages] == [b"0", b"1", b"2", b""]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    more = True
    while more:
        message = await receive()
        more = message.get("more_body", False)
        await send(part(message["body"], more=more))


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_both_directions_stream_in_lock_step(kind: str) -> None:
    events: list[str] = []

    def upload() -> Iterator[bytes]:
        for name in "abc":
            events.append(f"made {name}")
            yield name.encode()

    async def aupload() -> AsyncIterator[bytes]:
        for chunk in upload():
            yield chunk

    async def main() -> None:
        made = endpoint(echo, lifespan="off")
        response = await stream(made, "POST", content=aupload() if kind == "async" else upload())
        async for chunk in response.body:
            events.append(f"got {chunk.decode()}")
            await asyncio.sleep(0.001)
        await made.close()

    asyncio.run(main())
    assert events.index("made c") > events.index("got a")
    assert sorted(events) == ["got a", "got b", "got c", "made a", "made b", "made c"]


def test_an_app_that_stops_waiting_for_a_part_does_not_break_the_stream() -> None:
    gate = asyncio.Event()

    async def upload() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"late"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.001)
        gate.set()
        message = await receive()
        await send(START)
        await send(part(message["body"], more=False))

    assert call(app, "POST", content=upload(), lifespan="off").content == b"late"


def test_two_tasks_of_the_app_may_receive_at_once() -> None:
    async def upload() -> AsyncIterator[bytes]:
        for number in range(4):
            await asyncio.sleep(0)
            yield b"%d" % number

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got: list[bytes] = []

        async def read() -> None:
            while (message := await receive())["type"] == "http.request":
                got.append(message["body"])
                if not message["more_body"]:
                    other.cancel()

        other = asyncio.create_task(read())
        task = asyncio.create_task(read())
        await asyncio.wait({other, task}, return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        await send(START)
        await send(part(b"".join(sorted(got)), more=False))

    assert call(app, "POST", content=upload(), lifespan="off").content == b"0123"


def test_context_variables_of_an_async_upload_live_from_one_part_to_the_next() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")

    async def upload() -> AsyncIterator[bytes]:
        token = variable.set("inside")
        yield b"1"
        yield variable.get().encode()
        variable.reset(token)

    _, messages = seen("POST", content=upload())
    assert [message["body"] for message in messages] == [b"1", b"inside", b""]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_error_of_the_upload_is_raised_in_the_caller_and_the_app_sees_a_client_that_is_gone(kind: str) -> None:
    def upload() -> Iterator[bytes]:
        yield b"a"
        raise LookupError("no more")

    async def aupload() -> AsyncIterator[bytes]:
        for chunk in upload():
            yield chunk

    got: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        got.extend([(await receive())["type"] for _ in range(3)])
        await send(START)

    with pytest.raises(LookupError, match="no more"):
        call(app, "POST", content=aupload() if kind == "async" else upload(), lifespan="off")
    assert got == ["http.request", "http.disconnect", "http.disconnect"]


def test_what_the_app_does_not_read_is_closed() -> None:
    closed: list[bool] = []

    async def upload() -> AsyncIterator[bytes]:
        try:
            yield b"a"
            yield b"b"
        finally:
            closed.append(True)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send(END)

    call(app, "POST", content=upload(), lifespan="off")
    assert closed == [True]


# --- the response ---


def test_the_head_arrives_as_it_was_given() -> None:
    message = {**START, "status": 418, "headers": [(b"set-cookie", b"a=1"), [b"x", b"\xe9"], (b"set-cookie", b"b=2")]}
    response = call(sending(message, part(b"x", more=False)))
    assert (response.status_code, response.content, response.url) == (418, b"x", "http://app/")
    assert response.headers.getlist("Set-Cookie") == ["a=1", "b=2"]
    assert response.headers["X"] == "é"
    assert response.elapsed is not None


def test_headers_may_be_left_out() -> None:
    assert call(sending({"type": "http.response.start", "status": 200}, END)).content == b""


def test_the_response_is_there_with_its_start_and_the_body_with_its_parts() -> None:
    async def main() -> None:
        events: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            for name in "abc":
                events.append(f"sends {name}")
                await send(part(name.encode()))
            await send(END)

        made = endpoint(app, lifespan="off")
        response = await stream(made)
        assert events in ([], ["sends a"])
        chunks = aiter(response.body)
        assert await anext(chunks) == b"a"
        for _ in range(5):
            await asyncio.sleep(0)
        assert events == ["sends a", "sends b"]  # and waits there until it is taken
        assert [chunk async for chunk in chunks] == [b"b", b"c"]
        await made.close()

    asyncio.run(main())


def test_a_whole_response_waits_for_what_the_app_does_in_the_background() -> None:
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"x", more=False))
        assert (await receive())["type"] == "http.request"
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0.001)
        done.append("mail")

    async def main() -> None:
        made = endpoint(app, lifespan="off")
        assert (await send(made)).content == b"x"
        assert done == ["mail"]

    asyncio.run(main())


def test_a_stream_that_is_closed_after_its_last_part_leaves_the_background_to_the_app(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(b"x", more=False))
        await asyncio.sleep(0.001)
        done.append("mail")
        raise LookupError("mine")

    async def main() -> None:
        made = endpoint(app, lifespan="off")
        response = await stream(made)
        await asyncio.sleep(0)
        await response.body.aclose()
        assert done == []
        await made.close()
        assert done == ["mail"]

    with caplog.at_level(logging.ERROR, "formation"):
        asyncio.run(main())
    assert "after its response" in caplog.text


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
@pytest.mark.parametrize("how", [send, stream])
def test_what_has_no_body_keeps_its_headers(how: Any, method: str, status: int) -> None:
    app = sending(start(status, content_length="6"), part(b"abc"), part(b"def"), END)
    response = asyncio.run(how(app, method, lifespan="off"))
    assert (response.content, response.headers["Content-Length"]) == (b"", "6")


@pytest.mark.parametrize("length", ["2", "4"])
def test_a_content_length_that_is_not_met_is_an_error(length: str) -> None:
    with pytest.raises(ProtocolError, match=rf"announced {length} bytes"):
        call(sending(start(content_length=length), part(b"ab"), part(b"c", more=False)))


def test_a_body_over_the_limit_is_given_up() -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(100):
            sent.append(number)
            await send(part(b"x" * 10))

    with pytest.raises(BodyTooLarge):
        call(app, lifespan="off", extensions={"max_body": 25})
    assert len(sent) < 6
    with pytest.raises(BodyTooLarge):
        call(sending(start(content_length="100")), lifespan="off", extensions={"max_body": 25})


def test_a_content_encoding_of_the_standard_library_is_undone() -> None:
    packed = gzip.compress(b"hello " * 100)
    app = sending(
        start(content_encoding="gzip", content_length=str(len(packed))), part(packed[:9]), part(packed[9:], more=False)
    )
    assert call(app).content == b"hello " * 100


def test_trailers_and_debug_information_arrive() -> None:
    response = call(
        sending(
            {"type": "http.response.debug", "info": {"template": "t"}},
            {**START, "trailers": True},
            part(b"x", more=False),
            {"type": "http.response.trailers", "headers": [(b"x-sum", b"1")], "more_trailers": True},
            {"type": "http.response.trailers", "headers": [(b"x-end", b"2")]},
        )
    )
    assert response.extensions["debug"] == {"template": "t"}
    assert dict(response.trailers.items() if response.trailers else ()) == {"x-sum": "1", "x-end": "2"}


@pytest.mark.parametrize(
    ("messages", "match"),
    [
        ([END], "before http.response.start"),
        ([START, START], "after http.response.start"),
        ([START, END, END], "after the end of the response"),
        ([START, {"type": "http.response.push"}], "'http.response.push'"),
        ([START, {"type": "http.response.trailers"}], "'http.response.trailers'"),
    ],
)
def test_messages_that_cannot_come_are_an_error_of_the_app(messages: Messages, match: str) -> None:
    with pytest.raises(RuntimeError, match=match):
        call(sending(*messages))


def test_text_in_place_of_bytes_is_an_error_of_the_app() -> None:
    with pytest.raises(TypeError, match="expected bytes from the app"):
        call(sending(START, part("text")))  # type: ignore[arg-type]


def test_context_variables_of_the_caller_reach_the_app() -> None:
    variable: ContextVar[str] = ContextVar("variable")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(part(variable.get().encode(), more=False))

    async def main() -> bytes:
        variable.set("outside")
        return (await send(app, lifespan="off")).content

    assert asyncio.run(main()) == b"outside"


# --- errors ---


def failing(error: Exception, *messages: dict[str, Any]) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)
        raise error

    return app


@pytest.mark.parametrize(
    "messages", [[], [START], [START, part(b"x")], [START, END]], ids=["at once", "head", "body", "end"]
)
def test_an_error_of_the_app_comes_out_as_it_is(messages: Messages) -> None:
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        call(failing(error, *messages), lifespan="off")
    assert caught.value is error


def test_an_error_can_be_a_500(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "formation"):
        response = call(failing(LookupError("mine")), lifespan="off", raise_app_exceptions=False)
    assert (response.status_code, response.content) == (500, b"Internal Server Error")
    assert "mine" in caplog.text


def test_an_error_in_the_middle_can_be_a_response_that_breaks_off(caplog: pytest.LogCaptureFixture) -> None:
    app = failing(LookupError("mine"), START, part(b"x"))
    with caplog.at_level(logging.ERROR, "formation"), pytest.raises(ProtocolError, match="in the middle"):
        call(app, lifespan="off", raise_app_exceptions=False)
    assert "mine" in caplog.text


def test_an_error_after_the_end_can_be_none_of_the_callers_business(caplog: pytest.LogCaptureFixture) -> None:
    app = failing(LookupError("mine"), START, part(b"x", more=False))
    with caplog.at_level(logging.ERROR, "formation"):
        assert call(app, lifespan="off", raise_app_exceptions=False).content == b"x"
    assert "mine" in caplog.text


def test_an_app_that_says_nothing_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="without a response"):
        call(sending(), lifespan="off")
    assert call(sending(), lifespan="off", raise_app_exceptions=False).status_code == 500


def test_an_app_that_does_not_end_its_response_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="in the middle"):
        call(sending(START, part(b"x")), lifespan="off")


def test_an_app_that_cancels_itself_is_an_error() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise asyncio.CancelledError

    with pytest.raises(ProtocolError, match="cancelled"):
        call(app, lifespan="off")


# --- ends ---


async def quiet(events: list[str], wait: Callable[[Any], Awaitable[Any]], receive: Any, send: Any) -> None:
    await send(START)
    try:
        await send(part(b"x"))
        events.append(str(await wait(receive)))
    except BaseException as error:
        events.append(type(error).__name__)
        raise
    finally:
        await asyncio.sleep(0)
        events.append("cleaned up")


async def disconnected(receive: Any) -> str:
    await receive()
    return str((await receive())["type"])


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (lambda receive: asyncio.sleep(60), ["CancelledError", "cleaned up"]),
        (disconnected, ["http.disconnect", "cleaned up"]),
    ],
    ids=["busy", "listening"],
)
def test_a_stream_that_is_closed_early_tells_the_app_or_cancels_it(wait: Any, expected: list[str]) -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await quiet(events, wait, receive, send)

        made = endpoint(app, lifespan="off")
        response = await stream(made)
        chunks = aiter(response.body)
        assert await anext(chunks) == b"x"
        await asyncio.sleep(0)
        await response.body.aclose()
        assert len(asyncio.all_tasks()) == 1
        return events

    assert asyncio.run(main()) == expected


def test_an_app_that_sends_to_nobody_gets_an_oserror() -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send(START)
            try:
                while True:
                    await send(part(b"x" * 1000))
            except OSError as error:
                events.append(str(error))
                raise

        response = await stream(app, lifespan="off")
        await response.body.aclose()
        return events

    assert asyncio.run(main()) == ["the client is gone"]


def test_a_close_from_a_plain_function_ends_the_app_soon() -> None:
    async def main() -> None:
        made = endpoint(echo, lifespan="off")
        response = await stream(made, "POST", content=iter([b"x"] * 10))
        response.close()
        await made.close()
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.parametrize("sent", [[], [START], [START, part(b"x")]], ids=["at once", "head", "body"])
def test_a_caller_that_is_cancelled_takes_the_app_along(sent: Messages) -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            try:
                for message in sent:
                    await send(message)
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0)
                events.append("cleaned up")

        task = asyncio.create_task(send(app, lifespan="off"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        return events

    assert asyncio.run(main()) == ["cleaned up"]


def test_closing_the_endpoint_ends_a_stream_that_nobody_closed() -> None:
    async def main() -> None:
        made = endpoint(sending(START, part(b"x"), part(b"y"), END), lifespan="off")
        response = await stream(made)
        await made.close()
        with pytest.raises(OSError, match="gone"):
            await response.body.aread()

    asyncio.run(main())


def test_many_calls_cancelled_at_random_moments_leave_nothing_behind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(0.001)
        await send(START)
        for _ in range(3):
            await asyncio.sleep(0.001)
            await send(part(b"x" * 10))
        await send(END)

    async def main() -> None:
        made = endpoint(app, lifespan="off")
        tasks = [asyncio.create_task(send(made)) for _ in range(300)]
        for at, task in enumerate(tasks):
            if at % 5 == 0:
                asyncio.get_running_loop().call_later(at % 7 / 1000, task.cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = {type(result) for result in results}
        assert kinds <= {Response, asyncio.CancelledError}
        assert all(result.content == b"x" * 30 for result in results if isinstance(result, Response))
        assert not next(iter(made._servers.values())).exchanges
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


def test_an_upload_that_the_app_stops_waiting_for_is_ended() -> None:
    closed: list[str] = []

    async def upload() -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(60)
            yield b"never"
        finally:
            closed.append("closed")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.001)
        await send(START)
        await send(END)

    assert call(app, "POST", content=upload(), lifespan="off").status_code == 200
    assert closed == ["closed"]


def test_a_caller_that_is_cancelled_while_it_uploads_ends_the_upload() -> None:
    async def main() -> list[str]:
        events: list[str] = []

        async def upload() -> AsyncIterator[bytes]:
            try:
                await asyncio.sleep(60)
                yield b"never"
            finally:
                events.append("upload closed")

        async def app(scope: Any, receive: Any, send: Any) -> None:
            events.append((await receive())["type"])

        task = asyncio.create_task(send(app, "POST", content=upload(), lifespan="off"))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        return events

    assert asyncio.run(main()) == ["upload closed", "http.disconnect"]


def test_an_app_without_a_body_to_send_may_work_on_after_its_head() -> None:
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.sleep(0.001)
        await send(part(b"not sent"))
        await send(END)
        done.append("mail")

    assert call(app, "HEAD", lifespan="off").content == b""
    assert done == ["mail"]


def test_two_tasks_of_the_app_may_send_at_once() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await asyncio.gather(*[send(part(b"%d" % number)) for number in range(5)])
        await send(END)

    assert sorted(call(app, lifespan="off").content.decode()) == list("01234")


# --- time ---


async def silent(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await asyncio.sleep(60)


def test_there_is_no_timeout_unless_the_request_has_one_which_bounds_each_wait() -> None:
    with pytest.raises(ReadTimeout, match=r"0\.01 s"):
        call(silent, lifespan="off", timeout=0.01)
    with pytest.raises(ReadTimeout):
        call(silent, lifespan="off", timeout=(None, 0.01))
    assert call(sending(START, END), lifespan="off", timeout=None).status_code == 200


def test_the_deadline_bounds_the_call() -> None:
    for deadline in (monotonic() + 0.01, 0.0):
        ctx = {REQ_HTTP: Request("GET", "http://h/"), DEADLINE: deadline}
        with pytest.raises(DeadlineExceeded):
            asyncio.run(endpoint(silent, lifespan="off")(ctx))


def test_the_deadline_goes_by_the_clock_of_a_simulation() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def main(clock: Virtual) -> None:
        token = virtual.set(clock)
        ctx = {REQ_HTTP: Request("GET", "http://h/"), DEADLINE: clock.monotonic() + 0.01}
        try:
            await endpoint(app, lifespan="off")(ctx)
        finally:
            virtual.reset(token)

    clock = Virtual(0)
    clock.advance(3600)
    with pytest.raises(DeadlineExceeded, match="has passed while the app was at work"):
        asyncio.run(main(clock))


# --- lifespan ---


class Living:
    """An app with a lifespan, that tells what it went through."""

    def __init__(self, startup: str = "complete", shutdown: str = "complete") -> None:
        self.said = {"startup": startup, "shutdown": shutdown}
        self.events: list[str] = []
        self.error: Exception | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope["state"]["calls"] = scope["state"].get("calls", 0) + 1
            scope["state"]["shared"].append(scope["path"])
            await send(START)
            await send(part(str(scope["state"]["calls"]).encode(), more=False))
            return
        scope["state"]["shared"] = self.events
        for name in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{name}"
            self.events.append(name)
            await asyncio.sleep(0)
            await send({"type": f"lifespan.{name}.{self.said[name]}", "message": "no database"})
            if self.said[name] == "failed":
                if self.error:
                    raise self.error
                return


def test_the_app_is_started_with_the_first_call_and_shut_down_at_the_close() -> None:
    app = Living()

    async def main() -> None:
        made = endpoint(app)
        assert app.events == []
        answers = await asyncio.gather(*[send(made, url=f"http://h/{n}") for n in range(3)])
        assert [answer.content for answer in answers] == [b"1"] * 3  # the state is copied for each call
        assert sorted(app.events) == ["/0", "/1", "/2", "startup"]
        assert app.events[0] == "startup"
        await made.close()
        assert app.events[-1] == "shutdown"
        await made.close()
        assert app.events.count("shutdown") == 1

    asyncio.run(main())


def test_an_endpoint_lives_again_after_its_close_and_in_another_event_loop() -> None:
    app = Living()
    made = endpoint(app)

    async def main(*, close: bool) -> None:
        await send(made)
        if close:
            await made.close()

    asyncio.run(main(close=True))
    asyncio.run(main(close=False))
    asyncio.run(main(close=True))
    assert app.events == ["startup", "/", "shutdown", "startup", "/", "startup", "/", "shutdown"]
    assert not made._servers


class Asked(asyncio.SelectorEventLoop):
    """One that does something, once, when it is asked whether it is closed."""

    then: Callable[[], Any] | None = None

    def is_closed(self) -> bool:
        then, self.then = self.then, None
        if then is not None:
            then()
        return super().is_closed()


def test_event_loops_of_two_threads_find_at_once_that_a_third_is_gone() -> None:
    made, done = endpoint(Living()), []

    def meanwhile() -> None:
        thread = threading.Thread(target=lambda: done.append(asyncio.run(send(made))))
        thread.start()
        thread.join()

    gone = Asked()
    gone.run_until_complete(send(made))
    gone.close()
    gone.then = meanwhile
    asyncio.run(send(made))
    assert len(done) == 1
    assert gone not in made._servers


def test_a_close_in_another_event_loop_forgets_the_one_that_is_gone() -> None:
    made = endpoint(Living())
    asyncio.run(send(made))
    assert made._servers
    asyncio.run(made.close())
    assert not made._servers


def test_an_app_that_stays_in_its_lifespan_after_the_shutdown_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("formation.client.in_process_exchange.GRACE", 0.001)
    events: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await send(END)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            events.append("cancelled")
            raise

    call(app)
    assert events == ["cancelled"]


def test_a_close_that_is_cancelled_leaves_no_task_of_the_app_behind() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await send(END)
        else:
            await receive()
            await send({"type": "lifespan.startup.complete"})
        await asyncio.Event().wait()  # in the background; and the lifespan ends no sooner

    async def main() -> None:
        made = endpoint(app)
        response = await stream(made)
        await response.aclose()
        closing = asyncio.create_task(made.close())
        await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 4  # this one, the close, the call, the lifespan
        closing.cancel()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()})
        assert closing.cancelled()

    asyncio.run(main())


def test_an_app_whose_lifespan_ends_early_is_shut_down_without_waiting() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await send(END)
            return
        await send({"type": "lifespan.startup.complete"})

    assert call(app).status_code == 200


def test_a_client_that_is_closed_shuts_its_app_down() -> None:
    app = Living()

    async def main() -> None:
        async with build(base_uri="http://h", endpoint=endpoint(app)) as client:
            await client.get("/")

    asyncio.run(main())
    assert app.events == ["startup", "/", "shutdown"]


def test_an_app_without_a_lifespan_is_called_all_the_same_unless_it_must_have_one() -> None:
    assert call(sending(START, END)).status_code == 200
    with pytest.raises(AssertionError):
        call(sending(START, END), lifespan="on")
    with pytest.raises(ConnectError, match="did not start"):
        call(sending(START, END), lifespan="on", raise_app_exceptions=False)

    async def ends(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            await send(START)
            await send(END)

    assert call(ends).status_code == 200
    with pytest.raises(RuntimeError, match="it ended too early"):
        call(ends, lifespan="on")


def test_an_app_that_takes_its_lifespan_for_a_request_has_none() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send(END)

    assert call(app).status_code == 200
    with pytest.raises(RuntimeError, match="in its lifespan"):
        call(app, lifespan="on")


def test_an_endpoint_that_nobody_closes_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise LookupError("mine")
        await send(START)
        await send(END)

    asyncio.run(endpoint(app)({REQ_HTTP: Request("GET", "http://h/")}))
    gc.collect()
    assert not caplog.records


def test_lifespan_off_asks_for_none() -> None:
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])
        await send(START)
        await send(END)

    call(app, lifespan="off")
    assert asked == ["http"]


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_a_startup_that_fails_is_raised_at_each_call(mode: str) -> None:
    app = Living(startup="failed")

    async def main() -> None:
        made = endpoint(app, lifespan=mode)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(RuntimeError, match="did not start: no database"):
                await send(made)
        app.error = LookupError("mine")
        with pytest.raises(LookupError, match="mine"):
            await send(made)
        with pytest.raises(ConnectError, match="no database"):
            await send(app, raise_app_exceptions=False)
        await made.close()

    asyncio.run(main())
    assert "shutdown" not in app.events


def test_a_shutdown_that_fails_is_raised_at_the_close() -> None:
    app = Living(shutdown="failed")
    with pytest.raises(RuntimeError, match="did not shut down: no database"):
        call(app)
    app.error = LookupError("mine")
    with pytest.raises(LookupError, match="mine"):
        call(app)


def test_a_caller_that_is_cancelled_during_startup_does_not_stop_it() -> None:
    started = asyncio.Event()

    class Slow(Living):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":
                await started.wait()
            await super().__call__(scope, receive, send)

    async def main() -> None:
        made = endpoint(Slow())
        first, second = (asyncio.create_task(send(made)) for _ in range(2))
        await asyncio.sleep(0.001)
        first.cancel()
        started.set()
        assert (await second).status_code == 200
        await made.close()

    asyncio.run(main())


def test_the_lifespan_has_no_context_of_the_first_caller() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    found: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(variable.get())
        if scope["type"] == "http":
            await send(START)
            await send(END)

    async def main() -> None:
        variable.set("of a call")
        await send(app)

    asyncio.run(main())
    assert found == ["unset", "of a call"]


# --- the real things ---


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"greeting": "hello"}


site = FastAPI(lifespan=lifespan)
mails: list[str] = []


@site.get("/users/{number}")
async def user(number: int, request: StarletteRequest) -> dict[str, Any]:
    if number == 404:
        raise HTTPException(404, "no such user")
    return {"id": number, "greeting": request.state.greeting}


@site.post("/raw")
async def raw(request: StarletteRequest) -> dict[str, int]:
    return {"size": sum([len(chunk) async for chunk in request.stream()])}


@site.post("/signup")
async def signup(background: BackgroundTasks) -> dict[str, str]:
    background.add_task(mails.append, "welcome")
    return {"ok": "yes"}


@site.get("/ticks")
async def ticks() -> StreamingResponse:
    async def tick() -> AsyncIterator[bytes]:
        for number in range(1000):
            await asyncio.sleep(0)
            yield b"%d\n" % number

    return StreamingResponse(tick(), media_type="text/plain")


@site.get("/old")
async def old() -> RedirectResponse:
    return RedirectResponse("/users/7")


@site.get("/fails")
async def fails() -> None:
    raise LookupError("mine")


class Site(Client):
    base_uri = "http://site.example"
    response_as = json_response
    endpoint = endpoint(site)

    def user(self, number: int) -> Any:
        return self.request.get("/users/{number}", path={"number": number})


def test_a_fastapi_app_is_tested_through_its_client_class() -> None:
    async def main() -> None:
        async with Site() as client:
            assert (await client.user(7)).body == {"id": 7, "greeting": "hello"}
            assert (await client.user(404)).body == {"detail": "no such user"}
            assert (await client.request.get("/users/x")).status_code == 422
            assert (await client.request.get("/old")).body["id"] == 7
            big = (b"x" * 1000 for _ in range(100))
            assert (await client.request.post("/raw", content=big)).body == {"size": 100_000}
            mails.clear()
            await client.request.post("/signup")
            assert mails == ["welcome"]

    asyncio.run(main())


def test_a_fastapi_app_streams_and_a_stream_may_be_left() -> None:
    async def main() -> None:
        async with Site() as client:
            async with client.request.get("/ticks", stream=True) as result:
                assert len([chunk async for chunk in result.body]) == 1000
            async with client.request.get("/ticks", stream=True) as result:
                assert await anext(aiter(result.body)) == b"0\n"

    asyncio.run(main())


def test_an_error_of_a_fastapi_app_is_raised_or_its_own_500(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with Site() as client:
            with pytest.raises(LookupError, match="mine"):
                await client.request.get("/fails")
        async with Site(endpoint=endpoint(site, raise_app_exceptions=False)) as client:
            result = await client.request.get("/fails")
            assert (result.status_code, result.body) == (500, "Internal Server Error")

    with caplog.at_level(logging.ERROR, "formation"):
        asyncio.run(main())


def test_plain_middleware_works_on_the_stream_of_an_app() -> None:
    def count(ctx: Any, call: Any) -> Any:
        ctx = call(ctx)
        ctx["seen"] = len(ctx[RES_HTTP].content)
        ctx[RES_HTTP].headers["X-Seen"] = str(ctx["seen"])
        return ctx

    async def main() -> None:
        async with Site(middleware=[count]) as client:
            result = await client.user(7)
            assert int(result.headers["X-Seen"]) == len(result.response.content) > 0

    asyncio.run(main())


def test_an_app_behind_starlettes_own_middleware_works() -> None:
    class Stamp(BaseHTTPMiddleware):
        async def dispatch(self, request: Any, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["X-Stamp"] = "1"
            return response

    async def view(request: StarletteRequest) -> JSONResponse:
        body = (await request.body()).decode()
        return JSONResponse({"body": body, "gone": await request.is_disconnected()})

    app = Starlette(routes=[Route("/", view, methods=["POST"])])
    app.add_middleware(Stamp)
    response = call(app, "POST", content=b"hello")
    assert response.headers["X-Stamp"] == "1"
    assert response.json() == {"body": "hello", "gone": False}


def test_the_middle_of_a_starlette_stream_can_be_left() -> None:
    closed: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                await asyncio.sleep(0)
                yield b"tick\n"
        finally:
            closed.append("closed")

    async def view(request: StarletteRequest) -> StreamingResponse:
        return StreamingResponse(endless())

    async def main() -> None:
        client = build(base_uri="http://h", endpoint=endpoint(Starlette(routes=[Route("/", view)])))
        async with client, client.get("/", stream=True) as result:
            assert await anext(aiter(result.body)) == b"tick\n"

    asyncio.run(main())
    assert closed == ["closed"]
