"""The edge for ASGI: any app of Starlette, FastAPI, Django and their like (ASGI 3.0).

`endpoint` calls an app in the same process, without a socket, in the place of an HTTP library: a client class is tested
against the app that it is made for, or an app is a part of another one. On asyncio.
"""

from formation.client.in_process_asgi import Endpoint, endpoint

__all__ = ["Endpoint", "endpoint"]
