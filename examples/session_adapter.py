"""Middleware inside of a library that knows nothing of it: mount an `Adapter` in its `requests.Session`.

`WeatherSDK` stands for any SDK on requests. It keeps its session, its errors and its calls; a middleware gives it an
id for each request, and another answers what it has asked for already.
"""

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread

import requests

from formation import reply, req, res
from formation.for_requests import Adapter
from formation.middleware import request_id


class WeatherSDK:
    """Somebody else's code."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()

    def today(self, city):
        response = self.session.get(f"{self.url}/today", params={"city": city}, timeout=5)
        response.raise_for_status()
        return response.json()["weather"]


def remember():
    """Keep answers, and give them again."""
    answers = {}

    def remember(ctx, call):
        target = req(ctx).target
        if target in answers:
            print(f"  {target.partition('?')[2]}: known")
            return reply(ctx, 200, {"Content-Type": "application/json"}, answers[target])
        print(f"  {target.partition('?')[2]}: asked, as {ctx['req.id']}")
        ctx = call(ctx)
        if res(ctx).ok:
            answers[target] = res(ctx).content
        return ctx

    return remember


def main():
    numbers = count(1)
    with weather_service() as url:
        sdk = WeatherSDK(url)
        sdk.session.mount(url, Adapter(middleware=[request_id(idgen=lambda: f"call-{next(numbers)}"), remember()]))
        with sdk.session:
            for city in ("Oslo", "Rome", "Oslo"):
                print(sdk.today(city))
            try:
                sdk.today("Atlantis")
            except requests.HTTPError as error:  # the SDK's errors are what they were
                print(f"requests.HTTPError: {error.response.status_code}")


class Weather(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        city = self.path.partition("city=")[2]
        body = b'{"weather": "%s: sunny"}' % city.encode()
        self.send_response(404 if city == "Atlantis" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@contextmanager
def weather_service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weather)
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
