"""A status that is an error, or an answer, as the caller likes."""

from collections.abc import Callable
from typing import Any

from _server import serve

from formation.errors import StatusError
from formation.for_requests import client, json_response
from formation.middleware import raise_for_status


@client
class Users:
    """A client that takes a status from 400 on for an error."""

    middleware = (raise_for_status(),)
    response_as = json_response

    def name(self, user_id: int) -> str:
        """Return the name of a user."""
        user, _, _ = self.request.get("/users/{id}", path={"id": user_id})
        return user["name"]

    def exists(self, user_id: int) -> bool:
        """Tell whether there is one: for this call, a 404 is an answer."""
        return self.request.get("/users/{id}", path={"id": user_id}, without="raise_for_status").status_code == 200


def main() -> None:
    """Ask for one that is there and for one that is not."""
    with serve(app) as url, Users(base_uri=url) as users:
        print(users.name(7))
        print("is there a user 8?", users.exists(8))
        try:
            users.name(8)
        except StatusError as error:
            print(error)
            print("the server says:", error.response.json()["error"])


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Know one user."""
    known = environ["PATH_INFO"] == "/users/7"
    start_response("200 OK" if known else "404 Not Found", [("Content-Type", "application/json")])
    return [b'{"name": "ann"}' if known else b'{"error": "nobody has that number"}']


if __name__ == "__main__":
    main()
