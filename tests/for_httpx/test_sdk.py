"""Middleware inside of an SDK that is built on httpx."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
from pathlib import Path

import openai
import pytest
import structlog

from formation import errors, req
from formation.for_httpx import (
    AsyncTransport,
    Transport,
    build,
    endpoint,
)
from formation.middleware import circuit_breaker, request_logger, retry
from tests.for_httpx.cases import LIBRARIES, failing

ROOT = Path(__file__).parents[2]


class Chat:
    """Answers as a chat API does, once it is well: 503 first. A stream goes on when its first word has been heard."""

    def __init__(self, *, is_well=True):
        self.is_well, self.heard = is_well, threading.Event()

    def __call__(self, connection, seen):
        if not self.is_well or seen.header("X-Attempt") is None:
            connection.answer(seen, 503, b'{"error": {"message": "busy"}}', "application/json")
        elif json.loads(seen.body).get("stream"):
            connection.head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
            for word in ("Good ", "day"):
                piece = {"id": "1", "choices": [{"index": 0, "delta": {"content": word}}]}
                connection.chunk(f"data: {json.dumps(piece)}\n\n".encode())
                assert self.heard.wait(20)
            connection.chunk(b"data: [DONE]\n\n")
            connection.chunk(b"")
        else:
            message = {"role": "assistant", "content": "Good day"}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
            answer["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
            connection.answer_json(seen, answer)


ASK = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


class Sdk:
    """An SDK with a client of ours inside, as its user calls it."""

    def __init__(self, library, url, middleware):
        http_client = library.Client(transport=Transport(middleware))
        self.sdk = openai.OpenAI(base_url=url, api_key="k", http_client=http_client, max_retries=0)

    def ask(self):
        return self.sdk.chat.completions.create(**ASK).choices[0].message.content

    def stream(self, heard):
        words = []
        with self.sdk.chat.completions.create(**ASK, stream=True) as stream:
            for piece in stream:
                words.append(piece.choices[0].delta.content)
                heard.set()
        return words

    def look_for(self, model):
        self.sdk.models.retrieve(model)

    def close(self):
        self.sdk.close()


class AsyncSdk:
    """The same, awaited."""

    def __init__(self, library, url, middleware):
        self.runner = asyncio.Runner()
        http_client = library.AsyncClient(transport=AsyncTransport(middleware))
        self.sdk = openai.AsyncOpenAI(base_url=url, api_key="k", http_client=http_client, max_retries=0)

    def ask(self):
        async def ask():
            return (await self.sdk.chat.completions.create(**ASK)).choices[0].message.content

        return self.runner.run(ask())

    def stream(self, heard):
        async def stream():
            words = []
            async with await self.sdk.chat.completions.create(**ASK, stream=True) as stream:
                async for piece in stream:
                    words.append(piece.choices[0].delta.content)
                    heard.set()
            return words

        return self.runner.run(stream())

    def look_for(self, model):
        async def look_for():
            await self.sdk.models.retrieve(model)

        self.runner.run(look_for())

    def close(self):
        self.runner.run(self.sdk.close())
        self.runner.close()


SDKS = pytest.mark.parametrize("kind", [Sdk, AsyncSdk])


@pytest.fixture
def log():
    """A logger, and the lines that it was told."""
    capture = structlog.testing.LogCapture()
    return structlog.wrap_logger(None, processors=[capture]), capture.entries


@LIBRARIES
@SDKS
def test_an_sdk_gets_retry_a_breaker_and_a_log_without_knowing(library, kind, fresh_server, log):
    logger, lines = log
    tries = retry(logger=logger, sleep=lambda _: None, idempotent=True, attempt_header="X-Attempt")
    chat = Chat()
    with fresh_server.route("chat", chat), fresh_server.watch() as seen:
        sdk = kind(library, fresh_server.url, [request_logger(logger), tries, circuit_breaker(logger)])
        assert sdk.ask() == "Good day"
        assert sdk.stream(chat.heard) == ["Good ", "day"]
        with pytest.raises(openai.NotFoundError):
            sdk.look_for("none")
        sdk.close()
    told = [(line["event"], line.get("status"), line.get("attempts")) for line in lines if line["log_level"] != "debug"]
    once = [("request.http", None, None), ("retry.scheduled", 503, None), ("response.http", 200, 2)]
    assert told == [*once, *once, ("request.http", None, None), ("response.http", 404, 1)]
    ends = [line for line in lines if line["event"] == "response.http.closed"]
    assert [line["bytes"] > 0 for line in ends] == [True] * 3  # of a stream; the SDK hangs up at [DONE]
    assert len(seen.requests) == 5
    assert fresh_server.settles(0)


@LIBRARIES
@SDKS
def test_a_breaker_keeps_an_sdk_from_a_server_that_fails_and_lets_it_back_later(library, kind, fresh_server, log):
    logger, lines = log
    now = [0.0]
    breaker = circuit_breaker(logger, fail_max=2, reset_timeout=60, clock=lambda: now[0])
    chat = Chat(is_well=False)

    def second(ctx, call):  # as if it had been tried before
        req(ctx).headers["X-Attempt"] = "2"
        return call(ctx)

    with fresh_server.route("chat", chat), fresh_server.watch() as seen:
        sdk = kind(library, fresh_server.url, [breaker, second])
        for _ in range(2):
            with pytest.raises(openai.InternalServerError, match="busy"):
                sdk.ask()
        with pytest.raises(openai.APIConnectionError) as caught:
            sdk.ask()
        refused = caught.value.__cause__
        assert type(refused) is library.ConnectError
        assert type(refused.__cause__) is errors.CircuitOpenError
        assert len(seen.requests) == 2
        now[0], chat.is_well = 61.0, True
        assert sdk.ask() == "Good day"
        sdk.close()
    events = ["breaker.opened", "breaker.rejected", "breaker.half_open", "breaker.closed"]
    assert [line["event"] for line in lines] == events
    assert fresh_server.settles(0)


@LIBRARIES
def test_the_errors_of_an_sdk_are_what_they_were(library):
    with library.Client(transport=Transport([failing(errors.Rejected("closed"))])) as mine:
        sdk = openai.OpenAI(base_url="http://nowhere.example", api_key="k", http_client=mine, max_retries=0)
        with pytest.raises(openai.APIConnectionError):
            sdk.models.list()
    with library.Client(transport=Transport([failing(errors.DeadlineExceeded("late"))])) as mine:
        sdk = openai.OpenAI(base_url="http://nowhere.example", api_key="k", http_client=mine, max_retries=0)
        with pytest.raises(openai.APITimeoutError):
            sdk.models.list()


def test_where_only_httpx_is_installed_ours_is_made_with_it(server):
    code = f"""if True:
        import asyncio, sys
        sys.modules["httpx2"] = None
        from formation.for_httpx import Transport, async_build, build
        import httpx
        with build(base_uri={server.url!r}) as sender:
            assert sender.get("/echo").status_code == 200
        async def main():
            async with async_build(base_uri={server.url!r}) as sender:
                assert (await sender.get("/echo")).status_code == 200
        asyncio.run(main())
        with httpx.Client(transport=Transport()) as mine:
            print(mine.get({server.url + "/echo"!r}).status_code)
        sys.modules["httpx"] = None
        for name in [name for name in sys.modules if name.startswith("formation.for_httpx")]:
            del sys.modules[name]
        try:
            import formation.for_httpx
        except ImportError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    assert done.stdout == "200\nhttpx2 is not installed: pip install 'formation[httpx]'\n"
    assert not done.stderr


def test_the_client_of_an_sdk_can_be_what_ours_send_with(server):
    with openai.OpenAI(base_url=server.url, api_key="k") as sdk:
        with build(base_uri=server.url, endpoint=endpoint(sdk._client)) as sender:
            assert sender.get("/echo").status_code == 200
        assert sdk._client.is_closed is False
    gc.collect()
