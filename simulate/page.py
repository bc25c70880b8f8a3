"""Write ``docs/simulations.md``'s table, and its plots: the same files each time, for the same code and matplotlib.

The plots have no background, and colours between light and dark, so that they can be read on either.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

from simulate import circuits, overload, retries, tails
from simulate.lines import markdown
from simulate.virtual import SILENT

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = Path(__file__).parents[1] / "docs"
FOLDER = DOCS / "simulations"
TIMED = frozenset({"C6", "C19"})
"""Checks that go by the machine's clock alone, so there is nothing of them on the page."""

BETWEEN = re.compile(r"(?s)(?<=<!-- table -->\n\n).*?(?=\n\n<!-- end of table -->)")
INK = "#808080"
COLOURS = ["#d9822b", "#8a8a8a", "#3f9c5a", "#3d84d1"]
"""Of what is plotted; ours comes last."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "formation",  # else each run has other ids
    "svg.fonttype": "none",  # text that stays text: a tenth of the size
    "font.family": "sans-serif",
    "font.size": 10,
    "figure.figsize": (7, 3.2),
    "figure.constrained_layout.use": True,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=COLOURS),
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "axes.grid": True,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "path.simplify": True,
}


def storms(axes: Any) -> None:
    """An outage of 30 seconds."""
    for name in ("no budget", "Finagle, tower: 20 % + 10/s", "ratio .1", "quota"):
        found = retries.storm(retries.BUDGETS[name](), 60, failing=lambda now: 1.0 if 15 <= now < 45 else 0.0, seed=3)
        axes.plot(range(60), [found.seconds[second] / 100 for second in range(60)], label=name)
    axes.set(xlabel="seconds; all is down from 15 to 45", ylabel="attempts for each call", ylim=(0, 3.8))
    axes.legend(loc="upper right")


def partly(axes: Any) -> None:
    """What gets to an endpoint that fails in part."""
    rates = range(0, 101, 5)
    for name, settings in (("5 failures in a row", {}), ("half of 20 or more in 30 s", {"ratio": 0.5})):
        seen = [
            100 * sum(sum(circuits.partial(failing=rate / 100, seed=seed, **settings)) for seed in range(5)) / 12_000
            for rate in rates
        ]
        axes.plot(rates, seen, label=name, color=COLOURS[0] if not settings else COLOURS[-1])
    axes.set(xlabel="of the calls fail, in percent", ylabel="calls let through, in percent", ylim=(0, 105))
    axes.legend(loc="lower left")


def overloads(axes: Any) -> None:
    """Goodput by load."""
    loads = [0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 3, 4]
    for name, make in overload.LIMITS.items():
        axes.plot(loads, [overload.serve(make(), load, 50, 20)[0] for load in loads], label=name, marker=".")
    axes.set(xlabel="offered, by capacity", ylabel="goodput, by capacity", ylim=(0, 1.1))
    axes.legend(loc="center right")


def throttles(axes: Any) -> None:
    """An outage, and what clients ask."""
    ways = {"no throttle": [], "max=.999": overload.throttled(max=0.999), "max=.9": overload.throttled()}
    for (name, middleware), colour in zip(ways.items(), [COLOURS[0], COLOURS[1], COLOURS[3]], strict=True):
        calls = overload.ask(middleware, 100, lambda now: 0 if 60 <= now < 120 else 200, 300, seed=2)
        made = Counter(int(call.at / 5) for call in calls if call.made)
        axes.plot([5 * five for five in range(60)], [made[five] / 5 for five in range(60)], label=name, color=colour)
    axes.set(xlabel="seconds; all is down from 60 to 120", ylabel="calls made in a second", ylim=(0, 125))
    axes.legend(ncols=3, loc="upper right")


def hedges(axes: Any) -> None:
    """Times by percentile."""
    from formation.middleware import hedge

    parts = [50, 75, 90, 95, 97, 98, 99, 99.5, 99.9]
    for name, middleware, colour in (
        ("without", [], COLOURS[0]),
        ("with hedge, 5 % more calls", [hedge(logger=SILENT)], COLOURS[3]),
    ):
        _, took = tails.tail(middleware, 8000)
        times = [1000 * took[int(part / 100 * len(took))] for part in parts]
        axes.plot([str(part) for part in parts], times, label=name, marker=".", color=colour)
    axes.set(xlabel="percentile", ylabel="milliseconds", yscale="log", ylim=(10, 2000))
    axes.legend(loc="upper left")


PLOTS: dict[str, Callable[[Any], None]] = {
    "storm": storms,
    "breaker": partly,
    "overload": overloads,
    "throttle": throttles,
    "hedge": hedges,
}


def draw(folder: Path) -> None:
    """Write the plots."""
    from matplotlib.figure import Figure

    folder.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            figure = Figure()
            plot(figure.add_subplot())
            figure.savefig(
                folder / f"{name}.svg", transparent=True, metadata={"Date": None, "Creator": None, "Format": None}
            )


def write() -> int:
    """Write the page's table and plots."""
    from simulate.__main__ import CHECKS

    checks = [check for name, check in CHECKS.items() if name not in TIMED]
    lines = [line for check in checks for line in check(1) if not line.timed]
    page = DOCS / "simulations.md"
    page.write_text(BETWEEN.sub(lambda _: markdown(lines), page.read_text(encoding="utf-8")), encoding="utf-8")
    draw(FOLDER)
    return int(not all(line.ok for line in lines))
