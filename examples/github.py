"""A typed client of an API, in full: paths with parameters, answers as classes, a page after another, errors.

The server is a small one on this machine that answers as GitHub does.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from attrs import define, field

from formation.errors import StatusError
from formation.for_requests import Client
from formation.middleware import accept, bearer, raise_for_status, request_id, ua


@define
class User:
    id: int
    login: str


@define
class Repo:
    name: str
    owner: User
    stars: int
    language: str | None = None


@define
class Paged:
    """Where in a list one stands. Query classes are ordinary classes, so one can extend another."""

    page: int = 1
    size: int = field(default=2, metadata={"to": "per_page"})


@define
class ReposOf(Paged):
    owner: str = field(kw_only=True, metadata={"to": ":owner"})  # a part of the path
    language: str | None = None


class Github(Client):
    base_uri = "https://api.github.com"
    middleware = [request_id(), ua("example/1.0"), accept("application/vnd.github+json"), raise_for_status()]
    timeout = (3, 10)

    def __init__(self, token=None):
        if token:
            self.middleware = [*self.middleware, bearer(token)]

    def repo(self, owner: str, name: str) -> Repo:
        path = {"owner": owner, "name": name}
        return self.request.get("/repos/{owner}/{name}", path=path, response_as=Repo).body

    def repos(self, owner: str, language: str | None = None) -> Iterator[Repo]:
        page = 1
        while True:
            query = ReposOf(owner=owner, language=language, page=page)
            result = self.request.get("/users/:owner/repos", params=query, response_as=list[Repo])
            yield from result.body
            if 'rel="next"' not in result.headers.get("Link", ""):
                return
            page += 1

    def star(self, owner: str, name: str) -> bool:
        path = {"owner": owner, "name": name}
        return self.request.put("/user/starred/{owner}/{name}", path=path).status_code == 204


def main():
    with fake_github() as url, Github(token="made-up", base_uri=url) as github:
        print("One repository, as a class:")
        print(" ", github.repo("ann", "rings"))

        print("All of them, two a page; those in Python only:")
        for repo in github.repos("ann"):
            print(f"  {repo.name:8} {repo.stars:3} stars  {repo.language}")
        print(" ", ", ".join(repo.name for repo in github.repos("ann", language="Python")))

        print("With the token, a star for it:")
        print("  starred" if github.star("ann", "rings") else "  refused")

        print("What is not there:")
        try:
            github.repo("ann", "nothing")
        except StatusError as error:
            print(f"  {error}")
            print(f"  the server said: {error.response.json()['message']}")
            print(f"  {error.__notes__[0].partition(', after')[0].partition(' at ')[0]}")

        print("What must not be asked for:")
        try:
            github.repo("ann", "..")
        except ValueError as error:
            print(f"  {error}")


ANN = {"id": 1, "login": "ann"}
REPOS = [
    {"name": name, "owner": ANN, "stars": stars, "language": language, "fork": False}
    for name, stars, language in [
        ("rings", 120, "Python"), ("tower", 64, "Rust"), ("notes", 3, None), ("stamps", 17, "Python"), ("jars", 9, "Go")
    ]
]  # fmt: skip


class FakeGithub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        found = [repo for repo in REPOS if url.path == f"/repos/ann/{repo['name']}"]
        if url.path == "/users/ann/repos":
            repos = [repo for repo in REPOS if query.get("language") in {None, repo["language"]}]
            start, size = (int(query["page"]) - 1) * int(query["per_page"]), int(query["per_page"])
            more = start + size < len(repos)
            self.answer(200, repos[start : start + size], {"Link": '<next>; rel="next"'} if more else {})
        elif found:
            self.answer(200, found[0])
        else:
            self.answer(404, {"message": "Not Found"})

    def do_PUT(self):
        self.answer(204 if self.headers["Authorization"] == "Bearer made-up" else 401)

    def answer(self, status, body=None, headers=()):
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **dict(headers)}.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def fake_github():
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeGithub)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


if __name__ == "__main__":
    main()
