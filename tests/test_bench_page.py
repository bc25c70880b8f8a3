"""The page of benchmarks is what `python -m bench.page` makes of the figures; nobody edits it."""

import json
import re
from xml.etree import ElementTree as ET

import pytest

from bench import page
from bench.measure import Row

FOUND = {
    "python": "CPython 3.11.9",
    "machine": "2 CPUs of x86_64",
    "date": "May 2026",
    "versions": ["requests 2.32"],
    "parts": [
        page.figures(
            "kernel",
            "The kernel: a chain <beside> closures",
            [
                Row("sync chain, per layer", [60e-9], "closures", [50e-9], at_most=1.3),
                Row("async chain, per layer", [12e-6], "closures", [24e-6]),
                Row("alone", [1e-3], limit=2e-3),
            ],
        )
    ],
}


def test_the_page_and_its_charts_are_made_of_the_figures_and_of_nothing_else():
    found = json.loads(page.FIGURES.read_text(encoding="utf-8"))
    files = page.written(found)
    assert set(page.FOLDER.glob("*.svg")) == {file for file in files if file.suffix == ".svg"}
    for file, text in files.items():
        if file != page.README:  # whose table may be of another run: parts that this one has left out
            assert file.read_text(encoding="utf-8") == text, f"{file.name}: run `python -m bench.page`"


def test_each_line_of_the_readmes_table_is_written_by_a_run():
    table = re.findall(r"(?m)^\| (.+) \| [\d.]+ \S+ \| .* \| [\d.]+ \|$", page.README.read_text(encoding="utf-8"))
    assert table == [ours for *_, ours, _ in page.SHORT]


def test_the_readme_gets_the_figures_of_its_lines():
    text = (
        "| one more layer, sync | 1 s | the closure that one would write by hand, 1 s | 1.00 |\n| other | 1 s | x | |\n"
    )
    assert page.readme(text + "| one more layer, async | 1 s | the same by hand, 1 s | 1 |\n", FOUND) == (
        "| one more layer, sync | 60 ns | the closure that one would write by hand, 50 ns | 1.20 |\n"
        "| other | 1 s | x | |\n"
        "| one more layer, async | 12 µs | the same by hand, 24 µs | 0.50 |\n"
    )
    with pytest.raises(LookupError, match="one line of the README"):
        page.readme("", FOUND)


def test_a_chart_is_xml_with_a_line_for_each_ratio():
    drawn = ET.fromstring(page.chart(FOUND["parts"][0]))
    assert [each.get("fill") for each in drawn.iter("{http://www.w3.org/2000/svg}circle")] == [page.THEIRS, page.OURS]


def test_a_part_has_its_table_below_its_chart():
    said = page.markdown(FOUND)
    assert "## The kernel\n\nA chain <beside> closures.\n\n![The kernel: ratios" in said
    assert "| sync chain, per layer | 60.0 ns | closures | 50.0 ns | 1.20 | <= 1.30 | ok |" in said
    assert "| alone | 1.00 ms |  |  |  | <= 2.00 ms | ok |" in said
