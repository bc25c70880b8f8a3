"""What many processes share: `Redis`, and the scripts that run in it."""

from formation.storage.redis import Redis, Script, of

__all__ = ["Redis", "Script", "of"]
