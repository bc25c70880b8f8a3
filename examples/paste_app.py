"""An INI file for PasteDeploy: filters of Formation around a WSGI app, behind a real server, called by a client."""

import sys
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from wsgiref.simple_server import WSGIRequestHandler, make_server

from paste.deploy import loadapp

from formation import req
from formation.config import ConfigError
from formation.for_requests import build, json_response
from formation.middleware import request_id

sys.modules["shop"] = sys.modules[__name__]  # what a module of that name has, this program has

INI = """
[pipeline:main]
pipeline = request_id headers greet shop

[filter:request_id]
use = egg:formation#request_id

[filter:headers]
use = egg:formation#headers
set =
    X-Frame-Options = deny
    Cache-Control = no-store, max-age=0

[filter:greet]
use = egg:formation#middleware
factory = shop:greet
name = Ann
times = 2

[app:shop]
paste.app_factory = shop:make_app
"""


def greet(name: str, *, times: int = 1):
    def greet(ctx, call):
        for _ in range(times):
            print(f"  server: hello {name}, {req(ctx).name} is {ctx['req.id']}")
        return call(ctx)

    return greet


def make_app(global_conf):
    def app(environ, start_response):
        start_response("200 OK", [("Content-Type", "application/json")])
        return [b'{"name": "lamp"}']

    return app


class Handler(WSGIRequestHandler):
    def log_message(self, *args):
        """Leave it to the middleware."""


with TemporaryDirectory() as folder:
    file = Path(folder) / "shop.ini"
    file.write_text(INI, encoding="utf-8")
    app = loadapp(f"config:{file}")
    print(f"  {app}")

    with make_server("127.0.0.1", 0, app, handler_class=Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        shop = build(
            base_uri=f"http://127.0.0.1:{server.server_port}",
            middleware=[request_id(idgen=lambda: "7f3a")],
            response_as=json_response,
        )
        result = shop.get("/items/7")
        print(f"  client: {result.body}, {result.headers['X-Request-ID']}, {result.headers['Cache-Control']}")
        server.shutdown()
        thread.join()

    file.write_text(INI.replace("times = 2", "times = twice"), encoding="utf-8")
    try:
        loadapp(f"config:{file}")
    except ConfigError as error:
        print(f"  {str(error).replace(folder, '…')}")
