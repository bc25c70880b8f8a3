"""Remote calls: what a call and what comes of it are, the same two classes for every client and server. No I/O.

They have the surface of the HTTP messages where it means the same, so the same middleware fits both.
"""

from formation.rpc.calls import Call, Messages
from formation.rpc.codes import Code
from formation.rpc.metadata import Metadata
from formation.rpc.results import Result

__all__ = ["Call", "Code", "Messages", "Metadata", "Result"]
