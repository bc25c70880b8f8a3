"""See a call pass through a client and a server: a waterfall in the terminal, and the stack explained.

``python examples/trace.py docs`` also saves the waterfall of the client there: as a picture, a page, and for
ui.perfetto.dev.
"""

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _server import serve

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware
from formation.middleware import deadline, request_id, retry, security_headers, timeout
from formation.trace import explain, trace

quiet = logging.getLogger("shop")
quiet.addHandler(logging.NullHandler())
asked: list[str] = []


def main(folder: str | None = None) -> None:
    """Ask for a price, which the shop gives at the second time, somewhere else."""
    served = trace(FormationMiddleware(shop, middleware=[request_id(), security_headers(), pause]))
    stack = [request_id(), deadline(10), retry(base=0.02, logger=quiet), timeout(1, logger=quiet)]
    with serve(served) as url, build(base_uri=url, middleware=stack) as api:
        traced = trace(api)
        traced.get("/prices/{what}", path={"what": "tea"})
        print(f"{explain(api)}\n")

    last = traced.traces[-1]
    print(f"The client: {last}\n")
    for each in served.traces:
        print(f"The server: {each}\n")
    slowest = max(last, key=lambda each: each.own)
    print(f"Most of the time went by in {slowest.layer.name!r}.")
    if folder is not None:
        Path(folder, "trace.svg").write_text(last.to_svg(), encoding="utf-8")
        Path(folder, "trace.html").write_text(last.to_html(), encoding="utf-8")
        Path(folder, "trace.json").write_text(last.to_perfetto(), encoding="utf-8")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Know the price the second time, and somewhere else."""
    path = environ["PATH_INFO"]
    asked.append(path)
    time.sleep(0.01)
    if len(asked) == 1:
        start_response("503 Service Unavailable", [])
        return [b""]
    if path != "/tea":
        start_response("302 Found", [("Location", "/tea")])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"12.50"]


def pause(ctx, call):
    """Take a while on the way in, and on the way out."""
    time.sleep(0.005)
    ctx = call(ctx)
    time.sleep(0.005)
    return ctx


if __name__ == "__main__":
    main(*sys.argv[1:2])
