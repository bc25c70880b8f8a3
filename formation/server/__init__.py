"""What the server edges have in common: the request that came and the response that goes, each read when asked for."""
