"""An API with a JSON of its own name: the client says so once, and forms keep their type."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation.for_requests import build
from formation.middleware import content_type


def main() -> None:
    """Send JSON, text and forms."""
    merge_patch = content_type("application/merge-patch+json")
    with serve(show) as url, build(base_uri=url, middleware=[merge_patch]) as api:
        print("JSON:     ", api.patch("/users/7", json={"email": None}).body.decode())
        print("text:     ", api.patch("/users/7", content='{"email": null}').body.decode())
        own = {"Content-Type": "application/json"}
        print("a call's: ", api.patch("/users/7", json={"email": None}, headers=own).body.decode())
        print("a form:   ", api.post("/login", data={"user": "ann"}).body.decode())
        print("an upload:", api.post("/files", files={"photo": ("a.png", b"...")}).body.decode().partition(";")[0])


def show(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer with the type of what came."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [environ["CONTENT_TYPE"].encode()]


if __name__ == "__main__":
    main()
