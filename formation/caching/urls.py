"""The URL as a key: two spellings of one target are one key, and nothing else is (RFC 9111, 2; RFC 3986, 6.2)."""
