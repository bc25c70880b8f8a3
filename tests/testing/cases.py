"""What the cases of the tools for testing have in common."""

import asyncio
from typing import Any

import pytest

from formation.for_aiohttp import build as abuild
from formation.for_requests import build

BASE = "https://h.example/v1"


def sync(endpoint: Any, **settings: Any) -> Any:
    return build(base_uri=BASE, endpoint=endpoint, **settings)


def get(kind: str, endpoint: Any, path: str = "/users", **settings: Any) -> Any:
    """Call by a client of either kind."""
    if kind == "sync":
        return sync(endpoint, **settings).get(path)

    async def main() -> Any:
        async with abuild(base_uri=BASE, endpoint=endpoint, **settings) as client:
            return await client.get(path)

    return asyncio.run(main())


both = pytest.mark.parametrize("kind", ["sync", "async"])
