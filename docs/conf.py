"""Settings of the documentation site: MyST pages, the furo theme."""

import tomllib
from pathlib import Path

project = "Formation"
author = "Formation contributors"
copyright = f"2026, {author}"
with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
    release = tomllib.load(file)["project"]["version"]

extensions = ["myst_parser"]
myst_heading_anchors = 3  # [text](page.md#a-heading) works down to ###

html_theme = "furo"
html_title = f"{project} {release}"
