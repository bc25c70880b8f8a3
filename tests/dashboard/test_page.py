"""The page in a real Chromium, against a real uvicorn."""

import logging
import re
from contextlib import contextmanager, suppress
from itertools import count

import pytest

from formation import wrap
from formation.dashboard import Dashboard
from formation.dashboard.page import page as the_page
from formation.errors import CircuitOpenError
from formation.http import Request, Response
from formation.middleware import bulkhead, circuit_breaker, retry, watched
from tests.dashboard.browser import chromium
from tests.server.asgi_servers import running, uvicorn

TOKEN = "a-long-secret-of-mine"
QUIET = logging.getLogger("tests.dashboard")
QUIET.setLevel("CRITICAL")
NASTY = "<img src=x onerror=alert(1)>&amp;\"'</script>"

# playwright's own event loop is left to the collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:unclosed:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@contextmanager
def mounted(board):
    async def app(scope, receive, send):
        if scope["type"] != "lifespan" and scope["path"].startswith("/ops"):
            await board.asgi({**scope, "root_path": "/ops"}, receive, send)

    with running(uvicorn, app) as port:
        yield f"http://127.0.0.1:{port}/ops"


@contextmanager
def opened(browser, url, **settings):
    """Open a page, which may say nothing, ask nobody else and fail at nothing."""
    context = browser.new_context(**settings)
    view, said, sent = context.new_page(), [], []
    view.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: sent.append(request))  # noqa: PLW0108  it writes on what it is given
    view.set_default_timeout(20_000)
    try:
        view.goto(url)
        yield view, sent
        assert not said
        assert {re.match(r"[a-z]+:(//[^/]*)?", each.url)[0] for each in sent} <= {url.partition("/ops")[0], "data:"}
    finally:
        context.close()


class Api:
    """A chain to look at, which does what it is told."""

    numbers = count(1)

    def __init__(self, name=None):
        self.fails = False
        self.name = name or f"prices {next(self.numbers)}"  # that of another test may not have been collected yet
        breaker = circuit_breaker(QUIET, fail_max=3, reset_timeout=600)
        stack = [watched(self.name), retry(1, logger=QUIET), breaker, bulkhead(4, logger=QUIET)]
        self.breaker, self.chain = breaker, wrap(self.answer, stack)

    def answer(self, ctx):
        if self.fails:
            raise ConnectionError
        ctx["fmtn.res.http"] = Response(200)
        return ctx

    def call(self, times):
        for _ in range(times):
            with suppress(ConnectionError, CircuitOpenError):
                self.chain({"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/a")})


def card(view, name):
    return view.get_by_role("article", name=name, exact=True)


def test_numbers_move_and_a_circuit_that_opens_turns_red(browser):
    api = Api()
    with Dashboard() as board, mounted(board) as url, opened(browser, url) as (view, sent):
        found = card(view, api.name)
        found.get_by_text("idle").wait_for()
        api.call(7)
        found.get_by_text("7 calls in a minute").wait_for()
        found.get_by_text("well").wait_for()
        assert found.get_attribute("class") in {None, ""}
        assert found.get_by_text("closed").count() == 1
        api.fails = True
        api.call(4)
        found.get_by_text("circuit open").wait_for()
        assert found.get_attribute("class") == "is-bad"
        red = found.locator(".state .says").evaluate("node => getComputedStyle(node).color")
        assert re.fullmatch(r"rgb\(1[0-9]{2}, [0-9]{2}, [0-9]{2}\)", red)
        assert view.title() == "(1 open) Formation"
        view.get_by_text("failed ConnectionError").first.wait_for()
        api.breaker.gates["https://h"].close()
        found.get_by_text("circuit open").wait_for(state="detached")
        paths = {each.url.removeprefix(url) for each in sent if each.url.startswith("http")}
        assert paths == {"", "/", "/snapshot", "/events"}
        assert {each.method for each in sent} == {"GET"}


def test_a_waterfall_that_is_read_stays(browser):
    api = Api()
    with Dashboard() as board, mounted(board) as url:
        api.call(1)
        with opened(browser, url) as (view, _):
            waterfall = view.locator("#waterfalls details").first
            waterfall.locator("summary").focus()
            view.keyboard.press("Enter")
            assert waterfall.locator(".rows li").count() == 2
            before = view.locator("#waterfalls details").count()
            at = board.feed.made
            api.call(1)
            card(view, api.name).get_by_text("2 calls in a minute").wait_for()
            assert board.feed.made > at
            assert view.locator("#waterfalls details").count() == before
            assert waterfall.evaluate("node => node.open")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_is_readable_in_light_and_dark(browser, scheme):
    api = Api()
    with Dashboard() as board, mounted(board) as url, opened(browser, url, color_scheme=scheme) as (view, _):
        api.call(1)
        card(view, api.name).get_by_text("1 call in a minute").wait_for()
        for selector in ("h1", "h2", "h3", ".says", ".also", ".numbers dt", "summary"):
            assert contrast(view, view.locator(f"{selector}:visible").first) >= 4.5, selector  # WCAG 2.2, 1.4.3
        ground = view.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(ground) < 0.1) == (scheme == "dark")


def contrast(view, node):
    text = node.evaluate("node => getComputedStyle(node).color")
    ground = node.evaluate(
        """node => { for (; node; node = node.parentElement) {
          const found = getComputedStyle(node).backgroundColor; if (found !== "rgba(0, 0, 0, 0)") return found; } }"""
    )
    light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [int(each) / 255 for each in re.findall(r"\d+", color)[:3]]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("width", [320, 375, 820])
def test_fits_on_a_phone(browser, width):
    apis = [Api(), Api("a" * 110), Api("https://a-rather-long-host-name.of-some-region.example.com:8443")]
    with Dashboard() as board, mounted(board) as url:
        for api in apis:
            api.call(2)
        with opened(browser, url, viewport={"width": width, "height": 700}) as (view, _):
            view.locator("article").nth(2).wait_for()
            for each in view.locator("summary").all():
                each.evaluate("node => { node.parentElement.open = true; }")
            assert view.evaluate("document.documentElement.scrollWidth") <= width


def test_a_name_is_text_whatever_is_in_it(browser):
    api = Api(NASTY)
    with Dashboard() as board, mounted(board) as url, opened(browser, url) as (view, _):
        api.call(1)
        assert card(view, NASTY).locator("h3").text_content() == NASTY
        assert view.locator("article img, article script").count() == 0


def test_nothing_moves_for_who_wants_that(browser):
    api = Api()
    with Dashboard() as board, mounted(board) as url, opened(browser, url, reduced_motion="reduce") as (view, _):
        api.call(1)
        bar = view.locator(".bar i").first
        bar.wait_for(state="attached")
        assert bar.evaluate("node => getComputedStyle(node).transitionDuration") == "0s"


def test_it_can_be_read_out(browser):
    api = Api()
    with Dashboard() as board, mounted(board) as url, opened(browser, url) as (view, _):
        api.call(1)
        view.get_by_role("img", name=re.compile("Calls a second in the last minute: .* at most")).first.wait_for()
        assert view.get_by_role("meter", name="bulkhead in use").first.get_attribute("aria-valuenow") == "0"
        assert view.get_by_role("status").text_content().startswith("live")
        assert view.get_by_role("heading", name="Chains", exact=True).count() == 1


def test_a_link_with_the_token_signs_in_and_leaves_it_nowhere(browser):
    api = Api()
    with Dashboard(TOKEN) as board, mounted(board) as url, opened(browser, f"{url}/#token={TOKEN}") as (view, sent):
        api.call(1)
        card(view, api.name).wait_for()
        assert view.url == f"{url}/"
        assert TOKEN not in "".join(each.url for each in sent).replace(f"#token={TOKEN}", "")
        (cookie,) = view.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/ops")
        assert TOKEN not in cookie["value"]
        view.reload()
        card(view, api.name).wait_for()


def test_without_the_token_there_is_a_form_and_nothing_else(browser):
    api = Api()
    with Dashboard(TOKEN) as board, mounted(board) as url:
        api.call(1)
        context = browser.new_context()
        view = context.new_page()
        view.goto(f"{url}/")
        view.get_by_label("Token").fill("something-else-entirely")
        view.get_by_role("button", name="Look").click()
        view.get_by_text("That is not the token.").wait_for()
        assert view.locator("article").count() == 0
        view.get_by_label("Token").fill(TOKEN)
        view.keyboard.press("Enter")
        card(view, api.name).wait_for()
        assert "token" not in view.url
        context.close()


def test_says_so_when_the_app_is_gone(browser):
    api = Api()
    with Dashboard() as board, mounted(board) as url:
        api.call(1)
        context = browser.new_context()
        view = context.new_page()
        view.goto(f"{url}/")
        card(view, api.name).wait_for()
        context.set_offline(True)
        board.close()
        view.get_by_text("the app does not answer").wait_for(timeout=20_000)
        context.close()


def test_the_page_asks_for_nothing_from_elsewhere():
    html = the_page().html.decode()
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*['\"]?(?!data:)\w+:?//", html)
    assert "innerHTML" not in html
    assert len(html) < 40_000
