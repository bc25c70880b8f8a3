"""The version, the same as in ``pyproject.toml``."""

__version__ = "1.0.0.dev0"
