"""The documentation keeps up with the code: keys, public names, pages, links, and the programs of the README."""

import importlib
import inspect
import re
import textwrap
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import formation
from formation import keys
from tests.servers import Connection, Seen, Server
from tests.test_examples import run, told

ROOT = Path(__file__).parents[1]
PACKAGE = Path(formation.__file__).parent  # in site-packages where the wheel is tested
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.rglob("*.md"))]
CONSTANTS = {name: value for name, value in vars(keys).items() if name.isupper()}

GOOGLE = """\
from attrs import define, field
import structlog
from formation.for_requests import client, html_response
from formation.middleware import request_logger

@define
class Query:
    query: str = field(metadata={"to": ["q"]})

@client
class Google:
    base_uri = "https://google.com"
    middleware = [request_logger(structlog.get_logger())]
    response_as = html_response

    def search(self, text):
        return self.request.get("/", params=Query(text))

(html, _code, _headers) = Google().search("larry page")
"""

FANCY_GET = """\
from time import perf_counter
from formation import wrap
from requests import get

def log(ctx, call):
    print("started"); ctx = call(ctx); print("ended")
    return ctx

def timeit(ctx, call):
    started = perf_counter()
    ctx = call(ctx)
    ctx["duration"] = perf_counter() - started
    return ctx

def to_requests(ctx):
    ctx["res"] = get(ctx["url"])
    return ctx

fancy_get = wrap(to_requests, middleware=[log, timeit])
"""


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fences(page: Path, language: str) -> list[str]:
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text(page))


# --- the README ---


@pytest.mark.parametrize("program", [GOOGLE, FANCY_GET], ids=["google", "fancy_get"])
def test_the_readme_has_the_promised_programs_as_they_stand(program: str) -> None:
    assert program in fences(README, "python")


def test_the_client_of_the_readme_works_against_a_server_on_this_machine(server: Server) -> None:
    def answer(connection: Connection, seen: Seen) -> None:
        connection.answer(seen, 200, f"<title>{seen.arg('q')} found</title>".encode(), "text/html")

    found: dict[str, Any] = {}
    with server.route("search", answer) as url:
        exec(GOOGLE.replace("https://google.com", url), found)
    assert found["html"].xpath("//title/text()") == ["larry page found"]
    assert found["_code"] == 200
    assert found["_headers"]["content-type"] == "text/html"


def test_the_fancy_get_of_the_readme_works_against_a_server_on_this_machine(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    program: dict[str, Any] = {}
    exec(FANCY_GET, program)
    ctx = program["fancy_get"]({"url": f"{server.url}/echo"})
    assert ctx["res"].status_code == 200
    assert ctx["duration"] > 0
    assert capsys.readouterr().out == "started\nended\n"
    assert repr(program["fancy_get"]) == "wrap(to_requests, [log, timeit])"


def test_what_the_readme_shows_of_the_demo_is_what_the_demo_prints() -> None:
    printed = "\n".join(told(run(ROOT / "examples" / "demo.py").stdout))
    excerpts = fences(README, "text")
    assert excerpts
    for excerpt in excerpts:
        shown = "\n".join(told(excerpt)).strip("\n")
        assert shown in printed or shown in textwrap.dedent(printed)


def test_the_readme_tells_of_each_part_of_the_package() -> None:
    parts = {path.stem for path in PACKAGE.iterdir() if not path.name.startswith(("_", "py.typed"))} - {"version"}
    parts |= {"docs", "tests", "examples", "bench", "simulate"}
    assert not [part for part in parts if not re.search(rf"`(formation[./])?{part}(\.py|/)?`", text(README))]


def test_the_readme_names_each_extra_that_can_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"all"}
    assert not [extra for extra in extras if f"`[{extra}]`" not in text(README)]


# --- llms.txt ---


def test_llms_txt_lists_each_key_middleware_and_edge_as_the_code_has_it() -> None:
    llms = importlib.import_module("docs.llms")
    said = text(llms.FILE)
    assert said == llms.written(said), "run `python -m docs.llms`"
    names = {line.split("(")[0].strip("- `:").split("`")[0] for line in llms.middlewares() + llms.edges()}
    assert names == {*public_names("formation.middleware"), *EDGES}


# --- the pages ---


def test_the_table_of_keys_has_each_key_with_its_constant() -> None:
    rows = re.findall(r"(?m)^\| `([^`]+)` \| `([A-Z_]+)` \|", text(DOCS / "SPEC.md"))
    assert {constant: key for key, constant in rows} == CONSTANTS
    assert len(rows) == len(CONSTANTS)


def public_names(module: str) -> list[str]:
    home = importlib.import_module(module)
    if hasattr(home, "__all__"):
        return sorted(home.__all__)
    own = [name for name, value in vars(home).items() if inspect.isclass(value) and value.__module__ == module]
    return sorted(name for name in own if not name.startswith("_"))


EDGES = [f"formation.{file.stem}" for file in sorted(PACKAGE.glob("for_*"))]
MODULES = [f"formation.{name}" for name in ("errors", "http", "middleware", "testing")]
PUBLIC = [
    (module, name)
    for module in ("formation", *MODULES, *EDGES)
    for name in public_names(module) + (["CircuitOpenError"] if module == "formation.errors" else [])
]


def test_the_reference_has_what_users_are_told_to_import() -> None:
    reference = "\n".join(text(page) for page in sorted((DOCS / "reference").glob("*.md")))
    there, module = set(), ""
    for kind, name in re.findall(r"\.\. (auto\w+|currentmodule):: ([\w.]+)", reference):
        module = name if "module" in kind else module
        there |= {name, f"{module}.{name}"}
    there |= {"formation.keys"} | {f"formation.{name}" for name in public_names("formation")}
    pages = "\n".join(map(text, PAGES))
    imports = re.findall(r"(?m)^(?:>>> |\.\.\. )?\s*from (formation[\w.]*) import ([\w, ]+)", pages)
    told = {(home, each.split(" as ")[0].strip()) for home, names in imports for each in names.split(",") if each}
    assert not [(home, name) for home, name in told if name and not there & {home, f"{home}.{name}"}]


@pytest.mark.parametrize(("module", "name"), PUBLIC, ids=lambda value: value)
def test_every_public_name_is_somewhere_in_the_documentation(module: str, name: str) -> None:
    said = re.compile(rf"(?<![\w/]){name}(?!\w|\.md)")
    assert [page.name for page in PAGES if said.search(text(page))]


def bare(snippet: str) -> str:
    """A program without what may differ from edge to edge: imports, what is awaited, the app in place of a server."""
    imports = r"(?m)^(?:import asyncio|from .+)\n"
    awaiting = r"async |await |asyncio\.run(?=\()|endpoint=endpoint\(\w+\)"
    return re.sub(awaiting, "", re.sub(imports, "", snippet)).replace("(main())", "main()")


def test_the_tabs_of_the_page_on_edges_show_one_client_on_every_edge_that_sends() -> None:
    (tabs,) = re.findall(r"(?ms)^<!-- tabs -->$.*^<!-- end of tabs -->$", text(DOCS / "edges.md"))
    snippets = re.findall(r"(?ms)^```python\n(.*?)^```$", tabs)
    assert len(snippets) == len(re.findall(r"(?m)^### ", tabs))
    assert {bare(snippet) for snippet in snippets} == {bare(snippets[0])}
    sending = [edge for edge in EDGES if hasattr(importlib.import_module(edge), "endpoint")]
    assert [edge for edge in sending if f"from {edge} import" in tabs] == sending


def test_the_tabs_of_the_page_on_servers_put_one_list_around_an_app_of_each_framework() -> None:
    (tabs,) = re.findall(r"(?ms)^<!-- tabs -->$(.*)^<!-- end of tabs -->$", text(DOCS / "servers.md"))
    frameworks = re.split(r"(?m)^### ", tabs)[1:]
    assert len(frameworks) == 10
    for tab in frameworks:
        assert re.search(r"middleware=around\b|middleware\(around\)|pipeline = request_id log guard users", tab), tab
        assert "check(app" in tab or "check(get_wsgi_application()" in tab, tab
    serving = [edge for edge in EDGES if "FormationMiddleware" in public_names(edge)]
    assert [edge for edge in serving if f"from {edge} import" in tabs] == serving


def test_every_dependency_is_told_of_with_the_month_of_its_release() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras, groups = project["project"]["optional-dependencies"], project["dependency-groups"]
    always = [project["build-system"]["requires"], project["project"]["dependencies"]]
    lists = [*always, *extras.values(), *groups.values()]
    needed = {re.split(r"[^\w.-]", requirement)[0] for each in lists for requirement in each} - {"formation"}
    dated = re.findall(r"(?m)^\| (.+) \|.* \d[\w.]*, [A-Z][a-z]+ 20\d\d.*\|$", text(DOCS / "libraries.md"))
    assert not needed - {name for row in dated for cell in row.split(" | ")[:2] for name in cell.split(", ")}


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {
        found
        for page in DOCS.rglob("*.md")
        for block in re.findall(r"(?ms)^```\{toctree\}\n(.*?)^```$", text(page))
        for line in block.splitlines()
        if line.strip() and not line.startswith(":")
        for found in page.parent.glob(f"{line.strip()}.md")
    }
    assert listed == {page for page in DOCS.rglob("*.md") if page != DOCS / "index.md"}


def heading_anchors(page: Path) -> set[str]:
    headings = re.findall(r"(?m)^#+ (.+)$", re.sub(r"(?ms)^```.*?^```$", "", text(page)))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"(?ms)^```.*?^```$", "", text(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in heading_anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_import_of_formation_in_a_page_can_be_done(page: Path) -> None:
    for module, names in re.findall(r"(?m)^(?:>>> )?from (formation[\w.]*) import ([\w, ]+)$", text(page)):
        for name in names.split(", "):
            assert hasattr(importlib.import_module(module), name.partition(" as ")[0]), (module, name)


def test_the_specification_is_of_the_version_that_the_package_has() -> None:
    version = re.search(r"(?m)^# Specification, version (\d+\.\d+)$", text(DOCS / "SPEC.md"))
    assert version
    assert importlib.import_module("formation.version").__version__.startswith(version[1] + ".")
