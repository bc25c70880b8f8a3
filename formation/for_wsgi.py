"""The edge for WSGI: any app of Flask, Django, Pyramid and their like (PEP 3333).

`endpoint` calls an app in the same process, without a socket, in the place of an HTTP library: a client class is tested
against the app that it is made for, or an app is a part of another one.
"""

from formation.client.in_process_wsgi import Endpoint, endpoint

__all__ = ["Endpoint", "endpoint"]
