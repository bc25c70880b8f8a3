"""A site of Django for the tests. Settings are global to a process, so they are made here, once, and lent by test.

`MIDDLEWARE` names what a test has put into `STACK` by ``tests.django_site.layer_0`` and so on; `stack` does it.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.test import override_settings
from django.urls import clear_url_caches, path, re_path

if TYPE_CHECKING:
    from collections.abc import Iterator

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        DATABASES={},
        INSTALLED_APPS=[],
        LOGGING_CONFIG=None,
        ROOT_URLCONF="tests.django_site",
        SECRET_KEY="for tests only",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}],
        USE_TZ=True,
    )
    django.setup()

urlpatterns: list[Any] = []


@contextmanager
def stack(*layers: Any, urls: Any = (), **more: Any) -> Iterator[None]:
    """Lend settings in which MIDDLEWARE is ``layers``: dotted paths, or what they would name; and URLs to views.

    ``urls`` maps routes to views, or is one view, for every path.
    """
    names, module = [], ModuleType("tests.django_stack")
    for at, layer in enumerate(layers):
        if not isinstance(layer, str):
            setattr(module, f"layer_{at}", layer)
        names.append(layer if isinstance(layer, str) else f"{module.__name__}.layer_{at}")
    is_one = callable(urls)
    module.urlpatterns = [re_path("", urls)] if is_one else [path(*each) for each in dict(urls).items()]
    sys.modules[module.__name__] = module
    try:
        with override_settings(MIDDLEWARE=names, ROOT_URLCONF=module.__name__, **more):
            clear_url_caches()
            yield
    finally:
        del sys.modules[module.__name__]
