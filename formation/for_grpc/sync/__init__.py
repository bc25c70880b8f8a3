"""Servers and channels of grpcio that block. ``server.py`` and ``client.py`` are where gRPC comes in."""
