"""Settings of hypothesis for all tests."""

from hypothesis import settings

settings.register_profile("formation", deadline=None)  # a law holds on a slow machine, too
settings.load_profile("formation")
