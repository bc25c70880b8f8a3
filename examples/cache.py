"""A shop is asked once for what does not change for a while, and is down later without anybody noticing."""

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from formation.for_requests import build
from formation.middleware import cache, raise_for_status

quiet = logging.getLogger("quiet")
quiet.setLevel("CRITICAL")


class Shop(BaseHTTPRequestHandler):
    """Prices that hold for a while; one that has to be validated; and a shop that closes."""

    protocol_version = "HTTP/1.1"
    open = True
    asked = 0

    def do_GET(self) -> None:
        """Answer."""
        type(self).asked += 1
        status, body = (200, b'{"tea": 3}') if self.open else (503, b"closed")
        if self.headers["If-None-Match"] == '"3"' and self.open:
            status, body = 304, b""
        self.send_response(status)
        freshness = "no-cache" if self.path == "/today" else "max-age=0" if self.path == "/old" else "max-age=60"
        self.send_header("Cache-Control", f"{freshness}, stale-if-error=600")
        self.send_header("ETag", '"3"')
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


def main() -> None:
    """Ask twice each time, and see who answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    threading.Thread(target=server.serve_forever).start()
    shop = build(
        base_uri=f"http://127.0.0.1:{server.server_address[1]}", middleware=[cache(logger=quiet), raise_for_status()]
    )

    def ask(path: str) -> None:
        ctx = shop.get(path).ctx
        print(f"{path:7} {ctx['fmtn.res.http'].text}  {ctx['fmtn.state']['cache']}")

    try:
        for path in ("/prices", "/prices", "/today", "/today", "/old"):
            ask(path)
        Shop.open = False
        print("the shop is closed")
        for path in ("/prices", "/old"):
            ask(path)
        print(f"it was asked {Shop.asked} times")
    finally:
        shop.close()
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
