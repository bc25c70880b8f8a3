"""The two programs of the README, whole: middleware around a function, and a client that is a class.

Where the README says https://google.com, this one has a small server on this machine.
"""

from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from time import perf_counter
from urllib.parse import parse_qs, urlsplit

import structlog
from attrs import define, field
from requests import get

from formation import wrap
from formation.for_requests import client, html_response
from formation.middleware import request_logger

# --- middleware around a function ---


def log(ctx, call):
    print("started")
    ctx = call(ctx)
    print("ended")
    return ctx


def timeit(ctx, call):
    started = perf_counter()
    ctx = call(ctx)
    ctx["duration"] = perf_counter() - started
    return ctx


def to_requests(ctx):
    ctx["res"] = get(ctx["url"], timeout=5)
    return ctx


fancy_get = wrap(to_requests, middleware=[log, timeit])

# --- a client that is a class ---


@define
class Query:
    query: str = field(metadata={"to": ["q"]})


@client
class Google:
    base_uri = "https://google.com"
    middleware = [request_logger(structlog.get_logger())]
    response_as = html_response

    def search(self, text):
        return self.request.get("/", params=Query(text))


def main():
    with search_engine() as url:
        print(fancy_get)
        ctx = fancy_get({"url": f"{url}/?q=formation"})
        print(f"{ctx['res'].status_code} in {ctx['duration'] * 1000:.0f} ms\n")

        with Google(base_uri=url) as google:
            (html, code, headers) = google.search("larry page")
        print(f"{code} {headers['Content-Type']}: {html.xpath('string(//title)')}")


class Search(BaseHTTPRequestHandler):
    """Finds whatever it is asked for."""

    disable_nagle_algorithm = True

    def do_GET(self):
        query = parse_qs(urlsplit(self.path).query)["q"][0]
        page = f"<html><title>{query} - search</title><p>About 1 result for {query}</html>".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *args):
        pass


@contextmanager
def search_engine():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
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
