"""One token for two hundred tasks, and one more when it is revoked while they all use it."""

import asyncio
import json
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from formation.errors import OAuth2Error
from formation.for_aiohttp import build
from formation.middleware import oauth2_client_credentials


async def calls(url):
    auth = oauth2_client_credentials(f"{url}/token", "my-client", "s3cret", scope="orders")
    async with build(base_uri=url, auth=auth) as api:
        results = await asyncio.gather(*(api.get("/orders") for _ in range(200)))
        print("200 tasks:   ", Counter(result.status_code for result in results), dict(counted))

        Handler.valid = "revoked"
        results = await asyncio.gather(*(api.get("/orders") for _ in range(200)))
        print("once revoked:", Counter(result.status_code for result in results), "token requests:", counted["token"])

    wrong = oauth2_client_credentials(f"{url}/token", "my-client", "guessed")
    async with build(base_uri=url, auth=wrong) as api:
        try:
            await api.get("/orders")
        except OAuth2Error as error:
            print("with another secret:", error)


counted = Counter()


class Handler(BaseHTTPRequestHandler):
    """An authorization server, and an API that takes its last token."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    valid = None

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Basic bXktY2xpZW50OnMzY3JldA==":
            self.answer(401, {"error": "invalid_client", "error_description": "id or secret is wrong"})
            return
        counted["token"] += 1
        Handler.valid = f"token-{counted['token']}"
        self.answer(200, {"access_token": Handler.valid, "token_type": "Bearer", "expires_in": 3600})

    def do_GET(self):
        good = self.headers["Authorization"] == f"Bearer {Handler.valid}"
        counted["good" if good else "refused"] += 1
        self.answer(200 if good else 401, [])

    def answer(self, status, said):
        content = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 256


@contextmanager
def serve():
    with Server(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with serve() as url:
        asyncio.run(calls(url))
