"""The checks of ``make simulate``, with less of each: what their bars say holds.

Those that go by the machine's clock are only run: what they take is for ``make simulate`` to tell.
"""

import re
from pathlib import Path

import pytest

from simulate.__main__ import CHECKS, main
from simulate.lines import Line, markdown, table

DOCS = Path(__file__).parents[1] / "docs"
SIZES = {"C1": 0.25, "C2": 0.25, "C3": 0.2, "C6": 0.25, "C8": 0.3, "C9": 0.25, "C11": 0.2, "C12": 0.2, "C19": 0.03}


@pytest.mark.parametrize("name", CHECKS)
def test_each_check_passes(name):
    lines = CHECKS[name](SIZES.get(name, 0.5))
    assert {line.check for line in lines} == {name}
    assert not [line for line in lines if not line.ok and (name == "C19" or not line.timed)]


def test_a_bar_that_is_missed_is_told_and_fails_the_run(monkeypatch, capsys):
    line = Line("C3", "load", "<= 1.30×", "1.44×", ok=False, beside={"none": "3.00×"})

    def check(size):
        """Load."""
        return [line]

    monkeypatch.setitem(CHECKS, "C3", check)
    assert main(["C3"]) == 1
    said = capsys.readouterr()
    assert "FAIL" in said.out
    assert said.err == "missed: C3, load: 1.44×, the bar is <= 1.30×\n"
    assert main(["C99"]) == 2
    assert "none 3.00×" in table([line])
    assert "| C3 | load | <= 1.30× | 1.44× | none 3.00× |" in markdown([line])


def test_the_page_has_each_plot_that_there_is_and_each_check_that_does_not_go_by_the_machines_clock():
    page = (DOCS / "simulations.md").read_text(encoding="utf-8")
    plots = {file.stem for file in (DOCS / "simulations").glob("*.svg")}
    assert set(re.findall(r"\(simulations/(\w+)\.svg\)", page)) == plots
    assert list(dict.fromkeys(re.findall(r"(?m)^\| (C\d+) ", page))) == [
        name for name in CHECKS if name not in {"C6", "C19"}
    ]
