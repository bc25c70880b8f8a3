"""Middleware inside of an SDK that knows nothing of it: give it an httpx client with our `Transport`.

The SDK is OpenAI's, sync and async, with its own retries off; the server is on this machine, and busy at first. What
tries again, keeps away from a server that fails, and prints a line for each try stands in the transport, the same list
for both.
"""

import asyncio
import json
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx2
import openai

from formation import req, res
from formation.errors import CircuitOpenError
from formation.for_httpx import AsyncTransport, Transport
from formation.middleware import circuit_breaker, retry

MESSAGES = [{"role": "user", "content": "Hello"}]


def tell(ctx, call):
    """Print a line for each try."""
    ctx = call(ctx)
    print(f"  {req(ctx).name}: {res(ctx).status_code}")
    return ctx


def around():
    return [retry(idempotent=True, base=0.01), circuit_breaker(fail_max=3), tell]


def main():
    with service() as url:
        http_client = httpx2.Client(transport=Transport(middleware=around()))
        with openai.OpenAI(base_url=url, api_key="none", http_client=http_client, max_retries=0) as sdk:
            answer = sdk.chat.completions.create(model="small", messages=MESSAGES)
            print(answer.choices[0].message.content)
            for piece in sdk.chat.completions.create(model="small", messages=MESSAGES, stream=True):
                print(piece.choices[0].delta.content)
            try:
                sdk.models.retrieve("large")
            except openai.NotFoundError as error:  # the SDK's errors are what they were
                print(f"openai.NotFoundError: {error.status_code}")
        Chat.busy = 2
        asyncio.run(amain(url))


async def amain(url):
    print("the same, async")
    http_client = httpx2.AsyncClient(transport=AsyncTransport(middleware=around()))
    async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=http_client, max_retries=0) as sdk:
        async for piece in await sdk.chat.completions.create(model="small", messages=MESSAGES, stream=True):
            print(piece.choices[0].delta.content)
        Chat.busy = 3
        with suppress(openai.InternalServerError):  # three times in a row: the circuit opens
            await sdk.chat.completions.create(model="small", messages=MESSAGES)
        try:
            await sdk.chat.completions.create(model="small", messages=MESSAGES)
        except openai.APIConnectionError as error:  # nothing has been sent
            refused = error.__cause__.__cause__
            assert isinstance(refused, CircuitOpenError)
            print(f"openai.APIConnectionError, by {type(refused).__name__}")


class Chat(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    busy = 2

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if Chat.busy:
            Chat.busy -= 1
            self.answer(503, "application/json", b'{"error": {"message": "busy"}}')
        elif asked.get("stream"):
            pieces = [{"id": "1", "choices": [{"index": 0, "delta": {"content": word}}]} for word in ("Good", "day.")]
            lines = [f"data: {json.dumps(piece)}\n\n" for piece in pieces]
            self.answer(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())
        else:
            choice = {"index": 0, "message": {"role": "assistant", "content": "Good day."}, "finish_reason": "stop"}
            body = {"id": "1", "object": "chat.completion", "created": 1, "model": "small", "choices": [choice]}
            self.answer(200, "application/json", json.dumps(body).encode())

    def do_GET(self):
        self.answer(404, "application/json", b'{"error": {"message": "no such model"}}')

    def answer(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def handle(self):
        with suppress(ConnectionError):  # the SDK hangs up once it has heard [DONE]
            super().handle()

    def log_message(self, *args):
        pass


@contextmanager
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    main()
