"""A token that is rotated while the client lives: a function is asked for it, at each call."""

from _server import serve

from formation.for_requests import build, text_response
from formation.middleware import bearer

valid = {"token": "monday"}
vault = {"token": "monday"}


def main():
    auth = bearer(lambda: vault["token"])
    with serve(door) as url, build(base_uri=url, response_as=text_response, auth=auth) as api:
        print(api.get("/").body)
        valid["token"] = vault["token"] = "tuesday"  # the token is rotated
        print(api.get("/").body)
        result = api.get("/", headers={"Authorization": "Bearer stolen"})
        print(result.status_code, result.body)
    try:
        bearer("read from a file\n")
    except ValueError as error:
        print("refused:", error)


def door(environ, start_response):
    """Open to who has the token of the day."""
    token = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
    good = token == valid["token"]
    start_response("200 OK" if good else "401 Unauthorized", [("Content-Type", "text/plain")])
    return [f"come in, {token}".encode() if good else b"who is there?"]


if __name__ == "__main__":
    main()
