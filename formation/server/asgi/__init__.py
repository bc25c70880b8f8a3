"""ASGI: an exchange (`exchange`), its calls of the app (`attempt`), the messages of both, and WebSockets."""
