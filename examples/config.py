"""The middleware of a client and of a server, in one TOML file: who runs them changes it, and no code changes."""

import sys
import tempfile
from pathlib import Path

from formation import req, res
from formation.config import ConfigError, load
from formation.for_requests import client, json_response
from formation.for_wsgi import FormationMiddleware, endpoint

sys.modules["shop"] = sys.modules[__name__]  # what a module of that name has, this program has

BEFORE = """
[stacks.common]
middleware = ["request_id"]

[stacks.incoming]
middleware = [{ include = "common" }, { use = "shop:say", who = "server" }]

[stacks.outgoing]
middleware = [{ include = "common" }, { use = "shop:say", who = "client" }]
"""

AFTER = BEFORE.replace(
    '{ use = "shop:say", who = "client" }',
    '{ use = "retry", attempts = 3, base = 0 }, { use = "shop:say", who = "client" }',
)


def say(who: str, *, indent: int = 2):
    def say(ctx, call):
        ctx = call(ctx)
        print(f"{' ' * indent}{who}: {req(ctx).name} is {ctx['req.id'][:8]}…, and has status {res(ctx).code}")
        return ctx

    return say


class FlakyApp:
    """Has no time for the first request."""

    def __init__(self):
        self.calls = 0

    def __call__(self, environ, start_response):
        self.calls += 1
        status = "503 Service Unavailable" if self.calls == 1 else "200 OK"
        start_response(status, [("Content-Type", "application/json")])
        return [b'{"name": "lamp"}']


@client
class Shop:
    response_as = json_response

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number})


def call(file):
    stacks = load(file)
    served = FormationMiddleware(FlakyApp(), middleware=stacks["incoming"])
    shop = Shop(base_uri="http://shop.example", middleware=stacks["outgoing"], endpoint=endpoint(served))
    print(f"  {shop.item(7).status_code}")


with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "formation.toml"

    print("As the file stands:")
    file.write_text(BEFORE, encoding="utf-8")
    call(file)

    print("Somebody adds a retry:")
    file.write_text(AFTER, encoding="utf-8")
    call(file)

    print("Somebody cannot spell:")
    file.write_text(AFTER.replace("attempts", "atempts"), encoding="utf-8")
    try:
        call(file)
    except ConfigError as error:
        print("  ", str(error).replace(folder, "…").partition(" There")[0])
