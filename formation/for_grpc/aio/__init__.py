"""Servers and channels of grpc.aio. ``server.py`` and ``client.py`` are where gRPC comes in."""
