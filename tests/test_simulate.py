"""The checks of ``make simulate``, with less of each: what their bars say holds.

Those that go by the machine's clock are only run: what they take is for ``make simulate`` to tell.
"""

import asyncio
import sys

import pytest

from formation import sleep
from formation.clock import monotonic, uniform
from simulate.__main__ import CHECKS, main
from simulate.lines import Line, markdown, table
from simulate.virtual import SILENT, run

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


def test_in_a_simulation_tasks_sleep_side_by_side_and_no_time_passes():
    told = []

    async def main():
        async def later(name, seconds):
            await asyncio.sleep(seconds)
            told.append((name, monotonic() - started))

        started = monotonic()
        async with asyncio.timeout(7200):
            await asyncio.gather(later("b", 3600), later("a", 60))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.sleep(11)
        return uniform(0, 1)

    assert run(main) == run(main)
    assert told[:2] == [("a", 60), ("b", 3600)]


def test_a_sync_chain_moves_the_clock_and_another_thread_can_end_a_wait():
    async def main():
        started = monotonic()
        sleep(5)
        assert monotonic() - started == 5
        return await asyncio.to_thread(sys.getswitchinterval)

    assert run(main)
    assert SILENT.debug("nothing") is None
