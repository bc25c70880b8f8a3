"""A shop that is busy now and then: what is asked again, and what is not."""

from collections import Counter
from collections.abc import Callable
from io import BytesIO
from typing import Any

from _server import serve

from formation.for_requests import build
from formation.middleware import retry

calls: Counter[str] = Counter()


def main() -> None:
    """Ask for an item; order one; upload its picture."""
    with serve(shop) as url, build(base_uri=url, middleware=[retry(3, base=0.02)]) as api:
        print("GET: twice is the same as once, so it is asked again")
        show(api.get("/items/7"))

        print("\nPOST: nobody knows what the first one has done")
        show(api.post("/orders", json={"item": 7}))

        print("\nPOST with a key: the shop knows it when it sees it again")
        show(api.post("/orders/with-key", json={"item": 7}, headers={"Idempotency-Key": "order-1"}))

        print("\nPUT of a file: sent again from where it stood")
        show(api.put("/items/7/picture", content=BytesIO(b"\x89PNG" * 1000)))

        print("\nPUT of a generator: what it made is gone")
        show(api.put("/items/7/stream", content=(chunk for chunk in [b"one", b"two"])))


def show(result: Any) -> None:
    """Print what came of it, attempt by attempt."""
    for attempt in result.attempts:
        print(f"  attempt {attempt.number}: {attempt.status}, after a pause of {attempt.delay * 1000:.0f} ms")
    print(f"  {result.status_code}: {result.body.decode()}")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Have no time for the first call of each path."""
    length = len(read_body(environ))
    calls[environ["PATH_INFO"]] += 1
    busy = calls[environ["PATH_INFO"]] == 1
    start_response("503 Busy" if busy else "200 OK", [("Content-Type", "text/plain")])
    return [b"no time" if busy else b"here you are; your request had %d bytes" % length]


def read_body(environ: dict[str, Any]) -> bytes:
    """Read the body, with a length or in chunks."""
    stream = environ["wsgi.input"]
    if environ.get("HTTP_TRANSFER_ENCODING") != "chunked":
        return stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    body = b""
    while size := int(stream.readline(), 16):
        body += stream.read(size)
        stream.readline()
    stream.readline()
    return body


if __name__ == "__main__":
    main()
