"""How often threads take turns while their locks are put to the test."""

import sys

SWITCH = 1e-6 if sys.gettrace() is None else 1e-4
"""Seconds. Under coverage, whose own bookkeeping would be torn up as well, not quite so often."""
