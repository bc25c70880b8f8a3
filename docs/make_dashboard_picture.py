"""Make the picture of the dashboard: ``python -m docs.make_dashboard_picture``, with Chromium on the machine.

It runs ``examples/dashboard.py --serve`` until one of its shops has gone down, half a minute, and takes
``docs/dashboard.png``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent

SECONDS = 31
"""The circuit of the prices opens after 25."""


def main() -> None:
    """Make it."""
    command = [sys.executable, "examples/dashboard.py", "--serve", "--port", "0"]
    serving = subprocess.Popen(  # noqa: S603  our own example
        command, cwd=DOCS.parent, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE, text=True
    )
    try:
        url = serving.stdout.readline().strip() if serving.stdout else ""
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            view = browser.new_page(color_scheme="light", viewport={"width": 1280, "height": 830})
            view.goto(url)
            view.wait_for_timeout(SECONDS * 1000)
            retried = view.locator("#waterfalls details:has(li.pause)").first
            retried.evaluate("node => { node.open = true; node.parentElement.prepend(node); }")
            view.screenshot(path=DOCS / "dashboard.png")
            browser.close()
    finally:
        serving.terminate()
        serving.wait()


if __name__ == "__main__":
    main()
