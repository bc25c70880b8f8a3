"""Django: its request and its response as ours, its streams, and the errors that it makes responses of."""
