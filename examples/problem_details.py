"""A shop that says what is wrong, and a client that can do something about it."""

from collections.abc import Callable
from typing import Any

from formation.errors import ProblemError
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.middleware import exception_handler, problem_details

PRICES = {"/cup": 7, "/teapot": 40}


def main() -> None:
    """Buy a cup, and what is too expensive, and what there is not."""
    app = FormationMiddleware(shop, middleware=[exception_handler()])
    with build(base_uri="http://shop", endpoint=endpoint(app), middleware=[problem_details()]) as api:
        for what in ("/cup", "/teapot", "/spoon"):
            try:
                print(what, api.get(what).response.text)
            except ProblemError as problem:
                lacks = problem.extensions.get("lacks")
                print(what, f"{problem.title}: {problem.detail}" + (f" Lend me {lacks}?" if lacks else ""))


def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Sell."""
    price = PRICES.get(environ["PATH_INFO"])
    if price is None:
        raise ProblemError(status_code=404, title="Unknown", detail="We do not have that.")
    if price > 30:
        raise ProblemError(
            status_code=403,
            type="/problems/no-credit",
            title="No credit",
            detail=f"It costs {price}, and you have 30.",
            extensions={"lacks": price - 30},
        )
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"is yours"]


if __name__ == "__main__":
    main()
