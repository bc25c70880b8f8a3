"""The project as a whole: four trees with the same stems, a light import, and files that speak only of the project."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import formation

ROOT = Path(__file__).parents[1]
PACKAGE = Path(formation.__file__).parent  # in site-packages where the wheel is tested
MODULES = sorted(module.name for module in pkgutil.walk_packages(formation.__path__, "formation."))
LIGHT = {"attr", "attrs", "formation", "greenlet"}


def stems(folder: Path, before: str = "", after: str = ".py") -> set[str]:
    return {
        file.name.removeprefix(before).removesuffix(after)
        for file in folder.glob(f"{before}*{after}")
        if not file.name.startswith("_") and file.name != "index.md"
    }


MIDDLEWARE = stems(PACKAGE / "middleware")


def project_files() -> list[Path]:
    if (ROOT / ".git").exists():
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    files = [file for file in ROOT.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return [file for file in files if not file.relative_to(ROOT).parts[0].startswith(".")]  # what a run leaves behind


@pytest.mark.parametrize(
    ("folder", "before", "after"),
    [("tests/middleware", "test_", ".py"), ("docs/middleware", "", ".md")],
)
def test_every_middleware_has_its_tests_and_its_page_and_nothing_else_does(
    folder: str, before: str, after: str
) -> None:
    assert stems(ROOT / folder, before, after) == MIDDLEWARE


def test_every_middleware_has_an_example() -> None:
    assert stems(ROOT / "examples") >= MIDDLEWARE  # examples of other things stand there too


def test_importing_formation_brings_in_no_edge_and_no_third_party_but_greenlet_and_attrs() -> None:
    code = "import sys; old = set(sys.modules); import formation, json; print(json.dumps(sorted({*sys.modules} - old)))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    names = json.loads(run.stdout)

    foreign = {name.partition(".")[0] for name in names} - sys.stdlib_module_names - LIGHT
    assert not foreign
    assert not [name for name in names if name.startswith(("formation.for_", "formation.middleware"))]


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported_and_says_what_it_is(name: str) -> None:
    assert importlib.import_module(name).__doc__


def public_methods(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_methods(node.body, f"{owner}.{node.name}")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield f"{owner}.{node.name}", node


def told_elsewhere(method: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """By the class of a protocol, by the overloaded function, by the getter of a setter."""
    is_setter = any(ast.unparse(decorator).endswith(".setter") for decorator in method.decorator_list)
    return is_setter or ast.unparse(method.body[-1]) == "..."


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_every_public_method_says_what_it_does(file: Path) -> None:
    methods = public_methods(ast.parse(file.read_text(encoding="utf-8")).body, file.stem)
    assert not [name for name, method in methods if not ast.get_docstring(method) and not told_elsewhere(method)]


def test_the_package_says_what_it_is_and_that_it_is_typed() -> None:
    assert ast.get_docstring(ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8")))
    assert (PACKAGE / "py.typed").is_file()


def test_the_changelog_has_a_section_for_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## [{version}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of somebody's machine", r"(?<![\w.*}])/(root|home|Users|work|tmp)/\w"),
        ("a package registry", r"(?i)py[p]i\b|python[h]osted|npm[j]s|conda-[f]orge"),
    ],
)
def test_no_file_names(what: str, pattern: str) -> None:
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in project_files()
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]
    assert not found, f"{what} in:\n" + "\n".join(found)


def test_a_documentation_block_that_is_skipped_says_why() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    silent = [page.name for page in pages if re.search(r"skip: (next|start)(?! \")", page.read_text(encoding="utf-8"))]
    assert not silent
