import asyncio
import io
import json
import re
import sys
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree, html
from rich.console import Console

from formation import for_wsgi, wrap
from formation.for_requests import build
from formation.middleware import retry
from formation.trace import Layer, Trace, trace
from formation.trace.text import seconds
from tests.trace.test_trace import QUIET, log, ticking

EVIL = '<script>alert("1")</script>&\x1b[2J\x00\u202e\ufffe'


def made(*passes, layers=("log", "retry", "fetch"), ended_at=0):
    """Make a trace of passes: the place, the index of the pass above, entered, left, error."""
    spans = []
    for at, above, entered, left, *error in passes:
        spans.append([(None, -1) if above is None else spans[above], at, error[0] if error else None, left, entered])
    told = [Layer(name, f"{name}.py:1", is_endpoint=at == len(layers) - 1) for at, name in enumerate(layers)]
    return Trace(told, spans, ended_at)


RETRIED = made(
    (0, None, 10, 11),
    (1, 0, 10, 11),
    (2, 1, 10.125, 10.25, ("OSError", "no route")),
    (2, 1, 10.75, 11),
)

SIDE_BY_SIDE = made(
    (0, None, 0.0, 0.10),
    (1, 0, 0.0, 0.10),
    (2, 1, 0.01, 0.10),
    (2, 1, 0.02, 0.09),
    (2, 1, 0.03, 0.04),
    (2, 1, 0.095, 0.2),
)


def test_the_waterfall_is_plain_text():
    assert str(RETRIED).splitlines() == [
        "fetch, 1.00 s",
        "                took        own",
        "log           1.00 s     0.0 µs  |#---------------------------------------|",
        "  retry       1.00 s   625.0 ms  |#####-----####################----------|  2 calls",
        "    fetch   125.0 ms   125.0 ms  |     #####                              |  raised OSError: no route",
        "    fetch   250.0 ms   250.0 ms  |                              ##########|",
    ]


def test_a_bar_ends_where_its_pass_does():
    half = made((0, None, 0, 1), (1, 0, 0, 2), layers=("log", "aside"))
    assert [line.split("|")[1].rstrip() for line in str(half).splitlines()[2:]] == ["#" + "-" * 19, "#" * 40]


def test_the_repr_says_what_came_of_the_call():
    assert repr(RETRIED) == "<Trace fetch, 1.00 s>"
    failed = made((0, None, 0, 1.5, ("ReadTimeout", "too late")))
    failed.name, failed.status = "GET /rings", 504
    assert repr(failed) == "<Trace GET /rings, 1.50 s, status 504, ReadTimeout>"


def test_the_attempts_are_counted():
    def flaky(ctx):
        ctx["attempts"] = ctx.get("attempts", 0) + 1
        raise OSError("no")

    traced = trace(wrap(flaky, [retry(base=0, logger=QUIET)]))
    with pytest.raises(OSError, match="no"):
        traced({})
    assert "3 attempts" in str(traced.traces[-1])
    page = html.document_fromstring(traced.traces[-1].to_html())
    assert [each.text for each in page.iter("h2")] == ["Passes", "Attempts"]
    assert [each.text_content() for each in page.xpath("//h2[2]/following::tr/td[4]")] == ["OSError"] * 3


@pytest.mark.parametrize("width", [60, 80, 200])
def test_rich_draws_it_in_a_terminal_of_any_width(width):
    out = io.StringIO()
    Console(file=out, width=width).print(RETRIED)
    lines = out.getvalue().splitlines()
    assert lines[0].strip() == "fetch, 1.00 s"
    assert all(len(line) <= width for line in lines)
    assert sum("━" in line for line in lines) == 4


def test_show_prints_by_rich_where_it_is_installed(capsys):
    RETRIED.show()
    assert "━" in capsys.readouterr().out


def test_show_prints_plain_text_where_rich_is_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    RETRIED.show()
    assert capsys.readouterr().out == f"{RETRIED}\n"


def test_show_prints_to_a_file():
    out = io.StringIO()
    RETRIED.show(out)
    assert "raised OSError" in out.getvalue()


def test_an_answer_of_a_layers_own_is_told():
    assert "log" in str(made((0, None, 0, 1)))
    assert "answered by itself" in str(made((0, None, 0, 1)))


def test_an_error_that_is_passed_on_is_told_from_its_source():
    said = ("OSError", "no")
    text = str(made((0, None, 0, 3, said), (1, 0, 1, 2, said)))
    assert "passed OSError on" in text
    assert text.count("raised OSError: no") == 1


def test_what_is_still_under_way_is_drawn_as_far_as_is_known():
    last = made((0, None, 0, 3), (1, 0, 1, None), (2, 1, 2, 5))
    assert [each.is_open for each in last] == [False, True, False]
    assert [each.took for each in last] == [3, 4, 3]
    assert "still under way" in str(last)
    etree.fromstring(last.to_svg())


def test_a_body_that_streams_has_a_line_of_its_own():
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b"ring"]

    with build(base_uri="http://app", endpoint=for_wsgi.endpoint(app), middleware=[log]) as api:
        traced = trace(api, clock=ticking())
        with traced.get("/rings", stream=True) as result:
            last = traced.traces[-1]
            assert str(last).splitlines()[-1].endswith("not at its end yet")
            assert [each["name"] for each in json.loads(last.to_perfetto())["traceEvents"]][-1] == "(sent)"
            assert result.response.content == b"ring"
        with traced.get("/rings", stream=True):
            pass
    assert str(last).splitlines()[-1].startswith("(body)")
    assert str(last).splitlines()[-1].endswith("4 bytes")
    event = json.loads(last.to_perfetto())["traceEvents"][-1]
    assert (event["name"], event["args"]) == ("body", {"bytes": 4})
    assert "0 bytes, BodyAbandoned" in str(traced.traces[-1])
    assert "0 bytes, BodyAbandoned" in traced.traces[-1].to_html()


# Perfetto: https://chromium.googlesource.com/catapult, "Trace Event Format"


def well_formed(text):
    """Check the rules of the format, and return the passes."""
    told = json.loads(text)
    assert told["displayTimeUnit"] in {"ms", "ns"}
    for event in told["traceEvents"]:
        assert isinstance(event["name"], str)
        assert type(event["pid"]) is int
        assert type(event["tid"]) is int
        assert isinstance(event["args"], dict)
        assert event["ph"] in {"X", "M"}
        if event["ph"] == "M":
            assert event["name"] in {"process_name", "thread_name"}
            assert isinstance(event["args"]["name"], str)
        else:
            assert isinstance(event["cat"], str)
            assert event["ts"] >= 0
            assert event["dur"] >= 0
    return [event for event in told["traceEvents"] if event["ph"] == "X"]


def overlaps(events):
    """Return the events of one thread that neither lie within each other nor beside each other."""
    found = []
    for tid in {event["tid"] for event in events}:
        open_until = []
        spans = [(event["ts"], -event["dur"]) for event in events if event["tid"] == tid]
        for started, minus in sorted(spans):
            while open_until and open_until[-1] <= started:
                open_until.pop()
            if open_until and round(started - minus, 3) > round(open_until[-1], 3):
                found.append((tid, started))
            open_until.append(started - minus)
    return found


def dropped(events, whole):
    """Return the events that Perfetto has no place for, by its own rule: each thread is a stack.

    ``whole`` is how it makes whole nanoseconds of times: it cut them off once, and rounds them by now.
    """
    found, stacks = [], {}
    for event in sorted(events, key=lambda event: whole(event["ts"] * 1000)):
        started, took = whole(event["ts"] * 1000), whole(event["dur"] * 1000)
        stack = stacks.setdefault(event["tid"], [])
        while stack and (stack[-1] < started or (stack[-1] == started and took)):
            stack.pop()
        if any(started < ended < started + took for ended in stack):
            found.append(event)
        else:
            stack.append(started + took)
    return found


@pytest.mark.parametrize("whole", [int, round])
def test_perfetto_drops_nothing_where_times_end_together(whole):
    for end in range(1000, 1100):
        last = made((0, None, 0, end / 1e9), (1, 0, 1e-9, end / 1e9), (2, 1, 333e-9, end / 1e9), layers="abc")
        events = well_formed(last.to_perfetto())
        assert len(events) == 3
        assert not dropped(events, whole)


def test_the_json_for_perfetto_has_an_event_for_each_pass():
    events = well_formed(RETRIED.to_perfetto())
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("log", 0, 1_000_000),
        ("retry", 0, 1_000_000),
        ("fetch", 125_000, 125_000),
        ("fetch", 750_000, 250_000),
    ]
    assert {event["tid"] for event in events} == {1}
    assert events[1]["args"] == {
        "own_us": 625_000,
        "below_us": 375_000,
        "calls": 2,
        "place": "retry.py:1",
        "note": "2 calls",
    }
    assert events[2]["args"]["error"] == "OSError: no route"
    assert [event["cat"] for event in events] == ["middleware", "middleware", "endpoint", "endpoint"]


def test_passes_that_overlap_are_on_threads_of_their_own():
    events = well_formed(SIDE_BY_SIDE.to_perfetto())
    assert [event["tid"] for event in events] == [1, 1, 1, 2, 3, 2]
    assert not overlaps(events)


@st.composite
def trees(draw):
    """Draw a trace whose passes may overlap as they like."""
    passes = [(0, None, 0.0, draw(st.floats(0, 10)))]
    for _ in range(draw(st.integers(0, 12))):
        above = draw(st.integers(0, len(passes) - 1))
        at, _, entered, *_ = passes[above]
        if at < 4:
            started = draw(st.floats(entered, 12))
            ended = started + draw(st.floats(0, 5))
            passes.append((at + 1, above, started, draw(st.sampled_from([ended, ended, None]))))
    return made(*passes, layers="abcde")


@settings(deadline=None, max_examples=200)
@given(trees())
def test_any_trace_is_drawn_in_every_way(last):
    events = well_formed(last.to_perfetto())
    assert not overlaps(events)
    assert not dropped(events, int)
    assert not dropped(events, round)
    assert len(etree.fromstring(last.to_svg()).findall("{*}g")) == len(list(last))
    assert len(html.document_fromstring(last.to_html()).xpath("//tbody/tr")) == len(list(last))
    assert str(last)
    Console(file=io.StringIO()).print(last)
    for each in last:
        assert each.own >= 0
        assert 0 <= each.below <= each.took + 1e-9


# Pictures and pages


def test_the_picture_is_well_formed_and_for_light_and_dark():
    picture = etree.fromstring(RETRIED.to_svg())
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert [each.text for each in picture.iterfind("{*}g/{*}text[@y][1]")] == ["log", "retry", "fetch", "fetch"]
    assert "prefers-color-scheme: dark" in RETRIED.to_svg()


def test_the_page_asks_for_nothing_from_outside():
    page = html.document_fromstring(RETRIED.to_html())
    assert not page.xpath("//@src | //@href | //script | //link | //iframe | //object | //img")
    text = RETRIED.to_html().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|url\(|@import|//", text)
    assert "default-src 'none'" in text
    assert "color-scheme: light dark" in text


def test_nothing_in_a_name_or_an_error_gets_out_of_its_place():
    last = made((0, None, 0, 1, (EVIL, EVIL)), (1, 0, 0.1, 0.2, (EVIL, "x")), layers=(EVIL, EVIL))
    last.name = EVIL
    picture = etree.fromstring(last.to_svg())
    assert not picture.findall(".//{*}script")
    page = html.document_fromstring(last.to_html())
    assert not page.xpath("//script")
    assert page.findtext(".//h1").startswith('<script>alert("1")</script>&\\x1b[2J\\x00\\u202e')
    well_formed(last.to_perfetto())
    out = io.StringIO()
    Console(file=out, width=200).print(last)
    assert "\x1b" not in str(last) + out.getvalue()
    assert "\\x1b[2J" in out.getvalue()


def test_markup_of_rich_in_a_name_is_text():
    last = made((0, None, 0, 1, ("Bad", "[red]no[/red]")), layers=("[bold]log[/bold]", "x"))
    out = io.StringIO()
    Console(file=out, width=200).print(last)
    assert "[bold]log[/bold]" in out.getvalue()
    assert "[red]no[/red]" in out.getvalue()


def test_long_names_and_notes_are_cut_in_the_picture():
    last = made((0, None, 0, 1, ("E" * 100, "m" * 100)), layers=("n" * 500, "x"))
    texts = [each.text for each in etree.fromstring(last.to_svg()).iterfind("{*}g/{*}text")]
    assert texts[0].endswith("…")
    assert len(texts[0]) < 40


def test_a_call_that_took_no_time_is_drawn():
    last = made((0, None, 1, 1))
    for view in (str(last), last.to_svg(), last.to_html(), last.to_perfetto()):
        assert "nan" not in view.lower().replace("nano", "")


def test_the_page_says_when_the_call_ended():
    assert "1970-01-01T00:00:01.500+00:00" in made((0, None, 0, 1), ended_at=1.5).to_html()


def test_times_have_the_unit_that_suits_them():
    said = [seconds(value) for value in (0, 1e-9, 0.000_999, 0.001, 0.999, 1, 75)]
    assert said == ["0.0 µs", "0.0 µs", "999.0 µs", "1.0 ms", "999.0 ms", "1.00 s", "75.00 s"]


def test_a_real_trace_of_an_async_chain_is_drawn():
    async def fetch(ctx):
        await asyncio.sleep(0)
        return ctx

    traced = trace(wrap(fetch, [log]), clock=count().__next__, now=lambda: 0)
    asyncio.run(traced({}))
    assert not overlaps(well_formed(traced.traces[-1].to_perfetto()))
