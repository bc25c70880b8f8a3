"""A bomb: a megabyte that unpacks to a gibibyte. It is thrown at a server, and at a client, and goes off at neither."""

import zlib
from collections.abc import Callable
from typing import Any

from formation.errors import BodyTooLarge
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import decompress

packer = zlib.compressobj(9, wbits=31)
BOMB = (packer.compress(bytes(64 * 1024 * 1024)) + packer.flush()) * 16  # gzip may have many members


def main() -> None:
    """Throw it."""
    wrapped = endpoint(FormationMiddleware(shop, middleware=[decompress()]))
    with build(base_uri="http://shop", endpoint=wrapped) as api:
        for title, body in (("a letter", zlib.compress(b"two cups, please")), (f"{len(BOMB) >> 10} KiB", BOMB)):
            encoding = "gzip" if body is BOMB else "deflate"
            answer = api.post("/orders", content=body, headers={"Content-Encoding": encoding})
            print(f"{title}: {answer.status_code} {answer.response.text}")

    with build(base_uri="http://shop", endpoint=endpoint(mine), middleware=[decompress()]) as api:
        try:
            api.get("/gift")
        except BodyTooLarge as error:
            print(f"the client: {error}")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Say what came."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["wsgi.input"].read()]


def mine(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Send one."""
    start_response("200 OK", [("Content-Encoding", "gzip")])
    return [BOMB]


if __name__ == "__main__":
    main()
