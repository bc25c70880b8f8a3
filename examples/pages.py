"""All items of a list that comes in pages, sync and async; and pages that lead astray or do not end."""

import asyncio
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread
from urllib.parse import parse_qs, urlsplit

from formation import for_aiohttp, for_requests
from formation.errors import ForeignURLError, PagesError
from formation.for_requests import json_response

USERS = [f"user-{number}" for number in range(1, 8)]


def users(body):
    return body["users"]


class Github(for_requests.Client):
    response_as = json_response

    def stargazers(self, owner, repo):
        return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})

    def all_stargazers(self, owner, repo):
        return self.pages(lambda: self.stargazers(owner, repo), items=users)


class AsyncGithub(for_aiohttp.Client):
    response_as = json_response

    def stargazers(self, owner, repo):
        return self.request.get("/repos/{owner}/{repo}/stargazers", path={"owner": owner, "repo": repo})

    def all_stargazers(self, owner, repo):
        return self.pages(lambda: self.stargazers(owner, repo), items=users)


def main(url):
    with Github(base_uri=url) as github:
        print("all:      ", *github.all_stargazers("ann", "http"))
        served.clear()
        print("the first:", *islice(github.all_stargazers("ann", "http"), 4), f"({len(served)} pages fetched)")

        by_body = github.pages(lambda: github.stargazers("ann", "http"), next=lambda page: page.body["next"])
        for page in by_body:
            print("a page:   ", page.request.template, page.body["users"])

        for repo in ("astray", "endless"):
            try:
                list(github.all_stargazers("ann", repo))
            except (ForeignURLError, PagesError) as error:
                print(f"{type(error).__name__}:", str(error).replace(url, ""))


async def amain(url):
    async with AsyncGithub(base_uri=url) as github:
        print("async:    ", *[user async for user in github.all_stargazers("ann", "http")])


served = []


class Handler(BaseHTTPRequestHandler):
    """Three users a page, and where the next one is, in the Link header and in the body."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        parts = urlsplit(self.path)
        page = int(parse_qs(parts.query).get("page", ["1"])[0])
        served.append(page)
        following = f"{parts.path}?page={page + 1}" if page * 3 < len(USERS) else None
        if "astray" in parts.path:
            following = "https://evil.example/?page=2"
        if "endless" in parts.path:
            following = f"{parts.path}?page={page % 2 + 1}"
        content = json.dumps({"users": USERS[page * 3 - 3 : page * 3], "next": following}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        if following:
            self.send_header("Link", f'<{following}>; rel="next"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@contextmanager
def serve():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with serve() as url:
        main(url)
        asyncio.run(amain(url))
