"""An API key in a header and in a query; what logs print of it, and what another host gets to see after a redirect."""

import requests
from _server import serve
from structlog.testing import capture_logs

from formation.for_requests import build, text_response
from formation.middleware import api_key, request_logger


def main():
    with serve(show) as url, serve(show) as other:
        away = f"/to?{other}/"
        print("requests, redirected to another host:")
        print("  ", requests.get(url + away, headers={"X-API-Key": "s3cret"}, timeout=5).text)

        print("Formation, at home and redirected to another host:")
        with build(base_uri=url, response_as=text_response, middleware=[api_key("s3cret")]) as api:
            print("  ", api.get("/").body)
            print("  ", api.get(away).body)

        print("in a query, for an API that knows nothing else; and the log of it:")
        keyed = api_key("s3cret", "key", place="query")
        with build(base_uri=url, response_as=text_response, middleware=[keyed, request_logger()]) as api:
            with capture_logs() as lines:
                print("  ", api.get("/", params={"page": 2}).body)
            print("  ", lines[0]["params"], "of", lines[0]["template"])


def show(environ, start_response):
    """Say which key has come, or redirect to the URL in the query."""
    if environ["PATH_INFO"] == "/to":
        start_response("302 Found", [("Location", environ["QUERY_STRING"])])
        return [b""]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"header: {environ.get('HTTP_X_API_KEY', 'none')}, query: {environ['QUERY_STRING'] or 'none'}".encode()]


if __name__ == "__main__":
    main()
