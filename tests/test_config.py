"""Stacks from TOML and from dicts: what can be said, and what is told where it cannot."""

import asyncio
import functools
import re
import sys
import traceback
import types
from pathlib import Path
from typing import Any

import pytest

from formation import compose, wrap
from formation.config import ConfigError, built_in, load
from formation.errors import StatusError
from formation.for_requests import client
from formation.introspection import name_of
from formation.middleware import request_id
from formation.testing import Stub

SHOP = '''
from functools import partial
from formation import compose

made = []

def log(ctx, call):
    return call(ctx)

async def alog(ctx, call):
    return await call(ctx)

def tag(value: str, *, times: int = 1, sign=None):
    made.append(value)
    def tag(ctx, call):
        ctx.setdefault("tags", []).extend([value] * times)
        return call(ctx)
    return tag

def anything(**settings: int):
    def anything(ctx, call):
        ctx["settings"] = settings
        return call(ctx)
    return anything

def pair(user: str, password: str):
    return log

def both():
    return [log, compose(log, log)]

def forgetful():
    """Makes nothing."""

def failing():
    raise RuntimeError("no room")

class Count:
    def __init__(self, start: int = 0):
        self.n = start
    def __call__(self, ctx, call):
        self.n += 1
        return call(ctx)

count = Count()
louder = partial(tag, times=2)

def puzzling(value: "Nowhere"):
    return log
'''


@pytest.fixture(autouse=True)
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the user's, ``shop.middleware``."""
    package, module = types.ModuleType("shop"), types.ModuleType("shop.middleware")
    exec(SHOP, vars(module))
    package.middleware = module  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.middleware", module)
    return module


@pytest.fixture
def toml(tmp_path: Path):
    """Write a file and return its path."""

    def write(text: str) -> Path:
        path = tmp_path / "formation.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def one(*entries):
    """Load one stack."""
    return load({"stacks": {"one": {"middleware": list(entries)}}})["one"]


def names(layers):
    return [name_of(layer) for layer in layers]


def end(ctx):
    return ctx


# --- what can be said ---


def test_a_file_names_stacks_outermost_first(toml):
    stacks = load(
        toml("""
        [stacks.outgoing]
        middleware = ["request_id", { use = "retry", on = [503, "ConnectionError"] }, "shop.middleware:log"]

        [stacks.incoming]
        middleware = [
            "request_id",
            { use = "shop.middleware:tag", value = "x" },
        ]

        [stacks.empty]
        middleware = []
        """)
    )
    assert {name: names(layers) for name, layers in stacks.items()} == {
        "outgoing": ["request_id", "retry", "log"],
        "incoming": ["request_id", "tag"],
        "empty": [],
    }
    assert wrap(end, stacks["incoming"])({})["tags"] == ["x"]


def test_a_path_may_be_text(toml):
    assert names(load(str(toml('[stacks.a]\nmiddleware = ["ua"]')))["a"]) == ["ua"]


def test_a_dict_has_the_same_shape_and_may_hold_functions(shop):
    layers = one(
        shop.log, {"use": shop.tag, "value": "y", "sign": print}, {"use": request_id, "idgen": lambda: "7"}, shop.both
    )
    assert names(layers) == ["log", "tag", "request_id", "log", "log", "log"]
    assert wrap(end, layers)({})["req.id"] == "7"


def test_a_stack_of_a_file_is_the_middleware_of_a_client(toml):
    stacks = load(toml('[stacks.outgoing]\nmiddleware = [{ use = "ua", name = "shop/1" }, "raise_for_status"]'))

    @client
    class Shop:
        base_uri = "http://shop.test"
        middleware = stacks["outgoing"]

    stub = Stub({"GET /lamp": 503})
    with pytest.raises(StatusError):
        Shop(endpoint=stub).request.get("/lamp")
    assert stub.requests[0].headers["User-Agent"] == "shop/1"


@pytest.mark.parametrize("name", built_in())
def test_every_middleware_of_formation_goes_by_its_name(name):
    required = {
        "accept": {"mime": "text/html"},
        "api_key": {"key": "k"},
        "basic": {"user": "u", "password": "p"},
        "bearer": {"token": "t"},
        "content_type": {"mime": "text/html"},
        "fallback": {"to": "sorry"},
        "oauth2_client_credentials": {"token_url": "https://a.test/", "client_id": "i", "client_secret": "s"},
        "trigger_breaker_if": {"predicate": "builtins:bool"},
        "headers": {"set": {"X-A": "b"}},
        "rate_limit": {"limits": "100/minute"},
        "throttle": {"rate": 100},
    }
    layers = one({"use": name, **required.get(name, {})})
    assert names(layers) == ([name] if name != "default_stack" else names(one("default_stack")))


def test_a_stack_includes_others_wherever_it_says_so():
    stacks = load(
        {
            "stacks": {
                "common": {"middleware": ["request_id"]},
                "more": {"middleware": ["context", {"include": "common"}, "shop.middleware:log"]},
                "all": {"middleware": [{"include": "common"}, {"include": "more"}, "ua"]},
            }
        }
    )
    assert names(stacks["all"]) == ["request_id", "context", "request_id", "log", "ua"]


def test_no_two_stacks_share_a_middleware():
    stacks = load(
        {
            "stacks": {
                "common": {"middleware": ["shop.middleware:Count"]},
                "a": {"middleware": [{"include": "common"}]},
                "b": {"middleware": [{"include": "common"}, {"include": "common"}]},
            }
        }
    )
    made = [*stacks["common"], *stacks["a"], *stacks["b"]]
    assert len({id(each) for each in made}) == 4
    wrap(end, stacks["a"])({})
    assert [each.n for each in made] == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("shop.middleware:log", ["log"]),
        ("shop.middleware:alog", ["alog"]),
        ("shop.middleware:count", ["Count"]),
        ("shop.middleware:Count", ["Count"]),
        ({"use": "shop.middleware:Count", "start": 3}, ["Count"]),
        ("shop.middleware:both", ["log", "log", "log"]),
        ({"use": "shop.middleware:louder", "value": "z"}, ["tag"]),
        ({"use": "shop.middleware:pair", "user": "u", "password": "p"}, ["log"]),
        ("default_stack", ["request_id", "context", "request_duration", "request_logger"]),
    ],
)
def test_a_name_is_of_middleware_or_of_what_makes_it(entry, expected):
    assert names(one(entry)) == expected


def test_a_composed_middleware_is_taken_apart(shop):
    shop.pair = compose(shop.log, shop.log)
    assert names(one("shop.middleware:pair")) == ["Composed"]
    assert len(wrap(end, one("shop.middleware:pair")).middleware) == 2


def test_settings_of_any_name_are_checked_like_others():
    layers = one({"use": "shop.middleware:anything", "a": 1, "b": 2})
    assert wrap(end, layers)({})["settings"] == {"a": 1, "b": 2}
    with pytest.raises(ConfigError, match="a: expected a whole number, got 'x'"):
        one({"use": "shop.middleware:anything", "a": "x"})


def test_a_setting_without_annotation_stays_as_it_is():
    one({"use": "shop.middleware:tag", "value": "a", "sign": [1, {"b": "c:d"}]})


def test_an_async_middleware_makes_the_chain_async():
    assert asyncio.run(wrap(end, one("shop.middleware:alog"))({"n": 1})) == {"n": 1}


def test_a_partial_keeps_what_it_has_been_given(shop):
    assert wrap(end, one({"use": functools.partial(shop.tag, "p")}))({})["tags"] == ["p"]


# --- what is told where it cannot be said ---


FILES = {
    "no TOML": ("[stacks.a\n", ": Expected ']' at the end of a table declaration (at line 1, column 10)"),
    "another table": ("[stack.a]", ", stack: expected the key 'stacks', and no other, got ['stack']"),
    "nothing": ("", ", stacks: expected the key 'stacks', and no other, got []"),
    "no table of stacks": ("stacks = 5", ", stacks: expected a table, got 5"),
    "no table": ("[stacks]\na = []", ", stacks.a: expected a table, got []"),
    "another key": (
        "[stacks.a]\nmiddlewares = []",
        ", stacks.a, middlewares: expected the key 'middleware', and no other, got ['middlewares']",
    ),
    "no key": ("[stacks.a]", ", stacks.a, middleware: expected the key 'middleware', and no other, got []"),
    "no list": (
        "[stacks.a]\nmiddleware = 'ua'",
        ", stacks.a, middleware: expected a list of names and tables, got 'ua'",
    ),
    "a circle": (
        "[stacks.a]\nmiddleware = [{ include = 'b' }]\n[stacks.b]\nmiddleware = [{ include = 'a' }]",
        ", stacks.b, middleware 1 of 1, include: it goes round: a includes b includes a",
    ),
    "a number": (
        "[stacks.a]\nmiddleware = ['ua', 5]",
        ", stacks.a, middleware 2 of 2 (5), use: expected the name of a middleware, or package.module:name, got 5",
    ),
}


@pytest.mark.parametrize(("text", "message"), FILES.values(), ids=FILES)
def test_what_is_wrong_with_a_file_is_told_with_its_place(toml, text, message):
    path = toml(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{message}"


ENTRIES = {
    "a table of nothing": ({}, ", include: expected the key 'include', and no other, got []"),
    "settings of nothing": (
        {"attempts": 3},
        ", attempts: expected the key 'include', and no other, got ['attempts']",
    ),
    "an unknown stack": ({"include": "on"}, ", include: there is no stack 'on'; did you mean 'one'? There is one"),
    "a list of stacks": ({"include": ["two"]}, ", include: there is no stack ['two']. There is one"),
    "itself": ({"include": "one"}, ", include: it goes round: one includes one"),
    "an unknown setting": (
        {"use": "shop.middleware:tag", "valeu": "x"},
        ", valeu: shop.middleware:tag has no such setting; did you mean 'value'? There is sign, times, value",
    ),
    "a wrong type": ({"use": "retry", "attempts": "4"}, ", attempts: expected a whole number or none, got '4'"),
    "a wrong value": (
        {"use": "retry", "attempts": 0},
        ": expected attempts as a whole number, 1 or more, got 0",
    ),
    "a missing setting": ("basic", ": basic: missing a required argument: 'user'"),
    "a missing setting of two": (
        "shop.middleware:pair",
        ": shop.middleware:pair: missing a required argument: 'user'",
    ),
    "an unknown module": (
        {"use": "trigger_breaker_if", "predicate": "shop.rules:busy"},
        ", predicate: 'shop.rules:busy' cannot be found: No module named 'shop.rules'; 'shop' is not a package",
    ),
    "an unknown function": (
        "shop.middleware:lgo",
        ", use: 'shop.middleware:lgo' cannot be found: module 'shop.middleware' has no attribute 'lgo'",
    ),
    "no function": ("shop.middleware:made", ", use: [] is not a callable object"),
    "annotations that cannot be read": ("shop.middleware:puzzling", ", use: name 'Nowhere' is not defined"),
    "a factory that fails": ("shop.middleware:failing", ": no room"),
    "a factory that makes nothing": (
        "shop.middleware:forgetful",
        ": middleware[0] is no middleware: expected a function (ctx, call) -> ctx, got None",
    ),
    "a function that is no middleware": (
        "builtins:len",
        ": builtins:len: missing a required argument: 'obj'",
    ),
}


@pytest.mark.parametrize(("entry", "message"), ENTRIES.values(), ids=ENTRIES)
def test_what_is_wrong_with_an_entry_is_told_with_its_place(entry, message):
    use = entry.get("use") if isinstance(entry, dict) else entry
    with pytest.raises(ConfigError) as caught:
        one(entry)
    assert str(caught.value) == f"stacks.one, middleware 1 of 1{f' ({use})' if use else ''}{message}"


SECRETS = {
    "a number for a token": {"use": "bearer", "token": 5551212},
    "what looks like a name": {"use": "bearer", "token": "s3cret:s3cret"},
    "a list for a password": {"use": "basic", "user": "me", "password": ["s3cret"]},
    "a number for a key": {"use": "api_key", "key": 5551212},
    "a header of a wrong type": {"use": "headers", "set": {"Authorization": "s3cret", "X-Page": 7}},
    "a header that breaks the message": {"use": "headers", "set": {"X-Api-Key": "s3cret\n"}},
}


@pytest.mark.parametrize("entry", SECRETS.values(), ids=SECRETS)
def test_a_secret_that_does_not_fit_is_not_shown(entry):
    with pytest.raises(ConfigError) as caught:
        one(entry)
    said = "".join(traceback.format_exception(caught.value))
    assert "redacted" in said
    assert "s3cret" not in said
    assert "5551212" not in said


def test_a_secret_in_a_stack_that_is_no_list_is_not_shown():
    with pytest.raises(ConfigError, match=re.escape("got {'use': 'bearer', 'token': [redacted str]}")):
        load({"stacks": {"a": {"middleware": {"use": "bearer", "token": "s3cret"}}}})


def test_an_unknown_middleware_is_told_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        one("ua", "rety")
    assert str(caught.value) == (
        "stacks.one, middleware 2 of 2 (rety), use: there is no middleware 'rety'; did you mean 'retry'? "
        f"There is {', '.join(built_in())}, and package.module:name"
    )


def test_a_name_that_formation_hands_out_and_that_is_no_middleware_is_none():
    with pytest.raises(ConfigError, match="there is no middleware 'get_context'"):
        one("get_context")


def test_a_dict_that_is_wrong_at_its_top_is_called_the_configuration():
    with pytest.raises(ConfigError, match=r"^stacks: expected the key 'stacks', and no other, got \[\]$"):
        load({})


def test_nothing_is_made_before_everything_is_checked(shop):
    tag = {"use": "shop.middleware:tag", "value": "x"}
    with pytest.raises(ConfigError):
        load({"stacks": {"a": {"middleware": [tag, tag]}, "b": {"middleware": [tag, "nothing"]}}})
    assert shop.made == []


def test_what_went_wrong_is_the_cause():
    with pytest.raises(ConfigError) as caught:
        one("shop.middleware:failing")
    assert repr(caught.value.__cause__) == "RuntimeError('no room')"


def test_a_library_that_is_missing_says_what_to_install(monkeypatch):
    one("retry")  # so that there is something to take away
    monkeypatch.setitem(sys.modules, "tenacity", None)
    for module in ("formation.middleware.retry", "formation.resilience.retrying"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.delattr("formation.middleware.retry", raising=False)
    with pytest.raises(ConfigError, match=r"\(retry\), use: tenacity is not installed: pip install 'formation\[resil"):
        one("retry")


def test_a_file_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "formation.toml")


def test_the_file_of_the_page_can_be_loaded(toml, shop):
    shop.audit = shop.log
    page = (Path(__file__).parents[1] / "docs" / "config.md").read_text(encoding="utf-8")
    text, *others = re.findall(r"(?ms)^```toml\n(.*?)^```$", page)
    assert not others
    assert {name: names(layers) for name, layers in load(toml(text)).items()} == {
        "common": ["request_id", "context"],
        "incoming": ["request_id", "context", "deadline"],
        "outgoing": ["request_id", "context", "retry", "ua", "log"],
    }
