"""The commands, each as a process, and their cases in this one: what they print, what they refuse, how they end."""

import io
import json
import os
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import pytest

import formation
from formation.cli import main
from formation.for_requests import build
from formation.testing import rehearse

APP = """
import logging

from formation import compose, lift, wrap
from formation.for_asgi import FormationMiddleware as Asgi
from formation.for_requests import build, client
from formation.for_httpx import async_client
from formation.for_wsgi import FormationMiddleware as Wsgi
from formation.middleware import api_key, circuit_breaker, request_id, retry, timeout

log = logging.getLogger("shop")
log.addHandler(logging.NullHandler())


def end(ctx):
    return ctx


async def later(ctx):
    return ctx


async def slow(ctx, call):
    return await call(ctx)


good = wrap(end, [retry(logger=log), timeout(1, logger=log)])
bad = wrap(end, [api_key("s3cret"), circuit_breaker(log), retry(logger=log)])
later = wrap(later, [request_id()])
stack = [request_id(), timeout(1, logger=log)]
whole = compose(*stack)
mixed = [request_id(), slow]


@lift(middleware=[retry(base=0, logger=log)])
def greet(name, times=1):
    if name == "nobody":
        raise OSError("nobody at https://me:s3cret@shop/?token=s3cret")
    return name * times


@lift(middleware=[request_id()])
async def wait(name):
    return name


def answer(ctx):
    from formation.http.response import Response

    request = ctx["fmtn.req.http"]
    asked.append((request.method, request.url, dict(request.headers), request.content))
    ctx["fmtn.res.http"] = Response(200, {"Content-Type": "text/plain"}, b"fine")
    return ctx


async def async_answer(ctx):
    return answer(ctx)


asked = []
http = wrap(answer, [request_id()])
async_http = wrap(async_answer, [request_id()])


@client
class Shop:
    base_uri = "https://shop.example"
    middleware = [request_id(), timeout(1, logger=log)]
    endpoint = answer

    def item(self, number):
        return self.request.get("/items/{number}", path={"number": number})

    def stream(self):
        return self.request.get("/", stream=True)

    def all(self):
        yield self.item(1)
        yield self.item(2)

    def none(self):
        return 7


@async_client
class Async:
    base_uri = "https://shop.example"
    middleware = [request_id()]
    endpoint = async_answer

    async def item(self, number):
        return await self.request.get("/items/{number}", path={"number": number})

    def stream(self):
        return self.request.get("/", stream=True)

    async def all(self):
        yield await self.item(1)


class Needy(Shop):
    def __init__(self, key):
        super().__init__()


class Plain:
    @lift(middleware=[request_id()])
    def twice(self, number):
        return 2 * number


sender = build(base_uri="https://shop.example", endpoint=answer, middleware=stack)


def wsgi(environ, start_response):
    body = environ["wsgi.input"].read()
    asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("HTTP_A"), body))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


async def asgi(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


app = Wsgi(wsgi, [request_id()])
aapp = Asgi(asgi, [request_id()])
"""

STACKS = """
[stacks.outgoing]
middleware = ["request_id", { use = "retry", attempts = 2 }]
[stacks.incoming]
middleware = ["request_id", { use = "api_key", key = "s3cret" }]
"""

PASTE = """
[filter:ids]
use = egg:formation#request_id
[filter:two]
paste.filter_factory = formation.for_paste:stack
middleware = circuit_breaker retry
[filter:broken]
paste.filter_factory = formation.for_paste:stack
middleware = rettry
[app:main]
paste.app_factory = inner:make
"""


INNER = """
from formation.for_wsgi import FormationMiddleware


def make(conf):
    return FormationMiddleware(print, [])
"""


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {"shop.py": APP, "stacks.toml": STACKS, "shop.ini": PASTE, "inner.py": INNER}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "package" / "part.py").write_text(
        "x = 's3cret'\n\n\nclass Part:\n    def f(self): ...\n", encoding="utf-8"
    )
    (tmp_path / "broken.py").write_text("import nothing_of_that_name\n", encoding="utf-8")
    lazy = "def __getattr__(name):\n    raise ImportError('not installed')\n"
    (tmp_path / "lazy.py").write_text(lazy, encoding="utf-8")
    (tmp_path / "leaves.py").write_text("raise SystemExit\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Run]:
    """Run a command in this process, in the folder of the app."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Ended:
        try:
            code = main(arguments)
        except SystemExit as left:  # of argparse
            code = left.code
        said = capsys.readouterr()
        return Ended(code, said.out, said.err)

    yield run
    for name in {"shop", "inner", "lazy", "package", "package.part", "simple"} & {*sys.modules}:
        del sys.modules[name]


def asked() -> list[tuple[str, str, object, bytes]]:
    return sys.modules["shop"].asked


def process(folder: Path, *arguments: str, **settings: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-m", "formation", *arguments],
        check=False,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=folder,
        timeout=30,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(formation.__file__).parents[1]),
            "PYTHONIOENCODING": "utf-8",
            **settings,
        },
    )
    return Ended(done.returncode, done.stdout, done.stderr)


# --- as processes ---


def test_explain_prints_the_layers_and_no_secret(folder: Path) -> None:
    code, out, err = process(folder, "explain", "shop:bad")
    assert code == 0, err
    assert out.startswith("sync chain, 3 layers")
    assert "key=[redacted]" in out
    assert "check says:" in out
    assert "s3cret" not in out + err


def test_check_ends_with_one_and_says_what_is_wrong_in_words(folder: Path) -> None:
    code, out, _ = process(folder, "check", "shop:bad")
    assert code == 1
    assert "shop:bad: circuit_breaker stands outside of retry: it counts calls, not attempts" in out


def test_trace_calls_an_app_in_its_process_and_draws_a_waterfall(folder: Path) -> None:
    code, out, err = process(
        folder, "trace", "shop:app", "-X", "POST", "-H", "A: b", "-d", "{}", "https://shop.example/orders"
    )
    assert code == 0, err
    assert out.startswith("POST /orders, ")
    assert "\nrequest_id " in out
    assert "\x1b" not in out


def test_a_wrong_name_is_told_without_a_traceback(folder: Path) -> None:
    code, out, err = process(folder, "check", "shop:goood")
    assert (code, out, err) == (2, "", "formation: shop has no 'goood': did you mean good?\n")


def test_a_pipe_that_is_closed_early_is_no_error(folder: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "formation", "explain", "shop:good"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(formation.__file__).parents[1])},
    ) as done:
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 0


@pytest.mark.parametrize("settings", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def test_a_waterfall_has_colours_on_a_terminal_unless_nobody_wants_them(folder: Path, settings: dict[str, str]) -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    unset = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "formation", "trace", "shop:good"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            env={**unset, "PYTHONPATH": str(Path(formation.__file__).parents[1]), "TERM": "xterm-256color", **settings},
        ) as done:
            assert done.wait(30) == 0  # or there is nothing to read, and reading waits for ever
        seen = os.read(ours, 65536)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"retry" in seen
    assert (b"\x1b[" in seen) == (not settings)


def test_the_script_formation_is_the_same() -> None:
    file = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["scripts"]
    assert resolve_name(scripts["formation"]) is main


# --- names ---


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("shop", "expected module:object, file.toml:stack or file.ini:section, got 'shop'"),
        ("shop.good", "did you mean shop:good?"),
        ("./shop.py:good", "a module is named without .py, as shop:good"),
        ("shop.py", "as shop:…"),
        ("shop:", "expected module:object"),
        ("shop:Shop.itm", "shop:Shop has no 'itm': did you mean item?"),
        ("shopp:good", "did you mean shop?"),
        ("package.prt:x", "there is no module 'package.prt' in package: did you mean package.part?"),
        ("shop.inner:x", "there is no module 'shop.inner': shop is no package"),
        ("broken:x", "broken cannot be imported: ModuleNotFoundError: No module named 'nothing_of_that_name' ("),
        ("leaves:x", "leaves cannot be imported: SystemExit ("),
        ("package.part:x", "expected a list of middleware, or what has one, got an object of str"),
        ("package.part:Part", "expected a list of middleware, or what has one, got the class Part"),
        ("package.part:Part.f", "expected a list of middleware, or what has one, got the function f"),
        ("formation.for_httpx:nothing", "formation.for_httpx has no 'nothing'"),
        ("lazy:x", "lazy does not give its 'x': ImportError: not installed"),
        ("stacks.toml:outgiong", "stacks.toml has no stack 'outgiong': did you mean outgoing?"),
        ("nothing.toml", "nothing.toml cannot be read"),
        ("shop.ini:idz", "shop.ini has no filter or app 'idz': did you mean ids?"),
        ("nothing.ini", "nothing.ini cannot be read"),
        ("shop.ini:broken", "there is no middleware 'rettry'"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused_with_the_next_step(run: Run, target: str, said: str) -> None:
    code, out, err = run("check", target)
    assert (code, out) == (2, "")
    assert err.startswith("formation: ")
    assert said in err
    assert "s3cret" not in err


def test_a_toml_file_that_is_wrong_is_told_of_with_its_place(run: Run, folder: Path) -> None:
    (folder / "wrong.toml").write_text('[stacks.a]\nmiddleware = [{ use = "retry", attemps = 4 }]\n', encoding="utf-8")
    code, _, err = run("check", "wrong.toml:a")
    assert code == 2
    assert "wrong.toml, stacks.a, middleware 1 of 1 (retry), attemps: retry has no such setting" in err


def test_without_pastedeploy_an_ini_file_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paste.deploy", None)
    code, _, err = run("check", "shop.ini:ids")
    assert code == 2
    assert "pip install 'formation[paste]'" in err


# --- explain and check ---


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("shop:good", "sync chain, 2 layers"),
        ("shop:greet", "sync chain, 1 layer"),
        ("shop:Shop", "sync client Shop, 2 layers"),
        ("shop:Shop.item", "sync client Shop, 2 layers"),
        ("shop:Plain.twice", "sync chain, 1 layer"),
        ("shop:sender", "sync client, 2 layers"),
        ("shop:app", "sync server, 1 layer"),
        ("shop:whole", "stack, 2 layers"),
        ("stacks.toml:incoming", "stack, 2 layers"),
        ("shop.ini:two", "sync server, 2 layers"),
        ("shop.ini", "sync server, 0 layers"),
    ],
)
def test_explain_takes_whatever_has_middleware(run: Run, target: str, first: str) -> None:
    code, out, err = run("explain", target)
    assert code == 0, err
    assert out.startswith(first)


def test_all_stacks_of_a_file_are_explained_and_checked(run: Run) -> None:
    told = run("explain", "stacks.toml").out
    assert told.startswith("outgoing:\nstack, 2 layers")
    assert "\n\nincoming:\nstack, 2 layers" in told
    assert "s3cret" not in told
    code, out, _ = run("check", "stacks.toml")
    assert code == 1
    assert out.startswith("stacks.toml:outgoing: retry has no timeout inside: ")


def test_check_says_that_there_is_nothing_to_say(run: Run) -> None:
    assert run("check", "shop:good") == (0, "shop:good: nothing to say\n", "")
    assert run("check", "shop:Shop") == (0, "shop:Shop: nothing to say\n", "")


# --- trace ---


@pytest.mark.parametrize(
    ("command", "first"),
    [
        (["shop:good"], "end, "),
        (["shop:good", "--ctx", '{"a": 1}'], "end, "),
        (["shop:later", "--ctx", "{}"], "later, "),
        (["shop:greet", "--args", '["tea", 2]'], "greet, "),
        (["shop:greet", "--args", '{"name": "tea"}'], "greet, "),
        (["shop:wait", "--args", '["tea"]'], "wait, "),
        (["shop:Plain.twice", "--args", "[4]"], "twice, "),
        (["shop:http", "https://shop.example/x"], "GET /x, "),
        (["shop:async_http", "https://shop.example/x"], "GET /x, "),
        (["shop:Shop", "/items/7"], "GET /items/7, "),
        (["shop:sender", "/items/7"], "GET /items/7, "),
        (["shop:Shop.item", "--args", "[7]"], "GET /items/{number}, "),
        (["shop:Shop.stream"], "GET /, "),
        (["shop:Shop.all"], "GET /items/{number}, "),
        (["shop:Async", "/items/7"], "GET /items/7, "),
        (["shop:Async.item", "--args", "[7]"], "GET /items/{number}, "),
        (["shop:Async.stream"], "GET /, "),
        (["shop:Async.all"], "GET /items/{number}, "),
        (["shop:app", "/x"], "GET /x, "),
        (["shop:aapp", "/x"], "GET /x, "),
        (["shop:stack"], "(below), "),
        (["shop:whole", "--ctx", "{}"], "(below), "),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_trace_calls_what_is_named(run: Run, command: list[str], first: str) -> None:
    code, out, err = run("trace", *command)
    assert (code, err) == (0, "")
    assert out.startswith(first)


@pytest.mark.parametrize("stack", ["stack", "whole", "mixed"])
def test_a_stack_is_put_around_a_request_that_is_sent(run: Run, stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    code, out, err = run("trace", f"shop:{stack}", "http://127.0.0.1:9/x")  # where nobody listens
    assert code == 1
    assert "raised ConnectError" in out
    assert err.startswith("formation: the call raised ConnectError: ")


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["/x"], ("GET", {}, b"")),
        (["-I", "/x"], ("HEAD", {}, b"")),
        (["-X", "PUT", "/x"], ("PUT", {}, b"")),
        (["-d", "a=1", "/x"], ("POST", {"Content-Type": "application/x-www-form-urlencoded"}, b"a=1")),
        (["--data-raw", "@a", "/x"], ("POST", {}, b"@a")),
        (["--data-binary", "@body", "/x"], ("POST", {}, b"from a file")),
        (["--json", '{"a": 1}', "/x"], ("POST", {"Content-Type": "application/json"}, b'{"a": 1}')),
        (["-H", "Content-Type: text/plain", "-d", "a", "/x"], ("POST", {"Content-Type": "text/plain"}, b"a")),
        (["curl", "-g", "-X", "POST", "/x", "-H", "A: b", "-H", "B;"], ("POST", {"A": "b", "B": ""}, b"")),
    ],
)
def test_a_request_is_told_as_curl_is(
    run: Run, folder: Path, words: list[str], sent: tuple[str, dict[str, str], bytes]
) -> None:
    method, headers, body = sent
    (folder / "body").write_bytes(b"from a file")
    assert run("trace", "shop:Shop", *words).code == 0
    [(sent_method, url, sent_headers, content)] = asked()
    assert (sent_method, url, content) == (method, "https://shop.example/x", body)
    assert headers.items() <= dict(sent_headers).items()


def test_what_a_rehearsal_writes_for_curl_can_be_pasted(run: Run) -> None:
    shop = build(base_uri="https://shop.example", headers={"A": "b", "Empty": ""})
    command = rehearse(shop.put, "/items/[7]", json={"name": "it's @"}, params={"a": "1 2"}).curl(secrets=True)
    code, _, err = run("trace", "shop:sender", *shlex.split(command))
    assert code == 0, err
    [(method, url, headers, content)] = asked()
    assert (method, content) == ("PUT", b'{"name":"it\'s @"}')
    assert url.endswith(("?a=1+2", "?a=1%202"))
    assert {"A": "b", "Empty": "", "Content-Type": "application/json"}.items() <= headers.items()


def test_a_header_without_a_value_is_not_sent(run: Run) -> None:
    assert run("trace", "shop:Shop", "-d", "a", "-H", "Content-Type:", "/x").code == 0
    assert "Content-Type" not in asked()[0][2]


def test_a_context_can_come_from_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'["tea"]')))
    assert run("trace", "shop:greet", "--args", "@-").code == 0


def test_what_a_call_raises_is_drawn_and_told_without_its_secrets(run: Run) -> None:
    code, out, err = run("trace", "shop:greet", "--args", '["nobody"]')
    assert code == 1
    assert out.startswith("greet, ")
    assert "3 calls, passed OSError on" in out
    assert err.startswith("formation: the call raised OSError: nobody at https://[redacted]@shop/")
    assert "s3cret" not in out + err


def test_a_method_that_calls_nothing_is_told_of(run: Run) -> None:
    assert run("trace", "shop:Shop.none") == (0, "", "formation: nothing was called\n")


@pytest.mark.parametrize(("way", "start"), [("svg", "<svg "), ("html", "<!doctype html>"), ("perfetto", "{")])
def test_a_waterfall_can_be_saved_or_piped(run: Run, folder: Path, way: str, start: str) -> None:
    assert run("trace", "shop:good", f"--{way}", "out") == (0, "", "wrote out\n")
    assert (folder / "out").read_text(encoding="utf-8").startswith(start)
    code, out, err = run("trace", "shop:good", f"--{way}", "-")
    assert (code, err) == (0, "")
    assert out.startswith(start)
    if way == "perfetto":
        assert json.loads(out)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["shop:end"], "expected a chain, a lifted function, a client"),
        (["shop:good", "--ctx", '{"token": "s3cret"'], "expected --ctx as JSON: it is none at line 1, column 19"),
        (["shop:good", "--ctx", "[7]"], 'expected --ctx as a JSON object, such as \'{"name": "tea"}\', got a list'),
        (["shop:good", "--args", "[7]"], "a chain takes a context, --ctx, or a request"),
        (["shop:greet", "--args", '"s3cret"'], "expected --args as a JSON list or object, such as '[7]', got text"),
        (["shop:http", "http://a b"], "ValueError: the URL "),
        (["shop:greet"], "greet(name, times): missing a required argument: 'name'; --args has them"),
        (["shop:greet", "--ctx", "{}"], "greet takes arguments: --args '[7]'"),
        (["shop:Shop"], "Shop takes a request: expected its URL or path as the last word, got none"),
        (["shop:sender"], "a client takes a request: expected its URL or path as the last word, got none"),
        (["shop:Shop", "-H", "A: b"], "expected the URL or the path of the request, as the last word, got none"),
        (["shop:Shop", "-H", "s3cret", "/x"], "expected a header as 'Name: value', got one without a colon"),
        (["shop:Shop", "-H", ": s3cret", "/x"], "got one without a name"),
        (["shop:Shop", "--json", "{", "/x"], "expected --json as JSON"),
        (["shop:Shop", "-d", "@nothing", "/x"], "nothing cannot be read"),
        (["shop:Needy", "/x"], "Needy() cannot be made: TypeError"),
        (["shop:app"], "a server takes a request"),
        (["shop:app", "--ctx", "{}"], "a server takes a request"),
        (["shop:stack", "/x"], "a stack has no server of its own: expected an absolute URL, got a path"),
        (["shop:stack", "--args", "[]"], "a stack takes a request"),
        (["stacks.toml"], "expected one stack, as stacks.toml:outgoing"),
        (["shop:good", "--svg", "no/such/folder"], "no/such/folder cannot be written"),
        (["shop:good", "-Q"], "unknown arguments: -Q"),
        (["shop:app", "curl", "/x", "/y"], "unknown arguments: /y"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_called_so_is_told_how(run: Run, command: list[str], said: str) -> None:
    code, out, err = run("trace", *command)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert "s3cret" not in err


def test_without_its_library_a_stack_says_what_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "formation.for_requests", None)
    Path("simple.py").write_text("stack = []\n", encoding="utf-8")
    code, _, err = run("trace", "simple:stack", "http://127.0.0.1:9/")
    assert code == 2
    assert "for_requests" in err


# --- all of it ---


@pytest.mark.parametrize("command", [(), ("explain",), ("check",), ("trace",), ("demo",)])
def test_each_command_has_help_with_the_exit_codes(run: Run, command: tuple[str, ...]) -> None:
    code, out, _ = run(*command, "--help")
    assert code == 0
    assert "exit codes: 0 " in out
    assert command in ((), ("demo",)) or "examples:\n" in out


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (0, f"formation {resolve_name('formation.version:__version__')}\n", "")


def test_no_command_and_words_that_are_none_are_refused(run: Run) -> None:
    assert run().code == 2
    assert "unknown arguments: more" in run("check", "shop:good", "more").err


def test_ctrl_c_ends_a_command_as_shells_expect(run: Run, folder: Path) -> None:
    (folder / "stop.py").write_text("raise KeyboardInterrupt\n", encoding="utf-8")
    assert run("check", "stop:x").code == 130
