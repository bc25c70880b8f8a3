"""What many processes share: `Redis`, and the scripts that run in it."""

from formation.storage.choice import of
from formation.storage.redis import Redis, Script

__all__ = ["Redis", "Script", "of"]
