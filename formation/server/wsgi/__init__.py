"""WSGI: an exchange (`exchange`), its calls of the app (`call`), and the environ and the answer as messages."""
