"""Settings of the documentation site: MyST pages, the furo theme, docstrings, and headings that become tabs."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

project = "Formation"
author = "Formation contributors"
copyright = f"2026, {author}"
ROOT = Path(__file__).parents[1]
with (ROOT / "pyproject.toml").open("rb") as file:
    release = tomllib.load(file)["project"]["version"]

extensions = ["myst_parser", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence"]  # as `tabs` writes them
myst_heading_anchors = 3  # [text](page.md#a-heading) works down to ###

sys.path.insert(0, str(ROOT))  # the docstrings are those of this tree, whatever is installed
default_role = "py:obj"  # `retry` in a docstring leads to retry, where it is in the reference
napoleon_custom_sections = ["Order"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as they are written
add_module_names = False
python_maximum_signature_line_length = 100  # characters: what is longer has a line for each argument

html_theme = "furo"
html_extra_path = ["../llms.txt"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_title = f"{project} {release}"


def tabs(app: Any, page: str, source: list[str]) -> None:
    """Make tabs of the headings between two comments; where a page is read without a site, they stay headings."""

    def tab_set(found: re.Match[str]) -> str:
        items = re.sub(r"(?ms)^### (.+?)$(.*?)(?=^### |\Z)", r":::{tab-item} \1\2:::\n\n", found[1])
        return f"::::{{tab-set}}\n{items}::::"

    source[0] = re.sub(r"(?ms)^<!-- tabs -->$(.*?)^<!-- end of tabs -->$", tab_set, source[0])


def what_it_does(app: Any, what: str, *more: Any) -> None:
    """Leave out of a module's docstring how it works: that is for who reads the module."""
    lines: list[str] = more[-1]
    if what == "module" and "Theory of operation" in lines:
        del lines[lines.index("Theory of operation") :]


def by_last_name(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """Lead from `retry` to ``formation.middleware.retry``, where nothing else in the reference is called so."""
    domain, name = env.get_domain("py"), node.get("reftarget", "")
    found = {
        (thing.docname, thing.node_id): full
        for full, thing in domain.objects.items()
        if node.get("refdomain") == "py" and full.endswith(f".{name}")
    }
    if len(found) != 1:
        return None
    (full,) = found.values()
    return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", full, node, shown)


def all_in_one(app: Any, error: Exception | None) -> None:
    """Put llms.txt and all pages into one file, for who reads with a machine."""
    if error is None and app.builder.format == "html":
        pages = [app.env.doc2path(name) for name in sorted(app.env.found_docs)]
        texts = [Path(page).read_text(encoding="utf-8") for page in [ROOT / "llms.txt", *pages]]
        (Path(app.outdir) / "llms-full.txt").write_text("\n\n".join(texts), encoding="utf-8")


def one_signature(app: Any) -> None:
    """Show what `wrap` and `lift` take once: their overloads are for type checkers."""
    analyzer = ModuleAnalyzer.for_module("formation.kernel")
    analyzer.analyze()
    analyzer.overloads.clear()


def setup(app: Any) -> None:
    """Let Sphinx do these at the beginning, to each page, docstring and link, and at the end."""
    app.connect("builder-inited", one_signature)
    app.connect("source-read", tabs)
    app.connect("autodoc-process-docstring", what_it_does)
    app.connect("missing-reference", by_last_name)
    app.connect("build-finished", all_in_one)
