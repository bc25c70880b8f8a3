"""The server of `bench.server`, whose answers may be kept for an hour."""

import asyncio

from bench import server


class Cacheable(server.Answer):
    """Answers with a lifetime and a validator."""

    answer = server.HEAD.replace(b"\r\n\r\n", b'\r\nCache-Control: max-age=3600\r\nETag: "1"\r\n\r\n') + server.BODY


if __name__ == "__main__":
    asyncio.run(server.serve(Cacheable))
