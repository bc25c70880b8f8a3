"""Settings of the documentation site: MyST pages, the furo theme, and headings that become tabs."""

import re
import tomllib
from pathlib import Path
from typing import Any

project = "Formation"
author = "Formation contributors"
copyright = f"2026, {author}"
with (Path(__file__).parents[1] / "pyproject.toml").open("rb") as file:
    release = tomllib.load(file)["project"]["version"]

extensions = ["myst_parser", "sphinx_design"]
myst_enable_extensions = ["colon_fence"]  # as `tabs` writes them
myst_heading_anchors = 3  # [text](page.md#a-heading) works down to ###

html_theme = "furo"
html_title = f"{project} {release}"


def tabs(app: Any, page: str, source: list[str]) -> None:
    """Make tabs of the headings between two comments; where a page is read without a site, they stay headings."""

    def tab_set(found: re.Match[str]) -> str:
        items = re.sub(r"(?ms)^### (.+?)$(.*?)(?=^### |\Z)", r":::{tab-item} \1\2:::\n\n", found[1])
        return f"::::{{tab-set}}\n{items}::::"

    source[0] = re.sub(r"(?ms)^<!-- tabs -->$(.*?)^<!-- end of tabs -->$", tab_set, source[0])


def setup(app: Any) -> None:
    """Let Sphinx do that to each page."""
    app.connect("source-read", tabs)
