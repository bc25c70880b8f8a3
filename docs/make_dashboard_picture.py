"""Make the picture of the dashboard: ``python -m docs.make_dashboard_picture``, with Chromium on the machine.

It runs ``examples/dashboard.py --serve`` until one of its shops has gone down, half a minute, and takes
``docs/dashboard.png`` and ``docs/dashboard-dark.png``.
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
    """Make both."""
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
            views = []
            for scheme in ("light", "dark"):
                view = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 830})
                view.goto(url)
                views.append((scheme, view))
            views[0][1].wait_for_timeout(SECONDS * 1000)
            for scheme, view in views:
                retried = view.locator("#waterfalls details:has(li.pause)").first
                retried.evaluate("node => { node.open = true; }", timeout=10_000)
                retried.evaluate(
                    "node => { const list = node.parentElement; list.insertBefore(node, list.firstChild); }"
                )
                view.screenshot(path=DOCS / f"dashboard{'-dark' if scheme == 'dark' else ''}.png")
            browser.close()
    finally:
        serving.terminate()
        serving.wait()


if __name__ == "__main__":
    main()
