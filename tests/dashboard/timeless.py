"""A dashboard for which no time passes, as apps for a server in a process of its own."""

from formation.dashboard import Dashboard

board = Dashboard(clock=lambda: 0.0)
asgi, wsgi = board.asgi, board.wsgi
