"""Every example is a program: it ends by itself and well, prints what is worth reading, and leaves nothing open."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import formation

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(file for file in (ROOT / "examples").glob("*.py") if not file.name.startswith("_"))
SECONDS = 30
"""Many times what the longest takes: a hang must fail, a slow machine must not."""


def environment() -> dict[str, str]:
    """The environment of an example: no proxy, no settings of colours; Formation where this test has found it."""
    kept = {name: value for name, value in os.environ.items() if not re.search(r"(?i)proxy|colou?r|^PYTHON", name)}
    return {**kept, "PYTHONPATH": str(Path(formation.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


@cache  # several tests look at the same run
def run(file: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-X", "dev", str(file)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, encoding="utf-8", timeout=SECONDS, env=environment()
    )


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_ends_well_and_prints_something(file: Path) -> None:
    done = run(file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_leaves_nothing_open_and_no_task_forgotten(file: Path) -> None:
    assert not re.search(r"Exception ignored|Warning: ", run(file).stderr), run(file).stderr


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_prints_no_escape_codes_into_a_file(file: Path) -> None:
    assert "\x1b" not in run(file).stdout


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_an_example_says_at_its_top_what_it_shows(file: Path) -> None:
    assert re.match(r'(#!.*\n)?r?"""[A-Z`]', file.read_text(encoding="utf-8"))


def test_the_demo_prints_colours_on_a_terminal_and_the_same_words() -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "demo.py")],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**environment(), "TERM": "xterm-256color"},
        )
    finally:
        os.close(theirs)
    with process, os.fdopen(ours, "rb", buffering=0) as terminal:
        seen = b"".join(iter(lambda: read(terminal), b"")).decode()
        process.wait(SECONDS)
    assert process.returncode == 0, seen
    assert "\x1b[" in seen
    plain = re.sub(r"\x1b\[[0-9;]*m", "", seen).replace("\r\n", "\n")
    assert told(plain) == told(run(ROOT / "examples" / "demo.py").stdout)


def read(terminal: "os.PathLike[str] | object") -> bytes:
    """Read what there is; at the end of the other side Linux says so by an error."""
    try:
        return terminal.read(4096)  # type: ignore[attr-defined]
    except OSError:
        return b""


def told(output: str) -> list[str]:
    """What the demo tells, but for numbers that are different each time, and so take more or less room, and bars."""
    lines = [re.sub(r"\|[ #-]+\|", "|", re.sub(r"\d+(\.\d+)?( [µm]?s\b)?", "0", line)) for line in output.splitlines()]
    return [re.sub(r" +", " ", line).rstrip() for line in lines]
