"""A user and a password with each call, and what a call and a redirect to somewhere else make of them."""

from base64 import b64decode

from _server import serve

from formation.for_requests import build, text_response
from formation.middleware import basic


def main():
    ann = basic("ann", "secret")
    with serve(who) as url, serve(who) as other, build(base_uri=url, response_as=text_response, auth=ann) as api:
        print("ann calls        ", api.get("/").body)
        print("the call is bob's", api.get("/", auth=("bob", "pw")).body)
        print("without          ", api.get("/", auth=None).body)
        print("a redirect home  ", api.get(f"/to?{url}/").body)
        print("a redirect abroad", api.get(f"/to?{other}/").body)
    try:
        basic("ann", "secret\n")
    except ValueError as error:
        print("refused:", error)


def who(environ, start_response):
    """Say who calls, or redirect to the URL in the query."""
    if environ["PATH_INFO"] == "/to":
        start_response("302 Found", [("Location", environ["QUERY_STRING"])])
        return [b""]
    sent = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Basic ")
    user, _, password = b64decode(sent).decode().partition(":")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{user}, by a password of {len(password)} letters".encode() if user else b"nobody"]


if __name__ == "__main__":
    main()
