"""What a server learns of a client that passes on what it was sent, and of the same one when it has been cleaned."""

from collections.abc import Callable
from typing import Any

from formation.for_requests import build
from formation.for_wsgi import endpoint
from formation.middleware import clean_request

TALK = {
    "User-Agent": "shop/1.2 (Linux 6.1; db-7) python/3.11",
    "Referer": "https://intranet.example/secret?token=1",
    "X-Forwarded-For": "10.0.0.7",
    "Via": "1.1 proxy-3.internal",
    "Accept": "text/plain",
}


def main() -> None:
    """Send both."""
    for title, middleware in (("as it is", []), ("cleaned", [clean_request()])):
        with build(base_uri="http://shop", endpoint=endpoint(shop), middleware=middleware) as api:
            print(f"{title}:\n{api.get('/', headers=TALK).response.text}")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Say what it has been told."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    names = [name for name in TALK if f"HTTP_{name.upper().replace('-', '_')}" in environ]
    return ["".join(f"  {name}: {environ['HTTP_' + name.upper().replace('-', '_')]}\n" for name in names).encode()]


if __name__ == "__main__":
    main()
