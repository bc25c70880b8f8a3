"""The edge for PasteDeploy: real INI files, read by PasteDeploy itself."""

import importlib.metadata
import re
import sys
import threading
import tomllib
import types
from pathlib import Path
from textwrap import dedent
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from paste.deploy import appconfig, loadapp, loadfilter

import formation.for_paste
from formation.config import ConfigError, built_in
from formation.for_paste import Filter
from formation.for_requests import build
from formation.for_wsgi import FormationMiddleware, endpoint
from formation.introspection import name_of

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
POINTS = PROJECT["entry-points"]

SHOP = '''
def app(global_conf, **local):
    """An app that tells its configuration, and what it was asked."""
    def app(environ, start_response):
        said = {"global": dict(global_conf), "local": local, "rid": environ.get("HTTP_X_REQUEST_ID"),
                "tags": environ.get("HTTP_X_TAGS"), "path": environ["SCRIPT_NAME"] + environ["PATH_INFO"]}
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [repr(said).encode()]
    return app

def log(ctx, call):
    return call(ctx)

async def alog(ctx, call):
    return await call(ctx)

def tag(value: str, times: int = 1):
    def tag(ctx, call):
        request = ctx["fmtn.req.http"]
        seen = request.headers.get("X-Tags", "")
        request.headers["X-Tags"] = seen + value * times
        return call(ctx)
    return tag

class Count:
    made = []
    def __init__(self):
        self.n = 0
        self.made.append(self)
    def __call__(self, ctx, call):
        self.n += 1
        return call(ctx)

def upper(global_conf, **local):
    """A filter of somebody else: it changes the path."""
    def upper(app):
        def upper(environ, start_response):
            return app(environ | {"PATH_INFO": environ["PATH_INFO"].upper()}, start_response)
        return upper
    return upper

def urls(loader, global_conf, **local):
    """A composite in the style of OpenStack's Nova: paths and apps."""
    apps = {path: loader.get_app(name, global_conf=global_conf) for path, name in local.items()}
    def urls(environ, start_response):
        for path, app in apps.items():
            if environ["PATH_INFO"].startswith(path):
                rest = environ["PATH_INFO"][len(path):]
                return app(environ | {"SCRIPT_NAME": path, "PATH_INFO": rest}, start_response)
    urls.apps = apps
    return urls
'''

APP = """
[app:shop]
paste.app_factory = shop:app
"""


@pytest.fixture(autouse=True)
def shop(monkeypatch):
    """A module of the user's."""
    module = types.ModuleType("shop")
    exec(SHOP, vars(module))
    monkeypatch.setitem(sys.modules, "shop", module)
    return module


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """Formation, installed: where it is not, its metadata are what an installer would make of ``pyproject.toml``."""
    try:
        importlib.metadata.distribution("formation")
    except importlib.metadata.PackageNotFoundError:
        site = tmp_path_factory.mktemp("site")
        made = site / "formation.dist-info"
        made.mkdir()
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: formation\nVersion: {PROJECT['version']}\n")
        sections = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in said.items()) for group, said in POINTS.items())
        (made / "entry_points.txt").write_text("\n".join(sections))
        sys.path.insert(0, str(site))
        yield
        sys.path.remove(str(site))
    else:
        yield


@pytest.fixture
def ini(tmp_path):
    """Write an INI file, which has the app ``shop``, and return its URI for PasteDeploy."""

    def write(text, name="app.ini"):
        path = tmp_path / name
        path.write_text(dedent(text) + ("" if "[app:shop]" in text else APP), encoding="utf-8")
        return f"config:{path}"

    return write


def names(app):
    assert type(app) is FormationMiddleware
    return [name_of(each) for each in app.middleware]


def ask(app, path="/", **headers):
    """Ask an app that tells what it was asked."""
    response = build(base_uri="http://shop.test", endpoint=endpoint(app)).get(path, headers=headers).response
    return eval(response.text) | {"headers": response.headers}


# --- the rules of PasteDeploy ---


def test_filter_with_and_a_factory_called_by_name(ini):
    uri = ini("""
        [app:shop]
        paste.app_factory = shop:app
        filter-with = tag

        [filter:tag]
        use = call:formation.for_paste:middleware
        factory = shop:tag
        value = x
        times = 3
    """)
    app = loadapp(uri, name="shop")
    assert names(app) == ["tag"]
    assert ask(app)["tags"] == "xxx"


def test_the_left_filter_of_a_pipeline_is_outermost_and_neighbours_are_one_chain(ini):
    uri = ini("""
        [filter:a]
        use = egg:formation#middleware
        factory = shop:tag
        value = a

        [filter:b]
        use = egg:formation#middleware
        factory = shop:tag
        value = b

        [filter:id]
        use = egg:formation#request_id

        [pipeline:main]
        pipeline = a id b shop
    """)
    app = loadapp(uri)
    assert names(app) == ["tag", "request_id", "tag"]
    assert not isinstance(app.app, FormationMiddleware)
    assert ask(app)["tags"] == "ab"


def test_a_filter_of_somebody_else_parts_two_chains(ini):
    uri = ini("""
        [filter:upper]
        paste.filter_factory = shop:upper

        [pipeline:main]
        pipeline = egg:formation#request_id upper egg:formation#context shop
    """)
    app = loadapp(uri)
    assert names(app) == ["request_id"]
    said = ask(app, "/lamp")
    assert said["path"] == "/LAMP"
    assert said["headers"]["X-Request-ID"] == said["rid"]


def test_settings_of_a_built_in_filter_are_text_that_its_annotations_read(ini):
    uri = ini("""
        [filter:id]
        use = egg:formation#request_id
        key = X-Shop-ID
        idgen = builtins:int

        [filter:headers]
        use = egg:formation#headers
        set =
            X-Frame-Options = deny
            Cache-Control = no-store, max-age=0
        remove = Content-Type

        [pipeline:main]
        pipeline = headers id shop
    """)
    answered = ask(loadapp(uri))["headers"]
    assert (answered["X-Shop-ID"], answered["X-Frame-Options"]) == ("0", "deny")
    assert answered["Cache-Control"] == "no-store, max-age=0"
    assert "Content-Type" not in answered


def test_a_filter_of_another_file(ini):
    ini(
        """
        [filter:tag]
        use = egg:formation#middleware
        factory = shop:tag
        value = other
    """,
        "other.ini",
    )
    uri = ini("""
        [filter:tag]
        use = config:other.ini#tag
        times = 2

        [pipeline:main]
        pipeline = tag shop
    """)
    assert ask(loadapp(uri))["tags"] == "otherother"


def test_a_filter_app_has_a_next(ini):
    uri = ini("""
        [filter-app:main]
        use = egg:formation#middleware
        factory = shop:tag
        value = x
        next = shop
    """)
    app = loadapp(uri)
    assert names(app) == ["tag"]
    assert ask(app)["tags"] == "x"


@pytest.mark.parametrize(
    "line",
    [
        "paste.filter_factory = formation.for_paste:middleware",
        "paste.filter_app_factory = formation.for_paste:middleware_app",
    ],
)
def test_a_section_names_its_factory(ini, line):
    uri = ini(f"""
        [filter:tag]
        {line}
        factory = shop:tag
        value = x

        [pipeline:main]
        pipeline = tag shop
    """)
    assert names(loadapp(uri)) == ["tag"]


def test_a_section_names_the_factory_of_a_built_in_middleware(ini):
    uri = ini("""
        [filter:ua]
        paste.filter_factory = formation.for_paste:ua
        name = shop/1

        [pipeline:main]
        pipeline = ua shop
    """)
    assert names(loadapp(uri)) == ["ua"]


def test_a_composite_of_somebody_else_asks_the_loader_for_its_apps(ini):
    uri = ini("""
        [composite:main]
        use = call:shop:urls
        /a = one
        /b = two

        [pipeline:one]
        pipeline = id shop

        [pipeline:two]
        pipeline = tag id shop

        [filter:id]
        use = egg:formation#request_id

        [filter:tag]
        use = egg:formation#middleware
        factory = shop:tag
        value = b
    """)
    app = loadapp(uri)
    assert {path: names(each) for path, each in app.apps.items()} == {
        "/a": ["request_id"],
        "/b": ["tag", "request_id"],
    }
    assert (ask(app, "/a/lamp")["path"], ask(app, "/b/lamp")["tags"]) == ("/a/lamp", "b")


def test_two_apps_that_share_a_filter_share_no_state(ini, shop):
    uri = ini("""
        [composite:main]
        use = call:shop:urls
        /a = one
        /b = two

        [pipeline:one]
        pipeline = count shop

        [pipeline:two]
        pipeline = count shop

        [filter:count]
        use = egg:formation#middleware
        factory = shop:Count
    """)
    app = loadapp(uri)
    ask(app, "/a")
    ask(app, "/a")
    ask(app, "/b")
    assert [each.n for each in shop.Count.made] == [2, 1]


def test_defaults_set_get_and_here_arrive_as_they_do_without_us(ini, tmp_path):
    text = """
        [DEFAULT]
        admin = ann
        place = %(here)s/data

        [filter:tag]
        use = egg:formation#middleware
        factory = shop:tag
        get value = admin
        set admin = bob

        [app:shop]
        paste.app_factory = shop:app
        set admin = eve
        get mail = admin
        colour = red

        [pipeline:main]
        pipeline = tag shop
    """
    uri = ini(text)
    said = ask(loadapp(uri, global_conf={"given": "1"}))
    plain = ask(loadapp(uri, name="shop", global_conf={"given": "1"}))
    assert (said["global"], said["local"]) == (plain["global"], plain["local"])
    assert said["global"]["place"] == f"{tmp_path}/data"
    assert said["global"]["given"] == "1"
    assert said["local"] == {"mail": "eve", "colour": "red"}
    assert said["tags"] == "bob"  # a section sets before it gets, and nobody else sees it


def test_a_key_that_is_in_default_too_is_said_by_get(ini):
    uri = ini("""
        [DEFAULT]
        value = theirs

        [filter:hidden]
        use = egg:formation#middleware
        factory = shop:tag
        value = ours

        [filter:said]
        use = egg:formation#middleware
        factory = shop:tag
        get value = value

        [pipeline:hidden-main]
        pipeline = hidden shop

        [pipeline:said-main]
        pipeline = said shop
    """)
    with pytest.raises(ConfigError, match=r"missing a required argument: 'value'"):
        loadapp(uri, name="hidden-main")
    assert ask(loadapp(uri, name="said-main"))["tags"] == "theirs"


def test_a_loaded_filter_goes_around_many_apps_each_with_its_own_middleware(ini, shop):
    uri = ini("""
        [filter:count]
        use = egg:formation#middleware
        factory = shop:Count
    """)
    loaded = loadfilter(uri, name="count")
    one, two = loaded(shop.app({})), loaded(shop.app({}))
    ask(one)
    assert [each.n for each in shop.Count.made] == [1, 0]
    assert [one.middleware, two.middleware] == [(each,) for each in shop.Count.made]
    assert repr(loaded) == "Filter(shop:Count)"


def test_a_filter_has_filters(ini):
    uri = ini("""
        [filter:inner]
        use = egg:formation#context
        filter-with = outer

        [filter:outer]
        use = egg:formation#request_id

        [app:main]
        paste.app_factory = shop:app
        filter-with = inner
    """)
    assert names(loadapp(uri)) == ["request_id", "context"]


def test_a_built_in_filter_is_loaded_from_the_package_alone(shop):
    loaded = loadfilter("egg:formation#request_id")
    assert isinstance(loaded, Filter)
    assert names(loaded(shop.app({}))) == ["request_id"]


def test_a_configuration_can_be_read_without_being_run(ini):
    uri = ini("""
        [filter-app:main]
        use = egg:formation#stack
        middleware = no_such_thing
        next = shop
    """)
    with pytest.raises(ConfigError):
        loadapp(uri)
    assert appconfig(uri.replace("app.ini", "app.ini#shop")).context.protocol == "paste.app_factory"


def test_a_pipeline_answers_on_a_real_server(ini):
    uri = ini("""
        [filter:tag]
        use = egg:formation#middleware
        factory = shop:tag
        value = real

        [pipeline:main]
        pipeline = egg:formation#request_id tag shop
    """)

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args):
            """Say nothing."""

    with make_server("127.0.0.1", 0, loadapp(uri), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            answer = build(base_uri=f"http://127.0.0.1:{server.server_port}").get(
                "/lamp", headers={"X-Request-ID": "7f3a"}
            )
        finally:
            server.shutdown()
            thread.join()
    said = eval(answer.response.text)
    assert (said["rid"], said["tags"], said["path"]) == ("7f3a", "real", "/lamp")
    assert answer.response.headers["X-Request-ID"] == "7f3a"


# --- what PasteDeploy cannot do, and the way around it (docs/paste.md) ---


def test_pastedeploy_cannot_call_a_factory_in_filter_app(ini):
    uri = ini("""
        [filter-app:main]
        use = call:formation.for_paste:request_id
        next = shop

        [filter-app:around]
        paste.filter_factory = formation.for_paste:request_id
        next = shop
    """)
    with pytest.raises(AssertionError, match=r"Protocol 'paste\.filter-app_factory' unknown"):
        loadapp(uri)
    assert names(loadapp(uri, name="around")) == ["request_id"]


def test_pastedeploy_cannot_filter_a_pipeline_but_it_can_filter_a_stack(ini):
    uri = ini("""
        [pipeline:main]
        pipeline = egg:formation#context shop
        filter-with = id

        [composite:around]
        use = egg:formation#stack
        middleware = context
        app = shop
        filter-with = id

        [filter:id]
        use = egg:formation#request_id
    """)
    with pytest.raises(TypeError, match=r"composed\(\) takes 1 positional argument but 2 were given"):
        loadapp(uri)(None, None)
    assert names(loadapp(uri, name="around")) == ["request_id", "context"]


# --- stacks ---


def test_a_stack_is_a_filter_of_many(ini):
    uri = ini("""
        [filter:edge]
        use = egg:formation#stack
        middleware = request_id, context
            shop:log

        [pipeline:main]
        pipeline = edge shop
    """)
    assert names(loadapp(uri)) == ["request_id", "context", "log"]


def test_a_stack_of_a_toml_file_is_a_filter(ini, tmp_path):
    (tmp_path / "formation.toml").write_text(
        '[stacks.incoming]\nmiddleware = ["request_id", { use = "shop:tag", value = "t" }]', encoding="utf-8"
    )
    uri = ini("""
        [filter:edge]
        use = egg:formation#stack
        file = %(here)s/formation.toml
        stack = incoming

        [composite:around]
        use = egg:formation#stack
        file = %(here)s/formation.toml
        stack = incoming
        app = shop

        [pipeline:main]
        pipeline = edge shop
    """)
    for name in ("main", "around"):
        assert names(loadapp(uri, name=name)) == ["request_id", "tag"]
        assert ask(loadapp(uri, name=name))["tags"] == "t"


def test_a_composite_puts_filters_of_the_file_of_formation_and_of_others_around_an_app(ini):
    uri = ini("""
        [filter:tag]
        use = egg:formation#middleware
        factory = shop:tag
        value = x

        [filter:context]
        use = egg:formation#context
        namespace = mine

        [filter:upper]
        paste.filter_factory = shop:upper

        [composite:main]
        use = egg:formation#stack
        middleware = request_id context egg:formation#ua upper tag shop:log
        app = shop
    """)
    app = loadapp(uri)
    assert names(app) == ["request_id", "context", "ua"]
    said = ask(app, "/lamp")
    assert (said["path"], said["tags"]) == ("/LAMP", "x")


# --- what is wrong is refused when the file is loaded ---


REFUSED = {
    "an unknown setting": (
        "use = egg:formation#request_id\nkye = X",
        "kye: request_id has no such setting; did you mean 'key'? There is idgen, key",
    ),
    "a bad value": (
        "use = egg:formation#deadline\ntotal = soon",
        "total: expected a number or none, got 'soon'",
    ),
    "a value that the middleware refuses": (
        "use = egg:formation#request_id\nkey = X ID",
        None,
    ),
    "a setting that is missing": (
        "use = egg:formation#basic\nuser = ann",
        "basic: missing a required argument: 'password'",
    ),
    "a function that is not there": (
        "use = egg:formation#request_id\nidgen = shop:nothing",
        "idgen: 'shop:nothing' cannot be found: module 'shop' has no attribute 'nothing'",
    ),
    "a factory that is not there": (
        "use = egg:formation#middleware\nfactory = shop:nothing",
        "factory: 'shop:nothing' cannot be found: module 'shop' has no attribute 'nothing'",
    ),
    "a factory that is named otherwise": (
        "paste.filter_factory = formation.for_paste:basic",
        "basic: missing a required argument: 'user'",
    ),
    "no factory": ("use = egg:formation#middleware", None),
    "an unknown setting of a function": (
        "use = egg:formation#middleware\nfactory = shop:tag\nvalue = a\ntime = 3",
        "time: shop:tag has no such setting; did you mean 'times'? There is times, value",
    ),
    "a setting that comes by get": (
        "use = egg:formation#deadline\nset late = soon\nget total = late",
        "total: expected a number or none, got 'soon'",
    ),
    "an unknown name in a stack": ("use = egg:formation#stack\nmiddleware = request_id contxt", None),
    "a stack of nothing": (
        "use = egg:formation#stack",
        "expected middleware, or file and stack, got nothing",
    ),
    "a stack of both": (
        "use = egg:formation#stack\nmiddleware = ua\nfile = a.toml",
        "expected middleware, or file and stack, got middleware, file",
    ),
    "a file that is not there": (
        "use = egg:formation#stack\nfile = nowhere.toml\nstack = a",
        "file: [Errno 2] No such file or directory: 'nowhere.toml'",
    ),
    "an async middleware": (
        "use = egg:formation#middleware\nfactory = shop:alog",
        "'alog' is async and this chain is sync: make it a plain function, which runs in both",
    ),
}


@pytest.mark.parametrize(("lines", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_with_file_section_and_key(ini, tmp_path, lines, message):
    others = "[filter:right]\nuse = egg:formation#ua\n[pipeline:main]\npipeline = right wrong shop\n"
    uri = ini(f"[filter:wrong]\n{lines}\n{others}")
    with pytest.raises(ConfigError) as caught:
        loadapp(uri)
    place = f"{tmp_path / 'app.ini'}, [filter:wrong]"
    assert str(caught.value).startswith(place)
    assert message is None or str(caught.value) in {f"{place}, {message}", f"{place}: {message}"}


def test_a_stack_that_a_toml_file_does_not_have_is_told_with_both_files(ini, tmp_path):
    toml = tmp_path / "formation.toml"
    uri = ini("""
        [composite:main]
        use = egg:formation#stack
        file = %(here)s/formation.toml
        stack = incomming
        app = shop
    """)
    toml.write_text("[stacks.incoming]\nmiddleware = []", encoding="utf-8")
    place = r"app\.ini, \[composite:main\]"
    with pytest.raises(ConfigError, match=place + ", stack: there is no stack 'incomming'; did you mean 'incoming'"):
        loadapp(uri)
    toml.write_text("[stacks.incoming]\nmiddleware = ['uaa']", encoding="utf-8")
    with pytest.raises(ConfigError, match=place + r", file: .*formation\.toml, stacks\.incoming, middleware 1"):
        loadapp(uri)


def test_a_composite_needs_an_app(ini):
    uri = ini("""
        [composite:main]
        use = egg:formation#stack
        middleware = ua
    """)
    with pytest.raises(ConfigError, match=r"\[composite:main\]: expected app, the name of an app, got middleware$"):
        loadapp(uri)


def test_an_app_that_is_none_is_told_with_the_place_of_the_filter(ini):
    uri = ini("""
        [filter:ua]
        use = egg:formation#ua
    """)
    with pytest.raises(ConfigError, match=r"app\.ini, \[filter:ua\]: expected a WSGI app, .* got 5$"):
        loadfilter(uri, name="ua")(5)


def test_where_two_sections_say_the_same_both_are_told(ini):
    uri = ini("""
        [filter:one]
        use = egg:formation#ua
        nmae = a

        [filter:two]
        use = egg:formation#ua
        nmae = a

        [pipeline:main]
        pipeline = two shop
    """)
    with pytest.raises(ConfigError, match=r"app\.ini, \[filter:one\] or \[filter:two\], nmae: "):
        loadapp(uri)


def test_where_no_section_says_it_the_filter_is_named(ini):
    ini("[filter:wrong]\nuse = egg:formation#ua\nnmae = a\n", "other.ini")
    uri = ini("""
        [pipeline:main]
        pipeline = wrong shop

        [filter:wrong]
        use = config:other.ini#wrong
    """)
    with pytest.raises(ConfigError, match=r"app\.ini, ua, nmae: ua has no such setting"):
        loadapp(uri)
    with pytest.raises(ConfigError, match=r"^ua, nmae: ua has no such setting"):
        formation.for_paste.ua({}, nmae="a")


# --- the entry points ---


def test_every_middleware_of_formation_is_a_filter():
    own = {"middleware", "stack"}
    assert POINTS["paste.filter_factory"] == {name: f"formation.for_paste:{name}" for name in [*built_in(), *own]}
    assert POINTS["paste.filter_app_factory"] == {"middleware": "formation.for_paste:middleware_app"}
    assert POINTS["paste.composite_factory"] == {"stack": "formation.for_paste:composite"}


def test_what_is_installed_has_these_entry_points():
    installed = importlib.metadata.distribution("formation").entry_points
    for group, said in POINTS.items():
        assert {point.name: point.value for point in installed.select(group=group)} == said


@pytest.mark.parametrize("name", [*built_in(), "middleware", "stack"])
def test_an_entry_point_is_a_factory_with_its_name(name):
    (point,) = importlib.metadata.entry_points(group="paste.filter_factory", name=name)
    assert point.load().__name__ == name


def test_the_module_has_no_other_names():
    with pytest.raises(AttributeError, match=r"module 'formation\.for_paste' has no attribute 'retyr'"):
        formation.for_paste.retyr  # noqa: B018
    assert not hasattr(formation.for_paste, "get_context")


# --- what the documentation shows ---

PAGE = (Path(__file__).parents[1] / "docs" / "paste.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", re.findall(r"(?ms)^```ini\n(.*?)^```$", PAGE))
def test_each_file_of_the_page_can_be_loaded(ini, shop, monkeypatch, text):
    shop.make_app = shop.app
    for name, value in {"middleware": {"audit": shop.log}, "errors": {"OutOfStock": KeyError}}.items():
        module = types.ModuleType(f"shop.{name}")
        vars(module).update(value)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        setattr(shop, name, module)
    uri = ini(text)
    for name in re.findall(r"(?m)^\[filter:(\w+)\]", text):
        assert names(loadfilter(uri, name=name)(shop.app({}))) == [name.replace("audit", "log")]
    if ":main]" in text:
        assert names(loadapp(uri)) == ["request_id", "deadline", "log"]
