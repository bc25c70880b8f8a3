"""The package of the middlewares: what it hands out, and what it loads for that."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

import formation.middleware as package
from formation.errors import BreakerTriggerException

STEMS = sorted(file.stem for file in Path(package.__file__).parent.glob("*.py") if not file.stem.startswith("_"))
ELSEWHERE = {"BreakerTriggerException", "client_ip", "csp", "get_context", "header"}


def run(code):
    """Run ``code`` in a fresh interpreter and return what it prints as JSON."""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    return json.loads(done.stdout)


def test_every_module_is_listed_under_its_name_and_nothing_else_is():
    assert sorted({*package.__all__} - ELSEWHERE) == STEMS
    assert sorted(package.__all__) == list(package.__all__)
    assert {*package.__all__} <= {*dir(package)}


@pytest.mark.parametrize("name", STEMS)
def test_a_name_is_the_middleware_and_not_its_module(name):
    module = importlib.import_module(f"formation.middleware.{name}")
    found = getattr(package, name)
    assert inspect.isfunction(found)
    assert found is getattr(module, name)
    assert found.__name__ == name


@pytest.mark.parametrize("name", STEMS)
def test_what_a_setting_is_can_be_read_at_run_time(name):
    factory = getattr(package, name)
    assert {*get_type_hints(factory)} == {*inspect.signature(factory).parameters, "return"}


def test_the_names_of_other_modules_are_there():
    assert package.BreakerTriggerException is BreakerTriggerException
    assert package.get_context.__module__ == "formation.middleware.context"
    assert package.csp.__module__ == "formation.middleware.security_headers"
    assert {package.client_ip.__name__, package.header.__name__} == {"client_ip", "header"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'formation\.middleware' has no attribute 'acept'"):
        package.acept  # noqa: B018
    with pytest.raises(ImportError, match="acept"):
        exec("from formation.middleware import acept")


@pytest.mark.parametrize(
    "first", ["from formation.middleware.ua import ua as x", "import formation.middleware.ua as x"]
)
def test_a_module_imported_before_does_not_take_the_place_of_its_middleware(first):
    code = f"{first}\nfrom formation.middleware import ua\nimport formation.middleware as m, json"
    assert run(f"{code}\nprint(json.dumps([x is ua is m.ua, type(ua).__name__]))") == [True, "function"]


def test_asking_the_package_loads_nothing():
    code = "import formation.middleware as m, sys, json; dir(m); print(json.dumps(sorted(sys.modules)))"
    assert not [name for name in run(code) if name.startswith("formation.middleware.") or name == "structlog"]


@pytest.mark.parametrize("name", STEMS)
def test_importing_one_imports_no_sibling_no_edge_and_no_logger(name):
    code = f"from formation.middleware import {name}; import sys, json; print(json.dumps(sorted(sys.modules)))"
    loaded = run(code)
    siblings = [each for each in loaded if each.startswith("formation.middleware.") and "._" not in each]
    assert siblings == [f"formation.middleware.{name}"]
    assert not [each for each in loaded if each.startswith("formation.for_")]
    assert not {"structlog", "requests"}.intersection(loaded)
