"""A page that changes once: who asks again under its tag gets no body until it does."""

from collections.abc import Callable
from typing import Any

from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import compress, etag

shelf = ["a cup, blue"] * 100


def main() -> None:
    """Ask, ask again, change the page, ask again."""
    app = FormationMiddleware(shop, middleware=[compress(), etag()])
    with build(base_uri="http://shop", endpoint=endpoint(app)) as api:
        tag = "none"
        for say in ("at first", "again", "it has changed", "again"):
            if say == "it has changed":
                shelf.append("a cup, green")
            answer = api.get("/cups", headers={"If-None-Match": f'"{tag}"' if tag == "none" else tag})
            tag = answer.headers["ETag"]
            print(f"{say:14} {answer.status_code} {len(answer.response.content):5} bytes, {tag}")


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Show the shelf."""
    page = "\n".join(shelf).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))])
    return [page]


if __name__ == "__main__":
    main()
