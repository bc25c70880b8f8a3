import pytest

from tests.caching.origins import Clock


@pytest.fixture
def now():
    return Clock()
